"""How good predicted label maps are, pixel by pixel and along the borders, with the image as the unit of chance.

Every image keeps its own confusion matrix of pixels. Their sum gives the scores, the same whatever the batches; each
left out in turn gives the intervals, because the pixels of one image are not independent samples. Every score stands
beside the map that is all background and, where the caller tallies one, beside a threshold on the grey values (Otsu).
This file knows label maps and grey images as arrays, not networks or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.classification import accuracy, confusion, macro_f1
from convlens.metrics.interval import Interval, normal_quantile, undefined
from convlens.metrics.regression import SHARE, jackknife_interval, mean_score

WORST = 5
CHUNK = 4_000_000  # matrix cells held at once

Statistic = Callable[[np.ndarray], np.ndarray]


class PixelTally:
    """Counts of a set of images: a confusion matrix of pixels and the boundary F1 of each, in the order they came.

    Args:
        classes: number of classes K.
        ignore_index: label in the true maps of pixels that do not count, whatever was predicted there.
        tolerance_px: how far apart two boundaries may lie and still agree; None leaves boundaries out (they cost more
            than all the rest).

    Attributes:
        ignored: number of pixels left out.

    Example:
        >>> tally = PixelTally(2, ignore_index=255)
        >>> tally.add(np.array([[0, 1], [1, 255]]), np.array([[0, 1], [0, 0]]))
        >>> tally.total.tolist(), tally.ignored
        ([[1, 0], [1, 1]], 1)
    """

    def __init__(self, classes: int, *, ignore_index: int | None = None, tolerance_px: float | None = 2.0) -> None:
        if ignore_index is not None and 0 <= ignore_index < classes:
            raise ConfigError(
                f"The ignore index must not be one of the classes 0..{classes - 1}; got {ignore_index}. "
                "Use 255 or -1, or leave it out."
            )
        if tolerance_px is not None and not tolerance_px >= 0:
            raise ConfigError(f"The tolerance of boundaries must be at least 0 px; got {tolerance_px}.")
        self.classes, self.ignore_index, self.tolerance_px = classes, ignore_index, tolerance_px
        self.ignored = 0
        self._matrices: list[np.ndarray] = []
        self._boundaries: list[np.ndarray] = []

    @property
    def n(self) -> int:
        """Images so far."""
        return len(self._matrices)

    @property
    def matrices(self) -> np.ndarray:
        """One matrix of pixel counts for each image, rows are the truth. (N, K, K)"""
        return np.array(self._matrices, dtype=np.int64).reshape(-1, self.classes, self.classes)

    @property
    def boundaries(self) -> np.ndarray:
        """Boundary F1 of each class in each image, nan where neither map has a boundary of it. (N, K)"""
        return np.array(self._boundaries, dtype=np.float64).reshape(-1, self.classes)

    @property
    def total(self) -> np.ndarray:
        """All pixels in one matrix. (K, K)"""
        return self.matrices.sum(axis=0)

    def add(self, true: np.ndarray, predicted: np.ndarray) -> None:
        """Count one image; images may differ in size.

        Shapes:
            true and predicted (H, W), of labels

        Raises:
            ShapeError: the two are not both (H, W).
            DataError: a label that is not a class (the ignore index is none in a predicted map).
        """
        true, predicted = np.asarray(true), np.asarray(predicted)
        if true.ndim != 2 or true.shape != predicted.shape:
            raise ShapeError(
                f"A true and a predicted label map must both be (H, W); got {true.shape} and {predicted.shape}."
            )
        valid = np.full(true.shape, True) if self.ignore_index is None else true != self.ignore_index
        matrix = confusion(true[valid], predicted[valid], self.classes)
        self.ignored += int((~valid).sum())
        self._matrices.append(matrix)
        if self.tolerance_px is not None:
            scores = np.full(self.classes, np.nan)
            for k in np.flatnonzero(matrix.sum(0) + matrix.sum(1)):
                scores[k] = boundary_f1(true == k, predicted == k, self.tolerance_px, valid)
            self._boundaries.append(scores)

    def merge(self, other: PixelTally) -> None:
        """Add another's images behind these, such as another device's.

        Raises:
            ShapeError: the two count differently.
        """
        mine, its = ((one.classes, one.ignore_index, one.tolerance_px) for one in (self, other))
        if mine != its:
            raise ShapeError(
                f"Only tallies of the same classes, ignore index and tolerance can be merged; got {mine} and {its}."
            )
        self._matrices += other._matrices
        self._boundaries += other._boundaries
        self.ignored += other.ignored

    def scores(self) -> dict[str, float]:
        """Pixel accuracy, mean IoU and mean Dice without intervals, for each epoch; nan where undefined."""
        total = self.total
        named = {"pixel_accuracy": accuracy, "mean_iou": mean_iou, "mean_dice": mean_dice}
        return {name: float(statistic(total)) for name, statistic in named.items()}


# Scores of confusion matrices (..., K, K) -> (...), nan where undefined.


def ious(matrix: np.ndarray) -> np.ndarray:
    """TP / (TP + FP + FN) of each class: of all pixels that are it or were called it, the share that is both.

    Shapes:
        (..., K, K) -> (..., K)

    Example:
        >>> ious(np.array([[2, 1], [1, 0]])).tolist()
        [0.5, 0.0]

    Source: P. Jaccard, 1901; Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010.
    """
    both = np.diagonal(matrix, axis1=-2, axis2=-1)
    either = matrix.sum(-1) + matrix.sum(-2) - both
    return np.divide(both, either, out=np.full(np.shape(either), np.nan), where=either > 0)


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Mean IoU of the classes that are in a true map or were predicted."""
    return _defined_mean(ious(matrix))


