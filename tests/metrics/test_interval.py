"""Intervals: exact small cases, their behaviour at the edges, and how often they hold."""

from __future__ import annotations

import json
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.interval import (
    Interval,
    auc_interval,
    bootstrap,
    bootstrap_confusion,
    bootstrap_many,
    f1_interval,
    mean_interval,
    undefined,
    wilson,
)


def share(matrix: np.ndarray) -> np.ndarray:
    return np.trace(matrix, axis1=-2, axis2=-1) / matrix.sum((-2, -1))


def mean_recall(matrix: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (np.diagonal(matrix, axis1=-2, axis2=-1) / matrix.sum(-1)).mean(-1)


def test_wilson_agrees_with_the_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        interval = wilson(successes, n)
        assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)
    assert wilson(1, 29).high == pytest.approx(0.1718, abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_holds_its_value_and_stays_a_proportion(counts: tuple[int, int], level: float) -> None:
    interval = wilson(*counts, level)
    assert 0.0 <= interval.low <= interval.value <= interval.high <= 1.0
    assert interval.low < interval.high
    mirrored = wilson(counts[1] - counts[0], counts[1], level)
    assert mirrored.low == pytest.approx(1 - interval.high)


def test_wilson_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    for chance in (0.5, 0.9, 0.97):
        drawn = [wilson(int(s), 100) for s in generator.binomial(100, chance, size=1500)]
        covered = np.mean([one.low <= chance <= one.high for one in drawn])
        assert 0.92 <= covered <= 0.98, chance


def test_a_score_of_nothing_is_undefined_with_its_reason() -> None:
    interval = wilson(0, 0, reason="never predicted")
    assert math.isnan(interval.value)
    assert interval.n == 0
    assert interval.to_json() == {"value": None, "low": None, "high": None, "n": 0, "note": "never predicted"}
    assert str(interval) == "undefined (never predicted) n=0"
    assert bootstrap([np.array([])], np.mean).note == "no samples"
    assert bootstrap_confusion(np.zeros((2, 2), dtype=int), share).note == "no samples"


@pytest.mark.parametrize("interval", [wilson(7, 10), undefined("no samples"), wilson(7, 10).noted("look here")])
def test_json_gives_the_interval_back(interval: Interval) -> None:
    text = json.dumps(interval.to_json(), allow_nan=False)
    assert repr(Interval.from_json(json.loads(text))) == repr(interval)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match=r"between 0 and 1, such as 0\.95; got 95"):
        wilson(1, 2, 95)
    with pytest.raises(DataError, match="got 3 of 2"):
        wilson(3, 2)
    with pytest.raises(ShapeError, match=r"square.*\(2, 3\)"):
        bootstrap_confusion(np.ones((2, 3), dtype=int), share)
    with pytest.raises(ShapeError, match=r"one length.*\[2, 3\]"):
        bootstrap([np.zeros(2), np.zeros(3)], lambda a, b: 0.0)


def test_f1_is_the_ratio_of_counts_and_never_certain() -> None:
    assert f1_interval(40, 10, 20).value == pytest.approx(0.7272727272727272)
    perfect, hopeless = f1_interval(10, 0, 0), f1_interval(0, 5, 5)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert 0.7 < perfect.low < 0.95
    assert (hopeless.value, hopeless.low) == (0.0, 0.0)
    assert 0.1 < hopeless.high < 0.6
    assert "never predicted" in f1_interval(0, 0, 0).note


def test_f1_interval_covers_as_often_as_it_says() -> None:
    cells = np.array([0.72, 0.05, 0.03, 0.20])  # TN, FP, FN, TP
    true_f1 = 2 * 0.20 / (2 * 0.20 + 0.05 + 0.03)
    drawn = np.random.default_rng(1).multinomial(200, cells, size=1500)
    intervals = [f1_interval(int(tp), int(fp), int(fn)) for _, fp, fn, tp in drawn]
    assert 0.92 <= np.mean([one.low <= true_f1 <= one.high for one in intervals]) <= 0.98


@pytest.mark.parametrize(("k", "n", "right"), [(2, 100, 0.95), (5, 150, 0.8), (10, 300, 0.99)])
def test_bootstrap_of_a_confusion_matrix_covers(k: int, n: int, right: float) -> None:
    cells = np.full((k, k), (1 - right) / (k - 1) / k)
    np.fill_diagonal(cells, right / k)
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        matrix = generator.multinomial(n, cells.ravel()).reshape(k, k)
        interval = bootstrap_confusion(matrix, mean_recall, seed=trial, draws=200)
        covered += interval.low <= right <= interval.high
    assert covered / 200 >= 0.89


