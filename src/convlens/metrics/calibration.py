"""From logits to probabilities that mean what they say: the temperature, and how far confidence is from the truth.

The temperature is fitted on validation samples and stored with the model; the test samples only measure it. This file
knows probabilities and targets as arrays, not networks, images or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.interval import Interval, bootstrap_draws, normal_quantile, undefined, wilson

BINS = 15
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Bin:
    """The samples whose confidence lies in (low, high]: what the network claimed, and how often it was right."""

    low: float
    high: float
    confidence: float | None
    accuracy: Interval

    @property
    def count(self) -> int:
        """Number of samples in the bin."""
        return self.accuracy.n

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        ends = {"low": self.low, "high": self.high, "confidence": self.confidence}
        return {**ends, "count": self.count, "accuracy": self.accuracy.to_json()}


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities from logits divided by a temperature, in double precision.

    Shapes:
        (N, K) -> (N, K)

    Example:
        >>> softmax(np.array([[0.0, 1000.0]])).tolist()
        [[0.0, 1.0]]

    Raises:
        ConfigError: the temperature is not positive.
    """
    if not temperature > 0.0:
        raise ConfigError(f"A temperature must be positive; got {temperature}.")
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature that makes the log loss smallest, between 0.05 and 20.

    The loss is convex in 1/T, so a bounded one-dimensional search over log T finds its one minimum. One imaginary
    mistake is shared out over the samples (each target gives 1/(N+1) to the other classes): a network that makes no
    mistake on them would otherwise be told to be infinitely sure.

    Shapes:
        logits (N, K), targets (N,)

    Raises:
        DataError: no samples, logits that are not finite, or a target outside 0..K-1.
        ShapeError: not (N, K) and (N,), or fewer than two classes.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
    Differs: the imaginary mistake, after Platt's correction of the targets, 1999.
    """
    from scipy.optimize import minimize_scalar

    logits, targets = _check_pair(logits, targets, "logits")
    n, k = logits.shape
    if n == 0:
        raise DataError(
            "A temperature needs validation samples; got none. Hold some out, or set evaluate.calibrate off."
        )
    logits = logits - logits.max(axis=1, keepdims=True)
    truth = logits[np.arange(n), targets]
    mistake = 1.0 / (n + 1)
    target_logit = np.mean((1 - mistake) * truth + mistake * (logits.sum(axis=1) - truth) / (k - 1))

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float(np.mean(np.log(np.exp(logits / temperature).sum(axis=1))) - target_logit / temperature)

    low, high = np.log(TEMPERATURES)
    found: Any = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-5})
    return float(np.clip(np.exp(found.x), *TEMPERATURES)) if found.fun < loss(0.0) else 1.0


def reliability(
    probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS, level: float = 0.95
) -> tuple[Bin, ...]:
    """What the network claims (largest probability) against how often it is right, in bins of equal width.

    Raises:
        DataError, ShapeError: as `check_probabilities`.
    """
    confidence, correct = _claims(probabilities, targets)
    place = _place(confidence, bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    listed = []
    for i in range(bins):
        inside = place == i
        claimed = float(confidence[inside].mean()) if inside.any() else None
        right = wilson(int(correct[inside].sum()), int(inside.sum()), level, reason="no samples in this bin")
        listed.append(Bin(float(edges[i]), float(edges[i + 1]), claimed, right))
    return tuple(listed)


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by count; nan without samples.

    Equal width, as in most of the literature, so that the number can be compared.

    Raises:
        DataError, ShapeError: as `check_probabilities`.

    Example:
        >>> expected_calibration_error(np.array([[0.2, 0.8], [0.2, 0.8]]), np.array([1, 0])).__round__(3)
        0.3
    """
    return _calibration_error(*_claims(probabilities, targets), bins=bins)


def calibration_error_interval(
    probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS, level: float = 0.95, seed: int = 0
) -> Interval:
    """The expected calibration error with an interval that allows for its bias.

    Chance alone makes the error positive, and resampling adds more of the same. So the bootstrap's percentiles are
    reflected about the value, and the lower end is 0 when a perfectly calibrated network with these confidences would
    give as large an error by chance.

    Raises:
        DataError, ShapeError: as `check_probabilities`.
    """
    confidence, correct = _claims(probabilities, targets)
    n = len(confidence)
    if n == 0:
        return undefined("no samples")

    def statistic(claimed: np.ndarray, right: np.ndarray) -> float:
        return _calibration_error(claimed, right, bins)

    def by_chance(claimed: np.ndarray) -> float:
        return statistic(claimed, generator.random(len(claimed)) < claimed)

    normal_quantile(level)
    generator = np.random.default_rng([seed, 1])
    tails = [(1 - level) / 2, (1 + level) / 2]
    value = statistic(confidence, correct)
    below, above = np.quantile(bootstrap_draws([confidence, correct], statistic, seed), tails)
    chance = np.quantile(bootstrap_draws([confidence], by_chance, seed), tails[1])
    low = 0.0 if value <= chance else float(np.clip(2 * value - above, 0.0, value))
    return Interval(value, low, max(value, float(2 * value - below)), n)


def check_probabilities(
    probabilities: np.ndarray, targets: np.ndarray, classes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 and int64, once they are what they claim to be.

    Raises:
        ShapeError: not (N, K) and (N,), fewer than two classes, or other than `classes` columns.
        DataError: a probability outside 0..1, a row that does not add up to 1, a target outside 0..K-1.
    """
    probabilities, targets = _check_pair(probabilities, targets, "probabilities", classes)
    sums = probabilities.sum(axis=1)
    if probabilities.size and (probabilities.min() < 0.0 or np.abs(sums - 1.0).max() > 1e-3):
        row = int(np.argmax((probabilities.min(axis=1) < 0.0) | (np.abs(sums - 1.0) > 1e-3)))
        raise DataError(
            f"Probabilities must be at least 0 and add up to 1 in each row; row {row} has smallest "
            f"{probabilities[row].min():.4g} and sum {sums[row]:.4g}. Apply softmax to logits first."
        )
    return probabilities, targets


def _check_pair(
    values: np.ndarray, targets: np.ndarray, name: str, classes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    values, targets = np.asarray(values, dtype=np.float64), np.asarray(targets)
    k = classes if classes is not None else (values.shape[1] if values.ndim == 2 else 0)
    if values.ndim != 2 or values.shape[1] != k or k < 2 or targets.shape != values.shape[:1]:
        raise ShapeError(
            f"Expected {name} (N, {classes or 'K'}) with at least two classes and targets (N,); "
            f"got {values.shape} and {targets.shape}."
        )
    if not np.isfinite(values).all():
        raise DataError(f"The {name} must be finite; row {int(np.argmin(np.isfinite(values).all(axis=1)))} is not.")
    return values, check_indices(targets, k, "targets")


def check_indices(indices: np.ndarray, k: int, name: str) -> np.ndarray:
    """Class indices as int64.

    Raises:
        DataError: an index is not a whole number, or lies outside 0..k-1.
    """
    indices = np.asarray(indices)
    if indices.size and not np.issubdtype(indices.dtype, np.integer) and indices.dtype != np.bool_:
        raise DataError(f"The {name} must be class indices, whole numbers; got {indices.dtype}.")
    indices = indices.astype(np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= k):
        raise DataError(f"The {name} must lie in 0..{k - 1} for {k} classes; got {indices.min()}..{indices.max()}.")
    return indices


def _claims(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, targets = check_probabilities(probabilities, targets)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == targets


def _place(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    if len(confidence) == 0:
        return float("nan")
    gaps = np.bincount(_place(confidence, bins), weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
