"""Average precision of ranked detections, of all images or of any number of weighted draws of them at once.

Giving every image a weight, the number of times a draw holds it, makes a bootstrap over images a few cumulative sums:
nothing is sorted or matched again. This file knows which detections are right, not boxes, networks or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convlens.metrics.interval import Interval, undefined, wilson
from convlens.metrics.matching import LEFT_OUT, RIGHT, WRONG

RECALLS = np.linspace(0.0, 1.0, 101)
DRAWS = 500
FEWEST_DRAWS = 200  # enough for a standard error
WORK = 30_000_000  # array elements one bootstrap may touch before it draws less often


@dataclass(frozen=True)
class Ranked:
    """The detections of one class, most certain first, and how many objects there are to find.

    Attributes:
        images: the image of each detection. (D,)
        status: RIGHT, WRONG or LEFT_OUT at each IoU threshold. (D, T)
        truths: number of objects in each image. (N,)
    """

    images: np.ndarray
    status: np.ndarray
    truths: np.ndarray


def average_precision(ranked: Ranked, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over 101 levels of recall of the best precision at that recall or beyond; and the recall of everything.

    Both are nan where there is no object to find. Only a right detection raises recall, so precision is needed at
    those alone; wrong detections are summed up between them.

    Args:
        ranked: the detections of one class.
        weights: how often each image counts, a column for each draw.

    Shapes:
        weights (N, B) -> (T, B) each

    Example:
        >>> ranked = Ranked(np.array([0, 0, 1]), np.array([[1], [0], [1]]), np.array([1, 1]))
        >>> ap, recall = average_precision(ranked, np.ones((2, 1)))
        >>> ap.round(4).tolist(), recall.tolist()
        ([[0.835]], [[1.0]])

    Source: the reference code of COCO, pycocotools; Everingham et al., "The PASCAL Visual Object Classes Challenge",
    2010, for the interpolation.
    """
    from scipy.sparse import csr_array

    thresholds, draws = ranked.status.shape[1], weights.shape[1]
    objects = ranked.truths @ weights
    known = objects > 0
    counted = (ranked.status != LEFT_OUT).any(axis=1)
    images, status = ranked.images[counted], ranked.status[counted]
    turns = (status != WRONG).any(axis=1)  # right at some threshold, or left out
    rows = np.flatnonzero(turns)
    before = np.searchsorted(rows, np.flatnonzero(~turns))
    reached = before < len(rows)
    places = before[reached], images[~turns][reached]
    between = csr_array((np.ones(len(places[0])), places), shape=(len(rows), len(weights)))
    own, status = weights[images[rows]], status[rows]
    called = np.cumsum(between @ weights + own, axis=0)
    precision_sum, recall = np.zeros((thresholds, draws)), np.zeros((thresholds, draws))
    for t in range(thresholds):
        right, left_out = status[:, t] == RIGHT, status[:, t] == LEFT_OUT
        if not right.any():
            continue
        found, among = own[right].cumsum(axis=0), called[right]
        if left_out.any():
            among -= np.where(left_out[:, None], own, 0.0).cumsum(axis=0)[right]
        best = np.maximum.accumulate((found / np.maximum(among, 1.0))[::-1], axis=0)[::-1]
        levels = levels_reached(found / np.maximum(objects, 1.0))
        levels[1:] -= levels[:-1]
        precision_sum[t] = np.einsum("jb,jb->b", best, levels)
        recall[t] = found[-1] / np.maximum(objects, 1.0)
    return np.where(known, precision_sum / len(RECALLS), np.nan), np.where(known, recall, np.nan)


def levels_reached(recall: np.ndarray) -> np.ndarray:
    """How many of the 101 levels each recall reaches: `searchsorted(RECALLS, recall, "right")`, but faster.

    Example:
        >>> levels_reached(np.array([0.0, 0.255, 1.0]))
        array([  1.,  26., 101.])
    """
    nearest = np.rint(recall * 100)
    return nearest + (nearest * 0.01 <= recall)


