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
