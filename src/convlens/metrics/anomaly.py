"""How well a score tells the abnormal from the normal, and where to raise the alarm.

The threshold is an order statistic of the scores of normal validation samples: it promises a rate of false alarms
without having seen one anomaly. The test samples only measure it. A larger score means less normal. This file knows
scores and which samples are abnormal, not networks, images or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.conformal import conformal_rank
from convlens.metrics.curves import points
from convlens.metrics.interval import Interval, auc_interval, normal_quantile, undefined, wilson

WORST = 5


@dataclass(frozen=True)
class AlarmThreshold:
    """The score above which a sample is called abnormal.

    Attributes:
        value: alarm where score > value.
        promise: the rate of false alarms asked for.
        certainty: how surely this threshold keeps the promise; None when it is kept on average.
        at_most: the rate of false alarms that this threshold stays below with a certainty of 95 %, before ties.
        n: number of normal validation scores it was chosen from.
    """

    value: float
    promise: float
    certainty: float | None
    at_most: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote."""
        certainty = None if data["certainty"] is None else float(data["certainty"])
        return cls(float(data["value"]), float(data["promise"]), certainty, float(data["at_most"]), int(data["n"]))


def alarm_threshold(
    normal_scores: np.ndarray, false_alarms: float = 0.05, *, certainty: float | None = None
) -> AlarmThreshold:
    """The smallest threshold that keeps a promise about false alarms, from scores of normal validation samples.

    Without `certainty` it is the ceil((n + 1) (1 - false_alarms))-th smallest of the n scores. A new normal sample then
    raises an alarm with a probability of at most `false_alarms`, whatever the distribution of the scores, on average
    over validation sets; one threshold may do worse, and `at_most` says how much. With `certainty` it is the smallest
    order statistic whose rate is at most `false_alarms` in that share of all validation sets. Either promise holds
    as long as new normal samples come as the validation samples did, and those took no part in training.

    Args:
        normal_scores: of validation samples known to be normal.
        false_alarms: the promised rate, such as 0.05.
        certainty: such as 0.95; None for a promise on average.

    Shapes:
        normal_scores (N,)

    Raises:
        ConfigError: a rate or certainty outside 0..1.
        DataError: fewer scores than the promise needs, or one that is not finite.
        ShapeError: the scores are not (N,).

    Example:
        >>> chosen = alarm_threshold(np.arange(1.0, 20.0), 0.1)
        >>> chosen.value, round(chosen.at_most, 3)
        (18.0, 0.226)

    Source: S. S. Wilks, "Determination of Sample Sizes for Setting Tolerance Limits", 1941 (the rate of the k-th of n
    scores follows a Beta distribution); Laxhammar and Falkman, "Conformal Prediction for Distribution-Independent
    Anomaly Detection", 2010.
    """
    from scipy.special import betainc, betaincinv

    for name, share in (("rate of false alarms", false_alarms), ("certainty", certainty)):
        if share is not None and not 0.0 < share < 1.0:
            raise ConfigError(f"The {name} must lie between 0 and 1, such as 0.05 or 0.95; got {share}.")
    scores = np.sort(_check_scores(normal_scores))
    n = len(scores)
    if certainty is None:
        rank = conformal_rank(n, 1 - false_alarms)
    else:
        ranks = np.arange(1, n + 1)
        sure = np.flatnonzero(betainc(n + 1 - ranks, ranks, false_alarms) >= certainty - 1e-12)
        if len(sure) == 0:
            needed = math.ceil(math.log(1 - certainty) / math.log(1 - false_alarms) - 1e-9)
            raise DataError(
                f"To be {certainty:.4g} certain of at most {false_alarms:.4g} false alarms takes at least {needed} "
                f"normal validation samples; got {n}. Hold out more, or promise less."
            )
        rank = int(ranks[sure[0]])
    at_most = float(betaincinv(n + 1 - rank, rank, 0.95))
    return AlarmThreshold(float(scores[rank - 1]), false_alarms, certainty, at_most, n)


