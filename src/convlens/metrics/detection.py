"""How well objects are found: average precision as COCO counts it, and what one threshold on the score gives.

The image is the unit of chance, because the boxes of one image are not independent samples. Average precision has
intervals from a bootstrap over images (each draw re-weights the images and repeats neither matching nor sorting);
shares and errors at the threshold have jackknife intervals over images. Of detections with equal scores the one that
came first ranks first, as in COCO; a detector that answers few different scores hangs on the order of its images.
This file knows boxes, classes and scores as arrays, not networks or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.average_precision import defined_mean, difference_interval, draw_weights, share_interval
from convlens.metrics.curves import thin
from convlens.metrics.detection_tally import Detections, DetectionTally
from convlens.metrics.interval import Interval, normal_quantile
from convlens.metrics.jackknife import POSITIVE, mean_score, share_of_sums
from convlens.metrics.matching import LEFT_OUT, RIGHT, SIZES

NOTHING = "no true box"


@dataclass(frozen=True)
class ScoreThreshold:
    """The score from which a detection is shown.

    Attributes:
        value: shown where score >= value.
        f1: of all classes together at IoU 0.5, on the images it was chosen on, therefore a little too good.
        n: number of those images.
    """

    value: float
    f1: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote."""
        return cls(float(data["value"]), float(data["f1"]), int(data["n"]))


def choose_threshold(tally: DetectionTally) -> ScoreThreshold:
    """The threshold of best F1 on validation images, all classes together at IoU 0.5; of equals the highest.

    It lies half-way between the lowest score shown and the highest one hidden, so that a rounding in the last digit
    does not change an answer. Where no detection is right every threshold is as bad, and it is 0.5.

    Raises:
        DataError: the images have no true box that counts.

    Example:
        >>> tally, it = DetectionTally(1), np.array([[0, 0, 10, 10]])
        >>> tally.add(it, np.array([0]), np.concatenate([it, it + 50]), np.array([0, 0]), np.array([0.9, 0.3]))
        >>> choose_threshold(tally)
        ScoreThreshold(value=0.6, f1=1.0, n=1)
    """
    objects = int(tally.truths[:, :, 0].sum())
    if objects == 0:
        raise DataError(
            f"A score threshold needs validation images with true boxes; got {tally.n} images without one. "
            "Hold out more images, or set the threshold yourself."
        )
    found = tally.detections()
    status = found.status[:, 0, 0]
    scores, right = found.scores[status != LEFT_OUT], status[status != LEFT_OUT] == RIGHT
    if not right.any():
        return ScoreThreshold(0.5, 0.0, tally.n)
    last = _last_of_equals(scores)
    f1 = 2 * right.cumsum()[last] / (last + 1 + objects)
    best = int(np.argmax(f1))
    above = float(scores[last[best]])
    below = float(scores[last[best] + 1]) if best + 1 < len(last) else above
    middle = (above + below) / 2
    return ScoreThreshold(middle if middle > below else above, float(f1[best]), tally.n)


