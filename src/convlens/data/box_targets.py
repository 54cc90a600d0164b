"""The boxes of a source as one array beside the store: each fitted as its image is, and what a model keeps of them.

A row is `class, x1, y1, x2, y2` in pixels of the stored image; an image with fewer boxes than another is filled up with
rows of class -1. A box that counts neither as found nor as missed (VOC's difficult ones, COCO's crowds) has its class
written below -1, so that training takes it for a row that only fills up, and a score knows it again (`true_boxes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.data.boxes import read_boxes
from convlens.data.classes import Classes
from convlens.data.facts import Fact
from convlens.data.findings import Finding, shorten
from convlens.data.fitting import place
from convlens.data.record import Record, Source

if TYPE_CHECKING:
    from convlens.data.preprocess import Preprocess

NOTHING = -1  # class of a row that only fills up
LEAST_SHARE = 0.2  # of a box's area that must be left for it to stay, where its image is cut
TINY_PX = 3.0


@dataclass(frozen=True)
class TrueBoxes:
    """The boxes of one image.

    Shapes:
        boxes (M, 4) as x1, y1, x2, y2; labels, ignore and crowd (M,)
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignore: np.ndarray
    crowd: np.ndarray


def true_boxes(rows: np.ndarray, classes: int) -> TrueBoxes:
    """The rows of one image (M, 5) without those that only fill up, the boxes that do not count marked.

    Example:
        >>> found = true_boxes(np.array([[1, 0, 0, 4, 4], [-2, 0, 0, 4, 4], [-5, 0, 0, 4, 4], [-1, 0, 0, 0, 0]]), 2)
        >>> found.labels.tolist(), found.ignore.tolist(), found.crowd.tolist()
        ([1, 0, 1], [False, True, True], [False, False, True])
    """
    rows = rows[rows[:, 0] != NOTHING]
    codes = rows[:, 0].astype(np.int64)
    hidden = NOTHING - 1 - codes
    labels = np.where(codes >= 0, codes, hidden % classes)
    return TrueBoxes(rows[:, 1:], labels, codes < 0, hidden >= classes)


