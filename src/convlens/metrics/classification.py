"""How good a classifier is, said with everything needed to believe it.

Every score comes with an interval and stands beside the network that always answers the largest class of training. A
ratio 0/0 is null with its reason, never 0. This file knows arrays of probabilities and class names, not networks,
images or files; the counts are those of `confusion.py`, the curves of two classes those of `curves.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convlens.errors import DataError, ShapeError
from convlens.metrics.calibration import calibration_error_interval, check_probabilities, reliability
from convlens.metrics.confusion import (
    accuracy,
    balanced_accuracy,
    confusion,
    f1s,
    macro_f1,
    macro_precision,
    precisions,
    recalls,
    weighted_f1,
    weighted_precision,
)
from convlens.metrics.curves import binary_curves
from convlens.metrics.decision import decide
from convlens.metrics.interval import (
    Interval,
    auc_interval,
    bootstrap,
    bootstrap_confusion,
    bootstrap_many,
    f1_interval,
    mean_interval,
    wilson,
)
from convlens.metrics.ratio import ratio

IMBALANCE = 3.0  # largest class : smallest class, beyond which accuracy flatters
TOP = 3
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)  # the log loss of a probability of 0 would be infinite


def classification_report(
    probabilities: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    *,
    threshold: float | np.ndarray | None = None,
    abstain: float | None = None,
    train_counts: Sequence[int] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything said about a classifier on one set of samples, as plain JSON values.

    Args:
        probabilities: calibrated probabilities of each sample.
        targets: its class.
        classes: names, in the order of the columns.
        threshold: two classes only: answer class 1 where its probability reaches this; without it the larger wins.
            One for each sample (N,) where several networks answered; then the report holds their mean.
        abstain: confidence below which the network says "unsure"; adds the section `abstain`. All other scores are
            of every sample.
        train_counts: training samples of each class, from which the baseline takes its one answer.
        level: coverage of every interval.
        seed: decides the bootstrap draws.

    Returns:
        `n`, `level`, `classes`, `threshold`; intervals (see `Interval.to_json`) `accuracy`, `balanced_accuracy`,
        `top_3_accuracy` (more than three classes), `log_loss`, and `macro_`, `micro_`, `weighted_` each with
        `precision`, `recall`, `f1`; `per_class`, a list of counts and intervals; `confusion`; `baseline`;
        `calibration`; `abstain`; for two classes `positive`, `auc`, `average_precision`, `roc`, `precision_recall`;
        for more, `macro_auc` and an `auc` in each class.

    Shapes:
        probabilities (N, K), targets (N,), classes K

    Raises:
        ShapeError: the shapes do not fit each other or the classes.
        DataError: probabilities that are not, a target outside 0..K-1, or training counts that are none.
        ConfigError: a threshold with other than two classes, or a level outside 0..1.
    """
    k = len(classes)
    probabilities, targets = check_probabilities(probabilities, targets, k)
    matrix = confusion(targets, decide(probabilities, threshold), k)
    n, right = len(targets), int(np.trace(matrix))
    overall = wilson(right, n, level)
    report: dict[str, Any] = {
        "n": n,
        "level": level,
        "classes": list(classes),
        "threshold": None if threshold is None else float(np.mean(threshold)),
        "accuracy": overall.to_json(),
    }
    if k > TOP:
        report[f"top_{TOP}_accuracy"] = wilson(_among_top(probabilities, targets, TOP), n, level).to_json()
    report["log_loss"] = _log_loss(probabilities, targets, level, seed).to_json()
    # Each sample has one class and one answer, so micro precision, recall, F1 and weighted recall are the accuracy.
    for name in ("micro_precision", "micro_recall", "micro_f1", "weighted_recall"):
        report[name] = overall.to_json()
    report.update({name: score.to_json() for name, score in _averages(matrix, level, seed).items()})
    report["per_class"] = _per_class(matrix, classes, level)
    report["confusion"] = matrix.tolist()
    report["baseline"] = _baseline(matrix, classes, train_counts, level, seed)
    report["calibration"] = {
        "error": calibration_error_interval(probabilities, targets, level=level, seed=seed).to_json(),
        "bins": [one.to_json() for one in reliability(probabilities, targets, level=level)],
    }
    report["abstain"] = None if abstain is None else _abstaining(probabilities, targets, threshold, abstain, level)
    if k == 2:
        report["positive"] = classes[1]
        report.update(binary_curves(probabilities[:, 1], targets == 1, level))
    else:
        areas = [auc_interval(probabilities[:, i], targets == i, level) for i in range(k)]
        for row, area in zip(report["per_class"], areas, strict=True):
            row["auc"] = area.to_json()
        report["macro_auc"] = mean_interval(areas, n).to_json()
    return report


def headline(report: Mapping[str, Any], class_counts: Sequence[int]) -> str:
    """The one score to put on top: `accuracy`, or `balanced_accuracy` when training classes are unbalanced.

    Unbalanced means that the largest class has more than three times the samples of the smallest.

    Args:
        report: what `classification_report` returned; the score is `report[headline(...)]`.
        class_counts: training samples of each class.

    Raises:
        ShapeError: there are other than one count per class.
        DataError: a count is negative, or all are 0.
    """
    counts = _check_counts(class_counts, len(report["classes"]))
    return "balanced_accuracy" if counts.max() > IMBALANCE * counts.min() else "accuracy"


