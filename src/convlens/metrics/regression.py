"""How good predicted numbers are: errors in the target's own unit, their share explained, and whether error bars held.

Every score has an interval, by leaving each sample out once, and stands beside the network that always answers the mean
(or the median) of training. This file knows arrays of numbers and names of targets, not networks, images or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convlens.errors import DataError, ShapeError
from convlens.metrics.conformal import ErrorBar, check_numbers
from convlens.metrics.curves import thin
from convlens.metrics.interval import Interval, normal_quantile, undefined, wilson
from convlens.metrics.jackknife import AT_MOST_ONE, POSITIVE, Scores, jackknife_interval, jackknife_mean
from convlens.metrics.ratio import ratio

WORST = 5
TABLE_ROWS = 500


def regression_report(
    predicted: np.ndarray,
    true: np.ndarray,
    names: Sequence[str],
    *,
    constants: Mapping[str, np.ndarray] | None = None,
    error_bars: Sequence[ErrorBar] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Everything said about predicted numbers on one set of samples, as plain JSON values.

    Args:
        predicted: what the network answered.
        true: what is so.
        names: of the targets, in the order of the columns.
        constants: `mean` and `median` of the training targets, the answers of the baselines; see `training_constants`.
        error_bars: one for each target, measured on validation samples.
        level: coverage of every interval.

    Returns:
        `n`, `level`, `names`; `per_target`, a list with `name`, the intervals (see `Interval.to_json`) `mae`, `rmse`,
        `r2` and `bias` (mean of predicted - true), `baseline`, `error_bar`, `residuals` (at most 500 samples, rising
        with the true value) and `worst`; `overall`, the means over the targets of `mae`, `rmse`, `r2` and of `skill`,
        which is 1 - MAE / MAE of the baseline and has no unit.

    Shapes:
        predicted (N,) or (N, T), true alike, names T, each constant (T,)

    Raises:
        ShapeError: the shapes do not fit each other or the names.
        DataError: a number that is not finite, or a constant that is none.
        ConfigError: a level outside 0..1.
    """
    predicted, true = check_numbers(predicted, true, names)
    normal_quantile(level)
    if error_bars is not None and len(error_bars) != len(names):
        raise ShapeError(f"Expected one error bar for each of the {len(names)} targets; got {len(error_bars)}.")
    n, t = true.shape
    error = predicted - true
    scores = {"mae": jackknife_mean(np.abs(error)), "rmse": _root(jackknife_mean(error**2)), "r2": _r2(error, true)}
    bias = jackknife_mean(error)
    simple = None if constants is None else _baseline_scores(constants, true)
    rows = []
    for i, name in enumerate(names):
        row: dict[str, Any] = {"name": name}
        row.update({key: _interval(key, one, i, level).to_json() for key, one in scores.items()})
        row["bias"] = jackknife_interval(bias[0][i], bias[1][:, i], level).to_json()
        row["baseline"] = _baseline(constants, simple, scores, i, level)
        row["error_bar"] = None if error_bars is None else _coverage(error_bars[i], error[:, i], level)
        row["residuals"] = _table(predicted[:, i], true[:, i])
        row["worst"] = _worst(predicted[:, i], true[:, i])
        rows.append(row)
    overall = {key: _interval(key, _over_targets(one), 0, level) for key, one in scores.items()}
    if t > 1:
        note = f"mean over {t} targets as they stand: of use only where they share one unit"
        overall.update({key: overall[key].noted(note) for key in ("mae", "rmse")})
        missing = int(np.isnan(scores["r2"][0]).sum())
        if missing < t and missing:
            overall["r2"] = overall["r2"].noted(f"mean over {t - missing} of {t} targets; the others do not vary")
    if simple is None:
        overall["skill"] = undefined("the training targets were not given, so the baseline is not known", n)
    else:
        overall["skill"] = _interval("skill", _over_targets(_skill(scores["mae"], simple["mae"])), 0, level)
    means = {key: score.to_json() for key, score in overall.items()}
    return {"n": n, "level": level, "names": list(names), "per_target": rows, "overall": means}