def read_box_targets(
    source: Source, records: Sequence[Record], facts: Sequence[Fact], preprocess: Preprocess, names: Classes
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """The boxes of some records in pixels of their stored images, and what became of those that do not fit.

    Args:
        facts: of those records, for the sizes of their images.
        names: of the classes; the boxes must be of them.

    Shapes:
        (N, M, 5) float32, M at least 1

    Raises:
        ClassMismatch: a box is of another class.
        DataError: a label holds no boxes.
    """
    boxes = [read_boxes(record.label or "[]") for record in records]
    labels = iter(names.indices((box.name for image in boxes for box in image), source.name))
    values = np.zeros((len(records), max(1, *map(len, boxes), 1), 5), np.float32)
    values[..., 0] = NOTHING
    cut, tiny, total = [], [], 0
    for row, (image, fact) in enumerate(zip(boxes, facts, strict=True)):
        codes = np.array([_code(next(labels), len(names), box.difficult, box.crowd) for box in image], np.int64)
        corners = np.array([box.corners for box in image], np.float64).reshape(-1, 4)
        fitted, share = fit_boxes(corners, (fact.height, fact.width), preprocess)
        kept = share >= LEAST_SHARE
        values[row, : kept.sum()] = np.column_stack([codes, fitted])[kept]
        sides = (fitted[:, 2:] - fitted[:, :2]).min(1)[kept]
        total += len(image)
        cut += [records[row].id] * int((~kept).sum())
        tiny += [records[row].id] * int((sides < TINY_PX).sum())
    return values, tuple(_noticed(cut, tiny, total))


def _code(label: int, classes: int, difficult: bool, crowd: bool) -> int:
    return NOTHING - 1 - label - (classes if crowd else 0) if difficult or crowd else label


def _noticed(cut: list[str], tiny: list[str], total: int) -> list[Finding]:
    found = []
    if cut:
        message = f"{len(cut):,} of {total:,} boxes lie mostly in what is cut off their images and are left out: "
        message += f"{shorten(dict.fromkeys(cut))}. With data.fit=pad nothing is cut off."
        found.append(Finding("cut-box", "warning", message, tuple(dict.fromkeys(cut))))
    if tiny:
        message = f"{len(tiny):,} of {total:,} boxes are less than {TINY_PX:g} px high or wide at the size images are "
        message += f"stored at, and can hardly be found: {shorten(dict.fromkeys(tiny))}. Raise data.size_px."
        found.append(Finding("tiny-box", "warning", message, tuple(dict.fromkeys(tiny))))
    return found


def fit_boxes(boxes: np.ndarray, size_px: tuple[int, int], preprocess: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of an image as boxes of its stored image, and the share of each that is not cut off.

    Args:
        size_px: (height, width) of the whole image, upright.

    Shapes:
        (M, 4) -> (M, 4), (M,)
    """
    placed = place(size_px, preprocess)
    source, target = placed.source, placed.target
    origin, end = (source.left, source.top), (source.left + source.width, source.top + source.height)
    inside = clip(boxes, (*origin, *end))
    whole = area(clip(boxes, (0, 0, size_px[1], size_px[0])))
    share = np.divide(area(inside), whole, out=np.zeros(len(boxes)), where=whole > 0)
    scale = np.tile([target.width / source.width, target.height / source.height], 2)
    fitted = (inside - np.tile(origin, 2)) * scale + np.tile((target.left, target.top), 2)
    ends = target.left, target.top, target.left + target.width, target.top + target.height
    return clip(fitted, ends), share  # the last digit may lie beyond


def unfit_boxes(boxes: np.ndarray, size_px: tuple[int, int], preprocess: Preprocess) -> np.ndarray:
    """Boxes of a stored image as boxes of the whole image, cut off where the image ends: the way back of `fit_boxes`.

    Args:
        size_px: (height, width) of the whole image, upright.

    Shapes:
        (M, 4) -> (M, 4); a box that lies wholly in the padding has no area
    """
    placed = place(size_px, preprocess)
    source, target = placed.source, placed.target
    scale = np.tile([source.width / target.width, source.height / target.height], 2)
    whole = (boxes - np.tile((target.left, target.top), 2)) * scale + np.tile((source.left, source.top), 2)
    return clip(whole, (0, 0, size_px[1], size_px[0]))


def clip(boxes: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Boxes cut off at the edges x1, y1, x2, y2 of a window; one that lies wholly outside has no area. (M, 4)"""
    low, high = np.tile(window[:2], 2), np.tile(window[2:], 2)
    return np.asarray(boxes, np.float64).clip(low, high)


def area(boxes: np.ndarray) -> np.ndarray:
    """Width times height. (M, 4) -> (M,)"""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_strata(values: np.ndarray, classes: int) -> np.ndarray:
    """By what a split is stratified: the rarest class that occurs in each image, `classes` where none does. (N,)

    Example:
        >>> box_strata(np.array([[[0, 0, 0, 1, 1], [1, 0, 0, 1, 1]], [[0, 0, 0, 1, 1], [-1, 0, 0, 0, 0]]]), 2).tolist()
        [1, 0]
    """
    there = np.stack([(values[..., 0] == label).any(1) for label in range(classes)], 1)  # (N, K)
    order = np.argsort(there.sum(0), kind="stable")
    return np.where(there.any(1), order[there[:, order].argmax(1)], classes).astype(np.int64)


def learn_boxes(values: np.ndarray, classes: int) -> dict[str, Any]:
    """What the card of a model keeps of its training boxes: how many of each class, and the one box that costs nothing.

    Args:
        values: of training images, (N, M, 5).

    Returns:
        `box_counts`; `mean_count`, objects in an image; `centre_box`, the commonest class with the mean sides of its
        boxes in pixels of the stored image, or None without a box; `box_images`, N.
    """
    counted = values[values[..., 0] >= 0]
    counts = np.bincount(counted[:, 0].astype(np.int64), minlength=classes)
    found: dict[str, Any] = {
        "box_counts": counts.tolist(),
        "box_images": len(values),
        "mean_count": len(counted) / max(1, len(values)),
        "centre_box": None,
    }
    if len(counted):
        commonest = int(counts.argmax())
        mine = counted[counted[:, 0] == commonest, 1:].astype(np.float64)
        width, height = (mine[:, 2:] - mine[:, :2]).mean(0).tolist()
        found["centre_box"] = {"label": commonest, "width_px": width, "height_px": height}
    return found
