"""How good predicted label maps are, pixel by pixel and along the borders, with the image as the unit of chance.

The intervals leave out one image after the other, because the pixels of one image are not independent samples. Every
score stands beside the map that is all background and, where the caller tallies them, beside other methods such as a
threshold on the grey values (`otsu.py`). This file knows the counts of `pixel_tally.py`, not images, networks or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.interval import Interval, normal_quantile, undefined
from convlens.metrics.jackknife import SHARE, jackknife_interval, mean_score, share_of_sums
from convlens.metrics.pixel_tally import SCORES, PixelTally, Statistic, foreground_dice, ious, mean_iou
from convlens.metrics.ratio import defined_mean

WORST = 5
CHUNK = 4_000_000  # matrix cells held at once


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


def _along(tally: PixelTally, background: int | None) -> np.ndarray:
    """Mean boundary F1 of the classes that are objects, in each image. (N,)"""
    if tally.tolerance_px is None:
        return np.full(tally.n, np.nan)
    return defined_mean(tally.boundaries if background is None else np.delete(tally.boundaries, background, axis=1))


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
    found = {name: _score(matrices, statistic, level) for name, statistic in SCORES.items()}
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
    iou = share_of_sums(both, true + predicted - both, level, missing="in no true map and never predicted")
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
    pairs: dict[str, tuple[Statistic, Statistic]] = {name: (one, one) for name, one in SCORES.items()} if same else {}
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
