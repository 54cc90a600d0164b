"""Anomaly scores: thresholds that keep their promise, rates by hand, and the gain over another score."""

from __future__ import annotations

import json
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.anomaly import AlarmThreshold, alarm_threshold, anomaly_report, auc_gain
from convlens.metrics.interval import auc_interval, wilson


def test_a_threshold_by_hand() -> None:
    # 19 scores at 10 %: the 18th smallest, so that one validation score of 19 lies above
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    chosen = alarm_threshold(scores, 0.1)
    assert (chosen.value, chosen.promise, chosen.certainty, chosen.n) == (18.0, 0.1, None, 19)
    assert chosen.at_most == pytest.approx(stats.beta.ppf(0.95, 2, 18))
    assert AlarmThreshold.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    sure = alarm_threshold(np.arange(100.0), 0.1, certainty=0.95)
    assert AlarmThreshold.from_json(json.loads(json.dumps(sure.to_json()))) == sure


def test_a_certain_threshold_is_the_smallest_that_is() -> None:
    # P(Binomial(n, rate) <= number of scores above) <= 5 %: the textbook form of the same statement
    for n, rate in ((59, 0.05), (100, 0.05), (200, 0.1)):
        chosen = alarm_threshold(np.arange(1.0, n + 1), rate, certainty=0.95)
        above = n - int(chosen.value)
        assert stats.binom.cdf(above, n, rate) <= 0.05 < stats.binom.cdf(above + 1, n, rate)
        assert chosen.at_most <= rate + 1e-12
        assert chosen.value >= alarm_threshold(np.arange(1.0, n + 1), rate).value


def test_a_promise_needs_enough_normal_samples() -> None:
    assert alarm_threshold(np.arange(19.0), 0.05).value == 18.0
    with pytest.raises(DataError, match=r"for 0\.95 of new samples takes at least 19 validation samples; got 18"):
        alarm_threshold(np.arange(18.0), 0.05)
    assert alarm_threshold(np.arange(59.0), 0.05, certainty=0.95).value == 58.0
    with pytest.raises(DataError, match=r"takes at least 59 normal validation samples; got 58"):
        alarm_threshold(np.arange(58.0), 0.05, certainty=0.95)
    for rate, certainty in ((5, None), (0.0, None), (0.05, 95)):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            alarm_threshold(np.arange(99.0), rate, certainty=certainty)
    with pytest.raises(DataError, match="sample 1 is not"):
        alarm_threshold(np.array([0.0, np.inf]))
    with pytest.raises(ShapeError, match=r"got \(2, 2\)"):
        alarm_threshold(np.zeros((2, 2)))


@pytest.mark.parametrize(("n", "rate"), [(19, 0.1), (50, 0.05)])
def test_the_promise_is_kept_on_average_and_no_better_than_needed(n: int, rate: float) -> None:
    generator = np.random.default_rng(n)
    rates = [stats.expon.sf(alarm_threshold(generator.exponential(size=n), rate).value) for _ in range(1500)]
    exact = np.floor((n + 1) * rate + 1e-9) / (n + 1)
    assert exact <= rate
    assert np.mean(rates) == pytest.approx(exact, abs=0.006)
    at_most = alarm_threshold(np.arange(n), rate).at_most
    assert np.mean(np.array(rates) <= at_most) == pytest.approx(0.95, abs=0.02)


def test_a_certain_promise_is_broken_as_seldom_as_it_says() -> None:
    generator = np.random.default_rng(1)
    rates = [
        stats.expon.sf(alarm_threshold(generator.exponential(size=100), 0.1, certainty=0.9).value) for _ in range(1500)
    ]
    assert 0.9 <= np.mean(np.array(rates) <= 0.1) <= 0.97


def test_ties_only_make_fewer_alarms() -> None:
    chosen = alarm_threshold(np.repeat([1.0, 2.0], [15, 15]), 0.2)
    report = anomaly_report(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0, 0, 0, 1]), chosen)
    assert chosen.value == 2.0
    assert (report["alarm"]["false_alarms"]["value"], report["alarm"]["detection"]["value"]) == (0.0, 1.0)


