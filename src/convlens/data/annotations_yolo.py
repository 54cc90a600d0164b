"""YOLO: a text file per image in labels/ beside images/, with lines of class number and box in shares of the image.

A line is `class cx cy width height`; a line with three points or more is an outline and becomes the box around it. An
image without a file, or with an empty one, is background. Class names are the `names` of data.yaml (a list, or a map
from number to name), or the lines of classes.txt or obj.names. The home of PyYAML.

Source: docs.ultralytics.com/datasets/detect; Redmon et al., 2016, arXiv:1506.02640, whose darknet began the format.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from convlens.data.annotated import AnnotatedImage, AnnotatedSet, Corners, Gathering, Size
from convlens.data.annotations_writing import Export, plain_number
from convlens.data.boxes import Box
from convlens.data.findings import Finding
from convlens.data.labels import label_text
from convlens.data.listing import Listing
from convlens.data.tables import SPLITS
from convlens.errors import ConfigError, DataError

LOOKED_AT = 20
_LINE = re.compile(r"\s*\d+(\.0*)?(\s+[-+.\deE]+){4,}\s*")
_NAME_LISTS = ("classes.txt", "obj.names", "classes.names", "labels.names")
_SPLIT_KEYS = ("train", "val", "valid", "test")


def see_yolo(listing: Listing) -> str:
    """What speaks for this format; empty when nothing does."""
    if listing.only and not _yaml(listing):
        return ""
    labels = _labels(listing)
    for file in list(labels)[:LOOKED_AT]:
        try:
            lines = [line for line in listing.lines(file) if line.strip()]
        except DataError:
            continue
        if lines:
            return (
                f"{len(labels):,} texts with lines of five numbers such as {file}" if _LINE.fullmatch(lines[0]) else ""
            )
    return f"{len(labels):,} empty texts and {_yaml(listing)}" if labels and _yaml(listing) else ""


def _labels(listing: Listing) -> dict[str, str]:
    """{text file: the path its image would have without its ending}, where folders called labels hold them, or else
    beside the images."""
    files = [file for file in listing.files if file.lower().endswith(".txt")]
    labels = {}
    for file in files:
        folders = file.split("/")[:-1]
        for at in reversed(range(len(folders))):
            if folders[at].lower() == "labels":
                labels[file] = "/".join((*folders[:at], "images", *folders[at + 1 :], file.split("/")[-1]))[:-4]
                break
    if labels:
        return labels
    stems = {image.rpartition(".")[0] for image in listing.images}
    return {file: file[:-4] for file in files if file[:-4] in stems}


def _yaml(listing: Listing) -> str:
    """The file that describes the set, or nothing."""
    if listing.only:
        return listing.only if listing.only.lower().endswith((".yaml", ".yml")) else ""
    files = listing.annotations(".yaml", ".yml")
    named = [file for file in files if file.rpartition("/")[2].lower() in ("data.yaml", "data.yml", "dataset.yaml")]
    found = named or [file for file in files if re.search(rb"(?m)^names\s*:", listing.read(file))]
    return min(found, key=lambda file: file.count("/"), default="")


def read_yolo(listing: Listing) -> AnnotatedSet:
    """Read every label text, and every image as background that has none.

    Splits are those of data.yaml (folders, or texts that list images), or the folders.

    Raises:
        DataError: data.yaml cannot be understood, or there is no image.
        ConfigError: there is a data.yaml, but no PyYAML to read it.
    """
    gathering = Gathering(listing)
    described = _describe(gathering)
    names = _read_names(gathering, described)
    labels: dict[str, str] = {}  # image: its text
    for file, stem in _labels(listing).items():
        gathering.used.add(file)
        image = listing.find(stem, near=file)
        if image is None:
            gathering.note("missing-image", file)
            continue
        labels[image] = file
        _read_label(gathering, image, file, names)
    if not names:
        message = "There is no list of class names (data.yaml, classes.txt or obj.names); classes are called by number."
        gathering.findings.append(Finding("no-class-names", "warning", message))
    places = {image.rpartition("/")[0] for image in labels}
    for image in listing.images:
        folder = image.rpartition("/")[0]
        if image not in labels and (folder in places or "images" in folder.lower().split("/")):
            gathering.image(image, "")
            gathering.note("no-label-file", image)
    _read_splits(gathering, described)
    return gathering.finish(names or None, shares=True)


def _describe(gathering: Gathering) -> dict[str, Any]:
    """What data.yaml says, every value a text: so a class may be called no, 1 or null."""
    file = _yaml(gathering.listing)
    if not file:
        return {}
    gathering.used.add(file)
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"Reading {file} needs PyYAML: pip install 'convlens[detect]', or write the names to classes.txt."
        ) from None
    try:
        described = yaml.load(gathering.listing.read(file), Loader=yaml.BaseLoader)  # texts, lists, maps
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is not YAML that can be read: {' '.join(str(error).split())}.") from None
    if not isinstance(described, dict):
        raise DataError(f"{file}: expected a map with names, train and val; got {str(described)[:80]}.")
    return described


def _read_names(gathering: Gathering, described: dict[str, Any]) -> tuple[str, ...]:
    """The classes in the order of their numbers; none where nothing lists them.

    Raises:
        DataError: a list that cannot be one.
    """
    listing, said = gathering.listing, described.get("names")
    if said is None:
        found = [file for file in listing.files if file.rpartition("/")[2].lower() in _NAME_LISTS]
        gathering.used.update(found)
        file = min(found, key=lambda file: file.count("/"), default="")
        rows = [line for line in listing.lines(file) if line.strip()] if file else []
    elif isinstance(said, dict):
        file, rows = _yaml(listing), [said.get(str(number)) for number in range(len(said))]
    else:
        file, rows = _yaml(listing), said if isinstance(said, list) else [said]
    names = tuple(label_text(row, f"{file}, class {i}") if isinstance(row, str) else None for i, row in enumerate(rows))
    if None in names or len(set(names)) < len(names):
        raise DataError(
            f"{file}: expected a name for each class from 0 on, no two alike; got {str(said or rows)[:200]}."
        )
    count = described.get("nc")
    if count is not None and names and str(count) != str(len(names)):
        raise DataError(f"{file}: nc says {count} classes, but names has {len(names)}.")
    return names  # type: ignore[return-value]


def _read_label(gathering: Gathering, image: str, file: str, names: tuple[str, ...]) -> None:
    try:
        lines = [(i, line.split()) for i, line in enumerate(gathering.listing.lines(file), start=1) if line.strip()]
    except DataError as error:
        gathering.note("bad-annotation", file, str(error))
        return
    size = gathering.size(image)
    if lines and size is None:
        gathering.note("unknown-size", image, file)
        return
    gathering.image(image, file)
    for number, fields in lines:
        place = f"{file}, line {number}"
        try:
            values = [float(field) for field in fields]
            outline = len(values) > 6 and len(values) % 2 == 1
            if not (len(values) == 5 or outline) or not all(map(math.isfinite, values)):
                raise ValueError
            if not values[0].is_integer() or values[0] < 0:
                raise ValueError
        except ValueError:
            gathering.lose("bad-annotation", image, f"{place}: '{' '.join(fields)[:60]}'")
            continue
        index = int(values[0])
        if names and index >= len(names):
            gathering.lose("unknown-class", image, f"{place}: class {index} of {len(names)}")
            continue
        if outline:
            gathering.note("polygon", image, place)
        corners = _corners(values[1:], size or (0, 0))
        gathering.box(image, place, names[index] if names else str(index), corners)


def _corners(shares: list[float], size: Size) -> Corners:
    width, height = size
    if len(shares) == 4:
        cx, cy, w, h = shares
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        x1, y1, x2, y2 = min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])
    edges = x1 * width, y1 * height, x2 * width, y2 * height
    return tuple(round(edge, 9) for edge in edges)  # type: ignore[return-value]  # whole pixels come back whole


def _read_splits(gathering: Gathering, described: dict[str, Any]) -> None:
    listing, file = gathering.listing, _yaml(gathering.listing)
    for key in _SPLIT_KEYS:
        said = described.get(key) or []
        for entry in said if isinstance(said, list) else [said]:
            parts = _parts(f"{described.get('path', '')}/{entry}")
            is_list = str(entry).endswith(".txt")
            target = _ending(listing.files if is_list else listing.folders, parts)
            if target is None:
                gathering.note("missing-split", file, f"{key}: {entry}")
                continue
            inside = f"{target}/" if target else ""
            images = _listed(gathering, target) if is_list else [i for i in listing.images if i.startswith(inside)]
            for image in images:
                if image in gathering:
                    gathering.split(image, SPLITS[key])


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part.strip(".")]


def _ending(paths: Iterable[str], parts: list[str]) -> str | None:
    """The longest of some paths with which a path ends that may come from another machine; the root itself only where
    nothing is named."""
    fitting = [path for path in paths if path.split("/") == parts[-path.count("/") - 1 :]]
    return max(fitting, key=len, default=None) if parts else ""


def _listed(gathering: Gathering, file: str) -> Iterator[str]:
    """The images a text lists, one a line."""
    gathering.used.add(file)
    for line in gathering.listing.lines(file):
        if line.strip():
            image = gathering.listing.find(line.strip(), near=file)
            if image:
                yield image
            else:
                gathering.note("missing-image", file, line.strip())


# Writing --------------------------------------------------------------------------------------------------------------


def write_yolo(records: Iterable[AnnotatedImage], folder: Path, *, classes: Sequence[str] = ()) -> None:
    """Copy the images to images/train, val and test (or images/), and write labels/ beside them and data.yaml.

    Shares have all their digits, so nothing is lost. Training with other tools needs train and val: give the records
    splits first.

    Args:
        classes: in the order of their numbers; those that are left out follow in natural order.

    Raises:
        DataError: the folder is not empty, a box leaves its image, or is difficult or a crowd, which YOLO cannot say.
    """
    export = Export(records, folder, classes)
    for item in export.items:
        for box in item.boxes:
            if box.difficult or box.crowd:
                raise DataError(f"{item.id}: a YOLO label cannot say difficult or crowd; got {box}. Remove it first.")
    number = {name: i for i, name in enumerate(export.names)}
    described = []
    for word, items in export.parts("val"):
        folder_of_part = f"images/{word}".rstrip("/")
        export.copy(folder_of_part, items)
        described += [f"{word}: {folder_of_part}"] if word else []
        for item in items:
            lines = "".join(f"{number[box.name]} {_shares(box, item.size)}\n" for box in item.boxes)
            export.write(f"labels/{word}/{item.stem}.txt", lines)
    names = [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for name, i in number.items()]
    rows = [*described, f"nc: {len(names)}", "names:" if names else "names: []", *names]
    export.write("data.yaml", "".join(f"{row}\n" for row in rows))


def _shares(box: Box, size: Size) -> str:
    width, height = size
    centre = (box.x1 + box.x2) / 2 / width, (box.y1 + box.y2) / 2 / height
    return " ".join(map(plain_number, (*centre, box.width / width, box.height / height)))