def test_no_mistakes_is_not_certainty() -> None:
    for matrix in (np.diag([20, 20, 20]), np.diag([1, 0]), np.diag([0, 3, 0])):
        n = int(matrix.sum())
        interval = bootstrap_confusion(matrix, share)
        assert interval.value == interval.high == 1.0
        assert interval.low < wilson(n, n).low + 0.1 < 1.05
        assert interval.low < 1.0


def test_bootstrap_repeats_with_its_seed_and_narrows_with_n() -> None:
    matrix = np.array([[30, 10], [5, 25]])
    assert bootstrap_confusion(matrix, share, seed=3) == bootstrap_confusion(matrix, share, seed=3)
    assert bootstrap_confusion(matrix, share, seed=3) != bootstrap_confusion(matrix, share, seed=4)
    few, many = (bootstrap_confusion(matrix * scale, share) for scale in (1, 100))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(10, rel=0.2)
    both = bootstrap_many(matrix, {"a": share, "b": mean_recall}, seed=3)
    assert both["b"] == bootstrap_confusion(matrix, mean_recall, seed=3)


def test_undefined_draws_are_counted_not_hidden() -> None:
    rare = np.array([[1, 0], [1, 30]])  # the only sample of class 0 is missing from about a fifth of the draws
    interval = bootstrap_confusion(rare, mean_recall)
    left_out = int(interval.note.split()[0])
    assert 150 < left_out < 300
    assert "of 1000 bootstrap draws were undefined" in interval.note
    assert math.isfinite(interval.low)
    assert math.isnan(bootstrap_confusion(np.array([[0, 0], [1, 2]]), mean_recall).value)


def test_large_matrices_are_drawn_less_often() -> None:
    seen: list[int] = []

    def counting(matrix: np.ndarray) -> np.ndarray:
        seen.append(len(matrix))
        return share(matrix)

    bootstrap_confusion(np.diag(np.full(500, 2)), counting)
    assert sum(seen[:-1]) == 200


def test_bootstrap_over_samples_matches_the_normal_interval_of_a_mean() -> None:
    values = np.random.default_rng(5).normal(10.0, 2.0, size=400)
    interval = bootstrap([values], np.mean)
    half = 1.96 * values.std() / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_bootstrap_resamples_the_arrays_together() -> None:
    values = np.arange(50.0)
    assert bootstrap([values, 2 * values], lambda a, b: float(np.abs(b - 2 * a).max())).high == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60))
def test_area_equals_scikit_learn_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([p[0] / 6 for p in pairs]), np.array([p[1] for p in pairs])
    interval = auc_interval(scores, positive)
    if positive.all() or not positive.any():
        assert "both" in interval.note
        return
    assert interval.value == pytest.approx(roc_auc_score(positive, scores))
    assert 0.0 <= interval.low <= interval.value <= interval.high <= 1.0
    turned = auc_interval(-scores, positive)
    assert (turned.low, turned.high) == pytest.approx((1 - interval.high, 1 - interval.low))


@pytest.mark.parametrize(("shift", "spread", "m", "n"), [(1, 1, 30, 60), (1, 2, 40, 200), (3, 1, 50, 50)])
def test_area_interval_covers(shift: float, spread: float, m: int, n: int) -> None:
    true_area = NormalDist().cdf(shift / math.sqrt(1 + spread * spread))
    generator = np.random.default_rng(6)
    positive = np.arange(m + n) < m
    covered = 0
    for _ in range(300):
        scores = np.concatenate([generator.normal(shift, spread, m), generator.normal(0, 1, n)])
        interval = auc_interval(scores, positive)
        covered += interval.low <= true_area <= interval.high
    assert covered / 300 >= 0.92


def test_a_perfect_area_of_few_samples_is_not_certain() -> None:
    interval = auc_interval(np.arange(20.0), np.arange(20) >= 15)
    assert interval.value == interval.high == 1.0
    assert 0.5 < interval.low < 0.95
    single = auc_interval(np.array([0.1, 0.9]), np.array([False, True]))
    assert single.value == 1.0
    assert single.low < 0.5


def test_mean_of_intervals_leaves_out_the_undefined() -> None:
    mean = mean_interval([Interval(0.8, 0.7, 0.9, 5), undefined("no samples"), Interval(0.6, 0.5, 0.9, 5)], n=10)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.7, 0.6, 0.9))
    assert (mean.n, mean.note) == (10, "mean over 2 of 3 classes")
    assert math.isnan(mean_interval([undefined("no samples")], n=0).value)
