"""Counts of pixels, image by image: scores of whatever leading axes, ignored pixels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.pixel_tally import PixelTally, foreground_dice, ious, mean_dice, mean_iou
from label_maps import random_pairs, tally_of


def test_each_image_has_its_own_counts_and_scores() -> None:
    pairs = random_pairs(5, 3, seed=12)
    tally = tally_of(pairs, 3, tolerance_px=None)
    assert (tally.n, tally.boundaries.size) == (5, 0)
    assert np.array_equal(tally.total, tally.matrices.sum(axis=0))
    maps = [(true.ravel(), predicted.ravel()) for true, predicted in pairs]
    each = np.array([jaccard_score(*one, average=None, labels=range(3)) for one in maps])
    assert ious(tally.matrices) == pytest.approx(each)
    assert mean_iou(tally.matrices) == pytest.approx(each.mean(axis=1))
    assert mean_dice(tally.matrices) == pytest.approx([f1_score(*one, average="macro") for one in maps])
    assert foreground_dice(tally.matrices) == pytest.approx([f1_score(t > 0, p > 0) for t, p in maps])
    total = tally.total
    expected = {"pixel_accuracy": np.trace(total) / total.sum(), "mean_iou": float(mean_iou(total))}
    assert tally.scores() == pytest.approx({**expected, "mean_dice": float(mean_dice(total))})


def test_ignored_pixels_count_nowhere() -> None:
    pairs = random_pairs(4, 3, seed=4)
    marked = [(np.where(np.indices(true.shape)[1] < 2, 255, true), predicted) for true, predicted in pairs]
    careless = [(true, np.where(true == 255, 77, predicted)) for true, predicted in marked]  # no class at all
    cut = tally_of([(true[:, 2:], predicted[:, 2:]) for true, predicted in pairs], 3)
    for maps in (marked, careless):
        tally = tally_of(maps, 3, ignore_index=255)
        assert np.array_equal(tally.total, cut.total)
        assert tally.boundaries == pytest.approx(cut.boundaries)
        assert tally.ignored == sum(2 * len(true) for true, _ in pairs)


def test_errors_name_what_came() -> None:
    with pytest.raises(ShapeError, match=r"both be \(H, W\); got \(2, 3\) and \(3, 2\)"):
        PixelTally(2).add(np.zeros((2, 3), dtype=int), np.zeros((3, 2), dtype=int))
    with pytest.raises(DataError, match=r"predictions must lie in 0\.\.1 for 2 classes; got 0\.\.2"):
        PixelTally(2).add(np.array([[0, 1]]), np.array([[0, 2]]))
    with pytest.raises(DataError, match=r"targets must lie in 0\.\.1"):
        PixelTally(2).add(np.array([[0, 255]]), np.array([[0, 1]]))
    with pytest.raises(ConfigError, match=r"must not be one of the classes 0\.\.1; got 1"):
        PixelTally(2, ignore_index=1)
    with pytest.raises(ConfigError, match="at least 0 px; got -1"):
        PixelTally(2, tolerance_px=-1)
    with pytest.raises(ShapeError, match=r"got \(2, None, 2\.0\) and \(3, None, 2\.0\)"):
        PixelTally(2).merge(PixelTally(3))
