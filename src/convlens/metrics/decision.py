"""From probabilities to an answer: which class, from which threshold, and when to say "unsure".

Threshold and abstain rule are chosen on validation samples and stored with the model; the test samples only measure
them. This file knows probabilities and targets as arrays, not networks, images or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError, did_you_mean
from convlens.metrics.calibration import check_probabilities
from convlens.metrics.curves import thin
from convlens.metrics.interval import Interval, wilson, wilson_bounds


@dataclass(frozen=True)
class Threshold:
    """The probability of the positive class from which a binary network answers "positive".

    Attributes:
        value: answer positive where probability >= value.
        objective: what it maximises, `f1` or `balanced_accuracy`.
        score: the objective on the samples it was chosen on, therefore a little too good.
        n: number of those samples.
    """

    value: float
    objective: str
    score: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote."""
        return cls(float(data["value"]), str(data["objective"]), float(data["score"]), int(data["n"]))


@dataclass(frozen=True)
class AbstainRule:
    """Answer only where the largest probability reaches `confidence`; otherwise say "unsure".

    Attributes:
        confidence: the cutoff.
        promise: the accuracy asked for.
        coverage: share of the samples that are answered.
        accuracy: accuracy of what is answered; its lower end reaches the promise.
    """

    confidence: float
    promise: float
    coverage: Interval
    accuracy: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        shares = {"coverage": self.coverage.to_json(), "accuracy": self.accuracy.to_json()}
        return {"confidence": self.confidence, "promise": self.promise, **shares}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote."""
        coverage, accuracy = (Interval.from_json(data[key]) for key in ("coverage", "accuracy"))
        return cls(float(data["confidence"]), float(data["promise"]), coverage, accuracy)


def decide(probabilities: np.ndarray, threshold: float | np.ndarray | None = None) -> np.ndarray:
    """The class answered: the most probable one, or, with a threshold, class 1 where its probability reaches it.

    Args:
        threshold: one for all samples, or for each of them (N,).

    Shapes:
        (N, K) -> (N,)

    Example:
        >>> decide(np.array([[0.6, 0.4], [0.9, 0.1]]), threshold=0.3).tolist()
        [1, 0]

    Raises:
        ConfigError: a threshold with other than two classes.
    """
    if threshold is None:
        return probabilities.argmax(axis=1)
    if probabilities.shape[1] != 2:
        raise ConfigError(
            f"A threshold decides between two classes; got {probabilities.shape[1]} classes. Leave the threshold out."
        )
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def choose_threshold(positive_probability: np.ndarray, targets: np.ndarray, objective: str = "f1") -> Threshold:
    """The threshold with the best score on validation; among equals the one nearest 0.5.

    Those tried are 0.5 and every point half-way between neighbouring probabilities, so that a rounding in the last
    digit does not change an answer.

    Args:
        positive_probability: probability of class 1.
        targets: 1 where the sample is of class 1, 0 otherwise.
        objective: `f1` of class 1, or `balanced_accuracy`.

    Shapes:
        positive_probability (N,), targets (N,)

    Raises:
        ConfigError: an unknown objective.
        DataError: the samples are not of both classes.

    Example:
        >>> choose_threshold(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1])).value
        0.25
    """
    objectives = ("f1", "balanced_accuracy")
    if objective not in objectives:
        raise ConfigError(f"There is no threshold objective '{objective}'. {did_you_mean(objective, objectives)}")
    if np.ndim(positive_probability) != 1:
        raise ShapeError(f"A threshold needs the probability of class 1, (N,); got {np.shape(positive_probability)}.")
    pair = np.stack([1.0 - np.asarray(positive_probability, dtype=np.float64), positive_probability], axis=1)
    checked, targets = check_probabilities(pair, targets)
    n, positives = len(targets), int(targets.sum())
    if positives in (0, n):
        raise DataError(
            f"A threshold needs validation samples of both classes; got {n - positives} negative and {positives} "
            "positive. Hold out more samples, or keep the threshold at 0.5."
        )
    probability = checked[:, 1]
    candidates = np.append(_between(probability), 0.5)
    true_positive = positives - np.searchsorted(np.sort(probability[targets == 1]), candidates)
    false_positive = n - positives - np.searchsorted(np.sort(probability[targets == 0]), candidates)
    if objective == "f1":
        score = 2 * true_positive / (true_positive + false_positive + positives)
    else:
        score = (true_positive / positives + 1 - false_positive / (n - positives)) / 2
    best = np.flatnonzero(score >= score.max() - 1e-12)
    chosen = best[np.argmin(np.abs(candidates[best] - 0.5))]
    return Threshold(float(candidates[chosen]), objective, float(score[chosen]), n)


def abstain_threshold(
    probabilities: np.ndarray,
    targets: np.ndarray,
    accuracy: float,
    *,
    threshold: float | None = None,
    level: float = 0.95,
) -> AbstainRule | None:
    """The smallest confidence that keeps a promise of accuracy; None when no confidence does.

    Rule: answer the largest share of the samples for which the lower end of Wilson's interval of the accuracy of
    what is answered reaches the promise. The share is chosen by looking at many, so the promise is a little less sure
    than one interval at this level alone; on simulated calibrated networks it was broken in 2 to 4 of 100 cases.

    Args:
        probabilities: of the validation samples.
        targets: their classes.
        accuracy: the promise, such as 0.99.
        threshold: the binary threshold in use, if any; it decides the answers.
        level: coverage of the interval.

    Shapes:
        probabilities (N, K), targets (N,)

    Raises:
        ConfigError: the promise does not lie between 0 and 1.
        DataError, ShapeError: as `check_probabilities`.
    """
    if not 0.0 < accuracy < 1.0:
        raise ConfigError(f"The promised accuracy must lie between 0 and 1, such as 0.99; got {accuracy}.")
    confidence, right, _ = _most_confident_first(probabilities, targets, threshold)
    n = len(confidence)
    cutoffs = _between(confidence)
    answered = n - np.searchsorted(confidence[::-1], cutoffs)
    cutoffs, answered = cutoffs[answered > 0], answered[answered > 0]
    kept = np.flatnonzero(wilson_bounds(right[answered - 1], answered, level)[0] >= accuracy)
    if len(kept) == 0:
        return None
    i = kept[0]
    return AbstainRule(
        confidence=float(cutoffs[i]),
        promise=accuracy,
        coverage=wilson(int(answered[i]), n, level),
        accuracy=wilson(int(right[answered[i] - 1]), int(answered[i]), level),
    )


def risk_coverage(
    probabilities: np.ndarray, targets: np.ndarray, threshold: float | np.ndarray | None = None
) -> dict[str, list[float]]:
    """How the share of wrong answers grows as more samples are answered, most confident first; at most 200 points.

    Returns:
        lists of equal length: `confidence` (answered from here up), `coverage` and `risk` (share of the answered).

    Raises:
        DataError, ShapeError: as `check_probabilities`.

    Example:
        >>> risk_coverage(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
        {'confidence': [0.9, 0.6], 'coverage': [0.5, 1.0], 'risk': [0.0, 0.5]}
    """
    confidence, right, last = _most_confident_first(probabilities, targets, threshold)
    last = last[thin(len(last))]
    return {
        "confidence": confidence[last].tolist(),
        "coverage": ((last + 1) / max(1, len(confidence))).tolist(),
        "risk": (1 - right[last] / (last + 1)).tolist(),
    }


def _most_confident_first(
    probabilities: np.ndarray, targets: np.ndarray, threshold: float | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences falling, right answers so far, and the last position of each group of equal confidences."""
    probabilities, targets = check_probabilities(probabilities, targets)
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (decide(probabilities, threshold) == targets)[order].cumsum()
    confidence = confidence[order]
    return confidence, right, np.flatnonzero(np.diff(confidence, append=-1.0))


def _between(values: np.ndarray) -> np.ndarray:
    """Cutoffs for `value >= cutoff`, rising: 0, then half-way between neighbouring values."""
    distinct = np.unique(values)
    return np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2])