@pytest.fixture(scope="module")
def hand_worked() -> dict[str, Any]:
    """Normal 1 2 3 6, abnormal 4 5 7 8 9; alarm above 4."""
    scores = np.array([1.0, 4.0, 2.0, 5.0, 3.0, 7.0, 6.0, 8.0, 9.0])
    kinds = ["cup", "crack", "cup", "hole", "mug", "hole", "mug", "crack", "hole"]
    abnormal = np.array([kind in ("crack", "hole") for kind in kinds])
    return anomaly_report(scores, abnormal, AlarmThreshold(4.0, 0.1, None, 0.2, 30), kinds=kinds)


def test_the_hand_worked_rates(hand_worked: dict[str, Any]) -> None:
    alarm = hand_worked["alarm"]
    assert [hand_worked[key] for key in ("n", "normal", "abnormal")] == [9, 4, 5]
    assert hand_worked["auc"]["value"] == pytest.approx((3 + 3 + 4 + 4 + 4) / 20)
    assert alarm["detection"] == wilson(4, 5).to_json()
    assert alarm["false_alarms"] == wilson(1, 4).to_json()
    assert alarm["precision"] == wilson(4, 5).to_json()
    assert [(row["kind"], row["abnormal"], row["alarms"]["value"], row["alarms"]["n"]) for row in alarm["by_kind"]] == [
        ("crack", True, 0.5, 2),
        ("hole", True, 1.0, 3),
        ("cup", False, 0.0, 2),
        ("mug", False, 0.5, 2),
    ]
    assert [one["position"] for one in hand_worked["lowest_abnormal"]] == [1, 3, 5, 7, 8]
    assert hand_worked["highest_normal"][0] == {"position": 6, "score": 6.0}
    assert [one["position"] for one in hand_worked["highest_normal"]] == [6, 4, 2, 0]
    assert hand_worked["baselines"] == [{"name": "chance", "auc": 0.5, "detection": 0.1}]
    assert json.loads(json.dumps(hand_worked, allow_nan=False)) == hand_worked


def test_the_curve_ends_in_its_corners(hand_worked: dict[str, Any]) -> None:
    roc = hand_worked["roc"]
    assert (roc["false_alarms"][0], roc["detection"][0], roc["threshold"][0]) == (0.0, 0.0, None)
    assert (roc["false_alarms"][-1], roc["detection"][-1]) == (1.0, 1.0)
    generator = np.random.default_rng(2)
    many = anomaly_report(generator.normal(size=3000), generator.random(3000) < 0.5)["roc"]
    assert len(many["threshold"]) == 200


