"""Ratios and means that may not exist: 0/0 is nan, never 0, and a mean leaves out what is nan.

This file knows numbers, not what they count.
"""

from __future__ import annotations

import numpy as np


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Each of the one by each of the other, nan where there is nothing to divide by.

    Shapes:
        two that broadcast to that of `below`

    Example:
        >>> ratio(np.array([1, 0]), np.array([2, 0])).tolist()
        [0.5, nan]
    """
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=np.asarray(below) > 0)


def defined_mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over the last axis of what is defined; nan where nothing is.

    Shapes:
        values and weights (..., K) -> (...)

    Example:
        >>> defined_mean(np.array([[1.0, np.nan, 3.0], [np.nan] * 3])).tolist()
        [2.0, nan]
    """
    defined = np.isfinite(values)
    weights = defined.astype(float) if weights is None else weights * defined
    return ratio((np.where(defined, values, 0.0) * weights).sum(-1), weights.sum(-1))