def anomaly_report(
    scores: np.ndarray,
    abnormal: np.ndarray,
    threshold: AlarmThreshold | None = None,
    *,
    kinds: Sequence[str] | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Everything said about anomaly scores on one set of samples, as plain JSON values.

    Args:
        scores: larger is less normal.
        abnormal: true where the sample is an anomaly.
        threshold: chosen on validation samples; without it nothing is said about alarms.
        kinds: what each sample is, to tell which anomalies are missed.
        baselines: scores of other methods for the same samples in the same order, by name.
        level: coverage of every interval.

    Returns:
        `n`, `normal`, `abnormal` (counts), `level`; `auc` (see `Interval.to_json`); `roc`; `alarm`, with the threshold,
        `detection` (share of the abnormal that raise an alarm), `false_alarms` (share of the normal), `precision`
        (share of the alarms that are right, at the shares of this set) and `by_kind`; `baselines`, of which the first
        is chance, with an AUC of 0.5 and a detection as rare as its false alarms, and every other has its `auc` and
        the `gain` of ours; `lowest_abnormal` and `highest_normal`, the hardest samples by their position.

    Shapes:
        scores (N,), abnormal (N,), kinds N

    Raises:
        ShapeError: the arguments differ in length.
        DataError: a score that is not finite.
        ConfigError: a level outside 0..1.
    """
    normal_quantile(level)
    scores, abnormal = _check_scores(scores), np.asarray(abnormal, dtype=bool)
    others = {name: _check_scores(one) for name, one in (baselines or {}).items()}
    lengths = {"abnormal": len(abnormal), **{f"baseline '{name}'": len(one) for name, one in others.items()}}
    if kinds is not None:
        lengths["kinds"] = len(kinds)
    if set(lengths.values()) != {len(scores)}:
        raise ShapeError(f"Expected one of each for the {len(scores)} scores; got {lengths}.")
    area = auc_interval(scores, abnormal, level)
    return {
        "n": len(scores),
        "normal": int((~abnormal).sum()),
        "abnormal": int(abnormal.sum()),
        "level": level,
        "auc": area.to_json(),
        "roc": None if math.isnan(area.value) else _roc(scores, abnormal),
        "alarm": None if threshold is None else _alarm(scores, abnormal, threshold, kinds, level),
        "baselines": [
            {"name": "chance", "auc": 0.5, "detection": None if threshold is None else threshold.promise},
            *(
                {
                    "name": name,
                    "auc": auc_interval(one, abnormal, level).to_json(),
                    "gain": auc_gain(scores, one, abnormal, level).to_json(),
                }
                for name, one in others.items()
            ),
        ],
        "lowest_abnormal": _first(scores, abnormal, scores),
        "highest_normal": _first(scores, ~abnormal, -scores),
    }


def auc_gain(scores: np.ndarray, other: np.ndarray, positive: np.ndarray, level: float = 0.95) -> Interval:
    """How much larger the area under the ROC curve is than another's, on the same samples.

    Both see the same samples, so their errors go together, and the difference is surer than the two areas are.

    Shapes:
        scores (N,), other (N,), positive (N,)

    Source: DeLong et al., "Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves",
    1988.
    """
    positive = np.asarray(positive, dtype=bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        return undefined("the area needs both positive and negative samples", m + n)
    (ours, our_negatives), (its, its_negatives) = (_placements(one, positive) for one in (scores, other))
    above, below = ours - its, our_negatives - its_negatives
    value = float(above.mean())
    if min(m, n) < 2:
        return Interval(value, math.nan, math.nan, m + n, "one sample shows no spread, so there is no interval")
    half = normal_quantile(level) * math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    note = "" if half else "no sample differs, so the interval has no width"
    return Interval(value, max(-1.0, value - half), min(1.0, value + half), m + n, note)


def _placements(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of negatives below each positive, and of positives below each negative, ties counting half."""
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])

    def share(of: np.ndarray, among: np.ndarray) -> np.ndarray:
        return (np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")) / (2 * len(among))

    return share(scores[positive], below), share(scores[~positive], above)


def _first(scores: np.ndarray, among: np.ndarray, order: np.ndarray) -> list[dict[str, Any]]:
    first = np.flatnonzero(among)[np.argsort(order[among], kind="stable")[:WORST]]
    return [{"position": int(i), "score": float(scores[i])} for i in first]


def _alarm(
    scores: np.ndarray, abnormal: np.ndarray, threshold: AlarmThreshold, kinds: Sequence[str] | None, level: float
) -> dict[str, Any]:
    alarm = scores > threshold.value
    found, false = int((alarm & abnormal).sum()), int((alarm & ~abnormal).sum())
    section: dict[str, Any] = {
        "threshold": threshold.to_json(),
        "detection": wilson(found, int(abnormal.sum()), level, reason="no abnormal samples").to_json(),
        "false_alarms": wilson(false, int((~abnormal).sum()), level, reason="no normal samples").to_json(),
        "precision": wilson(found, found + false, level, reason="no alarm").to_json(),
    }
    if kinds is not None:
        named = np.asarray(kinds, dtype=str)
        section["by_kind"] = [
            {
                "kind": str(kind),
                "abnormal": bool(side),
                "alarms": wilson(int((alarm & rows).sum()), int(rows.sum()), level).to_json(),
            }
            for side in (True, False)
            for kind in np.unique(named[abnormal == side])
            for rows in [(named == kind) & (abnormal == side)]
        ]
    return section


def _roc(scores: np.ndarray, abnormal: np.ndarray) -> dict[str, list[float | None]]:
    from sklearn.metrics import roc_curve

    false_rate, true_rate, cutoff = roc_curve(abnormal, scores)
    return points({"false_alarms": false_rate, "detection": true_rate, "threshold": cutoff})


def _check_scores(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise ShapeError(f"Anomaly scores must be one number per sample, (N,); got {scores.shape}.")
    if not np.isfinite(scores).all():
        raise DataError(f"Anomaly scores must be finite; sample {int(np.argmin(np.isfinite(scores)))} is not.")
    return scores