def training_constants(train_true: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Mean and median of each training target: what the baselines always answer.

    Shapes:
        train_true (M,) or (M, T) -> (T,) each.

    Raises:
        DataError: there are none, or one is not finite.
    """
    known, _ = check_numbers(train_true, train_true, names)
    if len(known) == 0:
        raise DataError("The baseline needs the targets of the training samples; got none. Leave the constants out.")
    return {"mean": known.mean(axis=0), "median": np.median(known, axis=0)}


def _root(squares: Scores) -> Scores:
    return np.sqrt(squares[0]), np.sqrt(np.maximum(squares[1], 0.0))  # a difference of sums may fall just below 0


def _r2(error: np.ndarray, true: np.ndarray) -> Scores:
    """1 - sum of squared errors / sum of squares about the mean; nan where the true values do not vary."""
    n = len(true)
    if n == 0:
        return np.full(true.shape[1], np.nan), true
    about = (true - true.mean(axis=0)) ** 2
    total = np.where(np.ptp(true, axis=0) > 0, about.sum(axis=0), 0.0)
    without = total - about * (n / max(1, n - 1))  # the mean moves when a sample is left out
    without = np.where(without > 1e-12 * total, without, 0.0)
    errors = (error**2).sum(axis=0)
    return 1 - ratio(errors, total), 1 - ratio(errors - error**2, without)


def _skill(ours: Scores, simple: Scores) -> Scores:
    return 1 - ratio(ours[0], simple[0]), 1 - ratio(ours[1], simple[1])


def _over_targets(score: Scores) -> Scores:
    """Mean over the targets where the score is defined."""
    defined = ~np.isnan(score[0])
    if not defined.any():
        return np.array([np.nan]), score[1][:, :1]
    return score[0][defined].mean(keepdims=True), score[1][:, defined].mean(axis=1, keepdims=True)


def _interval(name: str, score: Scores, i: int, level: float) -> Interval:
    n = len(score[1])
    if n and math.isnan(score[0][i]):
        reason = {"r2": "the true values do not vary", "skill": "the baseline makes no error"}
        return undefined(reason[name], n)
    return jackknife_interval(score[0][i], score[1][:, i], level, AT_MOST_ONE if name in ("r2", "skill") else POSITIVE)


def _baseline_scores(constants: Mapping[str, np.ndarray], true: np.ndarray) -> dict[str, Scores]:
    """The mean has the smallest squared error a constant can have, and the median the smallest absolute one."""
    for name in ("mean", "median"):
        if np.shape(constants[name]) != true.shape[1:] or not np.isfinite(constants[name]).all():
            raise DataError(
                f"The {name} of the training targets must be one finite number for each of the {true.shape[1]}; "
                f"got {np.asarray(constants[name]).tolist()}."
            )
    about_mean = constants["mean"] - true
    return {
        "mae": jackknife_mean(np.abs(constants["median"] - true)),
        "rmse": _root(jackknife_mean(about_mean**2)),
        "r2": _r2(about_mean, true),
    }


def _baseline(
    constants: Mapping[str, np.ndarray] | None,
    simple: Mapping[str, Scores] | None,
    ours: Mapping[str, Scores],
    i: int,
    level: float,
) -> dict[str, Any]:
    """The network that always answers one number, and by how much ours errs less."""
    if constants is None or simple is None:
        return {"mean": None, "note": "the training targets were not given, so their mean is not known"}
    section: dict[str, Any] = {name: float(values[i]) for name, values in constants.items()}
    section.update({name: _interval(name, score, i, level).to_json() for name, score in simple.items()})
    for name in ("mae", "rmse"):
        less = simple[name][0][i] - ours[name][0][i], simple[name][1][:, i] - ours[name][1][:, i]
        section[f"{name}_gain"] = jackknife_interval(*less, level).to_json()
    return section


def _coverage(bar: ErrorBar, error: np.ndarray, level: float) -> dict[str, Any]:
    inside = int((np.abs(error) <= bar.half_width).sum())
    return {**bar.to_json(), "coverage": wilson(inside, len(error), level).to_json()}


def _table(predicted: np.ndarray, true: np.ndarray) -> dict[str, list[float]]:
    order = np.argsort(true, kind="stable")
    kept = order[thin(len(order), TABLE_ROWS)]
    return {"true": true[kept].tolist(), "predicted": predicted[kept].tolist()}


def _worst(predicted: np.ndarray, true: np.ndarray) -> list[dict[str, Any]]:
    """The samples with the largest errors, by their position."""
    order = np.argsort(-np.abs(predicted - true), kind="stable")[:WORST]
    return [{"position": int(i), "true": float(true[i]), "predicted": float(predicted[i])} for i in order]