def scored(n: int, seed: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two scores that share most of their noise; the second has less of the shift."""
    generator = np.random.default_rng(seed)
    abnormal = np.arange(n) < n // 3
    shared = generator.normal(size=n)
    ours = shared + 0.3 * generator.normal(size=n) + shift * abnormal
    return ours, shared + 0.3 * generator.normal(size=n) + 0.5 * abnormal, abnormal


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(15)))
def test_the_order_of_the_samples_does_not_matter(order: list[int]) -> None:
    ours, other, abnormal = scored(15, seed=3, shift=1.0)
    threshold = AlarmThreshold(0.5, 0.1, None, 0.2, 30)
    one = anomaly_report(ours, abnormal, threshold, baselines={"it": other})
    two = anomaly_report(ours[order], abnormal[order], threshold, baselines={"it": other[order]})
    for report, name in ((r, n) for r in (one, two) for n in ("lowest_abnormal", "highest_normal")):
        report[name] = [found["score"] for found in report[name]]
    for name in ("auc", "gain"):
        a, b = one["baselines"][1].pop(name), two["baselines"][1].pop(name)
        assert a == pytest.approx(b)
    assert one.pop("auc") == pytest.approx(two.pop("auc"))
    assert one == two


def test_the_gain_is_the_difference_of_the_areas() -> None:
    ours, other, abnormal = scored(60, seed=4, shift=1.5)
    ours, other = ours.round(1), other.round(1)  # with ties
    gain = auc_gain(ours, other, abnormal)
    assert gain.value == pytest.approx(roc_auc_score(abnormal, ours) - roc_auc_score(abnormal, other))
    assert gain.n == 60
    turned = auc_gain(other, ours, abnormal)
    assert (turned.low, turned.high) == pytest.approx((-gain.high, -gain.low))
    row = anomaly_report(ours, abnormal, baselines={"other": other})["baselines"][1]
    assert row["auc"] == auc_interval(other, abnormal).to_json()
    assert row["gain"] == gain.to_json()
    assert gain.high - gain.low < row["auc"]["high"] - row["auc"]["low"]  # their errors go together


def test_the_interval_of_a_gain_is_delongs() -> None:
    # The variance over all pairs of samples, by the sums of DeLong et al. 1988, written out
    ours, other, abnormal = scored(30, seed=5, shift=1.0)

    def wins(scores: np.ndarray) -> np.ndarray:
        above, below = scores[abnormal][:, None], scores[~abnormal][None, :]
        return (above > below) + 0.5 * (above == below)

    psi = [wins(scores) for scores in (ours, other)]
    v10 = np.cov([p.mean(axis=1) for p in psi])
    v01 = np.cov([p.mean(axis=0) for p in psi])
    variance = np.array([1, -1]) @ (v10 / 10 + v01 / 20) @ np.array([1, -1])
    gain = auc_gain(ours, other, abnormal)
    assert gain.high - gain.low == pytest.approx(2 * 1.959964 * np.sqrt(variance), rel=1e-5)


def test_the_interval_of_a_gain_holds_as_often_as_it_says() -> None:
    spread = np.sqrt(2 * (1 + 0.09))
    known = NormalDist().cdf(1.2 / spread) - NormalDist().cdf(0.5 / spread)
    gains = [auc_gain(*scored(60, seed, shift=1.2)) for seed in range(400)]
    held = np.mean([gain.low <= known <= gain.high for gain in gains])
    assert 0.91 <= held <= 0.98


def test_perfect_scores_of_few_samples_are_not_certain() -> None:
    abnormal = np.arange(20) >= 15
    report = anomaly_report(np.arange(20.0), abnormal, AlarmThreshold(14.0, 0.1, None, 0.2, 30))
    assert report["auc"]["value"] == 1.0
    assert report["auc"]["low"] < 0.95
    assert (report["alarm"]["detection"]["value"], report["alarm"]["detection"]["low"]) == (1.0, wilson(5, 5).low)
    same = auc_gain(np.arange(20.0), np.arange(20.0), abnormal)
    assert (same.value, same.low, same.note) == (0.0, 0.0, "no sample differs, so the interval has no width")


def test_what_is_missing_is_said() -> None:
    threshold = AlarmThreshold(0.5, 0.1, None, 0.2, 30)
    normal = anomaly_report(np.array([0.1, 0.9]), np.array([False, False]), threshold, baselines={"it": np.zeros(2)})
    assert normal["roc"] is None
    assert normal["auc"]["note"] == "the area needs both positive and negative samples"
    assert normal["alarm"]["detection"]["note"] == "no abnormal samples"
    assert normal["baselines"][1]["gain"]["value"] is None
    assert anomaly_report(np.zeros(2), np.array([0, 1]), threshold)["alarm"]["precision"]["note"] == "no alarm"
    assert anomaly_report(np.zeros(2), np.array([0, 1]))["alarm"] is None
    single = auc_gain(np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, 0.0]), np.array([False, False, True]))
    assert (single.value, single.note) == (1.0, "one sample shows no spread, so there is no interval")
    nothing = anomaly_report(np.zeros(0), np.zeros(0), threshold, kinds=[])
    assert (nothing["n"], nothing["alarm"]["false_alarms"]["value"]) == (0, None)
    json.dumps([normal, nothing], allow_nan=False)


def test_errors_name_what_came() -> None:
    scores, abnormal = np.arange(3.0), np.array([0, 0, 1])
    with pytest.raises(ShapeError, match=r"the 3 scores; got \{'abnormal': 2\}"):
        anomaly_report(scores, abnormal[:2])
    with pytest.raises(ShapeError, match=r"'kinds': 1"):
        anomaly_report(scores, abnormal, kinds=["a"])
    with pytest.raises(ShapeError, match=r"\"baseline 'it'\": 4"):
        anomaly_report(scores, abnormal, baselines={"it": np.zeros(4)})
    with pytest.raises(DataError, match="sample 0 is not"):
        anomaly_report(np.array([np.nan, 0, 1]), abnormal)
    with pytest.raises(ConfigError, match="got 95"):
        anomaly_report(scores, abnormal, level=95)
