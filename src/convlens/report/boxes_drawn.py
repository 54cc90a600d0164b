"""Boxes drawn on pictures, each in the colour of its class with the name beside it.

Everything is an array. Lines and letters grow with the picture, and small pictures are enlarged where names are to be
read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convlens.data.pixels import text_mask
from convlens.errors import ShapeError
from convlens.metrics.detection_tally import JudgedImage
from convlens.report.overlay import class_colour

READABLE_PX = 320  # shorter pictures are enlarged by whole numbers to about that
THIN = 260  # px of the longer side for each pixel of a line
TEXT_SHARE, TEXT_PX = 1 / 28, (11, 36)
DASH = 4  # widths of a line
BOLD = 2.0  # side by side on a page
GREY = (150, 150, 150)  # of true boxes that do not count


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    labels: Sequence[str] = (),
    *,
    dashed: bool = False,
    colour: tuple[int, int, int] | None = None,
    bold: float = 1.0,
) -> np.ndarray:
    """Draw the outline of each box inside its edges, and its label above it, or inside where there is no room.

    Args:
        image: grey is shown grey; of other numbers of channels than 1 and 3 the first is shown.
        classes: of the boxes, for their colours.
        labels: of the boxes; none at all leaves the letters out.
        colour: of all of them, instead of their classes'.
        bold: how many times thicker and larger than usual, for pictures that are shown small.

    Shapes:
        image (H, W, C) uint8, boxes (D, 4) as x1, y1, x2, y2, classes (D,) -> (H, W, 3) uint8

    Raises:
        ShapeError: the arrays do not belong together.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ShapeError(f"Expected a uint8 image (H, W, C); got {image.dtype} {image.shape}.")
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if len(classes) != len(boxes) or len(labels) not in (0, len(boxes)):
        raise ShapeError(
            f"Expected a class, and a label or none, for each of {len(boxes)} boxes; got {len(classes)} and "
            f"{len(labels)}."
        )
    picture = image.copy() if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)
    height, width = picture.shape[:2]
    line = max(1, round(bold * max(1.0, max(height, width) / THIN)))
    placed = []
    for box, label in zip(boxes, classes, strict=True):
        window = _window(box, height, width)
        paint = class_colour(int(label) + 1) if colour is None else colour
        picture[_outline(window, (height, width), line, dashed)] = paint
        placed.append((window, paint))
    size = round(bold * float(np.clip(max(height, width) * TEXT_SHARE, *TEXT_PX)))
    for (window, paint), words in zip(placed, labels, strict=False):  # letters last, so that no line crosses them
        _write(picture, words, window, paint, size)
    return picture


def draw_targets(image: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Draw the rows `class, x1, y1, x2, y2` that a network learns from; those that only fill up are left out.

    Shapes:
        image (H, W, C) uint8, rows (M, 5) -> (H, W, 3) uint8
    """
    counted = rows[rows[:, 0] >= 0]
    return draw_boxes(image, counted[:, 1:], counted[:, 0].astype(np.int64))


def draw_pair(image: np.ndarray, judged: JudgedImage, names: Sequence[str], threshold: float) -> list[np.ndarray]:
    """The true boxes, and beside them the detections from the threshold on with their scores, readably enlarged.

    True boxes that do not count are grey and dashed.

    Shapes:
        image (H, W, C) uint8 -> two of (h, w, 3) uint8
    """
    picture, scale = enlarged(image)
    counted, shown = ~judged.ignore, judged.scores >= threshold
    hidden, edges = scale * judged.truth_boxes[~counted], scale * judged.truth_boxes[counted]
    true = [names[int(label)] for label in judged.truth_classes[counted]]
    truth = draw_boxes(picture, hidden, judged.truth_classes[~counted], dashed=True, colour=GREY, bold=BOLD)
    truth = draw_boxes(truth, edges, judged.truth_classes[counted], true, bold=BOLD)
    order = np.flatnonzero(shown)[np.argsort(judged.scores[shown], kind="stable")]  # the most certain on top
    classes, scores = judged.classes[order].tolist(), judged.scores[order].tolist()
    said = [score_label(names[int(label)], score) for label, score in zip(classes, scores, strict=True)]
    return [truth, draw_boxes(picture, scale * judged.boxes[order], classes, said, bold=BOLD)]


def score_label(name: str, score: float) -> str:
    """What stands beside a detection.

    Example:
        >>> score_label("cat", 0.876)
        'cat 88'
    """
    return f"{name} {100 * score:.0f}"


def enlarged(image: np.ndarray) -> tuple[np.ndarray, int]:
    """A small picture with every pixel as a square of several, and how many a side."""
    scale = max(1, round(READABLE_PX / max(image.shape[:2])))
    return image.repeat(scale, 0).repeat(scale, 1), scale


def _window(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """top, left, bottom, right in whole pixels, at least one pixel, inside the picture."""
    left, top = (int(np.clip(np.floor(box[i] + 0.5), 0, side - 1)) for i, side in ((0, width), (1, height)))
    right, bottom = (int(np.clip(np.floor(box[i] + 0.5), 1, side)) for i, side in ((2, width), (3, height)))
    return top, left, max(bottom, top + 1), max(right, left + 1)


def _outline(window: tuple[int, int, int, int], size: tuple[int, int], line: int, dashed: bool) -> np.ndarray:
    """The pixels of a frame inside a window. (H, W) bool"""
    top, left, bottom, right = window
    frame = np.zeros(size, bool)
    frame[top:bottom, left:right] = True
    frame[top + line : max(bottom - line, 0), left + line : max(right - line, 0)] = False
    if dashed:
        y, x = np.nonzero(frame)
        frame[y, x] = (x + y) // (DASH * line) % 2 == 0
    return frame


def _write(
    picture: np.ndarray, words: str, window: tuple[int, int, int, int], paint: tuple[int, int, int], size: int
) -> None:
    """Words on a ground of the box's colour, above the box, or in its upper corner where there is no room above."""
    ink = text_mask(words, size)
    height, width = ink.shape[0] + 4, ink.shape[1] + 4
    top, left = window[:2]
    top = top - height if top >= height else top
    left = max(0, min(left, picture.shape[1] - width))
    picture[top : top + height, left : left + width] = paint
    dark = (0.299, 0.587, 0.114) @ np.array(paint) > 140
    _ink(picture, ink, top + 2, left + 2, (0, 0, 0) if dark else (255, 255, 255))


def _ink(picture: np.ndarray, ink: np.ndarray, top: int, left: int, colour: tuple[int, int, int]) -> None:
    under = picture[top : top + ink.shape[0], left : left + ink.shape[1]]
    share = ink[: under.shape[0], : under.shape[1], None]
    under[:] = np.rint(under * (1 - share) + np.array(colour) * share).astype(np.uint8)
