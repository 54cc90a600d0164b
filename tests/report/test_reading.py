"""The words beside the numbers claim what the numbers say, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.metrics.classification import classification_report
from convlens.report import reading, views
from summaries import history, probabilities


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u2013", "-")


def interval(value: float, low: float, high: float, n: int = 10_000) -> dict:
    return {"value": value, "low": low, "high": high, "n": n, "level": 0.95}


def test_the_headline_names_n_interval_and_baseline() -> None:
    text = reading.headline("accuracy", interval(0.94, 0.935, 0.944), {"class": "shirt", "value": 0.1}, "test")
    assert plain(text) == (
        "On 10,000 test images it was right 94.0 % of the time (95 % interval 93.5-94.4); "
        "always answering “shirt” would be right 10.0 %."
    )


def test_a_score_within_reach_of_the_baseline_is_called_so() -> None:
    text = reading.headline("accuracy", interval(0.7, 0.6, 0.8, 90), {"class": "no", "value": 0.65}, "valid")
    assert "not clearly better than nothing" in text
    assert "90 validation images" in text


def test_a_result_within_reach_of_the_linear_probe_is_called_so() -> None:
    probe = interval(0.9, 0.87, 0.93, 400)
    text = plain(reading.linear_probe(interval(0.99, 0.98, 0.995, 400), probe))
    assert text.startswith("A linear classifier on the features of the starting weights reaches 90.0 % there (interval")
    assert "87.0-93.0" in text
    assert "not clearly better" not in text
    assert reading.linear_probe(interval(0.92, 0.9, 0.94, 400), probe).endswith("is not clearly better than that.")


@pytest.mark.parametrize(
    ("name", "words"), [("balanced_accuracy", "every class counting the same"), ("macro_f1", "mean F1")]
)
def test_other_headlines_say_what_they_are(name: str, words: str) -> None:
    text = plain(reading.headline(name, {**interval(0.5, 0.4, 0.6), "level": 0.975}, None, "test"))
    assert words in text
    assert "97.5 % interval 40.0-60.0" in text


def test_only_all_is_a_hundred_percent() -> None:
    assert [plain(reading.percent(x)) for x in (1, 0, 0.9996, 0.999999, 0.000001)] == [
        "100 %",
        "0 %",
        "99.96 %",
        "> 99.99 %",
        "< 0.01 %",
    ]
    assert plain(reading.between({"low": 0.000001, "high": 0.999999})) == "0-100"


def test_learning_names_the_kept_epoch_and_overfitting() -> None:
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": abs(e - 4) * 0.1 + 0.5} for e in range(1, 9)]
    text = reading.learning(rows, 4)
    assert "after epoch 4 were kept" in text
    assert "overfitting" in text
    assert "overfitting" not in reading.learning(rows[:4], 4)
    assert "more epochs may help" in reading.learning(rows[:4], 4)
    assert "4 epochs of 10 planned" in reading.learning(rows[:4], 4, 10)


def test_learning_without_validation_says_so() -> None:
    assert "no validation" in reading.learning(history(3, valid=False), None)
    assert reading.learning([], None) == "No epoch was finished."


def test_mistakes_and_none() -> None:
    shares, targets = probabilities(300, 4)
    report = classification_report(shares, targets, list("abcd"))
    pairs = views.pairs(report)
    wrong = 300 - sum(row[i] for i, row in enumerate(report["confusion"]))
    text = reading.mistakes(report, pairs)
    assert text.startswith(f"{wrong} of 300 answers were wrong.")
    assert f"“{pairs[0].true}” was called “{pairs[0].predicted}”" in text
    perfect = classification_report(np.eye(3), np.arange(3), list("abc"))
    assert "All 3 images" in reading.mistakes(perfect, [])
    assert plain(reading.percent(1 - perfect["accuracy"]["low"])) in plain(reading.mistakes(perfect, []))


def test_classes_whose_intervals_overlap_are_not_ranked_as_certain() -> None:
    def row(name: str, value: float, low: float, high: float) -> dict:
        return {"name": name, "support": 9, "recall": {"value": value, "low": low, "high": high}}

    apart = reading.classes({"per_class": [row("a", 0.9, 0.85, 0.95), row("b", 0.4, 0.3, 0.5)]})
    close = reading.classes({"per_class": [row("a", 0.9, 0.45, 0.95), row("b", 0.4, 0.3, 0.5)]})
    assert "chance" not in apart
    assert "chance" in close
    assert "equally" in reading.classes({"per_class": [row("a", 0.9, 0.8, 1.0), row("b", 0.9, 0.8, 1.0)]})


def test_confidence_admits_what_chance_would_show() -> None:
    found = {"calibration": {"error": {"value": 0.03, "low": 0.0, "high": 0.05, "n": 90}}}
    before = {"error": {"value": 0.11, "low": 0.08, "high": 0.14, "n": 90}}
    text = reading.confidence(found, 1.5, before)
    assert "off by 3.0 percentage points" in text
    assert "by chance" in text
    assert "Before calibration it was 11.0 percentage points" in text
    assert "Before" not in reading.confidence(found, None, before)


def test_abstaining_reads_the_rule_or_the_curve() -> None:
    answered = {"coverage": [0.5, 0.9, 1.0], "risk": [0.0, 0.02, 0.1]}
    assert "surest 90 %, it" in plain(reading.abstaining({"abstain": None}, None, answered))
    kept = {"confidence": 0.8, "coverage": interval(0.7, 0.6, 0.8), "accuracy": interval(0.99, 0.98, 1.0)}
    text = plain(reading.abstaining({"abstain": kept}, {"promise": 0.98}, answered))
    assert "answers 70.0 % and is right on 99.0 % of those; 98.0 % was promised" in text


def test_data_bound_training_is_said() -> None:
    assert "the input held it back" in reading.time_spent({"training": 60.0, "decoding": 20.0}, 0.5)
    assert "did not hold it back" in reading.time_spent({"training": 60.0}, 0.01)
    assert reading.time_spent({}, None) == ""