mean_dice: Statistic = macro_f1  # the Dice coefficient of a class is the F1 of its pixels


def foreground_dice(matrix: np.ndarray, background: int = 0) -> np.ndarray:
    """Dice coefficient of everything that is not background, whichever class it was called.

    Source: L. R. Dice, 1945.
    """
    true, called = matrix[..., background, :].sum(-1), matrix[..., :, background].sum(-1)  # background, each
    both = matrix[..., background, background]
    right, wrong = matrix.sum((-2, -1)) - true - called + both, true + called - 2 * both
    return np.divide(2 * right, 2 * right + wrong, out=np.full(np.shape(wrong), np.nan), where=right + wrong > 0)


def boundary_f1(
    true: np.ndarray, predicted: np.ndarray, tolerance_px: float = 2.0, valid: np.ndarray | None = None
) -> float:
    """How well the outline of a region was found: F1 of boundary pixels that have a partner within the tolerance.

    Boundary pixels belong to the region and touch, at a side, a pixel that does not; the border of the image and the
    border of ignored pixels are no boundary. Precision is the share of predicted boundary pixels with a true one at a
    Euclidean distance of at most `tolerance_px`, recall the share of true ones with a predicted one. It is 0 where
    only one of the two has a boundary, and nan where neither has.

    Shapes:
        true, predicted and valid (H, W), of booleans

    Example:
        >>> line = np.zeros((4, 9), dtype=bool)
        >>> true, predicted = line.copy(), line.copy()
        >>> true[:, :3], predicted[:, :6] = True, True
        >>> boundary_f1(true, predicted, 2.0), boundary_f1(true, predicted, 3.0)
        (0.0, 1.0)

    Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
    Differs: the tolerance is in pixels, not a share of the image's diagonal.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    valid = np.ones(np.shape(true), dtype=bool) if valid is None else valid
    ours, theirs = (r & valid & np.logical_not(binary_erosion(r | ~valid, border_value=1)) for r in (predicted, true))
    if not ours.any() or not theirs.any():
        return 0.0 if ours.any() or theirs.any() else float("nan")
    far_from_theirs, far_from_ours = (np.asarray(distance_transform_edt(~outline)) for outline in (theirs, ours))
    precision = float((far_from_theirs[ours] <= tolerance_px).mean())
    recall = float((far_from_ours[theirs] <= tolerance_px).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def segmentation_report(
    tally: PixelTally,
    classes: Sequence[str],
    *,
    background: int | None = 0,
    baselines: Mapping[str, PixelTally] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Everything said about predicted label maps on one set of images, as plain JSON values.

    Args:
        tally: the counts.
        classes: names, in the order of the labels.
        background: the class that is no object; None where every class is one.
        baselines: tallies of other methods on the same images in the same order, by name. One of two classes beside
            ours of more says only what is foreground (label 1).
        level: coverage of every interval.

    Returns:
        `n` (images), `pixels`, `ignored_pixels`, `ignored_images`, `level`, `classes`, `background`, `tolerance_px`;
        the intervals (see `Interval.to_json`) `pixel_accuracy`, `mean_iou`, `mean_dice`, `foreground_dice` (all images
        together), `image_dice` (mean over the images of the foreground's), `boundary_f1` (mean over the images of the
        mean over their classes, background left out); `per_class`; `confusion`; `baselines`, each with its own scores
        and a `gain` of ours over it; `worst`, the images with the lowest mean IoU by their position.

    Raises:
        ShapeError: there are other than one name per class.
        DataError: a baseline was tallied on other images.
        ConfigError: the background is no class, or a level outside 0..1.
    """
    normal_quantile(level)
    k = tally.classes
    if len(classes) != k:
        raise ShapeError(f"Expected a name for each of the {k} classes; got {len(classes)}.")
    if background is not None and not 0 <= background < k:
        raise ConfigError(f"The background must be one of the classes 0..{k - 1}, or None; got {background}.")
    counted = np.flatnonzero(tally.matrices.sum((1, 2)))  # an image may be ignored as a whole
    matrices, n = tally.matrices[counted], len(counted)
    report: dict[str, Any] = {
        "n": n,
        "pixels": int(matrices.sum()),
        "ignored_pixels": tally.ignored,
        "ignored_images": tally.n - n,
        "level": level,
        "classes": list(classes),
        "background": None if background is None else classes[background],
        "tolerance_px": tally.tolerance_px,
    }
    report.update({name: one.to_json() for name, one in _scores(matrices, background, level).items()})
    report["per_class"] = [_class(matrices, i, name, level) for i, name in enumerate(classes)]
    along = _along(tally, background)[counted]
    report["boundary_f1"] = undefined("boundaries were not compared", n).to_json()
    if tally.tolerance_px is not None:
        report["boundary_f1"] = mean_score(along, level, SHARE, missing="no boundary").to_json()
        for row, scores in zip(report["per_class"], tally.boundaries[counted].T, strict=True):
            row["boundary_f1"] = mean_score(scores, level, SHARE, missing="no boundary").to_json()
    report["confusion"] = tally.total.tolist()
    report["baselines"] = []
    if background is not None:
        constant = np.zeros_like(matrices)
        constant[:, :, background] = matrices.sum(axis=2)
        row = _beside(matrices, constant, background, level)
        if row["foreground_dice"]["value"] == 0:  # by its nature, not by chance
            row["foreground_dice"]["high"] = 0.0
        report["baselines"].append({"name": "all background", **row})
    for name, other in (baselines or {}).items():
        row = _beside(matrices, _others(tally, other, name, background)[counted], background, level)
        if other.classes == k and other.tolerance_px == tally.tolerance_px is not None:
            its = _along(other, background)[counted]
            row["boundary_f1"] = mean_score(its, level, SHARE, missing="no boundary").to_json()
            row["gain"]["boundary_f1"] = mean_score(along - its, level, missing="no boundary").to_json()
        report["baselines"].append({"name": name, **row})
    images = mean_iou(matrices)
    lowest = np.argsort(images, kind="stable")[:WORST]
    report["worst"] = [{"position": int(counted[i]), "mean_iou": float(images[i])} for i in lowest]
    return report


