"""The boxes of a set of images, true and predicted, each detection judged as its image comes in.

A detection is right or wrong by what is in its own image alone, so the matching is done once; what is left for the
scores is to rank all detections and count. This file knows boxes, classes and scores, not networks or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.average_precision import Ranked, average_precision, defined_mean
from convlens.metrics.matching import IOU_THRESHOLDS, LEFT_OUT, SIZES, WRONG, judge, of_size


@dataclass(frozen=True)
class JudgedImage:
    """One image: its true boxes, its detections in the order they came, and what became of each.

    Attributes:
        truth_boxes: rows x1, y1, x2, y2. (M, 4)
        truth_classes: their classes. (M,)
        ignore: true boxes that do not count, crowds among them. (M,)
        boxes: of the detections. (D, 4)
        classes: of the detections. (D,)
        scores: of the detections. (D,)
        status: RIGHT, WRONG or LEFT_OUT for each range of sizes and IoU threshold. (D, R, T)
        taken: the true box that each detection took, at all sizes and IoU 0.5, or -1. (D,)
    """

    truth_boxes: np.ndarray
    truth_classes: np.ndarray
    ignore: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    status: np.ndarray
    taken: np.ndarray


@dataclass(frozen=True)
class Detections:
    """The detections of all images, most certain first; of equals, in the order they came.

    Attributes:
        images: position of the image of each. (D,)
        classes: (D,)
        scores: (D,)
        status: RIGHT, WRONG or LEFT_OUT for each range of sizes and IoU threshold. (D, R, T)
    """

    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    status: np.ndarray


class DetectionTally:
    """True and predicted boxes of a set of images, in the order they came, matched by the rules of COCO.

    Args:
        classes: number of classes K.
        max_detections: how many detections of one class in one image count, the most certain ones.

    Attributes:
        images: one `JudgedImage` each.
        dropped: number of detections beyond `max_detections`.

    Example:
        >>> tally = DetectionTally(1)
        >>> true, found, it = np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 8.2]]), np.array([0])
        >>> tally.add(true, it, found, it, np.array([0.9]))
        >>> {name: round(score, 3) for name, score in tally.scores().items()}
        {'map50': 1.0, 'map': 0.7}
    """

    def __init__(self, classes: int, *, max_detections: int = 100) -> None:
        if classes < 1 or max_detections < 1:
            raise ConfigError(
                f"A tally needs at least one class and one detection per image; got {classes} classes and at most "
                f"{max_detections} detections."
            )
        self.classes, self.max_detections = classes, max_detections
        self.images: list[JudgedImage] = []
        self.dropped = 0

    @property
    def n(self) -> int:
        """Images so far."""
        return len(self.images)

    @property
    def truths(self) -> np.ndarray:
        """True boxes that count, for each image, class and range of sizes. (N, K, R)"""
        counts = np.zeros((self.n, self.classes, len(SIZES)), dtype=np.int64)
        for i, image in enumerate(self.images):
            counted = ~image.ignore
            np.add.at(counts[i], image.truth_classes[counted], of_size(image.truth_boxes[counted]))
        return counts

    def add(
        self,
        truth_boxes: np.ndarray,
        truth_classes: np.ndarray,
        boxes: np.ndarray,
        classes: np.ndarray,
        scores: np.ndarray,
        ignore: np.ndarray | None = None,
        crowd: np.ndarray | None = None,
    ) -> None:
        """Match one image's detections, of each class on their own.

        Args:
            truth_boxes: rows x1, y1, x2, y2, in pixels.
            truth_classes: their classes.
            boxes: of the detections.
            classes: of the detections.
            scores: of the detections; larger is more certain.
            ignore: true boxes that count neither as found nor as missed, such as those marked difficult. One
                detection that takes such a box is left out; a second one is wrong.
            crowd: true boxes that hold more than one object. Any number of detections inside is left out.

        Shapes:
            truth_boxes (M, 4), truth_classes, ignore and crowd (M,), boxes (D, 4), classes and scores (D,)

        Raises:
            ShapeError: the arrays do not fit each other.
            DataError: a box that ends before it begins, a number that is not finite, a class that does not exist.
        """
        truth_boxes, truth_classes = self._check(truth_boxes, truth_classes, "true boxes")
        boxes, classes = self._check(boxes, classes, "detections")
        m, d = len(truth_boxes), len(boxes)
        scores = np.asarray(scores, dtype=np.float64)
        crowded = np.zeros(m, dtype=bool) if crowd is None else np.asarray(crowd, dtype=bool)
        ignored = np.zeros(m, dtype=bool) if ignore is None else np.asarray(ignore, dtype=bool)
        for name, array, expected in (("scores", scores, d), ("crowd", crowded, m), ("ignore", ignored, m)):
            if array.shape != (expected,):
                raise ShapeError(f"Expected {name} to be ({expected},), one for each box; got {array.shape}.")
        if not np.isfinite(scores).all():
            raise DataError(f"Scores must be finite; detection {int(np.argmin(np.isfinite(scores)))} is not.")
        ignored = ignored | crowded
        status = np.repeat(np.where(of_size(boxes), WRONG, LEFT_OUT)[:, :, None], len(IOU_THRESHOLDS), axis=2)
        status, taken = status.astype(np.int8), np.full(d, -1)
        counts, there = np.bincount(classes, minlength=self.classes), np.bincount(truth_classes, minlength=self.classes)
        for label in np.flatnonzero((counts > self.max_detections) | (counts > 0) & (there > 0)):
            order = np.flatnonzero(classes == label)
            order = order[np.argsort(-scores[order], kind="stable")]
            kept, mine = order[: self.max_detections], np.flatnonzero(truth_classes == label)
            status[kept], took = judge(boxes[kept], truth_boxes[mine], ignored[mine], crowded[mine])
            taken[kept[took >= 0]] = mine[took[took >= 0]]
            status[order[self.max_detections :]] = LEFT_OUT
            self.dropped += len(order) - len(kept)
        self.images.append(JudgedImage(truth_boxes, truth_classes, ignored, boxes, classes, scores, status, taken))

    def merge(self, other: DetectionTally) -> None:
        """Add another's images behind these, such as another device's.

        Raises:
            ShapeError: the two count differently.
        """
        mine, its = ((one.classes, one.max_detections) for one in (self, other))
        if mine != its:
            raise ShapeError(
                f"Only tallies of the same classes and max_detections can be merged; got {mine} and {its}."
            )
        self.images += other.images
        self.dropped += other.dropped

    def detections(self) -> Detections:
        """All of them in one ranking."""
        counts = [len(image.scores) for image in self.images]
        scores = _joined([image.scores for image in self.images], np.zeros(0))
        order = np.argsort(-scores, kind="stable")
        empty = np.zeros((0, len(SIZES), len(IOU_THRESHOLDS)), dtype=np.int8)
        return Detections(
            images=np.repeat(np.arange(self.n), counts)[order],
            classes=_joined([image.classes for image in self.images], np.zeros(0, dtype=np.int64))[order],
            scores=scores[order],
            status=_joined([image.status for image in self.images], empty)[order],
        )

    def precisions(self, weights: np.ndarray, sizes: int = len(SIZES)) -> tuple[np.ndarray, np.ndarray]:
        """Average precision and recall of each class, range of sizes and IoU threshold; nan where nothing is to find.

        Args:
            weights: how often each image counts, a column for each draw.
            sizes: how many of the ranges of sizes.

        Shapes:
            weights (N, B) -> (K, R, T, B) each
        """
        found, truths = self.detections(), self.truths
        shape = (self.classes, sizes, len(IOU_THRESHOLDS), weights.shape[1])
        precision, recall = np.zeros(shape), np.zeros(shape)
        for k in range(self.classes):
            mine = found.classes == k
            images, status = found.images[mine], found.status[mine]
            for r in range(sizes):
                ranked = Ranked(images, status[:, r], truths[:, k, r])
                precision[k, r], recall[k, r] = average_precision(ranked, weights)
        return precision, recall

    def scores(self) -> dict[str, float]:
        """Mean average precision at IoU 0.5, and over 0.5 to 0.95, without intervals, for each epoch; nan if undefined.

        Classes without a true box are left out of the mean.
        """
        precision = self.precisions(np.ones((self.n, 1)), sizes=1)[0][:, 0, :, 0]
        return {"map50": float(defined_mean(precision[:, 0], 0)), "map": float(defined_mean(precision, (0, 1)))}

    def _check(self, boxes: np.ndarray, classes: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
        boxes, labels = np.asarray(boxes, dtype=np.float64), np.asarray(classes)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != (len(boxes),):
            raise ShapeError(
                f"Expected {kind} (N, 4) as x1, y1, x2, y2 and one class for each, (N,); "
                f"got {boxes.shape} and {labels.shape}."
            )
        good = np.isfinite(boxes).all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(
                f"Boxes must be finite with x1 <= x2 and y1 <= y2; row {row} of the {kind} is {boxes[row].tolist()}. "
                "Corners, not centre and size, are expected."
            )
        known = np.isin(labels, np.arange(self.classes))
        if not known.all():
            raise DataError(
                f"The classes of {kind} must be whole numbers in 0..{self.classes - 1}; got {labels[~known][0]}. "
                "Leave padding rows out."
            )
        return boxes, labels.astype(np.int64)


def _joined(parts: Sequence[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate([empty, *parts])