def detection_report(
    tally: DetectionTally,
    names: Sequence[str],
    *,
    threshold: float,
    level: float = 0.95,
    baseline: DetectionTally | None = None,
    mean_count: float | None = None,
) -> dict[str, Any]:
    """Everything said about detected boxes on one set of images, as plain JSON values.

    Args:
        tally: the true boxes and the detections.
        names: of the classes, in the order of their numbers.
        threshold: detections from this score on are shown, see `choose_threshold`.
        level: coverage of every interval.
        baseline: a trivial detector's tally on the same images in the same order, see `centre_box`.
        mean_count: mean number of objects in a training image.

    Returns:
        `n` (images), `images_with_objects`, `boxes` (true ones that count), `ignored_boxes`, `detections`,
        `dropped_detections` (beyond `max_detections`), `max_detections`, `level`, `threshold`, `names`; the intervals
        (see `Interval.to_json`) `map50`, `map` (means over classes of the average precision at IoU 0.5, and over 0.5
        to 0.95) and `ar` (mean recall over the same of all detections); at the threshold and IoU 0.5, all classes
        together, `precision`, `recall` and `f1`; `per_class`, each with `name`, `support` (true boxes), `images`,
        `shown`, `ap50`, `ap`, `precision`, `recall`, `f1` and `curve` (at most 200 points at IoU 0.5, or None);
        `by_size`, each with `size`, `boxes`, `map50`, `map` and `ar`; `counts`, with the error of the number of
        objects per image, shown minus true (`mae`, `bias`), and its `baseline`; `baseline`, its `map50` and `map` and
        the `gain` of ours, or None.

    Raises:
        ShapeError: there are other than one name per class.
        ConfigError: a level outside 0..1, a threshold or mean count that is no number.
        DataError: the baseline was tallied on other images.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, arXiv:1405.0312, and its reference code;
    B. Efron, 1979, for the bootstrap.
    Differs: the size of an object is the area of its box, not of its mask.
    """
    normal_quantile(level)
    k = tally.classes
    if len(names) != k:
        raise ShapeError(f"Expected a name for each of the {k} classes; got {len(names)}.")
    if not math.isfinite(threshold):
        raise ConfigError(f"The score threshold must be a finite number; got {threshold}.")
    if mean_count is not None and not 0 <= mean_count < math.inf:
        raise ConfigError(f"The mean number of objects must be a number of at least 0; got {mean_count}.")
    found, truths = tally.detections(), tally.truths
    if baseline is not None and not np.array_equal(baseline.truths, truths):
        raise DataError(
            "The baseline must be tallied on the same images in the same order as the network; got "
            f"{baseline.n} images in {baseline.classes} classes for {tally.n} in {k}, or other true boxes."
        )
    work = tally.n + len(found.scores) + int((found.status == RIGHT).sum())
    weights = np.hstack([np.ones((tally.n, 1)), draw_weights(tally.n, work)])  # the first column is what was seen
    precision, recall = tally.precisions(weights)
    holding = (truths > 0).sum(axis=0)  # images with something to find, of each class and size (K, R)
    with_any = (truths.sum(axis=1) > 0).sum(axis=0)
    ours = _means(precision, recall, 0)
    status = found.status[:, 0, 0]
    shown = (found.scores >= threshold) & (status != LEFT_OUT)
    right, called = (_per_image(found, rows, truths.shape) for rows in (shown & (status == RIGHT), shown))
    true = truths[:, :, 0]
    return {
        "n": tally.n,
        "images_with_objects": int(with_any[0]),
        "boxes": int(true.sum()),
        "ignored_boxes": int(sum(image.ignore.sum() for image in tally.images)),
        "detections": len(found.scores),
        "dropped_detections": tally.dropped,
        "max_detections": tally.max_detections,
        "level": level,
        "threshold": float(threshold),
        "names": list(names),
        **_overall(ours, holding[:, 0], int(with_any[0]), level),
        **_at_threshold(right.sum(1), called.sum(1), true.sum(1), level),
        "per_class": [
            {
                "name": name,
                "support": int(true[:, i].sum()),
                "images": int(holding[i, 0]),
                "shown": int(called[:, i].sum()),
                "ap50": _seen(precision[i, 0, 0], int(holding[i, 0]), level).to_json(),
                "ap": _seen(precision[i, 0].mean(axis=0), int(holding[i, 0]), level).to_json(),
                **_at_threshold(right[:, i], called[:, i], true[:, i], level),
                "curve": _curve(found, i, int(true[:, i].sum())),
            }
            for i, name in enumerate(names)
        ],
        "by_size": [
            {
                "size": size,
                "boxes": int(truths[:, :, r].sum()),
                **_overall(_means(precision, recall, r), holding[:, r], int(with_any[r]), level),
            }
            for r, size in enumerate(SIZES)
            if r
        ],
        "counts": _counts(called.sum(axis=1), true.sum(axis=1), mean_count, level),
        "baseline": None if baseline is None else _beside(ours, baseline, weights, int(with_any[0]), level),
    }


