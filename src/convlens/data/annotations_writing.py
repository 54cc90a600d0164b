"""What all writers of annotations share: flat names, sizes, a fresh folder, copies of the images."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convlens.data.annotated import AnnotatedImage, Size
from convlens.data.boxes import Box
from convlens.data.classes import Classes
from convlens.data.image_file import read_header
from convlens.data.labels import label_text
from convlens.data.policy import ImagePolicy
from convlens.data.tables import SPLITS
from convlens.errors import DataError


@dataclass(frozen=True)
class Item:
    """One image to write.

    Attributes:
        id: of the record.
        name: of the file in its new folder; no two share a stem.
        stem: the name without its ending.
    """

    id: str
    path: Path
    name: str
    stem: str
    size: Size
    boxes: tuple[Box, ...]
    split: str | None


class Export:
    """Checked records, and the folder they are written to.

    Attributes:
        items: in the order of the records.
        names: the classes asked for, then the others that occur, in natural order.

    Raises:
        DataError: the folder holds something, no record came, some records have a split and some have none, a box
            leaves its image, or a class has a name that would not be read back.
        BadImage: a record without a size whose image cannot be read.
    """

    def __init__(self, records: Iterable[AnnotatedImage], folder: Path, classes: Sequence[str] = ()) -> None:
        records = list(records)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} is not empty; annotations are written to a folder of their own.")
        if not records:
            raise DataError("Expected one image or more to write annotations of; got none.")
        if len({record.split is None for record in records}) > 1 or not {r.split for r in records} <= _PARTS:
            raise DataError("Give every image one of the splits train, valid and test, or give none to any.")
        self.folder = folder
        self.items = [_check(record, name) for record, name in zip(records, _flat_names(records), strict=True)]
        occurring = Classes.of(box.name for item in self.items for box in item.boxes).names
        self.names = tuple(dict.fromkeys((*classes, *occurring)))
        for name in self.names:
            if label_text(name, "classes") != name or not name.isprintable():
                raise DataError(f"The class {name!r} would not be read back; use plain letters.")

    def parts(self, valid: str) -> Iterator[tuple[str, list[Item]]]:
        """(word, items) of every split that has images, the word empty where there are no splits.

        Args:
            valid: the word of the format for validation.
        """
        for split, word in ((None, ""), ("train", "train"), ("valid", valid), ("test", "test")):
            if items := [item for item in self.items if item.split == split]:
                yield word, items

    def write(self, name: str, text: str) -> None:
        """Write a text below the folder."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")

    def copy(self, folder: str, items: Iterable[Item] | None = None) -> None:
        """Copy images into a folder below, under their new names."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for item in self.items if items is None else items:
            shutil.copyfile(item.path, self.folder / folder / item.name)


_PARTS = {None, *SPLITS.values()}


def _flat_names(records: list[AnnotatedImage]) -> list[str]:
    """File names for one folder: that of the file, or where two would share a stem, with its folders before it.

    Example:
        >>> _flat_names([AnnotatedImage(file, Path(file), None, ()) for file in ("a/1.jpg", "b/1.png", "b/2.png")])
        ['a_1.jpg', 'b_1.png', '2.png']
    """
    plain = [record.path.name for record in records]
    stems = [Path(name).stem.casefold() for name in plain]
    crowded = {stem for stem, count in Counter(stems).items() if count > 1}
    names, taken = [], set(stems) - crowded
    for record, name, stem in zip(records, plain, stems, strict=True):
        if stem in crowded:
            long = Path(record.id.replace("/", "_")).stem
            candidate, number = long, 2
            while candidate.casefold() in taken:
                candidate, number = f"{long}-{number}", number + 1
            taken.add(candidate.casefold())
            name = candidate + record.path.suffix
        names.append(name)
    return names


def _check(record: AnnotatedImage, name: str) -> Item:
    size = record.size
    if size is None:
        header = read_header(record.path, ImagePolicy(), record.id)
        size = header.width, header.height
    for box in record.boxes:
        if min(box.x1, box.y1) < 0 or box.x2 > size[0] or box.y2 > size[1]:
            raise DataError(f"{record.id}: {box} leaves its image of {size[0]} x {size[1]} pixels. Clip it first.")
    return Item(record.id, record.path, name, Path(name).stem, size, record.boxes, record.split)


def plain_number(value: float) -> str:
    """A number with all its digits, and no more.

    Example:
        >>> plain_number(3.0), plain_number(0.1)
        ('3', '0.1')
    """
    return str(int(value)) if math.isfinite(value) and float(value).is_integer() else repr(float(value))
