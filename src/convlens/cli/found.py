"""Prints the objects a detector found, as a table, CSV, JSON or COCO, and draws them on the images."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from convlens.cli.answers import Place, stem_of
from convlens.cli.show import TIME, clock_cells, clock_of, console, json_row
from convlens.data.image import decode
from convlens.data.pixels import encode_png
from convlens.data.video import USUAL_RATE, VideoFrame, VideoWriter, stem_of_video
from convlens.errors import ConfigError
from convlens.report.boxes_drawn import draw_boxes, score_label
from convlens.tasks.detect import Detection

COLUMNS = ("image", "width", "height", "class", "score", "xmin", "ymin", "xmax", "ymax", "error")
Clock = dict[str, float | None]  # {} or the time of a frame
Timed = tuple[Detection, Clock]


def show_found(
    answered: Iterable[tuple[Detection, Any]], style: str, place: Place, names: Sequence[str], timed: bool = False
) -> int:
    """Print what was found, and draw it where a folder is given; returns how many images could not be read.

    Args:
        answered: answers with the images that they are about.
        style: `table`, a row for each image; `csv`, one for each object, and one for an image without any, as they
            come; `json`; or `coco`, one object with lists of images, annotations with scores, and categories.
        names: of the classes.
        timed: there are frames of videos among them, so there is a column for their times.
    """
    found, used, failed = list[Timed](), set[str](), 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if style == "csv":
        writer.writerow([COLUMNS[0], *(TIME if timed else ()), *COLUMNS[1:]])
    with closing(Reel(place, used)) as reel:
        for answer, image in answered:
            failed += answer.error is not None
            if place.folder and answer.error is None:
                drawn = _drawn(answer, decode(image, place.policy, answer.name).pixels, names)
                if isinstance(image, VideoFrame):
                    reel.write(image, drawn)
                else:
                    place.write(stem_of(answer.name, [""], used), [("", encode_png(drawn))])
            one = answer, clock_of(image, timed)
            if style == "csv":
                writer.writerows(_csv_rows(*one))
            else:
                found.append(one)
    if style == "table":
        _table(found, names, timed)
    elif style != "csv":
        _json(coco(found, names) if style == "coco" else [json_row(*one) for one in found])
    return failed


def _drawn(answer: Detection, picture: np.ndarray, names: Sequence[str]) -> np.ndarray:
    numbers = [names.index(one.label) for one in answer.objects]
    labels = [score_label(one.label, one.score) for one in answer.objects]
    boxes = np.array([(one.x1, one.y1, one.x2, one.y2) for one in answer.objects])
    last = slice(None, None, -1)  # the most certain on top
    return draw_boxes(picture, boxes[last], numbers[last], labels[last])


class Reel:
    """The videos that are drawn, one after the other: each as fast as its source, a camera's as time went by.

    Args:
        place: whose folder they go to, named after their sources.
        used: names that were given there; see `stem_of`.
    """

    def __init__(self, place: Place, used: set[str]) -> None:
        self.place, self.used = place, used
        self.writer: VideoWriter | None = None
        self.before: tuple[VideoFrame, np.ndarray] | None = None

    def write(self, frame: VideoFrame, pixels: np.ndarray) -> None:
        """Append a frame to its video; the first of another video ends the one before."""
        rate = frame.rate or USUAL_RATE
        last, shown = self.before or (frame, pixels)
        if self.writer is None or frame.number <= last.number or frame.video != last.video:
            self.close()
            stem = stem_of(f"{stem_of_video(frame.video)}.mp4", [".mp4"], self.used)
            folder = self.place.folder or Path()
            self.writer = VideoWriter(folder / f"{stem}.mp4", (pixels.shape[0], pixels.shape[1]), rate)
        while frame.live and self.writer.written < round((frame.time_s or 0.0) * rate):
            self.writer.write(shown)  # time goes by while the network answers
        self.writer.write(pixels)
        self.before = frame, pixels

    def close(self) -> None:
        """End the video, so that it plays."""
        if self.writer:
            self.writer.close()
        self.writer = self.before = None


def coco(found: Sequence[Timed], names: Sequence[str]) -> dict[str, Any]:
    """The lists of a COCO file, with a score in every annotation; what could not be read is left out.

    Example:
        >>> coco([(Detection("a.png", size_px=(8, 9)), {})], ["cat"])["images"]
        [{'id': 1, 'file_name': 'a.png', 'width': 9, 'height': 8}]
    """
    images, annotations = [], []
    ids = {name: number for number, name in enumerate(names, 1)}
    for number, (answer, clock) in enumerate(found, 1):
        if answer.size_px is None:
            continue
        height, width = answer.size_px
        images.append({"id": number, "file_name": answer.name, "width": width, "height": height, **clock})
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


def _csv_rows(answer: Detection, clock: Clock) -> Iterator[list[Any]]:
    height, width = answer.size_px or ("", "")
    start = [_inert(answer.name), *clock_cells(clock), width, height]
    for one in answer.objects:
        edges = [f"{edge:.2f}" for edge in (one.x1, one.y1, one.x2, one.y2)]
        yield [*start, _inert(one.label), f"{one.score:.6f}", *edges, ""]
    if not answer.objects:
        yield [*start, *[""] * 6, answer.error or ""]


def _table(found: Sequence[Timed], names: Sequence[str], timed: bool) -> None:
    head = ("image", *(TIME if timed else ()), "objects", *map(escape, names))
    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    for answer, clock in found:
        start = [escape(answer.name), *clock_cells(clock)]
        if answer.error is not None:
            table.add_row(*start, f"[red]{escape(answer.error)}[/]")
            continue
        counts = Counter(one.label for one in answer.objects)
        table.add_row(*start, str(len(answer.objects)), *(str(counts[name] or "") for name in names))
    console().print(table)


def _json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _inert(text: str) -> str:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
