"""Prints answers that are pictures (masks, restored images, heat maps) and writes them where they are wanted."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from convlens.cli.show import clock_of, console
from convlens.data.image import decode
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.data.video import VideoFrame
from convlens.errors import ConfigError
from convlens.files import write_atomic
from convlens.report.overlay import class_colour, heat, overlay
from convlens.tasks.pictures import Inspection, Picture
from convlens.tasks.segment import Segmentation

Written = tuple[str, bytes]


@dataclass(frozen=True)
class Place:
    """Where the pictures of answers go.

    Attributes:
        folder: one or two files for each image, named after it.
        file: the heat map of the one image that was asked about.
        policy: how images are read again, to draw on them.
    """

    folder: Path | None
    file: Path | None
    policy: ImagePolicy

    def write(self, stem: str, pictures: Iterable[Written]) -> list[str]:
        """Write the pictures of one answer; returns their paths."""
        found = []
        for suffix, png in pictures:
            for path in (self.folder and self.folder / f"{stem}{suffix}.png", self.file):
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomic(path, png)
                    found.append(str(path))
        return found


def show_pictures(answered: Iterable[tuple[Any, Any]], style: str, place: Place, timed: bool = False) -> int:
    """Write the pictures of answers as they come, and print a row for each; returns how many images could not be read.

    Args:
        answered: answers with the images that they are about.
        timed: there are frames of videos among them, so there is a column for their times.
    """
    rows = list(_rows(answered, place, timed))
    failed = sum(row["error"] is not None for row in rows)
    if style == "json":
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return failed
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "error"))
    if style == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([_cell(column) for column in [*columns, "error"]])
        for row in rows:
            writer.writerow(_cells(row, [*columns, "error"]))
        return failed
    table = Table(*map(escape, columns), box=None, header_style="bold", pad_edge=False)
    for row in rows:
        cells = _cells(row, columns)
        if row["error"] is not None:
            cells[1 + timed : 2 + timed] = [f"[red]{escape(row['error'])}[/]"]
        table.add_row(*cells)
    console().print(table)
    return failed


def _rows(answered: Iterable[tuple[Any, Any]], place: Place, timed: bool) -> Iterator[dict[str, Any]]:
    used: set[str] = set()
    for answer, image in answered:
        row, written = {"image": answer.name, **clock_of(image, timed)}, list[str]()
        called = image.file_name if isinstance(image, VideoFrame) else answer.name
        if answer.error is None:
            figures, draw = _told(answer)
            row |= figures
            if place.folder or place.file:
                pictures = draw(decode(image, place.policy, answer.name).pixels)
                written = place.write(stem_of(called, [suffix for suffix, _ in pictures], used), pictures)
        if written:
            row["written"] = written[0]
        yield {**row, "error": answer.error}


def _told(answer: Any) -> tuple[dict[str, Any], Callable[[Any], list[Written]]]:
    """The figures of an answer, and how its pictures are drawn over the image."""
    match answer:
        case Segmentation(mask=mask) if mask is not None:
            figures: dict[str, Any] = {f"{name}, share": round(share, 6) for name, share in answer.shares}
            figures |= {f"{name}, regions": count for name, count in answer.objects}
            palette = [class_colour(index) if index else (0, 0, 0) for index in range(256)]
            return figures, lambda image: [
                ("", encode_png(mask, palette)),
                ("-overlay", encode_png(overlay(image, mask))),
            ]
        case Inspection(heat=warmth) if warmth is not None:
            verdict = {} if answer.abnormal is None else {"abnormal": "yes" if answer.abnormal else "no"}
            return {**verdict, "score": float(answer.score or 0.0)}, lambda image: [
                ("-heat", encode_png(heat(image, warmth)))
            ]
        case Picture(levels=levels) if levels is not None:
            return {}, lambda image: [("", encode_png(levels))]
    raise TypeError(f"{type(answer).__name__} has no picture.")


def require_place(
    task: str, out: Path | None, heatmap: Path | None, images: Sequence[Any], videos: bool = False
) -> None:
    """Refuse an option that has nothing to write, one file for many images, or a place where images would be lost.

    Args:
        images: that are asked about.
        videos: there are some.

    Raises:
        ConfigError: it says which.
    """
    if heatmap is not None and task != "anomaly":
        raise ConfigError(f"--heatmap is for models of the task anomaly; this one is of {task}. Use --out FOLDER.")
    if heatmap is not None and videos:
        raise ConfigError("--heatmap writes one file, and a video has many frames. Use --out FOLDER.")
    if heatmap is not None and len(images) != 1:
        raise ConfigError(f"--heatmap writes one file, and there are {len(images):,} images. Use --out FOLDER.")
    files = [image.absolute() for image in images if isinstance(image, Path)]
    if heatmap is not None and heatmap.absolute() in files:
        raise ConfigError(f"--heatmap {heatmap} is the image itself and would be written over. Name another file.")
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; expected a folder, new or not.")
    if out is not None and any(file.parent.resolve() == out.resolve() for file in files):
        raise ConfigError(f"--out {out} is where the images lie, and they would be written over. Name another folder.")
    if out is not None and task == "detect":
        raise ConfigError("--out is for masks and pictures; boxes are drawn with --draw FOLDER.")
    if out is not None and task in ("classify", "regress"):
        raise ConfigError(f"--out writes pictures, and a model of the task {task} answers with none. Leave it out.")


def stem_of(name: str, suffixes: Sequence[str], used: set[str]) -> str:
    """The name of an image without its ending, and with a number where its files would be those of another image.

    Args:
        suffixes: of the files that are written.
        used: names that were given, in lower case as some systems do not tell them apart; this one's are added.

    Example:
        >>> used = set()
        >>> [stem_of(name, ["", "-overlay"], used) for name in ("a/x.png", "b/X.jpg", "x-2.png", "x-overlay.png")]
        ['x', 'X-2', 'x-2-2', 'x-overlay-2']
    """
    stem, number = Path(name).stem, 1
    while any(f"{stem}{'' if number == 1 else f'-{number}'}{suffix}".lower() in used for suffix in suffixes):
        number += 1
    stem += "" if number == 1 else f"-{number}"
    used.update(f"{stem}{suffix}".lower() for suffix in suffixes)
    return stem


def _cells(row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    exact = {"time_s": f"{row['time_s']:.3f}"} if row.get("time_s") is not None else {}
    return [_cell({**row, **exact}.get(column)) for column in columns]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