def otsu_threshold(grey: np.ndarray) -> float | None:
    """The grey value that parts an image into the two most different halves; None where all its pixels are alike.

    Among all thresholds the one with the largest variance between the two groups, found exactly (no histogram bins).
    Half-way between the two values it parts, so that `grey > threshold` does not hang on a rounding.

    Shapes:
        any

    Example:
        >>> otsu_threshold(np.array([[1, 2, 2], [9, 8, 1]]))
        5.0

    Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    values, counts = np.unique(np.asarray(grey, dtype=np.float64), return_counts=True)
    if len(values) < 2:
        return None
    below, sums = counts.cumsum(), (counts * values).cumsum()
    above = below[-1] - below[:-1]
    distance = sums[:-1] / below[:-1] - (sums[-1] - sums[:-1]) / above
    best = int(np.argmax(below[:-1] * above.astype(np.float64) * distance**2))
    return float((values[best] + values[best + 1]) / 2)


def otsu_map(grey: np.ndarray, *, bright: bool) -> np.ndarray:
    """A label map without learning: 1 on the brighter (or darker) side of Otsu's threshold, 0 elsewhere.

    Shapes:
        (H, W) -> (H, W)
    """
    threshold = otsu_threshold(grey)
    objects = False if threshold is None else (np.asarray(grey) > threshold) == bright
    return np.full(np.shape(grey), objects, dtype=np.int64)


def otsu_polarity(
    images: Iterable[tuple[np.ndarray, np.ndarray]], background: int = 0, ignore_index: int | None = None
) -> bool:
    """Whether the objects are the brighter side, as `otsu_map` takes it: the better foreground Dice on training images.

    Args:
        images: pairs of a grey image and its true map.
        background: the class that is no object.
        ignore_index: label in the true maps of pixels that do not count.

    Raises:
        ShapeError: an image is not (H, W), or its map differs in shape.
    """
    bright, dark = (PixelTally(2, ignore_index=-1, tolerance_px=None) for _ in range(2))
    for grey, true in images:
        truth = foreground_map(true, background, ignore_index)
        bright.add(truth, otsu_map(grey, bright=True))
        dark.add(truth, otsu_map(grey, bright=False))
    return bool(np.nan_to_num(foreground_dice(bright.total)) >= np.nan_to_num(foreground_dice(dark.total)))


def foreground_map(true: np.ndarray, background: int = 0, ignore_index: int | None = None) -> np.ndarray:
    """A true map of two classes, 1 for every object; ignored pixels become -1.

    Example:
        >>> foreground_map(np.array([[0, 3], [2, 255]]), ignore_index=255).tolist()
        [[0, 1], [1, -1]]
    """
    true = np.asarray(true)
    truth = (true != background).astype(np.int64)
    return truth if ignore_index is None else np.where(true == ignore_index, -1, truth)


def _defined_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined."""
    count = np.isfinite(values).sum(-1)
    return np.divide(np.nansum(values, axis=-1), count, out=np.full(np.shape(count), np.nan), where=count > 0)


