"""A box around an object, and the text by which a record carries its boxes.

A `Record.label` is a text; for the task detect it is what `boxes_text` writes. This file knows nothing of files,
images or class indices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from convlens.errors import DataError

FLAGS = ("difficult", "crowd")
BACKGROUND = "[]"
_WHOLE = 2**53  # below it every whole number is a float


@dataclass(frozen=True, slots=True)
class Box:
    """One object, in pixels of its image: x to the right, y downwards, (0, 0) the outer corner of the first pixel.

    Edges, not pixel numbers: a box around the first pixel alone is 0, 0, 1, 1, and one around all of a picture is
    0, 0, width, height.

    Attributes:
        name: the class.
        difficult: hard to recognise; not counted in a score (PASCAL VOC).
        crowd: one box around many objects; not counted in a score (COCO).

    Raises:
        DataError: no name, an edge that is not finite, or nothing between the edges.

    Example:
        >>> box = Box("cat", 1, 2, 4, 4)
        >>> box.width, box.height, box.area, box.corners
        (3, 2, 6, (1, 2, 4, 4))
    """

    name: str
    x1: float
    y1: float
    x2: float
    y2: float
    difficult: bool = False
    crowd: bool = False

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise DataError(f"A box needs the name of its class, a text; got {self.name!r}.")
        if not all(map(math.isfinite, self.corners)) or self.x2 <= self.x1 or self.y2 <= self.y1:
            raise DataError(
                f"A box needs finite edges with x1 < x2 and y1 < y2; got x1={self.x1}, y1={self.y1}, x2={self.x2}, "
                f"y2={self.y2} for '{self.name}'."
            )

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2."""
        return self.x1, self.y1, self.x2, self.y2

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height


def boxes_text(boxes: Iterable[Box]) -> str:
    """Boxes as a short JSON text, in their order; equal boxes give equal texts.

    Example:
        >>> boxes_text([Box("cat", 0, 0.5, 9, 8, crowd=True), Box("dog", 1, 1, 2, 2)])
        '[["cat",0,0.5,9,8,"crowd"],["dog",1,1,2,2]]'
        >>> boxes_text([]) == BACKGROUND
        True
    """
    rows = [
        [box.name, *map(_short, box.corners), *(flag for flag in FLAGS if getattr(box, flag))]  # as in FLAGS' order
        for box in boxes
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _short(value: float) -> float | int:
    whole = float(value).is_integer() and abs(value) < _WHOLE
    return int(value) if whole else float(value)


def read_boxes(text: str) -> tuple[Box, ...]:
    """Read back what `boxes_text` wrote, to the last bit.

    Example:
        >>> read_boxes('[["cat",0,0.5,9,8,"crowd"]]')
        (Box(name='cat', x1=0.0, y1=0.5, x2=9.0, y2=8.0, difficult=False, crowd=True),)

    Raises:
        DataError: the text is something else.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError, TypeError):
        rows = None
    if not isinstance(rows, list):
        raise DataError(f"Expected the boxes of an image as a JSON list, such as [] or {_SAMPLE}; got {text[:80]!r}.")
    return tuple(map(_read_box, rows))


_SAMPLE = '[["cat",0,0,9,8]]'


def _read_box(row: Any) -> Box:
    if not isinstance(row, list) or len(row) < 5:
        raise DataError(f"Expected a box as [class, x1, y1, x2, y2], such as those in {_SAMPLE}; got {str(row)[:80]}.")
    name, corners, flags = row[0], row[1:5], row[5:]
    if not all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in corners):
        raise DataError(f"The edges of a box must be numbers; got {str(corners)[:80]}.")
    if [flag for flag in FLAGS if flag in flags] != flags:
        raise DataError(f"After its edges a box may have the words {' and '.join(FLAGS)}; got {str(flags)[:80]}.")
    try:
        x1, y1, x2, y2 = map(float, corners)
    except OverflowError:
        raise DataError(f"The edges of a box must be finite; got {str(corners)[:80]}.") from None
    return Box(name, x1, y1, x2, y2, *(flag in flags for flag in FLAGS))
