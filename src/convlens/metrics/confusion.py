"""How often each class was called what, and the scores that follow from these counts alone.

Counts are kept as one confusion matrix (rows are the truth), so a score never depends on how the samples were cut
into batches. A ratio 0/0 is nan, never 0. This file knows class indices, not probabilities, names or intervals.
"""

from __future__ import annotations

import numpy as np

from convlens.errors import ShapeError
from convlens.metrics.calibration import check_indices
from convlens.metrics.ratio import defined_mean, ratio


def confusion(targets: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Counts of (truth, answer): row i, column j is how often class i was called j.

    Shapes:
        targets (N,), predicted (N,) -> (K, K)

    Raises:
        ShapeError: the two differ in length.
        DataError: an index outside 0..k-1.

    Example:
        >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    targets, predicted = check_indices(targets, k, "targets"), check_indices(predicted, k, "predictions")
    if targets.ndim != 1 or targets.shape != predicted.shape:
        raise ShapeError(
            f"Targets and predictions must both be (N,), one of each per sample; got {targets.shape} and "
            f"{predicted.shape}."
        )
    return np.bincount(targets * k + predicted, minlength=k * k).reshape(k, k)


class Tally:
    """Running counts of one epoch: the same whatever the batches, and in whatever order they come.

    Example:
        >>> tally = Tally(2)
        >>> tally.update(np.array([0, 1]), np.array([0, 1]))
        >>> tally.update(np.array([1, 1]), np.array([0, 1]))
        >>> tally.n, tally.scores()["accuracy"]
        (4, 0.75)
    """

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes), dtype=np.int64)

    @property
    def n(self) -> int:
        """Samples counted so far."""
        return int(self.matrix.sum())

    def update(self, targets: np.ndarray, predicted: np.ndarray) -> None:
        """Count one batch.

        Raises:
            ShapeError: the two differ in length.
            DataError: an index outside the classes.
        """
        self.matrix += confusion(targets, predicted, len(self.matrix))

    def merge(self, other: Tally) -> None:
        """Add another's counts, such as another device's.

        Raises:
            ShapeError: the numbers of classes differ.
        """
        if self.matrix.shape != other.matrix.shape:
            raise ShapeError(
                f"Only tallies of the same classes can be merged; got {len(self.matrix)} and {len(other.matrix)}."
            )
        self.matrix += other.matrix

    def scores(self) -> dict[str, float]:
        """Accuracy, balanced accuracy and macro F1 without intervals, for each epoch; nan where undefined."""
        return {
            "accuracy": float(accuracy(self.matrix)),
            "balanced_accuracy": float(balanced_accuracy(self.matrix)),
            "macro_f1": float(macro_f1(self.matrix)),
        }


# Scores of confusion matrices (..., K, K) -> (...), nan where undefined; the bootstrap calls them on many at once.


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Share of the samples answered correctly."""
    return ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))


def precisions(matrix: np.ndarray) -> np.ndarray:
    """TP / (TP + FP) of each class: of what was called this, how much is. (..., K, K) -> (..., K)"""
    return ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-2))


def recalls(matrix: np.ndarray) -> np.ndarray:
    """TP / (TP + FN) of each class: of what is this, how much was called so. (..., K, K) -> (..., K)"""
    return ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1))


def f1s(matrix: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of each class. (..., K, K) -> (..., K)"""
    return ratio(2 * np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1) + matrix.sum(-2))


def balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that have samples."""
    return defined_mean(recalls(matrix))


def macro_precision(matrix: np.ndarray) -> np.ndarray:
    """Mean precision of the classes that were predicted."""
    return defined_mean(precisions(matrix))


def macro_f1(matrix: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that have samples or were predicted."""
    return defined_mean(f1s(matrix))


def weighted_precision(matrix: np.ndarray) -> np.ndarray:
    """Mean precision weighted by samples per class, of the classes that were predicted."""
    return defined_mean(precisions(matrix), matrix.sum(-1))


def weighted_f1(matrix: np.ndarray) -> np.ndarray:
    """Mean F1 weighted by samples per class."""
    return defined_mean(f1s(matrix), matrix.sum(-1))
