"""A score with its uncertainty: the value, an interval, and how many samples stand behind it.

Sampling design, the same for every interval here: the evaluated samples are an independent random draw from what the
network will meet, so their number is fixed and the size of each class is not (the rows of a confusion matrix are free
to vary between draws). A proportion is judged given its own denominator (recall given the samples of the class,
precision given the predictions of it). Samples that depend on each other, such as frames of one film, make every
interval here too narrow. This file knows arrays and counts, not classes, tasks or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError

DRAWS = 1000
FEWEST_DRAWS = 200
WORK = 50_000_000  # array elements one bootstrap may touch before it draws less often
CHUNK = 4_000_000  # array elements held at once

Statistic = Callable[..., Any]


@dataclass(frozen=True)
class Interval:
    """One number with its confidence interval; an undefined number is nan, and `note` says why.

    Attributes:
        value: the score itself, always inside the interval.
        low: lower end.
        high: upper end.
        n: how many samples the value is a ratio or a mean of.
        note: why the value is undefined, or what a reader must know about it; empty otherwise.

    Example:
        >>> print(wilson(9400, 10000))
        0.940 [0.935, 0.944] n=10000
        >>> f"{wilson(9400, 10000):.1%}"
        '94.0% [93.5%, 94.4%] n=10000'
        >>> print(undefined("never predicted"))
        undefined (never predicted) n=0
    """

    value: float
    low: float
    high: float
    n: int
    note: str = ""

    def __format__(self, spec: str) -> str:
        if math.isnan(self.value):
            return f"undefined ({self.note}) n={self.n}"
        spec = spec or ".3f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}] n={self.n}"

    def __str__(self) -> str:
        return format(self)

    def noted(self, note: str) -> Self:
        """The same score with a note put before its own."""
        return replace(self, note="; ".join(text for text in (note, self.note) if text))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: an undefined number is null, and `note` is there only when it says something."""
        value, low, high = (None if math.isnan(number) else number for number in (self.value, self.low, self.high))
        stored = {"value": value, "low": low, "high": high, "n": self.n}
        return {**stored, "note": self.note} if self.note else stored

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote."""
        value, low, high = (math.nan if data[key] is None else float(data[key]) for key in ("value", "low", "high"))
        return cls(value, low, high, int(data["n"]), str(data.get("note", "")))


def undefined(reason: str, n: int = 0) -> Interval:
    """A score that does not exist, such as 0/0, with the reason."""
    return Interval(math.nan, math.nan, math.nan, n, reason)


def normal_quantile(level: float) -> float:
    """Half-width of a two-sided normal interval in standard errors: 1.96 for level 0.95.

    Raises:
        ConfigError: the level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ConfigError(f"The level of an interval must lie between 0 and 1, such as 0.95; got {level}.")
    return NormalDist().inv_cdf((1.0 + level) / 2.0)