def _means(precision: np.ndarray, recall: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Means over the classes with something to find, of what was seen and of each draw. (B,) each"""
    return {
        "map50": defined_mean(precision[:, size, 0], 0),
        "map": defined_mean(precision[:, size], (0, 1)),
        "ar": defined_mean(recall[:, size], (0, 1)),
    }


def _seen(values: np.ndarray, n: int, level: float) -> Interval:
    return share_interval(float(values[0]), values[1:], n, level, NOTHING)


def _overall(means: Mapping[str, np.ndarray], holding: np.ndarray, n: int, level: float) -> dict[str, Any]:
    occur, k = int((holding > 0).sum()), len(holding)
    note = f"mean over {occur} of {k} classes; the others have {NOTHING}" if 0 < occur < k else ""
    return {key: _seen(values, n, level).noted(note).to_json() for key, values in means.items()}


def _beside(
    ours: Mapping[str, np.ndarray], baseline: DetectionTally, weights: np.ndarray, n: int, level: float
) -> dict[str, Any]:
    """The baseline's scores, and by how much ours are higher on the same images and the same draws."""
    its = _means(*baseline.precisions(weights, sizes=1), 0)
    gain = {key: ours[key] - its[key] for key in ("map50", "map")}
    return {
        **{key: _seen(its[key], n, level).to_json() for key in gain},
        "gain": {
            key: difference_interval(float(one[0]), one[1:], n, level, NOTHING).to_json() for key, one in gain.items()
        },
    }


def _per_image(found: Detections, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How many of these detections each image has of each class. (N, K)"""
    counts = np.zeros(shape[:2], dtype=np.int64)
    np.add.at(counts, (found.images[rows], found.classes[rows]), 1)
    return counts


def _at_threshold(right: np.ndarray, called: np.ndarray, true: np.ndarray, level: float) -> dict[str, Any]:
    """Precision, recall and F1 of counts per image (N,)."""
    return {
        "precision": share_of_sums(right, called, level, missing="no detection from the threshold on").to_json(),
        "recall": share_of_sums(right, true, level, missing=NOTHING).to_json(),
        "f1": share_of_sums(2 * right, called + true, level, missing="no true box and no detection").to_json(),
    }


def _counts(shown: np.ndarray, true: np.ndarray, mean_count: float | None, level: float) -> dict[str, Any]:
    off = np.abs(shown - true).astype(np.float64)
    section = {
        "mae": mean_score(off, level, POSITIVE).to_json(),
        "bias": mean_score(shown - true, level).to_json(),
    }
    if mean_count is None:
        return {**section, "baseline": {"mean": None, "note": "the mean number in training images was not given"}}
    simple = np.abs(mean_count - true)
    return {
        **section,
        "baseline": {
            "mean": float(mean_count),
            "mae": mean_score(simple, level, POSITIVE).to_json(),
            "mae_gain": mean_score(simple - off, level).to_json(),
        },
    }


def _curve(found: Detections, label: int, objects: int) -> dict[str, list[float]] | None:
    """Precision and recall at IoU 0.5 for falling thresholds; where the recall rises, and at both ends."""
    mine = (found.classes == label) & (found.status[:, 0, 0] != LEFT_OUT)
    if objects == 0 or not mine.any():
        return None
    scores, right = found.scores[mine], (found.status[mine, 0, 0] == RIGHT).cumsum()
    last = _last_of_equals(scores)
    rises = np.diff(right[last], prepend=0) > 0
    rises[[0, -1]] = True
    last = last[rises]
    last = last[thin(len(last))]
    return {
        "score": scores[last].tolist(),
        "precision": (right[last] / (last + 1)).tolist(),
        "recall": (right[last] / objects).tolist(),
    }


def _last_of_equals(falling: np.ndarray) -> np.ndarray:
    """The last position of each group of equal scores."""
    return np.flatnonzero(np.diff(falling, append=-np.inf))
