"""The pixels of label maps, counted image by image, and the scores that follow from the counts.

Every image keeps its own confusion matrix of pixels. Their sum gives the scores, the same whatever the batches; each
left out in turn gives the intervals (`segmentation.py`), because the pixels of one image are not independent samples.
This file knows label maps as arrays, not images, networks or files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlens.errors import ConfigError, ShapeError
from convlens.metrics.boundary import boundary_f1
from convlens.metrics.confusion import accuracy, confusion, macro_f1
from convlens.metrics.ratio import defined_mean, ratio

Statistic = Callable[[np.ndarray], np.ndarray]


class PixelTally:
    """Counts of a set of images: a confusion matrix of pixels and the boundary F1 of each, in the order they came.

    Args:
        classes: number of classes K.
        ignore_index: label in the true maps of pixels that do not count, whatever was predicted there.
        tolerance_px: how far apart two boundaries may lie and still agree; None leaves boundaries out (they cost more
            than all the rest).

    Attributes:
        ignored: number of pixels left out.

    Example:
        >>> tally = PixelTally(2, ignore_index=255)
        >>> tally.add(np.array([[0, 1], [1, 255]]), np.array([[0, 1], [0, 0]]))
        >>> tally.total.tolist(), tally.ignored
        ([[1, 0], [1, 1]], 1)
    """

    def __init__(self, classes: int, *, ignore_index: int | None = None, tolerance_px: float | None = 2.0) -> None:
        if ignore_index is not None and 0 <= ignore_index < classes:
            raise ConfigError(
                f"The ignore index must not be one of the classes 0..{classes - 1}; got {ignore_index}. "
                "Use 255 or -1, or leave it out."
            )
        if tolerance_px is not None and not tolerance_px >= 0:
            raise ConfigError(f"The tolerance of boundaries must be at least 0 px; got {tolerance_px}.")
        self.classes, self.ignore_index, self.tolerance_px = classes, ignore_index, tolerance_px
        self.ignored = 0
        self._matrices: list[np.ndarray] = []
        self._boundaries: list[np.ndarray] = []

    @property
    def n(self) -> int:
        """Images so far."""
        return len(self._matrices)

    @property
    def matrices(self) -> np.ndarray:
        """One matrix of pixel counts for each image, rows are the truth. (N, K, K)"""
        return np.array(self._matrices, dtype=np.int64).reshape(-1, self.classes, self.classes)

    @property
    def boundaries(self) -> np.ndarray:
        """Boundary F1 of each class in each image, nan where neither map has a boundary of it. (N, K)"""
        return np.array(self._boundaries, dtype=np.float64).reshape(-1, self.classes)

    @property
    def total(self) -> np.ndarray:
        """All pixels in one matrix. (K, K)"""
        return self.matrices.sum(axis=0)

    def add(self, true: np.ndarray, predicted: np.ndarray) -> None:
        """Count one image; images may differ in size.

        Shapes:
            true and predicted (H, W), of labels

        Raises:
            ShapeError: the two are not both (H, W).
            DataError: a label that is not a class (the ignore index is none in a predicted map).
        """
        true, predicted = np.asarray(true), np.asarray(predicted)
        if true.ndim != 2 or true.shape != predicted.shape:
            raise ShapeError(
                f"A true and a predicted label map must both be (H, W); got {true.shape} and {predicted.shape}."
            )
        valid = np.full(true.shape, True) if self.ignore_index is None else true != self.ignore_index
        matrix = confusion(true[valid], predicted[valid], self.classes)
        self.ignored += int((~valid).sum())
        self._matrices.append(matrix)
        if self.tolerance_px is not None:
            scores = np.full(self.classes, np.nan)
            for k in np.flatnonzero(matrix.sum(0) + matrix.sum(1)):
                scores[k] = boundary_f1(true == k, predicted == k, self.tolerance_px, valid)
            self._boundaries.append(scores)

    def merge(self, other: PixelTally) -> None:
        """Add another's images behind these, such as another device's.

        Raises:
            ShapeError: the two count differently.
        """
        mine, its = ((one.classes, one.ignore_index, one.tolerance_px) for one in (self, other))
        if mine != its:
            raise ShapeError(
                f"Only tallies of the same classes, ignore index and tolerance can be merged; got {mine} and {its}."
            )
        self._matrices += other._matrices
        self._boundaries += other._boundaries
        self.ignored += other.ignored

    def scores(self) -> dict[str, float]:
        """Pixel accuracy, mean IoU and mean Dice without intervals, for each epoch; nan where undefined."""
        total = self.total
        return {name: float(statistic(total)) for name, statistic in SCORES.items()}


# Scores of confusion matrices (..., K, K) -> (...), nan where undefined.


def ious(matrix: np.ndarray) -> np.ndarray:
    """TP / (TP + FP + FN) of each class: of all pixels that are it or were called it, the share that is both.

    Shapes:
        (..., K, K) -> (..., K)

    Example:
        >>> ious(np.array([[2, 1], [1, 0]])).tolist()
        [0.5, 0.0]

    Source: P. Jaccard, 1901; Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010.
    """
    both = np.diagonal(matrix, axis1=-2, axis2=-1)
    either = matrix.sum(-1) + matrix.sum(-2) - both
    return ratio(both, either)


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Mean IoU of the classes that are in a true map or were predicted."""
    return defined_mean(ious(matrix))


def foreground_dice(matrix: np.ndarray, background: int = 0) -> np.ndarray:
    """Dice coefficient of everything that is not background, whichever class it was called.

    Source: L. R. Dice, 1945.
    """
    true, called = matrix[..., background, :].sum(-1), matrix[..., :, background].sum(-1)  # background, each
    both = matrix[..., background, background]
    right, wrong = matrix.sum((-2, -1)) - true - called + both, true + called - 2 * both
    return ratio(2 * right, 2 * right + wrong)


mean_dice: Statistic = macro_f1  # the Dice coefficient of a class is the F1 of its pixels
SCORES: dict[str, Statistic] = {"pixel_accuracy": accuracy, "mean_iou": mean_iou, "mean_dice": mean_dice}
