"""How well two classes are told apart at every threshold: ROC and precision-recall curve, and the areas under them.

The curves are scikit-learn's, thinned to what a page can show. This file knows scores and which samples are positive,
not names, thresholds in use or networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from convlens.metrics.interval import auc_interval, undefined, wilson

CURVE_POINTS = 200


def binary_curves(scores: np.ndarray, positive: np.ndarray, level: float = 0.95) -> dict[str, Any]:
    """What scores say of two classes at whatever threshold, as plain JSON values.

    Args:
        scores: larger means more likely positive.
        positive: true where the sample is positive.
        level: coverage of every interval.

    Returns:
        the intervals (see `Interval.to_json`) `auc` and `average_precision`; the curves `roc` and `precision_recall`,
        at most 200 points each, or None where one of the two classes has no samples.

    Shapes:
        scores (N,), positive (N,)

    Example:
        >>> curves = binary_curves(np.array([0.9, 0.4, 0.1]), np.array([True, False, False]))
        >>> curves["auc"]["value"], curves["roc"]["true_positive_rate"]
        (1.0, [0.0, 1.0, 1.0])

    Source: Boyd, Eng and Page, "Area under the Precision-Recall Curve: Point Estimates and Confidence Intervals", 2013,
    for the binomial interval of the average precision.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

    area = auc_interval(scores, positive, level)
    if math.isnan(area.value):
        missing = undefined(area.note, area.n).to_json()
        return {"auc": missing, "average_precision": missing, "roc": None, "precision_recall": None}
    count = int(positive.sum())  # the interval treats average precision as a proportion of the positives
    average = wilson(min(1.0, float(average_precision_score(positive, scores))) * count, count, level)
    false_rate, true_rate, cutoff = roc_curve(positive, scores)
    roc = {"false_positive_rate": false_rate, "true_positive_rate": true_rate, "threshold": cutoff}
    precision, recall, cutoff = precision_recall_curve(positive, scores, drop_intermediate=True)
    curve = {"recall": recall, "precision": precision, "threshold": np.append(cutoff, np.inf)}
    return {
        "auc": area.to_json(),
        "average_precision": average.to_json(),
        "roc": points(roc),
        "precision_recall": points(curve),
    }


def thin(length: int, most: int = CURVE_POINTS) -> np.ndarray:
    """Positions of at most so many evenly spaced points of a curve, both ends kept."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))


def points(curve: Mapping[str, np.ndarray]) -> dict[str, list[float | None]]:
    """A thinned curve as lists; an infinite threshold (nothing is called positive) is null."""
    kept = thin(len(next(iter(curve.values()))))
    return {
        name: [float(x) if math.isfinite(x) else None for x in np.asarray(values)[kept]]
        for name, values in curve.items()
    }
