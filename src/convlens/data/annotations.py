"""Bounding boxes from files: PASCAL VOC, COCO, YOLO or a table, told apart by looking, read into one kind of record.

The door to `annotations_voc`, `annotations_coco`, `annotations_yolo` and `annotations_csv`. Nothing outside the folder
is read, no image is decoded (only its header, for its size), and nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from convlens.data.annotated import AnnotatedImage, AnnotatedSet
from convlens.data.annotations_coco import read_coco, see_coco, write_coco
from convlens.data.annotations_csv import read_csv, see_csv, write_csv
from convlens.data.annotations_voc import read_voc, see_voc, write_voc
from convlens.data.annotations_yolo import read_yolo, see_yolo, write_yolo
from convlens.data.findings import Finding
from convlens.data.listing import Listing
from convlens.errors import ConfigError, DataError, did_you_mean

__all__ = [
    "FORMATS",
    "AnnotatedImage",
    "AnnotatedSet",
    "open_annotations",
    "write_coco",
    "write_csv",
    "write_voc",
    "write_yolo",
]


class Format(NamedTuple):
    """One format: what speaks for it in a folder, and how the folder is read and written."""

    see: Callable[[Listing], str]
    read: Callable[[Listing], AnnotatedSet]
    write: Callable[..., None]


FORMATS: dict[str, Format] = {
    "voc": Format(see_voc, read_voc, write_voc),
    "coco": Format(see_coco, read_coco, write_coco),
    "yolo": Format(see_yolo, read_yolo, write_yolo),
    "csv": Format(see_csv, read_csv, write_csv),
}


def open_annotations(root: Path, format: str = "auto") -> AnnotatedSet:
    """Read the images below a folder and their boxes.

    Args:
        root: the folder; or one annotation file (a COCO JSON, a table, a data.yaml), whose folder is the root.
        format: `voc`, `coco`, `yolo` or `csv`; `auto` looks which one is there, and says so in a finding.

    Raises:
        ConfigError: there is no such format.
        DataError: there is no such folder, no annotation or no image in it, or annotations in several formats.
    """
    if format != "auto" and format not in FORMATS:
        raise ConfigError(f"There is no format of boxes '{format}'. {did_you_mean(format, ['auto', *FORMATS])}")
    root = root.expanduser().absolute()
    if not root.exists():
        raise DataError(f"There is no file or folder '{root}' to read boxes from.")
    listing = Listing(root) if root.is_dir() else Listing(root.parent, only=root.name)
    if format != "auto":
        return FORMATS[format].read(listing)
    seen = {name: evidence for name, one in FORMATS.items() if (evidence := one.see(listing))}
    if not seen:
        raise DataError(
            f"{root} holds no boxes that can be read. Expected VOC (Annotations/*.xml), COCO (a JSON with images, "
            "annotations and categories), YOLO (labels/*.txt beside images/), or a table with the columns image, xmin, "
            "ymin, xmax, ymax and class."
        )
    if len(seen) > 1:
        listed = "; ".join(f"{name} ({evidence})" for name, evidence in seen.items())
        raise DataError(f"{root} holds boxes in several formats: {listed}. Say which to read: {', '.join(seen)}.")
    ((name, evidence),) = seen.items()
    found = FORMATS[name].read(listing)
    message = f"Boxes are read as {name}: there are {evidence}."
    return replace(found, findings=(Finding("box-format", "note", message), *found.findings))
