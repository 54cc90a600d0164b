"""Prints the objects a detector found, as a table, CSV, JSON or COCO, and draws them on the images."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from convlens.cli.answers import Place, stem_of
from convlens.cli.show import console
from convlens.data.image import decode, encode_png
from convlens.errors import ConfigError
from convlens.report.boxes_drawn import draw_boxes, score_label
from convlens.tasks.detect import Detection

COLUMNS = ("image", "width", "height", "class", "score", "xmin", "ymin", "xmax", "ymax", "error")


def show_found(
    answers: Iterable[Detection], images: Sequence[Any], style: str, place: Place, names: Sequence[str]
) -> int:
    """Print what was found, and draw it where a folder is given; returns how many images could not be read.

    Args:
        images: the answers are about.
        style: `table`, a row for each image; `csv`, one for each object, and one for an image without any; `json`; or
            `coco`, one object with lists of images, annotations with scores, and categories.
        names: of the classes.
    """
    found, used = [], set[str]()
    for answer, image in zip(answers, images, strict=True):
        found.append(answer)
        if place.folder and answer.error is None:
            picture = decode(image, place.policy, answer.name).pixels
            numbers = [names.index(one.label) for one in answer.objects]
            labels = [score_label(one.label, one.score) for one in answer.objects]
            boxes = np.array([(one.x1, one.y1, one.x2, one.y2) for one in answer.objects])
            last = slice(None, None, -1)  # the most certain on top
            drawn = draw_boxes(picture, boxes[last], numbers[last], labels[last])
            place.write(stem_of(answer.name, [""], used), [("", encode_png(drawn))])
    write: dict[str, Callable[[Sequence[Detection], Sequence[str]], None]] = {
        "csv": _csv,
        "json": lambda found, _: _json([asdict(answer) for answer in found]),
        "coco": lambda found, names: _json(coco(found, names)),
        "table": _table,
    }
    write[style](found, names)
    return sum(answer.error is not None for answer in found)


def coco(found: Sequence[Detection], names: Sequence[str]) -> dict[str, Any]:
    """The lists of a COCO file, with a score in every annotation; what could not be read is left out.

    Example:
        >>> coco([Detection("a.png", size_px=(8, 9))], ["cat"])["images"]
        [{'id': 1, 'file_name': 'a.png', 'width': 9, 'height': 8}]
    """
    images, annotations = [], []
    ids = {name: number for number, name in enumerate(names, 1)}
    for number, answer in enumerate(found, 1):
        if answer.size_px is None:
            continue
        height, width = answer.size_px
        images.append({"id": number, "file_name": answer.name, "width": width, "height": height})
        for one in answer.objects:
            sides = one.x2 - one.x1, one.y2 - one.y1
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[one.label]}
            entry |= {"bbox": [one.x1, one.y1, *sides], "area": sides[0] * sides[1], "iscrowd": 0, "score": one.score}
            annotations.append(entry)
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def require_draw(task: str, draw: Path | None, style: str, images: Sequence[Any]) -> None:
    """Refuse what only a detector can do, and a folder in which images would be written over.

    Raises:
        ConfigError: it says which.
    """
    if task != "detect" and (draw is not None or style == "coco"):
        option = "--draw" if draw is not None else "--format coco"
        raise ConfigError(f"{option} is for models of the task detect; this one is of {task}. Leave it out.")
    if draw is None:
        return
    if draw.exists() and not draw.is_dir():
        raise ConfigError(f"--draw {draw} is a file; expected a folder, new or not.")
    if any(isinstance(image, Path) and image.absolute().parent.resolve() == draw.resolve() for image in images):
        raise ConfigError(f"--draw {draw} is where the images lie, and they would be written over. Name another.")


def _csv(found: Sequence[Detection], names: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in found:
        height, width = answer.size_px or ("", "")
        start = [_inert(answer.name), width, height]
        for one in answer.objects:
            edges = [f"{edge:.2f}" for edge in (one.x1, one.y1, one.x2, one.y2)]
            writer.writerow([*start, _inert(one.label), f"{one.score:.6f}", *edges, ""])
        if not answer.objects:
            writer.writerow([*start, *[""] * 6, answer.error or ""])


def _table(found: Sequence[Detection], names: Sequence[str]) -> None:
    table = Table("image", "objects", *map(escape, names), box=None, header_style="bold", pad_edge=False)
    for answer in found:
        if answer.error is not None:
            table.add_row(escape(answer.name), f"[red]{escape(answer.error)}[/]")
            continue
        counts = Counter(one.label for one in answer.objects)
        table.add_row(escape(answer.name), str(len(answer.objects)), *(str(counts[name] or "") for name in names))
    console().print(table)


def _json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _inert(text: str) -> str:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
