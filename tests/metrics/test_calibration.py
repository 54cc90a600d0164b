"""Temperature, reliability, threshold and the promise kept by abstaining."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.calibration import (
    calibration_error_interval,
    check_probabilities,
    expected_calibration_error,
    fit_temperature,
    reliability,
    softmax,
)
from convlens.metrics.decision import AbstainRule, Threshold, abstain_threshold, choose_threshold, decide, risk_coverage


def calibrated(n: int, k: int, seed: int, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is exactly the chance of each class, and targets drawn from it."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.0, scale, size=(n, k))
    cumulative = softmax(logits).cumsum(axis=1)
    return logits, (generator.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)


def log_loss(logits: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    return float(-np.log(softmax(logits, temperature)[np.arange(len(targets)), targets]).mean())


def two_columns(positive: list[float]) -> np.ndarray:
    return np.array([[1 - p, p] for p in positive])


def test_softmax_is_stable_and_sharpens_with_a_low_temperature() -> None:
    probabilities = softmax(np.array([[1e4, 0.0, -1e4], [1.0, 1.0, 1.0]]))
    assert probabilities[0].tolist() == [1.0, 0.0, 0.0]
    assert probabilities[1] == pytest.approx([1 / 3] * 3)
    assert softmax(np.array([[0.0, np.log(3.0)]]), 0.5)[0] == pytest.approx([0.1, 0.9])
    with pytest.raises(ConfigError, match=r"positive; got 0\.0"):
        softmax(np.zeros((1, 2)), 0.0)


@pytest.mark.parametrize("known", [0.4, 1.0, 1.7, 4.0])
@pytest.mark.parametrize("k", [2, 10])
def test_the_known_temperature_is_found(known: float, k: int) -> None:
    logits, targets = calibrated(6000, k, seed=1)
    assert fit_temperature(logits * known, targets) == pytest.approx(known, rel=0.06)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, targets = calibrated(3000, 5, seed=2)
    found = fit_temperature(logits * 3, targets)
    best = log_loss(logits * 3, targets, found)
    assert all(log_loss(logits * 3, targets, found * factor) > best for factor in (0.5, 0.9, 1.1, 2.0))


def test_a_network_without_mistakes_is_not_made_infinitely_sure() -> None:
    targets = np.arange(100) % 2
    logits = np.eye(2)[targets] * 3.0
    temperature = fit_temperature(logits, targets)
    assert softmax(logits, temperature).max() == pytest.approx(1 - 1 / 101, abs=1e-3)


def test_temperatures_stay_in_their_bounds() -> None:
    targets = np.arange(60) % 3
    always_wrong = np.eye(3)[(targets + 1) % 3] * 50.0
    assert fit_temperature(always_wrong, targets) == pytest.approx(20.0, rel=1e-3)
    assert fit_temperature(np.eye(3)[targets] * 1e-3, targets) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == 1.0


def test_fit_temperature_says_what_it_needs() -> None:
    with pytest.raises(DataError, match=r"got none.*evaluate\.calibrate"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int))
    with pytest.raises(DataError, match="finite; row 1 is not"):
        fit_temperature(np.array([[0.0, 1.0], [np.inf, 0.0]]), np.array([0, 1]))
    with pytest.raises(DataError, match=r"0\.\.1 for 2 classes; got 0\.\.2"):
        fit_temperature(np.zeros((2, 2)), np.array([0, 2]))
    with pytest.raises(ShapeError, match=r"logits.*\(2, 2\) and \(3,\)"):
        fit_temperature(np.zeros((2, 2)), np.array([0, 1, 1]))


def test_probabilities_are_checked_before_they_are_believed() -> None:
    with pytest.raises(DataError, match=r"row 1 has smallest 1 and sum 3\. Apply softmax"):
        check_probabilities(np.array([[0.5, 0.5], [1.0, 2.0]]), np.array([0, 1]))
    with pytest.raises(DataError, match="row 0"):
        check_probabilities(np.array([[-0.5, 1.5]]), np.array([0]))
    with pytest.raises(DataError, match="whole numbers; got float64"):
        check_probabilities(np.array([[0.5, 0.5]]), np.array([0.5]))
    with pytest.raises(ShapeError, match=r"\(N, 3\)"):
        check_probabilities(np.array([[0.5, 0.5]]), np.array([0]), classes=3)
    with pytest.raises(ShapeError, match="at least two classes"):
        check_probabilities(np.ones((2, 1)), np.array([0, 0]))


def test_reliability_by_hand() -> None:
    probabilities = two_columns([0.9, 0.9, 0.95, 0.45, 1.0])
    bins = reliability(probabilities, np.array([1, 0, 1, 1, 1]), bins=10)
    counts = {round(one.high, 1): one.count for one in bins if one.count}
    assert counts == {0.6: 1, 0.9: 2, 1.0: 2}
    by_high = {round(one.high, 1): one for one in bins}
    assert by_high[0.9].confidence == pytest.approx(0.9)
    assert by_high[0.9].accuracy.value == 0.5
    assert by_high[0.6].accuracy.value == 0.0
    assert by_high[0.3].confidence is None
    assert by_high[0.3].accuracy.note == "no samples in this bin"
    error = (abs(0.55 - 0) + abs(1.8 - 1) + abs(1.95 - 2)) / 5
    assert expected_calibration_error(probabilities, np.array([1, 0, 1, 1, 1]), bins=10) == pytest.approx(error)
    json.dumps([one.to_json() for one in bins], allow_nan=False)


def test_calibration_error_interval_includes_zero_only_for_the_calibrated() -> None:
    logits, targets = calibrated(500, 4, seed=3)
    honest = calibration_error_interval(softmax(logits), targets)
    boastful = calibration_error_interval(softmax(logits * 3), targets)
    assert honest.low == 0.0
    assert honest.value == expected_calibration_error(softmax(logits), targets)
    assert boastful.low > 0.05
    assert boastful.low <= boastful.value <= boastful.high
    assert calibration_error_interval(np.zeros((0, 2)), np.zeros(0, dtype=int)).note == "no samples"
    assert np.isnan(expected_calibration_error(np.zeros((0, 2)), np.zeros(0, dtype=int)))


@pytest.mark.parametrize("seed", [4, 10, 14, 15])  # reflection alone would put the lower end above 0 here
def test_an_error_chance_explains_is_not_called_miscalibration(seed: int) -> None:
    logits, targets = calibrated(150, 2, seed)
    interval = calibration_error_interval(softmax(logits), targets)
    assert interval.value > 0.07
    assert interval.low == 0.0


def test_decide_by_hand() -> None:
    probabilities = two_columns([0.2, 0.3, 0.5, 0.8])
    assert decide(probabilities).tolist() == [0, 0, 0, 1]
    assert decide(probabilities, 0.3).tolist() == [0, 1, 1, 1]
    with pytest.raises(ConfigError, match="got 3 classes"):
        decide(np.full((1, 3), 1 / 3), 0.5)


def test_threshold_by_hand() -> None:
    # From 0.35 up: TP 3, FP 1, FN 0, so F1 = 6/7; no other cut does better.
    chosen = choose_threshold(np.array([0.1, 0.3, 0.4, 0.45, 0.6, 0.9]), np.array([0, 0, 1, 0, 1, 1]))
    assert chosen.value == pytest.approx(0.35)
    assert chosen.score == pytest.approx(6 / 7)
    assert (chosen.objective, chosen.n) == ("f1", 6)
    assert Threshold.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen


def test_equal_thresholds_resolve_towards_one_half() -> None:
    assert choose_threshold(np.array([0.1, 0.9]), np.array([0, 1])).value == 0.5
    # Cuts at 0.15 (TP 2, FP 2) and at 0.75 (TP 1, FP 0) both have F1 2/3.
    twice = choose_threshold(np.array([0.1, 0.2, 0.6, 0.7, 0.8]), np.array([0, 1, 0, 0, 1]))
    assert twice.value == pytest.approx(0.75)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=40))
def test_no_threshold_does_better(pairs: list[tuple[int, bool]]) -> None:
    probability, targets = np.array([p / 20 for p, _ in pairs]), np.array([int(t) for _, t in pairs])
    if targets.min() == targets.max():
        with pytest.raises(DataError, match="both classes"):
            choose_threshold(probability, targets)
        return
    chosen = choose_threshold(probability, targets)

    def f1(threshold: float) -> float:
        predicted = probability >= threshold
        return 2 * int((predicted & (targets == 1)).sum()) / int(predicted.sum() + targets.sum())

    assert chosen.score == pytest.approx(f1(chosen.value))
    assert chosen.score == pytest.approx(max(f1(t / 40) for t in range(41)))


def test_threshold_for_balanced_accuracy_and_errors() -> None:
    probability, targets = np.array([0.1, 0.2, 0.3, 0.35, 0.4]), np.array([0, 0, 0, 1, 1])
    chosen = choose_threshold(probability, targets, "balanced_accuracy")
    assert (chosen.value, chosen.score) == pytest.approx((0.325, 1.0))
    with pytest.raises(ConfigError, match=r"'balanced'.*Did you mean 'balanced_accuracy'"):
        choose_threshold(probability, targets, "balanced")
    with pytest.raises(ShapeError, match=r"\(N,\); got \(5, 1\)"):
        choose_threshold(probability[:, None], targets)


def test_abstaining_by_hand() -> None:
    # The 60 surest are all right, the 40 others all wrong; Wilson's lower end of 60/60 is 0.940.
    probabilities = two_columns([0.9] * 60 + [0.7] * 40)
    targets = np.array([1] * 60 + [0] * 40)
    rule = abstain_threshold(probabilities, targets, 0.93)
    assert rule is not None
    assert rule.confidence == pytest.approx(0.8)
    assert (rule.coverage.value, rule.accuracy.value, rule.accuracy.n) == (0.6, 1.0, 60)
    assert rule.accuracy.low >= 0.93
    assert repr(AbstainRule.from_json(json.loads(json.dumps(rule.to_json())))) == repr(rule)
    assert abstain_threshold(probabilities, targets, 0.95) is None
    assert abstain_threshold(np.zeros((0, 2)), np.zeros(0, dtype=int), 0.9) is None
    everything = abstain_threshold(probabilities, targets, 0.4)
    assert everything is not None
    assert (everything.confidence, everything.coverage.value) == (0.0, 1.0)
    with pytest.raises(ConfigError, match=r"such as 0\.99; got 99"):
        abstain_threshold(probabilities, targets, 99)


def test_abstaining_judges_the_answers_the_threshold_gives() -> None:
    probabilities, targets = two_columns([0.3] * 50 + [0.9] * 50), np.ones(100, dtype=int)
    unaided, lowered = (abstain_threshold(probabilities, targets, 0.9, threshold=t) for t in (None, 0.2))
    assert unaided is not None
    assert lowered is not None
    assert (unaided.coverage.value, lowered.coverage.value) == (0.5, 1.0)


def test_the_promise_is_kept_on_new_samples() -> None:
    broken = given_up = 0
    unseen_logits, unseen = calibrated(20000, 3, seed=99, scale=4.0)
    unseen_probabilities = softmax(unseen_logits)
    right = unseen_probabilities.argmax(axis=1) == unseen
    for seed in range(100):
        logits, targets = calibrated(1000, 3, seed=seed, scale=4.0)
        rule = abstain_threshold(softmax(logits), targets, 0.95)
        if rule is None:
            given_up += 1
            continue
        answered = unseen_probabilities.max(axis=1) >= rule.confidence
        assert rule.coverage.value > 0.3
        broken += right[answered].mean() < 0.95
    assert given_up < 10
    assert broken <= 10


def test_risk_rises_with_coverage_and_ends_at_the_error_rate() -> None:
    logits, targets = calibrated(5000, 3, seed=4)
    curve = risk_coverage(softmax(logits), targets)
    assert len(curve["risk"]) == len(curve["coverage"]) == len(curve["confidence"]) == 200
    assert curve["coverage"][-1] == 1.0
    assert curve["risk"][-1] == pytest.approx(float((logits.argmax(axis=1) != targets).mean()))
    assert curve["risk"][20] < curve["risk"][100] < curve["risk"][-1]
    assert np.all(np.diff(curve["confidence"]) < 0)
    ties = risk_coverage(two_columns([0.9, 0.9, 0.6]), np.array([1, 0, 1]))
    assert ties["coverage"] == pytest.approx([2 / 3, 1.0])
    assert ties["risk"] == pytest.approx([1 / 2, 1 / 3])
    assert risk_coverage(np.zeros((0, 2)), np.zeros(0, dtype=int))["risk"] == []
