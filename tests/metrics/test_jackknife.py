"""Jackknife intervals: Student's for a mean, inside the range of the score, and honest where nothing varies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from convlens.metrics.interval import wilson
from convlens.metrics.jackknife import (
    AT_MOST_ONE,
    PLAIN,
    POSITIVE,
    SHARE,
    Scale,
    jackknife_interval,
    jackknife_mean,
    mean_score,
    share_of_sums,
)


def test_a_mean_has_students_interval() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=15)
    interval = mean_score(values)
    low, high = stats.t.interval(0.95, 14, values.mean(), stats.sem(values))
    assert (interval.value, interval.low, interval.high, interval.n) == pytest.approx((values.mean(), low, high, 15))


def test_what_is_not_finite_is_left_out_of_a_mean_and_counted() -> None:
    score = mean_score(np.array([1.0, np.inf, 3.0, np.nan]), missing="no number")
    assert (score.value, score.n, score.note) == (2.0, 2, "mean over 2 of 4 samples; the others have no number")
    nothing = mean_score(np.array([np.nan, np.nan]), missing="no number")
    assert (math.isnan(nothing.value), nothing.note) == (True, "all 2 samples have no number")
    assert mean_score(np.zeros(0)).note == "no samples"


def test_intervals_keep_to_the_range_of_the_score() -> None:
    share = mean_score(np.array([0.99, 0.2, 0.98, 0.97]), scale=SHARE)
    assert 0.0 < share.low < share.value < share.high < 1.0
    error = mean_score(np.array([0.01, 3.0, 0.02]), scale=POSITIVE)
    assert 0.0 < error.low < error.value < error.high < math.inf
    bordering = mean_score(np.array([1.0, 1.0, 1.0, 0.4]), scale=SHARE)  # without the last, 1: no log-odds
    assert bordering.high == 1.0
    assert bordering.low == pytest.approx(mean_score(np.array([1.0, 1.0, 1.0, 0.4])).low)
    hopeless = mean_score(np.array([0.0, 0.0, 0.0, 0.6]), scale=SHARE)
    assert (hopeless.low, hopeless.high) == (0.0, mean_score(np.array([0.0, 0.0, 0.0, 0.6])).high)
    far = mean_score(np.array([1e-3, 1e9]), 0.99, POSITIVE)  # the exponential of its upper end would overflow
    assert (far.low, far.high) == (0.0, mean_score(np.array([1e-3, 1e9]), 0.99).high)


@pytest.mark.parametrize(("value", "successes"), [(1.0, 8), (0.0, 0)])
def test_few_perfect_or_hopeless_images_are_not_certainty(value: float, successes: int) -> None:
    found, expected = mean_score(np.full(8, value), scale=SHARE), wilson(successes, 8)
    assert (found.value, found.low, found.high) == (value, expected.low, expected.high)


@pytest.mark.parametrize("scale", [PLAIN, POSITIVE, SHARE, AT_MOST_ONE])
def test_scales_rise_and_lead_back(scale: Scale) -> None:
    x = np.linspace(max(scale.low, -4.0) + 0.01, min(scale.high, 4.0) - 0.01, 50)
    assert scale.back(scale.to(x)) == pytest.approx(x)
    assert np.all(np.diff(scale.to(x)) > 0)


def test_a_mean_left_out_is_the_mean_of_the_others() -> None:
    values = np.random.default_rng(1).normal(size=(7, 3))
    mean, left_out = jackknife_mean(values)
    assert mean == pytest.approx(values.mean(axis=0))
    assert left_out == pytest.approx(np.array([np.delete(values, i, axis=0).mean(axis=0) for i in range(7)]))
    nothing, none = jackknife_mean(np.zeros((0, 3)))
    assert np.isnan(nothing).all()
    assert none.shape == (0, 3)


def test_a_share_of_sums_is_that_of_the_samples_with_a_part_in_it() -> None:
    above, below = np.array([3, 0, 2, 0, 5]), np.array([4, 0, 6, 2, 5])
    left_out = np.array([7 / 13, 8 / 11, 10 / 15, 5 / 12])
    found, expected = share_of_sums(above, below, 0.9, missing=""), jackknife_interval(10 / 17, left_out, 0.9, SHARE)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((10 / 17, expected.low, expected.high, 4))
    alone = share_of_sums(np.array([1, 0]), np.array([2, 0]), missing="")
    assert (alone.value, alone.n, math.isnan(alone.low)) == (0.5, 1, True)
    nothing = share_of_sums(np.zeros(2), np.zeros(2), missing="never seen")
    assert (math.isnan(nothing.value), nothing.n, nothing.note) == (True, 0, "never seen")