def wilson_bounds(
    successes: np.ndarray | float, n: np.ndarray | float, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of Wilson's score interval for many proportions at once; n must be positive.

    Source: E. B. Wilson, 1927; recommended by Brown, Cai and DasGupta, 2001.
    """
    z = normal_quantile(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = np.where(share <= 0.0, 0.0, np.clip(centre - half, 0.0, share))
    high = np.where(share >= 1.0, 1.0, np.clip(centre + half, share, 1.0))
    return low, high


def wilson(successes: float, n: int, level: float = 0.95, *, reason: str = "no samples") -> Interval:
    """Wilson's score interval of a proportion; n = 0 gives an undefined value with `reason`.

    Raises:
        DataError: successes do not lie between 0 and n.
    """
    if not 0 <= successes <= n:
        raise DataError(f"A proportion needs 0 <= successes <= n; got {successes} of {n}.")
    if n == 0:
        return undefined(reason)
    low, high = wilson_bounds(successes, n, level)
    return Interval(float(successes / n), float(low), float(high), int(n))


def f1_interval(true_positive: int, false_positive: int, false_negative: int, level: float = 0.95) -> Interval:
    """F1 of one class with an interval that stays honest at 0 and at 1.

    F1 = 2J / (1 + J) where J = TP / (TP + FP + FN) is a plain proportion of the samples that are of the class or were
    called it, so Wilson's interval of J is carried over; `n` is that number of samples.

    Example:
        >>> print(f1_interval(40, 10, 20))
        0.727 [0.625, 0.810] n=70
    """
    union = true_positive + false_positive + false_negative
    jaccard = wilson(true_positive, union, level, reason="no samples of this class, and it was never predicted")
    ends = (2 * x / (1 + x) for x in (jaccard.value, jaccard.low, jaccard.high))
    return Interval(*ends, n=union, note=jaccard.note)


def auc_interval(scores: np.ndarray, positive: np.ndarray, level: float = 0.95) -> Interval:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    The interval is the wider, at each end, of DeLong's (right when the two groups spread differently) and Newcombe's
    score-type interval (right when the area is near 1, where DeLong's shrinks to nothing).

    Args:
        scores: larger means more likely positive.
        positive: true where the sample is positive.
        level: coverage of the interval.

    Shapes:
        scores (N,), positive (N,)

    Source: DeLong et al., 1988; R. G. Newcombe, Statistics in Medicine 25, 2006, method 5.
    """
    positive = np.asarray(positive, dtype=bool)
    above, below = np.sort(scores[positive]), scores[~positive]
    m, n = len(above), len(below)
    if m == 0 or n == 0:
        return undefined("the area needs both positive and negative samples", m + n)
    left, right = np.searchsorted(above, below, "left"), np.searchsorted(above, below, "right")
    of_negative = 1.0 - (left + right) / (2 * m)  # share of positives above each negative
    smaller = np.bincount(right, minlength=m + 1).cumsum()[:m]  # negatives below each positive
    not_larger = np.bincount(left, minlength=m + 1).cumsum()[:m]
    of_positive = (smaller + not_larger) / (2 * n)
    area = float(of_positive.mean())
    z = normal_quantile(level)
    spread = z * math.sqrt(
        of_positive.var(ddof=min(1, m - 1)) / m + of_negative.var(ddof=min(1, n - 1)) / n,
    )
    low, high = _newcombe(area, m, n, z), 1.0 - _newcombe(1.0 - area, m, n, z)
    return Interval(area, max(0.0, min(low, area - spread)), min(1.0, max(high, area + spread)), m + n)


def _newcombe(area: float, m: int, n: int, z: float) -> float:
    """Smallest area whose z standard errors (Hanley and McNeil's, with equal exponents) reach up to the seen one."""
    larger = (m + n) / 2 - 1
    low, high = 0.0, area
    for _ in range(60):
        t = (low + high) / 2
        variance = t * (1 - t) * (1 + larger * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)
        low, high = (t, high) if (area - t) ** 2 > z * z * variance else (low, t)
    return low


def mean_interval(parts: Sequence[Interval], n: int) -> Interval:
    """Mean of correlated scores, the undefined ones left out.

    The mean of their ends holds however the scores depend on each other; it is wide where they do not.
    """
    defined = [part for part in parts if not math.isnan(part.value)]
    if not defined:
        return undefined("undefined for every class", n)
    ends = (float(np.mean([getattr(part, end) for part in defined])) for end in ("value", "low", "high"))
    missing = len(parts) - len(defined)
    return Interval(*ends, n=n, note=f"mean over {len(defined)} of {len(parts)} classes" if missing else "")


def bootstrap_many(
    matrix: np.ndarray,
    statistics: Mapping[str, Statistic],
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Percentile bootstrap of several statistics of one confusion matrix, all on the same draws.

    Each draw is a multinomial sample of N over the cells. One imaginary mistake, spread evenly over the classes that
    occur, is added to the cells to draw from (not to the value): without it a matrix with no mistakes would claim an
    interval of no width. Draws whose statistic is undefined (nan) are left out, and `note` counts them. Large
    matrices are drawn less often, never fewer than 200 times.

    Args:
        matrix: counts, rows are the truth.
        statistics: each maps matrices (..., K, K) to numbers (...), nan where undefined.
        level: coverage of the intervals.
        seed: decides the draws.
        draws: number of draws.

    Shapes:
        matrix (K, K)

    Raises:
        ShapeError: the matrix is not square.
        ConfigError: the level is not between 0 and 1.
    """
    normal_quantile(level)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(f"A confusion matrix must be square, (K, K); got shape {matrix.shape}.")
    n, k = int(matrix.sum()), len(matrix)
    if n == 0:
        return dict.fromkeys(statistics, undefined("no samples"))
    weights = (matrix + _one_mistake(matrix)).ravel()
    cells = np.flatnonzero(weights)
    chances = weights[cells] / weights.sum()
    generator = np.random.default_rng(seed)
    draws, chunk = _affordable(draws, k * k), max(1, CHUNK // (k * k))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        matrices = np.zeros((size, k * k), dtype=np.int64)
        matrices[:, cells] = generator.multinomial(n, chances, size=size)
        for name, statistic in statistics.items():
            drawn[name].append(np.asarray(statistic(matrices.reshape(size, k, k))))
    return {
        name: _percentiles(float(statistic(matrix)), np.concatenate(drawn[name]), n, level)
        for name, statistic in statistics.items()
    }


def bootstrap_confusion(
    matrix: np.ndarray, statistic: Statistic, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """Percentile bootstrap of one statistic of a confusion matrix; see `bootstrap_many`.

    Example:
        >>> share = lambda m: np.trace(m, axis1=-2, axis2=-1) / m.sum((-2, -1))
        >>> interval = bootstrap_confusion(np.array([[5, 0], [0, 5]]), share)
        >>> interval.value, interval.low < 0.9, interval.n
        (1.0, True, 10)
    """
    return bootstrap_many(matrix, {"it": statistic}, level, seed, draws)["it"]


def _one_mistake(matrix: np.ndarray) -> np.ndarray:
    """One imaginary mistake: an equal part in each row that has samples, moved on to the next class that occurs."""
    k = len(matrix)
    rows = np.flatnonzero(matrix.sum(axis=1))
    occur = np.flatnonzero(matrix.sum(axis=1) + matrix.sum(axis=0))
    following = np.roll(occur, -1) if len(occur) > 1 else (occur + 1) % k
    mistake = np.zeros((k, k))
    mistake[rows, following[np.searchsorted(occur, rows)]] = 1.0 / len(rows)
    return mistake


def bootstrap(
    values: Sequence[np.ndarray], statistic: Statistic, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """Percentile bootstrap over samples: the arrays are resampled together along their first axis.

    Args:
        values: arrays of the same length N.
        statistic: called with the resampled arrays, returns one number, nan where undefined.
        level: coverage of the interval.
        seed: decides the draws.
        draws: number of draws; more than 50,000 samples are drawn less often, never fewer than 200 times.

    Raises:
        ShapeError: the arrays differ in length.
        ConfigError: the level is not between 0 and 1.

    Example:
        >>> losses = np.array([1.0, 2.0, 3.0, 4.0])
        >>> interval = bootstrap([losses], np.mean)
        >>> interval.value, 1.0 <= interval.low < 2.5 < interval.high <= 4.0
        (2.5, True)
    """
    normal_quantile(level)
    resamples = list(bootstrap_draws(values, statistic, seed, draws))
    if not resamples:
        return undefined("no samples")
    return _percentiles(float(statistic(*values)), np.array(resamples), len(values[0]), level)


def bootstrap_draws(
    values: Sequence[np.ndarray], statistic: Statistic, seed: int = 0, draws: int = DRAWS
) -> list[float]:
    """The statistic of each resample, for intervals other than percentiles; empty when there are no samples.

    Raises:
        ShapeError: the arrays differ in length.
    """
    lengths = [len(value) for value in values]
    if len(set(lengths)) != 1:
        raise ShapeError(f"A bootstrap resamples arrays of one length together; got lengths {lengths}.")
    n = lengths[0]
    if n == 0:
        return []
    generator = np.random.default_rng(seed)
    chosen = (generator.integers(n, size=n) for _ in range(_affordable(draws, n)))
    return [float(statistic(*(value[rows] for value in values))) for rows in chosen]


def _affordable(draws: int, elements: int) -> int:
    return min(draws, max(FEWEST_DRAWS, WORK // max(1, elements)))


def _percentiles(value: float, drawn: np.ndarray, n: int, level: float) -> Interval:
    if math.isnan(value):
        return undefined("undefined for these samples", n)
    defined = drawn[np.isfinite(drawn)]
    missing = len(drawn) - len(defined)
    note = f"{missing} of {len(drawn)} bootstrap draws were undefined and left out" if missing else ""
    if len(defined) == 0:
        return Interval(value, math.nan, math.nan, n, note)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, min(value, float(low)), max(value, float(high)), n, note)
