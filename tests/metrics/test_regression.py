"""The regression report: hand-worked errors, equality with scikit-learn, and how often intervals hold."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.conformal import ErrorBar, fit_error_bar
from convlens.metrics.jackknife import AT_MOST_ONE, PLAIN, POSITIVE, jackknife_interval
from convlens.metrics.regression import regression_report, training_constants
from intervals import scores_of


def random_case(n: int, t: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    true = generator.normal(5.0, 2.0, size=(n, t)) * np.arange(1, t + 1)
    return true + generator.normal(0.3, 1.0, size=(n, t)), true


@pytest.fixture(scope="module")
def hand_worked() -> dict[str, Any]:
    """True 1, 2, 3, 6; errors +1, -1, 0, +2; training targets 1, 1, 1, 9."""
    constants = training_constants(np.array([1.0, 1.0, 1.0, 9.0]), ["age"])
    predicted, true = np.array([2.0, 1.0, 3.0, 8.0]), np.array([1.0, 2.0, 3.0, 6.0])
    return regression_report(predicted, true, ["age"], constants=constants, error_bars=[ErrorBar(1.0, 0.9, 20)])


def test_the_hand_worked_errors(hand_worked: dict[str, Any]) -> None:
    row = hand_worked["per_target"][0]
    assert (hand_worked["n"], row["name"]) == (4, "age")
    assert row["mae"]["value"] == pytest.approx(1.0)
    assert row["rmse"]["value"] == pytest.approx(math.sqrt(6 / 4))
    assert row["r2"]["value"] == pytest.approx(1 - 6 / 14)
    assert row["bias"]["value"] == pytest.approx(0.5)
    assert row["worst"][0] == {"position": 3, "true": 6.0, "predicted": 8.0}
    assert [one["position"] for one in row["worst"]] == [3, 0, 1, 2]
    assert row["residuals"] == {"true": [1.0, 2.0, 3.0, 6.0], "predicted": [2.0, 1.0, 3.0, 8.0]}
    assert hand_worked["overall"]["mae"] == row["mae"]


def test_the_baselines_are_the_median_and_the_mean_of_training(hand_worked: dict[str, Any]) -> None:
    baseline = hand_worked["per_target"][0]["baseline"]
    assert (baseline["mean"], baseline["median"]) == (3.0, 1.0)
    assert baseline["mae"]["value"] == pytest.approx((0 + 1 + 2 + 5) / 4)
    assert baseline["rmse"]["value"] == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 4))
    assert baseline["r2"]["value"] == pytest.approx(0.0)
    assert baseline["mae_gain"]["value"] == pytest.approx(2.0 - 1.0)
    assert baseline["rmse_gain"]["value"] == pytest.approx(math.sqrt(14 / 4) - math.sqrt(6 / 4))
    assert hand_worked["overall"]["skill"]["value"] == pytest.approx(1 - 1.0 / 2.0)
    unknown = regression_report(np.zeros(3), np.arange(3.0), ["age"])
    assert "not given" in unknown["per_target"][0]["baseline"]["note"]
    assert "not given" in unknown["overall"]["skill"]["note"]


def test_the_gain_is_judged_on_the_same_samples() -> None:
    # The same samples are hard for both, and ours errs 0.1 less on every one: the gain is sure, the errors are not.
    size = np.linspace(1.0, 9.0, 30)
    constants = {"mean": np.zeros(1), "median": np.zeros(1)}
    row = regression_report(0.1 + 1e-4 * size, size, ["x"], constants=constants)["per_target"][0]
    gain = row["baseline"]["mae_gain"]
    assert gain["value"] == pytest.approx(0.1005, abs=1e-4)
    assert gain["high"] - gain["low"] < 0.001
    assert row["mae"]["high"] - row["mae"]["low"] > 1.0


@pytest.mark.parametrize(("n", "t"), [(7, 1), (40, 3)])
def test_scores_equal_scikit_learn(n: int, t: int) -> None:
    predicted, true = random_case(n, t, seed=n)
    report = regression_report(predicted, true, [f"t{i}" for i in range(t)])
    found = {name: [row[name]["value"] for row in report["per_target"]] for name in ("mae", "rmse", "r2")}
    raw: Any = {"multioutput": "raw_values"}
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted, **raw))
    assert found["rmse"] == pytest.approx(np.sqrt(reference.mean_squared_error(true, predicted, **raw)))
    assert found["r2"] == pytest.approx(reference.r2_score(true, predicted, **raw))
    assert report["overall"]["mae"]["value"] == pytest.approx(reference.mean_absolute_error(true, predicted))
    assert report["overall"]["r2"]["value"] == pytest.approx(reference.r2_score(true, predicted))
    assert report["overall"]["rmse"]["value"] == pytest.approx(np.mean(found["rmse"]))


@pytest.mark.parametrize("name", ["mae", "rmse", "r2", "bias", "skill", "mae_gain", "rmse_gain"])
def test_each_interval_is_that_of_the_score_left_out_by_hand(name: str) -> None:
    predicted, true = random_case(12, 1, seed=3)
    constants = {"mean": np.array([4.5]), "median": np.array([5.5])}

    def score(kept: np.ndarray) -> float:
        report = regression_report(predicted[kept], true[kept], ["x"], constants=constants)
        row = report["per_target"][0]
        places = {"skill": report["overall"], "mae_gain": row["baseline"], "rmse_gain": row["baseline"]}
        return places.get(name, row)[name]["value"]

    everything = np.arange(12)
    left_out = np.array([score(np.delete(everything, i)) for i in everything])
    scale = {"bias": PLAIN, "r2": AT_MOST_ONE, "skill": AT_MOST_ONE, "mae_gain": PLAIN, "rmse_gain": PLAIN}
    expected = jackknife_interval(score(everything), left_out, 0.95, scale.get(name, POSITIVE))
    report = regression_report(predicted, true, ["x"], constants=constants)
    row = report["per_target"][0]
    found = (row["baseline"] if name.endswith("gain") else report["overall"] if name == "skill" else row)[name]
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert expected.low < expected.value < expected.high


def test_every_score_has_an_interval_around_it() -> None:
    predicted, true = random_case(60, 2, seed=5)
    constants = training_constants(true + 1.0, ["a", "b"])
    bars = [fit_error_bar(predicted[:, i], true[:, i]) for i in range(2)]
    report = regression_report(predicted, true, ["a", "b"], constants=constants, error_bars=bars)
    found = scores_of(report)
    assert len(found) == 2 * (4 + 5 + 1) + 4
    for score in found:
        assert score["low"] < score["value"] < score["high"], score
        assert score["n"] == 60
    assert "share one unit" in report["overall"]["mae"]["note"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    wide = regression_report(predicted, true, ["a", "b"], level=0.99)["per_target"][0]["mae"]
    assert wide["low"] < report["per_target"][0]["mae"]["low"]


@settings(deadline=None, max_examples=40)
@given(st.permutations(range(9)), st.integers(1, 2))
def test_the_order_of_the_samples_does_not_matter(order: list[int], t: int) -> None:
    predicted, true = random_case(9, t, seed=1)
    one, other = (scores_of(regression_report(p, y, ["a", "b"][:t])) for p, y in [
        (predicted, true), (predicted[order], true[order]),
    ])  # fmt: skip
    for a, b in zip(one, other, strict=True):
        assert [a[key] for key in ("value", "low", "high")] == pytest.approx(
            [b[key] for key in ("value", "low", "high")], nan_ok=True
        )


def test_perfect_predictions() -> None:
    true = np.arange(10.0)
    report = regression_report(true, true, ["x"], constants=training_constants(true, ["x"]))
    row = report["per_target"][0]
    assert (row["mae"]["value"], row["rmse"]["value"], row["r2"]["value"]) == (0.0, 0.0, 1.0)
    assert report["overall"]["skill"]["value"] == 1.0
    assert row["mae"]["note"] == "no sample differs, so the interval has no width"
    json.dumps(report, allow_nan=False)


def test_what_is_undefined_says_why() -> None:
    constants = {"mean": np.array([2.0, 0.0]), "median": np.array([2.0, 0.0])}
    flat = np.stack([np.full(7, 0.1), np.arange(7.0)], axis=1)  # the mean of seven 0.1 is not quite 0.1
    report = regression_report(flat + 1.0, flat, ["flat", "other"], constants=constants)
    flat_row = report["per_target"][0]
    assert flat_row["r2"]["value"] is None
    assert flat_row["r2"]["note"] == "the true values do not vary"
    assert report["overall"]["r2"]["value"] == pytest.approx(1 - 7 / 28)
    assert "mean over 1 of 2 targets" in report["overall"]["r2"]["note"]
    alone = regression_report(np.array([1.0]), np.array([3.0]), ["x"])["per_target"][0]
    assert (alone["mae"]["value"], alone["mae"]["low"]) == (2.0, None)
    assert "one sample" in alone["mae"]["note"]
    two = regression_report(np.array([1.0, 2.0]), np.array([3.0, 5.0]), ["x"])["per_target"][0]
    assert two["r2"]["low"] is None
    assert "without one of its samples" in two["r2"]["note"]
    for usual in (0.3, 0.7, 1.1, 7.7):  # all others are alike, but for rounding
        true = np.array([usual] * 4 + [0.9])
        odd = regression_report(true + 0.1, true, ["x"])["per_target"][0]
        assert "without one of its samples" in odd["r2"]["note"]
    nothing = regression_report(np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"], constants=constants)
    assert all(score["value"] is None and score["note"] for score in scores_of(nothing))
    json.dumps(nothing, allow_nan=False)


def test_long_tables_are_thinned_and_rise() -> None:
    predicted, true = random_case(2000, 1, seed=6)
    table = regression_report(predicted, true, ["x"])["per_target"][0]["residuals"]
    assert len(table["true"]) == len(table["predicted"]) == 500
    assert table["true"] == sorted(table["true"])
    assert (table["true"][0], table["true"][-1]) == (true.min(), true.max())


def test_errors_name_what_came() -> None:
    with pytest.raises(ShapeError, match=r"\(N, 2\), for 2 targets; got \(3, 1\) and \(3, 1\)"):
        regression_report(np.zeros((3, 1)), np.zeros((3, 1)), ["a", "b"])
    with pytest.raises(ShapeError, match=r"got \(3,\) and \(4,\)"):
        regression_report(np.zeros(3), np.zeros(4), ["a"])
    with pytest.raises(DataError, match=r"predicted numbers must be finite; row 1 has \[nan\]"):
        regression_report(np.array([0.0, np.nan]), np.zeros(2), ["a"])
    with pytest.raises(ShapeError, match="each of the 1 targets; got 2"):
        regression_report(np.zeros(3), np.zeros(3), ["a"], error_bars=[ErrorBar(1, 0.9, 9)] * 2)
    with pytest.raises(DataError, match="got none"):
        training_constants(np.zeros(0), ["a"])
    with pytest.raises(DataError, match=r"mean of the training targets must be one finite number.*got \[1\.0, 2\.0\]"):
        regression_report(np.zeros(3), np.zeros(3), ["a"], constants={"mean": np.array([1.0, 2.0])})
    with pytest.raises(ConfigError, match="got 95"):
        regression_report(np.zeros(3), np.zeros(3), ["a"], level=95)


@pytest.mark.parametrize("n", [8, 40])
def test_intervals_hold_as_often_as_they_say(n: int) -> None:
    # y = x + noise, so RMSE 1, MAE sqrt(2 / pi) and R2 = 4 / 5 in the long run
    generator = np.random.default_rng(n)
    truth = {"rmse": 1.0, "mae": math.sqrt(2 / math.pi), "r2": 0.8, "bias": 0.0}
    held = dict.fromkeys(truth, 0)
    for _ in range(300):
        predicted = 2.0 * generator.normal(size=n)
        row = regression_report(predicted, predicted + generator.normal(size=n), ["x"])["per_target"][0]
        for name, known in truth.items():
            held[name] += row[name]["low"] <= known <= row[name]["high"]
    for name, count in held.items():
        assert 0.89 <= count / 300 <= 0.985, name


def test_the_coverage_of_an_error_bar_is_counted() -> None:
    bar = ErrorBar(8.0, 0.8, 9)
    report = regression_report(np.zeros(4), np.array([8.0, -8.0, 8.1, 0.0]), ["x"], error_bars=[bar])
    found = report["per_target"][0]["error_bar"]
    assert (found["half_width"], found["coverage"]["value"], found["coverage"]["n"]) == (8.0, 0.75, 4)
