"""COCO: JSON files with lists of images, annotations and categories that refer to each other by id.

A box is [x, y, width, height] from the outer corner of the first pixel. Ids are names, not positions: they need not
start at 0 or 1, nor follow each other, and classes are matched by the name of their category.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, arXiv:1405.0312; cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convlens.data.annotated import AnnotatedImage, AnnotatedSet, Gathering, Size
from convlens.data.annotations_writing import Export
from convlens.data.labels import label_text
from convlens.data.listing import Listing, split_word
from convlens.errors import DataError

MAX_BYTES = 2 * 2**30
_LISTS = ("images", "annotations", "categories")
Id = str | int


def see_coco(listing: Listing) -> str:
    """What speaks for this format; empty when nothing does."""
    files = _find(listing)
    return f"{len(files):,} JSON files with images, annotations and categories such as {files[0]}" if files else ""


def _find(listing: Listing) -> list[str]:
    """Files with the three lists; where some are called `instances`, those alone, as COCO ships others beside them."""
    found = []
    for file in listing.annotations(".json"):
        data = listing.read(file, MAX_BYTES)
        if all(f'"{name}"'.encode() in data for name in _LISTS):
            found.append(file)
    instances = [file for file in found if "instances" in file.rpartition("/")[2]]
    return instances or found


def read_coco(listing: Listing) -> AnnotatedSet:
    """Read every JSON file that has the three lists.

    The split of an image is the word train, val or test in the name of its JSON file, or else of a folder.
    `iscrowd` is kept, and so is `difficult`, which `write_coco` adds.

    Raises:
        DataError: a file is no JSON or not of this form, or there is no image.
    """
    gathering, classes = Gathering(listing), dict[str, None]()
    for file in _find(listing):
        gathering.used.add(file)
        images, annotations, categories = _load(file, listing.read(file, MAX_BYTES))
        names = _read_categories(file, categories)
        classes.update(dict.fromkeys(names.values()))
        found = _read_images(gathering, file, images)
        for number, annotation in enumerate(annotations, start=1):
            _read_annotation(gathering, f"{file}, annotation {number}", annotation, found, names)
    return gathering.finish(tuple(classes))


def _load(file: str, data: bytes) -> list[list[dict[str, Any]]]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON that can be read: {error}.") from None
    lists = [value.get(name) for name in _LISTS] if isinstance(value, dict) else [None]
    if not all(isinstance(one, list) and all(isinstance(item, dict) for item in one) for one in lists):
        raise DataError(f"{file}: expected an object with the lists images, annotations and categories, of objects.")
    return lists  # type: ignore[return-value]


def _id(value: Any, place: str) -> Id:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise DataError(f"{place}: expected an id, a whole number or a text; got {str(value)[:80]}.")


def _read_categories(file: str, categories: list[dict[str, Any]]) -> dict[Id, str]:
    """{id: class}, in the order of the file."""
    names: dict[Id, str] = {}
    for number, category in enumerate(categories, start=1):
        place = f"{file}, category {number}"
        key, name = _id(category.get("id"), place), label_text(category.get("name"), place)
        if name is None:
            raise DataError(f"{place} has no name.")
        if names.setdefault(key, name) != name:
            raise DataError(f"{place}: id {key} is '{names[key]}' and '{name}'; expected one name for an id.")
    return names


def _read_images(gathering: Gathering, file: str, images: list[dict[str, Any]]) -> dict[Id, str | None]:
    """{id: image, None where it is missing}."""
    found: dict[Id, str | None] = {}
    for number, entry in enumerate(images, start=1):
        place = f"{file}, image {number}"
        key, name = _id(entry.get("id"), place), entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{place}: expected a file_name; got {str(name)[:80]}.")
        image = gathering.listing.find(name, near=file)
        if found.setdefault(key, image) != image:
            raise DataError(f"{place}: id {key} is {name} here and {found[key]} before; expected one image for an id.")
        if image is None:
            gathering.note("missing-image", file, name)
        else:
            gathering.image(image, place, size=_size(entry), split=split_word(file))
    return found


def _size(entry: dict[str, Any]) -> Size | None:
    width, height = entry.get("width"), entry.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _read_annotation(
    gathering: Gathering, place: str, entry: dict[str, Any], images: dict[Id, str | None], names: dict[Id, str]
) -> None:
    key, category, bbox = entry.get("image_id"), entry.get("category_id"), entry.get("bbox")
    image = images.get(_id(key, place), "")
    if not image:
        if image == "":
            gathering.note("missing-image", place, f"image_id {key}")
        return  # an image that is missing is in the findings already
    try:
        x, y, width, height = map(float, bbox if isinstance(bbox, list) else ())
    except (TypeError, ValueError, OverflowError):
        gathering.lose("bad-annotation", image, f"{place}: bbox {str(bbox)[:80]}")
        return
    name = names.get(_id(category, place))
    if name is None:
        gathering.lose("unknown-class", image, f"{place}: category_id {category}")
        return
    flags = {"difficult": bool(entry.get("difficult")), "crowd": bool(entry.get("iscrowd"))}
    gathering.box(image, place, name, (x, y, x + width, y + height), **flags)


# Writing --------------------------------------------------------------------------------------------------------------


def write_coco(records: Iterable[AnnotatedImage], folder: Path, *, classes: Sequence[str] = ()) -> None:
    """Copy the images to images/ and write annotations/instances_train.json, _val and _test, or one instances.json.

    Args:
        classes: in the order their ids are to have, from 1; those that are left out follow in natural order.

    Raises:
        DataError: the folder is not empty, or a box leaves its image.
    """
    export = Export(records, folder, classes)
    export.copy("images")
    ids = {name: number for number, name in enumerate(export.names, start=1)}
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    image_id = box_id = 0
    for word, items in export.parts("val"):
        images, annotations = [], []
        for item in items:
            image_id += 1
            images.append({"id": image_id, "file_name": item.name, "width": item.size[0], "height": item.size[1]})
            for box in item.boxes:
                box_id += 1
                entry = {"id": box_id, "image_id": image_id, "category_id": ids[box.name]}
                entry |= {"bbox": [box.x1, box.y1, box.width, box.height], "area": box.area}
                entry |= {"iscrowd": int(box.crowd)} | ({"difficult": 1} if box.difficult else {})
                annotations.append(entry)
        text = json.dumps(
            dict(zip(_LISTS, (images, annotations, categories), strict=True)), ensure_ascii=False, allow_nan=False
        )
        export.write(f"annotations/instances{word and '_' + word}.json", text + "\n")