def _along(tally: PixelTally, background: int | None) -> np.ndarray:
    """Mean boundary F1 of the classes that are objects, in each image. (N,)"""
    if tally.tolerance_px is None:
        return np.full(tally.n, np.nan)
    return _defined_mean(tally.boundaries if background is None else np.delete(tally.boundaries, background, axis=1))


def _left_out(matrices: np.ndarray, statistic: Statistic) -> np.ndarray:
    """The statistic of all images but the first, of all but the second, ... (N,)"""
    total, size = matrices.sum(axis=0), max(1, CHUNK // max(1, matrices[:1].size))
    parts = [statistic(total - matrices[i : i + size]) for i in range(0, len(matrices), size)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _score(matrices: np.ndarray, statistic: Statistic, level: float, missing: str = "no class") -> Interval:
    value = float(statistic(matrices.sum(axis=0)))
    if len(matrices) and np.isnan(value):
        return undefined(f"{missing} in any of the {len(matrices)} images", len(matrices))
    return jackknife_interval(value, _left_out(matrices, statistic), level, SHARE)


def _scores(matrices: np.ndarray, background: int | None, level: float) -> dict[str, Interval]:
    named = {"pixel_accuracy": accuracy, "mean_iou": mean_iou, "mean_dice": mean_dice}
    found = {name: _score(matrices, statistic, level) for name, statistic in named.items()}
    k, occur = matrices.shape[-1], int(np.isfinite(ious(matrices.sum(axis=0))).sum())
    if 0 < occur < k:
        note = f"mean over {occur} of {k} classes; the others are in no true map and were never predicted"
        found.update({name: found[name].noted(note) for name in ("mean_iou", "mean_dice")})
    if background is None:
        reason = "no class is the background"
        return {**found, "foreground_dice": undefined(reason), "image_dice": undefined(reason)}
    statistic = partial(foreground_dice, background=background)
    found["foreground_dice"] = _score(matrices, statistic, level, "no foreground")
    found["image_dice"] = mean_score(statistic(matrices), level, SHARE, missing="no foreground")
    return found


def _class(matrices: np.ndarray, i: int, name: str, level: float) -> dict[str, Any]:
    """One class, judged on the images in which it is or was seen."""
    true, predicted, both = matrices[:, i].sum(-1), matrices[:, :, i].sum(-1), matrices[:, i, i]
    either = true + predicted - both
    has = either > 0
    both, either = both[has], either[has]
    iou = undefined("in no true map and never predicted")
    if len(either):
        rest = either.sum() - either
        left_out = np.divide(both.sum() - both, rest, out=np.full(len(rest), np.nan), where=rest > 0)
        iou = jackknife_interval(both.sum() / either.sum(), left_out, level, SHARE)
    # Dice = 2 IoU / (1 + IoU) rises with IoU, so the ends carry over
    dice = Interval(*(2 * end / (1 + end) for end in (iou.value, iou.low, iou.high)), n=iou.n, note=iou.note)
    return {
        "name": name,
        "images": int((true > 0).sum()),
        "true_pixels": int(true.sum()),
        "predicted_pixels": int(predicted.sum()),
        "right_pixels": int(both.sum()),
        "iou": iou.to_json(),
        "dice": dice.to_json(),
    }


def _others(tally: PixelTally, other: PixelTally, name: str, background: int | None) -> np.ndarray:
    """The matrices of another method, once they are of the same images."""
    mine, its = tally.matrices.sum(-1), other.matrices.sum(-1)  # true pixels of each class in each image
    if background is not None and other.classes == 2 and tally.classes != 2:
        mine = np.stack([mine[:, background], np.delete(mine, background, axis=1).sum(-1)], axis=-1)
    if not np.array_equal(mine, its):
        raise DataError(
            f"The baseline '{name}' must be tallied on the same images in the same order as the network; got {other.n} "
            f"images in {other.classes} classes for {tally.n} in {tally.classes}, or other true maps."
        )
    return other.matrices


def _beside(matrices: np.ndarray, other: np.ndarray, background: int | None, level: float) -> dict[str, Any]:
    """Another method's scores, and by how much ours are higher on the same images."""
    same = other.shape == matrices.shape
    pairs: dict[str, tuple[Statistic, Statistic]] = {}
    if same:
        pairs = {"pixel_accuracy": (accuracy, accuracy)}
        pairs |= {"mean_iou": (mean_iou, mean_iou), "mean_dice": (mean_dice, mean_dice)}
    if background is not None:
        mine, its = (partial(foreground_dice, background=b) for b in (background, background if same else 0))
        pairs["foreground_dice"] = (mine, its)
    scores, gain = {}, {}
    for key, (mine, its) in pairs.items():
        scores[key] = _score(other, its, level).to_json()
        value = float(mine(matrices.sum(axis=0))) - float(its(other.sum(axis=0)))
        left_out = _left_out(matrices, mine) - _left_out(other, its)
        gain[key] = jackknife_interval(value, left_out, level).to_json()
    return {**scores, "gain": gain}
