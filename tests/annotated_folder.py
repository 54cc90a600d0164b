"""Small pictures on disk and what an annotation says of them, for the tests of all formats."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from convlens.data.annotated import AnnotatedSet
from convlens.data.pixels import encode_png

Corners = tuple[float, float, float, float]


@cache
def png(width: int, height: int) -> bytes:
    return encode_png(np.zeros((height, width, 1), np.uint8))


def paint(root: Path, *names: str, size: tuple[int, int] = (20, 10)) -> None:
    """Pictures of (width, height); their content is a PNG whatever their name is."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(*size))


def put(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def voc(*objects: tuple[str, float, float, float, float], name: str = "", size: str = "", flags: str = "") -> str:
    """A VOC file; `size` is XML."""
    body = "".join(
        f"<object><name>{label}</name>{flags}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2 in objects
    )
    return f"<annotation><filename>{name}</filename>{size}{body}</annotation>"


def boxes(found: AnnotatedSet) -> dict[str, list[tuple[str, Corners]]]:
    return {record.id: [(box.name, box.corners) for box in record.boxes] for record in found.records}


def splits(found: AnnotatedSet) -> dict[str, str | None]:
    return {record.id: record.split for record in found.records}


def kinds(found: AnnotatedSet) -> dict[str, str]:
    """{kind of finding: its message}; a kind is there once."""
    messages = {finding.kind: finding.message for finding in found.findings}
    assert len(messages) == len(found.findings), found.findings
    return messages
