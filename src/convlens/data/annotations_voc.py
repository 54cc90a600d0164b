"""PASCAL VOC: one XML file per image, whose boxes count pixels from 1 and name the last pixel inside.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010; the development kit says that
the top left pixel is (1, 1). So a box becomes xmin - 1, ymin - 1, xmax, ymax, as in Detectron2
(`data/datasets/pascal_voc.py`) and as LabelImg writes them, whose edges are never below 1.

Many tools write edges that count from 0 into the same XML. Where more boxes of a set begin at 0 than at 1, the set
counts from 0 and its edges stay as they are. Which of the two was read is a finding.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from convlens.data.annotated import AnnotatedImage, AnnotatedSet, Corners, Gathering, Size
from convlens.data.annotations_writing import Export, plain_number
from convlens.data.findings import Finding
from convlens.data.listing import Listing
from convlens.errors import DataError

LOOKED_AT = 5
_LISTS = {"train.txt": "train", "trainval.txt": "train", "val.txt": "valid", "valid.txt": "valid", "test.txt": "test"}
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def see_voc(listing: Listing) -> str:
    """What speaks for this format; empty when nothing does."""
    files = listing.annotations(".xml")
    for file in files[:LOOKED_AT]:
        if b"<annotation" in listing.read(file)[:4096]:
            return f"{len(files):,} XML files such as {file}"
    return ""


@dataclass(frozen=True)
class _Object:
    """One box as written."""

    place: str
    name: str | None
    corners: Corners
    difficult: bool
    crowd: bool


def read_voc(listing: Listing) -> AnnotatedSet:
    """Read every XML file below a folder, wherever it lies.

    An XML file belongs to the image of its own name, or else to the one its `filename` names. Splits are
    `ImageSets/Main/train.txt`, `val.txt` and `test.txt` (`trainval.txt` where those two are missing), or the folders.

    Raises:
        DataError: there is no image.
    """
    gathering = Gathering(listing)
    found: list[tuple[str, list[_Object]]] = []
    for file in listing.annotations(".xml"):
        gathering.used.add(file)
        try:
            root = parse_xml(listing.read(file))
            if root.tag != "annotation":
                gathering.used.discard(file)
                continue
            objects = [_read_object(element, file, i) for i, element in enumerate(root.findall("object"), start=1)]
            size = _read_size(root)
        except DataError as error:
            gathering.note("bad-annotation", file, str(error))
            continue
        if image := _pair(gathering, file, root):
            gathering.image(image, file, size=size)
            found.append((image, objects))
    first = _first_pixel(gathering, [start for _, objects in found for one in objects for start in one.corners[:2]])
    for image, objects in found:
        for one in objects:
            x1, y1, x2, y2 = one.corners
            if first and (x1, y1) == (x2, y2):  # one pixel, if taken at its word; a click that was meant for no box
                gathering.lose("degenerate-box", image, f"{one.place}: a single point at {x1:g}, {y1:g}")
                continue
            corners = (x1 - first, y1 - first, x2, y2)
            gathering.box(image, one.place, one.name, corners, difficult=one.difficult, crowd=one.crowd)
    _read_splits(gathering)
    return gathering.finish()


def parse_xml(data: bytes) -> ET.Element:
    """The root of an XML document that declares nothing: no document type, so no entities and no other files.

    Raises:
        DataError: it has a document type, or is no XML.

    Example:
        >>> parse_xml(b"<annotation><filename>1.jpg</filename></annotation>").findtext("filename")
        '1.jpg'
    """
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> NoReturn:
        raise DataError("it declares a document type, which annotations do not need")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"no XML: {error}") from None
    return builder.close()


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _flag(element: ET.Element, name: str) -> bool:
    return _text(element, name).lower() in ("1", "true", "yes")


def _read_object(element: ET.Element, file: str, number: int) -> _Object:
    place = f"{file}, object {number}"
    texts = [_text(element, f"bndbox/{edge}") for edge in _EDGES]
    try:
        x1, y1, x2, y2 = map(float, texts)
    except ValueError:
        raise DataError(f"object {number} has no bndbox of four numbers, but {texts}") from None
    flags = {name: _flag(element, name) for name in ("difficult", "crowd")}
    return _Object(place, _text(element, "name") or None, (x1, y1, x2, y2), **flags)


def _read_size(root: ET.Element) -> Size | None:
    try:
        return int(_text(root, "size/width")), int(_text(root, "size/height"))
    except ValueError:
        return None


def _pair(gathering: Gathering, file: str, root: ET.Element) -> str | None:
    """The image of an XML file: of the same name, or else as its `filename` says; None is noted."""
    find, said = gathering.listing.find, _text(root, "filename")
    own = find(file.removesuffix(".xml").removesuffix(".XML"), near=file)
    other = (find(said, near=file) or find(said.rpartition(".")[0], near=file)) if said else None
    if own and other and own != other:
        gathering.note("name-differs", own, f"{file} names {said}")
    if not own and not other:
        gathering.note("missing-image", file, said)
    return own or other


def _first_pixel(gathering: Gathering, starts: list[float]) -> int:
    """What the first pixel of a row is called, 0 or 1, by where boxes at the edge begin."""
    zeros, ones = sum(0 <= start < 1 for start in starts), sum(1 <= start < 2 for start in starts)
    first = 0 if zeros > ones else 1
    how = "stay as they are" if not first else "become xmin - 1, ymin - 1, xmax, ymax"
    message = f"Pixels are counted from {first} ({zeros:,} edges at 0, {ones:,} at 1): boxes {how}."
    gathering.findings.append(Finding("first-pixel", "note", message))
    return first


# Splits ---------------------------------------------------------------------------------------------------------------


def _read_splits(gathering: Gathering) -> None:
    """What the lists in ImageSets/Main say; each names images without their ending."""
    listing = gathering.listing
    lists: dict[str, str] = {}
    for file in listing.files:
        folder, _, name = file.rpartition("/")
        if f"/{folder}".endswith("/ImageSets/Main"):
            gathering.used.add(file)  # lists of one class alone, such as cat_train.txt, say nothing new
            lists[name.lower()] = file
    if "train.txt" in lists:
        lists.pop("trainval.txt", None)
    for name, split in _LISTS.items():
        if not (file := lists.get(name)):
            continue
        try:
            lines = listing.lines(file)
        except DataError as error:
            gathering.note("bad-annotation", file, str(error))
            continue
        for line in filter(str.strip, lines):
            image = listing.find(line, near=file) or listing.find(line.split()[0], near=file)
            if image and image in gathering:
                gathering.split(image, split)
            else:
                gathering.note("missing-image", file, line.strip())


# Writing --------------------------------------------------------------------------------------------------------------


def write_voc(records: Iterable[AnnotatedImage], folder: Path) -> None:
    """Write Annotations/*.xml, copy the images to JPEGImages/, and list the splits in ImageSets/Main/.

    Edges keep their fractions. The format has no place for crowds; they get an element `crowd` of our own.

    Raises:
        DataError: the folder is not empty, a box leaves its image, or is one whole pixel, which reads as a slip.
    """
    export = Export(records, folder)
    export.copy("JPEGImages")
    for item in export.items:
        root = ET.Element("annotation")
        _add(root, folder="JPEGImages", filename=item.name)
        _add(ET.SubElement(root, "size"), width=item.size[0], height=item.size[1])
        for box in item.boxes:
            corners = (box.x1 + 1, box.y1 + 1, box.x2, box.y2)
            if corners[:2] == corners[2:]:
                raise DataError(f"{item.id}: VOC cannot tell a box of one whole pixel from a slip; got {box}.")
            element = ET.SubElement(root, "object")
            _add(element, name=box.name, difficult=int(box.difficult), **({"crowd": 1} if box.crowd else {}))
            _add(ET.SubElement(element, "bndbox"), **dict(zip(_EDGES, map(plain_number, corners), strict=True)))
        ET.indent(root, "\t")
        export.write(f"Annotations/{item.stem}.xml", ET.tostring(root, encoding="unicode") + "\n")
    for word, items in export.parts("val"):
        if word:
            export.write(f"ImageSets/Main/{word}.txt", "".join(f"{item.stem}\n" for item in items))


def _add(parent: ET.Element, **children: object) -> None:
    for name, value in children.items():
        ET.SubElement(parent, name).text = str(value)
