"""Which predicted box found which true box, by the rules of COCO, for many IoU thresholds and object sizes at once.

This file knows the boxes of one class in one image, not scores, networks or files.
"""

from __future__ import annotations

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
SIZES = ("all", "small", "medium", "large")
AREAS_PX = np.array([[0, np.inf], [0, 32**2], [32**2, 96**2], [96**2, np.inf]])  # both ends belong to a range

RIGHT, WRONG, LEFT_OUT = 1, 0, -1


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Width times height.

    Shapes:
        (..., 4) -> (...)
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def of_size(boxes: np.ndarray) -> np.ndarray:
    """Whether each box lies in each range of sizes.

    Shapes:
        (N, 4) -> (N, R)

    Example:
        >>> of_size(np.array([[0, 0, 40, 40]])).tolist()
        [[True, False, True, False]]
    """
    area = box_area(boxes)[:, None]
    return (AREAS_PX[:, 0] <= area) & (area <= AREAS_PX[:, 1])


def box_iou(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of each box with each other one; 0 where both have no area.

    Where the other is a crowd, its outline holds more than one object, and the union is the area of the box alone.

    Args:
        boxes: rows x1, y1, x2, y2.
        others: likewise.
        crowd: true for the others that are crowds.

    Shapes:
        boxes (D, 4), others (M, 4), crowd (M,) -> (D, M)

    Example:
        >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [0, 0, 8, 8]]), np.array([False, True])).round(3)
        array([[0.333, 1.   ]])

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, arXiv:1405.0312.
    """
    boxes, others = np.asarray(boxes, dtype=np.float64), np.asarray(others, dtype=np.float64)
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.clip(high - low, 0.0, None).prod(axis=-1)
    mine = box_area(boxes)[:, None]
    union = mine + box_area(others) - both
    if crowd is not None:
        union = np.where(crowd, mine, union)
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def match(overlap: np.ndarray, ignore: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """The true box each detection takes, -1 where it takes none.

    The most certain detection chooses first. It takes the free true box of largest IoU that reaches the threshold, of
    equals the last; one that counts goes before one to ignore. A crowd may be taken any number of times.

    Args:
        overlap: IoU of the detections, most certain first, with the true boxes.
        ignore: true boxes that do not count, for each range of sizes.
        crowd: true boxes that hold more than one object.

    Shapes:
        overlap (D, M), ignore (R, M), crowd (M,) -> (D, R, T)

    Source: the reference code of COCO, pycocotools.
    """
    (d, m), r, t = overlap.shape, len(ignore), len(IOU_THRESHOLDS)
    taken_by = np.full((d, r, t), -1)
    if d == 0 or m == 0:
        return taken_by
    least = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    rank = np.argsort(np.argsort(overlap, axis=1, kind="stable"), axis=1)  # of equals the last ranks highest
    bonus = m * ~ignore
    closed = np.zeros((r, t, m), dtype=bool)
    for i in np.flatnonzero(overlap.max(axis=1) >= least[0]):
        free = (overlap[i] >= least[:, None]) & ~closed
        liking = np.where(free, (rank[i] + bonus)[:, None, :], -1)
        best = liking.argmax(axis=-1)
        ranges, thresholds = np.nonzero(liking.max(axis=-1) >= 0)
        best = best[ranges, thresholds]
        taken_by[i, ranges, thresholds] = best
        closed[ranges, thresholds, best] = ~crowd[best]
    return taken_by


def judge(
    boxes: np.ndarray, truth_boxes: np.ndarray, ignore: np.ndarray, crowd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each detection of one class in one image is right, wrong or left out.

    Left out is a detection that took a true box to ignore (crowd, difficult, or of another size), and one that took
    none and is itself of another size.

    Args:
        boxes: detections, most certain first.
        truth_boxes: the true boxes.
        ignore: true boxes that do not count at any size.
        crowd: true boxes that hold more than one object.

    Returns:
        RIGHT, WRONG or LEFT_OUT for each detection, range of sizes and IoU threshold (D, R, T); the true box that each
        detection took at sizes "all" and IoU 0.5, or -1 (D,).

    Shapes:
        boxes (D, 4), truth_boxes (M, 4), ignore (M,), crowd (M,)
    """
    ignored = ignore | ~of_size(truth_boxes).T
    taken = match(box_iou(boxes, truth_boxes, crowd), ignored, crowd)
    status = np.where(taken >= 0, RIGHT, np.where(of_size(boxes)[:, :, None], WRONG, LEFT_OUT))
    if len(truth_boxes):
        took_ignored = ignored[np.arange(len(SIZES))[:, None], np.maximum(taken, 0)] & (taken >= 0)
        status[took_ignored] = LEFT_OUT
    return status.astype(np.int8), taken[:, 0, 0]