def _averages(matrix: np.ndarray, level: float, seed: int) -> dict[str, Interval]:
    statistics = {
        "balanced_accuracy": balanced_accuracy,
        "macro_precision": macro_precision,
        "macro_f1": macro_f1,
        "weighted_precision": weighted_precision,
        "weighted_f1": weighted_f1,
    }
    found = bootstrap_many(matrix, statistics, level, seed)
    parts = {
        "balanced_accuracy": (recalls, "without samples"),
        "macro_precision": (precisions, "never predicted"),
        "macro_f1": (f1s, "without samples and never predicted"),
        "weighted_precision": (precisions, "never predicted"),
    }
    for name, (part, reason) in parts.items():
        missing = int(np.isnan(part(matrix)).sum())
        if missing and found[name].n:
            note = f"mean over {len(matrix) - missing} of {len(matrix)} classes; the others were {reason}"
            found[name] = found[name].noted(note)
    return {**found, "macro_recall": found["balanced_accuracy"]}


def _per_class(matrix: np.ndarray, classes: Sequence[str], level: float) -> list[dict[str, Any]]:
    rows = []
    for i, name in enumerate(classes):
        support, predicted, tp = int(matrix[i].sum()), int(matrix[:, i].sum()), int(matrix[i, i])
        fp, fn = predicted - tp, support - tp
        rows.append(
            {
                "name": name,
                "support": support,
                "true_positive": tp,
                "false_positive": fp,
                "false_negative": fn,
                "true_negative": int(matrix.sum()) - tp - fp - fn,
                "precision": wilson(tp, predicted, level, reason="never predicted").to_json(),
                "recall": wilson(tp, support, level, reason="no samples of this class").to_json(),
                "f1": f1_interval(tp, fp, fn, level).to_json(),
            }
        )
    return rows


def _baseline(
    matrix: np.ndarray, classes: Sequence[str], train_counts: Sequence[int] | None, level: float, seed: int
) -> dict[str, Any]:
    """The network that always answers the largest class of training (the first, among equals), and what ours adds."""
    if train_counts is None:
        return {"class": None, "note": "the training counts were not given, so the largest class is not known"}
    largest = int(_check_counts(train_counts, len(classes)).argmax())
    constant = np.zeros_like(matrix)
    constant[:, largest] = matrix.sum(axis=1)

    def lift(matrices: np.ndarray) -> np.ndarray:
        return accuracy(matrices) - ratio(matrices[..., largest, :].sum(-1), matrices.sum((-2, -1)))

    def plain(value: np.ndarray) -> float | None:
        return None if math.isnan(value) else float(value)

    return {
        "class": classes[largest],
        "accuracy": wilson(int(constant[largest, largest]), int(matrix.sum()), level).to_json(),
        "balanced_accuracy": plain(balanced_accuracy(constant)),
        "macro_f1": plain(macro_f1(constant)),
        "lift": bootstrap_confusion(matrix, lift, level, seed).to_json(),
    }


def _check_counts(counts: Sequence[int], k: int) -> np.ndarray:
    counted = np.asarray(counts)
    if counted.shape != (k,):
        raise ShapeError(f"Expected one training count for each of the {k} classes; got shape {counted.shape}.")
    if counted.min() < 0 or counted.sum() == 0:
        raise DataError(f"Training counts must be at least 0 and not all 0; got {counted.tolist()}.")
    return counted


def _among_top(probabilities: np.ndarray, targets: np.ndarray, top: int) -> int:
    """How many targets are among the `top` most probable classes; equal probabilities rank in the order of classes."""
    own = np.take_along_axis(probabilities, targets[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < targets[:, None]
    rank = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    return int((rank < top).sum())


def _log_loss(probabilities: np.ndarray, targets: np.ndarray, level: float, seed: int) -> Interval:
    own = probabilities[np.arange(len(targets)), targets]
    zeros = int((own < SMALLEST_PROBABILITY).sum())
    score = bootstrap([-np.log(np.maximum(own, SMALLEST_PROBABILITY))], np.mean, level, seed)
    note = f"{zeros} samples gave their own class a probability of 0, counted as {SMALLEST_PROBABILITY:.1e}"
    return score.noted(note) if zeros else score


def _abstaining(
    probabilities: np.ndarray,
    targets: np.ndarray,
    threshold: float | np.ndarray | None,
    confidence: float,
    level: float,
) -> dict[str, Any]:
    answered = probabilities.max(axis=1) >= confidence
    right = (decide(probabilities, threshold) == targets) & answered
    count = int(answered.sum())
    return {
        "confidence": confidence,
        "coverage": wilson(count, len(targets), level).to_json(),
        "accuracy": wilson(int(right.sum()), count, level, reason="nothing was answered").to_json(),
    }
