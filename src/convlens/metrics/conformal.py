"""Promises about new samples, kept whatever the network: how wide the error bar of one prediction must be.

The width is read off the errors on validation samples that the network was not fitted to; the test samples measure
whether the promise holds. This file knows numbers and counts of samples, not scores, networks or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from convlens.errors import DataError, ShapeError
from convlens.metrics.interval import normal_quantile


@dataclass(frozen=True)
class ErrorBar:
    """The half-width around a prediction that holds the true value of a new sample with probability `level`.

    Attributes:
        half_width: in the unit of the target; the same for every prediction.
        level: the promise, such as 0.9.
        n: number of validation samples it was measured on.
    """

    half_width: float
    level: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote."""
        return cls(float(data["half_width"]), float(data["level"]), int(data["n"]))


def fit_error_bar(predicted: np.ndarray, true: np.ndarray, level: float = 0.9) -> ErrorBar:
    """Split-conformal half-width of one target, from the residuals of validation samples.

    It is the ceil((n + 1) level)-th smallest of the n absolute residuals. A new sample falls inside with a probability
    of at least `level`, whatever the network and whatever the distribution of its errors, as long as new samples come
    as the validation samples did. The promise is an average: over validation sets, and over easy and hard samples
    alike. Where validation also chose the epoch, its residuals are a little too small; the test samples tell how much.

    Shapes:
        predicted (N,), true (N,)

    Raises:
        ConfigError: the level is not between 0 and 1.
        DataError: fewer validation samples than the level needs, or a number that is not finite.
        ShapeError: the two are not (N,) each.

    Example:
        >>> fit_error_bar(np.zeros(9), np.arange(1.0, 10.0), level=0.8).half_width
        8.0

    Source: Papadopoulos et al., 2002; Lei et al., "Distribution-Free Predictive Inference for Regression", 2018,
    arXiv:1604.04173.
    """
    if np.ndim(predicted) != 1:
        raise ShapeError(f"An error bar is measured for one target, (N,); got {np.shape(predicted)}.")
    predicted, true = check_numbers(predicted, true, ["target"])
    errors = np.sort(np.abs(predicted - true)[:, 0])
    return ErrorBar(float(errors[conformal_rank(len(errors), level) - 1]), level, len(errors))


def conformal_rank(n: int, level: float) -> int:
    """Which of n sorted scores, counted from 1, a new score of the same kind does not exceed with probability `level`.

    Raises:
        ConfigError: the level is not between 0 and 1.
        DataError: even the largest of n scores cannot promise that much.

    Example:
        >>> conformal_rank(19, 0.95), conformal_rank(100, 0.95)
        (19, 96)
    """
    normal_quantile(level)
    rank = math.ceil((n + 1) * level - 1e-9)
    if rank > n:
        needed = math.ceil(level / (1 - level) - 1e-9)
        raise DataError(
            f"To hold for {level:.4g} of new samples takes at least {needed} validation samples; got {n}. "
            "Hold out more, or promise less."
        )
    return rank


def check_numbers(predicted: np.ndarray, true: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, T), once they are what they claim to be.

    Raises:
        ShapeError: not both (N,) or (N, T), or other than one column per name.
        DataError: a number that is not finite.
    """
    predicted, true = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    t = len(names)
    if predicted.shape != true.shape or true.ndim not in (1, 2) or (true.shape[1:] or (1,)) != (t,):
        raise ShapeError(
            f"Expected predicted and true numbers of one shape, (N,) or (N, {t}), for {t} targets; "
            f"got {predicted.shape} and {true.shape}."
        )
    predicted, true = predicted.reshape(-1, t), true.reshape(-1, t)
    for kind, numbers in (("predicted", predicted), ("true", true)):
        if not np.isfinite(numbers).all():
            row = int(np.argmin(np.isfinite(numbers).all(axis=1)))
            raise DataError(f"The {kind} numbers must be finite; row {row} has {numbers[row].tolist()}.")
    return predicted, true
