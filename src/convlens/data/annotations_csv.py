"""Boxes as a table: one row per box with its image, class and four edges in pixels; an image without boxes has one row.

The columns are found by their names, and which was read as what is a finding. A table says how the first line is the
header; this file adds only what makes a row a box.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convlens.data.annotated import AnnotatedImage, AnnotatedSet, Corners, Gathering, Size
from convlens.data.annotations_writing import Export
from convlens.data.findings import Finding
from convlens.data.listing import Listing, split_word
from convlens.data.tables import SPLITS, _Csv
from convlens.errors import DataError

EDGES = ("x1", "y1", "x2", "y2")
_KNOWN = {
    "image": "image filename file_name file image_path path filepath file_path image_file img img_path image_name",
    "x1": "x1 xmin x_min left",
    "y1": "y1 ymin y_min top",
    "x2": "x2 xmax x_max right",
    "y2": "y2 ymax y_max bottom",
    "class": "class label name class_name classname category",
    "width": "width image_width img_width",
    "height": "height image_height img_height",
    "split": "split subset partition",
    "difficult": "difficult is_difficult",
    "crowd": "crowd iscrowd is_crowd",
}
_NEEDED = ("image", *EDGES, "class")


def see_csv(listing: Listing) -> str:
    """What speaks for this format; empty when nothing does."""
    files = [file for file, _, _ in _find(listing)]
    return f"{len(files):,} tables with the columns of boxes such as {files[0]}" if files else ""


def _find(listing: Listing) -> list[tuple[str, _Csv, dict[str, str]]]:
    """Tables that have the needed columns, and {what it is: column}."""
    found = []
    for file in listing.annotations(".csv", ".tsv"):
        try:
            table = _Csv(listing.root / file)
        except DataError:
            if file == listing.only:
                raise
            continue  # a matrix or another table; it stays among the files that were not read
        columns = _choose(table.columns)
        if all(role in columns for role in _NEEDED):
            found.append((file, table, columns))
    return found


def _choose(columns: Sequence[str]) -> dict[str, str]:
    """{what it is: column}; of several names for one thing the first in the list of known names wins."""
    spelled = {column.strip().lower().replace(" ", "_").replace("-", "_"): column for column in reversed(columns)}
    chosen = {}
    for role, names in _KNOWN.items():
        if column := next((spelled[name] for name in names.split() if name in spelled), None):
            chosen[role] = column
    return chosen


def read_csv(listing: Listing) -> AnnotatedSet:
    """Read every table with the needed columns: an image, four edges and a class.

    Edges count pixels from 0 and may have fractions. The split is that of a column, or the word train, val or test in
    the table's name, or a folder.

    Raises:
        DataError: a row is malformed, or there is no image.
    """
    gathering = Gathering(listing)
    for file, table, columns in _find(listing):
        gathering.used.add(file)
        listed = ", ".join(f"'{column}' as {role}" for role, column in columns.items())
        gathering.findings.append(Finding("columns", "note", f"{file}: read {listed}."))
        mine: set[str] = set()
        for place, values in table.rows(list(columns.values())):
            _read_row(gathering, file, place, dict(zip(columns, values, strict=True)), mine)
    return gathering.finish()


def _read_row(gathering: Gathering, file: str, place: str, row: dict[str, str], mine: set[str]) -> None:
    find = gathering.listing.find
    image = find(row["image"], near=file) or find(row["image"].strip(), near=file)
    row = {role: value.strip() for role, value in row.items()}
    if image is None:
        gathering.note("missing-image", place, row["image"] or "no name")
        return
    split = _split(row.get("split", ""), place) or split_word(file)
    if image not in mine:
        mine.add(image)
        gathering.image(image, place, size=_size(row), split=split)
    else:
        gathering.split(image, split)
    texts = [row[edge] for edge in EDGES]
    if not any(texts) and not row["class"]:
        return  # background
    try:
        corners: Corners = tuple(map(float, texts))  # type: ignore[assignment]
    except ValueError:
        gathering.lose("bad-annotation", image, f"{place}: {', '.join(texts)}")
        return
    flags = {name: row.get(name, "").lower() in ("1", "true", "yes") for name in ("difficult", "crowd")}
    gathering.box(image, place, row["class"] or None, corners, **flags)


def _split(text: str, place: str) -> str | None:
    if text and text.lower() not in SPLITS:
        raise DataError(f"{place}: expected train, valid or test as the split; got '{text}'.")
    return SPLITS.get(text.lower())


def _size(row: dict[str, str]) -> Size | None:
    try:
        return int(row["width"]), int(row["height"])
    except (KeyError, ValueError):
        return None


# Writing --------------------------------------------------------------------------------------------------------------


def write_csv(records: Iterable[AnnotatedImage], folder: Path) -> None:
    """Copy the images to images/ and write boxes.csv: a row per box, and one with empty edges per background image.

    Raises:
        DataError: the folder is not empty, or a box leaves its image.
    """
    export = Export(records, folder)
    export.copy("images")
    has_split = any(item.split for item in export.items)
    flags = [f for f in ("difficult", "crowd") if any(getattr(box, f) for i in export.items for box in i.boxes)]
    header = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", *flags]
    text = io.StringIO()
    text.write(",".join(header + ["split"] * has_split) + "\n")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for item in export.items:
        start: list[Any] = [f"images/{item.name}", *item.size]
        end = [item.split] * has_split
        for box in item.boxes:
            writer.writerow([*start, box.name, *box.corners, *(int(getattr(box, flag)) for flag in flags), *end])
        if not item.boxes:
            writer.writerow([*start, *[""] * (5 + len(flags)), *end])
    export.write("boxes.csv", text.getvalue())