def draw_weights(n: int, elements: int, seed: int = 0) -> np.ndarray:
    """How often each of n images is in each of the bootstrap's draws of n images.

    Args:
        n: number of images.
        elements: array elements a draw will touch; with many, there are fewer draws, never fewer than 200.
        seed: decides the draws.

    Shapes:
        -> (n, B)
    """
    draws = min(DRAWS, max(FEWEST_DRAWS, WORK // max(1, elements)))
    if n == 0:
        return np.zeros((0, draws))
    chosen = np.random.default_rng(seed).integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(chosen.ravel(), minlength=draws * n).reshape(draws, n).T.astype(np.float64)


def defined_mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Mean over what is not nan; nan where nothing is left."""
    count = np.isfinite(values).sum(axis=axis)
    return np.divide(np.nansum(values, axis=axis), count, out=np.full(np.shape(count), np.nan), where=count > 0)


def share_interval(value: float, drawn: np.ndarray, n: int, level: float = 0.95, missing: str = "") -> Interval:
    """Interval of a score between 0 and 1 from its bootstrap draws: Student's t times their standard deviation.

    The sum is made on the arcsine scale, where a share near 0 or 1 spreads as much as one in the middle, and which
    has a place for 0 and 1 themselves. A score that is 0 or 1 in every draw gets Wilson's end for n of n images. On
    simulated detectors and 10 to 100 images, where 95 % were asked for, it held the true average precision in 91 to
    98 of 100 sets; the percentiles of the same draws, which are too narrow for so few, in 81 to 95.

    Args:
        value: the score of all images.
        drawn: the score of each draw, nan where it is undefined.
        n: number of images with something to find.
        level: coverage of the interval.
        missing: why the value is undefined, if it is.

    Shapes:
        drawn (B,)

    Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; F. J. Anscombe, 1948, for the scale.
    """
    if math.isnan(value):
        return undefined(missing, n)
    if n < 2:
        return Interval(value, math.nan, math.nan, n, "one image shows no spread, so there is no interval")
    half, note = _half_width(np.arcsin(np.sqrt(np.clip(drawn, 0.0, 1.0))), n, level)
    centre = np.arcsin(np.sqrt(np.clip(value, 0.0, 1.0)))
    if half < 1e-9:
        if min(value, 1 - value) > 1e-9:
            return Interval(value, value, value, n, "no image differs, so the interval has no width")
        share = wilson(round(value) * n, n, level)
        return Interval(value, min(value, share.low), max(value, share.high), n)
    low, high = (float(np.sin(np.clip(centre + side, 0.0, np.pi / 2)) ** 2) for side in (-half, half))
    return Interval(value, min(value, low), max(value, high), n, note)


def difference_interval(value: float, drawn: np.ndarray, n: int, level: float = 0.95, missing: str = "") -> Interval:
    """Interval of a difference of two such scores on the same images, from the differences on the same draws.

    Shapes:
        drawn (B,)
    """
    if math.isnan(value):
        return undefined(missing, n)
    if n < 2:
        return Interval(value, math.nan, math.nan, n, "one image shows no spread, so there is no interval")
    half, note = _half_width(drawn, n, level)
    note = note if half > 1e-9 else "no image differs, so the interval has no width"
    return Interval(value, max(-1.0, value - half), min(1.0, value + half), n, note)


def _half_width(drawn: np.ndarray, n: int, level: float) -> tuple[float, str]:
    """Student's t times the standard error, and what to say of draws without the class."""
    from scipy.special import stdtrit

    defined = drawn[np.isfinite(drawn)]
    missing = len(drawn) - len(defined)
    note = f"{missing} of {len(drawn)} bootstrap draws were undefined and left out" if missing else ""
    spread = float(defined.std(ddof=1)) if len(defined) > 1 else 0.0
    return float(stdtrit(n - 1, (1 + level) / 2)) * spread * math.sqrt(n / (n - 1)), note
