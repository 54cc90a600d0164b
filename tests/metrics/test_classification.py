"""The classification report: hand-worked counts, equality with scikit-learn, batches, and everything undefined."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.classification import classification_report, headline
from intervals import scores_of


def sure(predicted: list[int] | np.ndarray, k: int) -> np.ndarray:
    """Probabilities that answer as given, 0.8 on the answer."""
    probabilities = np.full((len(predicted), k), 0.2 / (k - 1))
    probabilities[np.arange(len(predicted)), predicted] = 0.8
    return probabilities


def random_case(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = generator.choice(k, size=n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    logits = generator.normal(size=(n, k)) + 2.0 * np.eye(k)[targets]
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(axis=1, keepdims=True), targets


@pytest.fixture(scope="module")
def hand_worked() -> dict[str, Any]:
    """TP 40, TN 30, FP 10, FN 20."""
    targets = np.array([1] * 40 + [0] * 30 + [0] * 10 + [1] * 20)
    predicted = np.array([1] * 40 + [0] * 30 + [1] * 10 + [0] * 20)
    return classification_report(sure(predicted, 2), targets, ["no", "yes"], train_counts=[50, 100])


def test_the_hand_worked_scores(hand_worked: dict[str, Any]) -> None:
    yes = hand_worked["per_class"][1]
    assert hand_worked["n"] == 100
    assert hand_worked["confusion"] == [[30, 10], [20, 40]]
    assert [yes[name] for name in ("true_positive", "true_negative", "false_positive", "false_negative")] == [
        40, 30, 10, 20,
    ]  # fmt: skip
    assert hand_worked["accuracy"]["value"] == pytest.approx(0.7)
    assert yes["precision"]["value"] == pytest.approx(0.8)
    assert yes["recall"]["value"] == pytest.approx(0.6667, abs=5e-5)
    assert yes["f1"]["value"] == pytest.approx(0.7273, abs=5e-5)
    assert (yes["support"], yes["recall"]["n"], yes["precision"]["n"]) == (60, 60, 50)
    assert hand_worked["balanced_accuracy"]["value"] == pytest.approx((30 / 40 + 40 / 60) / 2)


def test_the_baseline_is_the_largest_class_of_training(hand_worked: dict[str, Any]) -> None:
    baseline = hand_worked["baseline"]
    assert baseline["class"] == "yes"
    assert baseline["accuracy"]["value"] == pytest.approx(0.6)
    assert baseline["balanced_accuracy"] == 0.5
    assert baseline["macro_f1"] == pytest.approx((2 * 60 / 160) / 2)
    assert baseline["lift"]["value"] == pytest.approx(0.1)
    assert baseline["lift"]["low"] < 0.1 < baseline["lift"]["high"]
    targets = np.array([0, 0, 0, 1])
    turned = classification_report(sure(targets, 2), targets, ["no", "yes"], train_counts=[1, 9])
    assert turned["baseline"]["class"] == "yes"
    assert turned["baseline"]["accuracy"]["value"] == 0.25
    unknown = classification_report(sure(targets, 2), targets, ["no", "yes"])
    assert unknown["baseline"]["class"] is None
    assert "not given" in unknown["baseline"]["note"]


@pytest.mark.parametrize(("n", "k"), [(40, 2), (200, 3), (500, 7)])
def test_scores_equal_scikit_learn(n: int, k: int) -> None:
    probabilities, targets = random_case(n, k, seed=n)
    predicted = probabilities.argmax(axis=1)
    report = classification_report(probabilities, targets, [f"c{i}" for i in range(k)])
    assert report["confusion"] == reference.confusion_matrix(targets, predicted, labels=range(k)).tolist()
    assert report["accuracy"]["value"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert report["balanced_accuracy"]["value"] == pytest.approx(reference.balanced_accuracy_score(targets, predicted))
    assert report["log_loss"]["value"] == pytest.approx(reference.log_loss(targets, probabilities, labels=range(k)))
    for average in ("macro", "micro", "weighted"):
        expected = reference.precision_recall_fscore_support(targets, predicted, average=average, labels=range(k))[:3]
        found = [report[f"{average}_{name}"]["value"] for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected), average
    columns: Any = reference.precision_recall_fscore_support(targets, predicted, labels=range(k))
    for name, column in zip(("precision", "recall", "f1"), columns, strict=False):
        assert [row[name]["value"] for row in report["per_class"]] == pytest.approx(list(column))
    if k > 3:
        expected = reference.top_k_accuracy_score(targets, probabilities, k=3, labels=range(k))
        assert report["top_3_accuracy"]["value"] == pytest.approx(expected)
    if k > 2:
        expected = reference.roc_auc_score(targets, probabilities, multi_class="ovr", labels=range(k))
        assert report["macro_auc"]["value"] == pytest.approx(expected)
    else:
        assert report["auc"]["value"] == pytest.approx(reference.roc_auc_score(targets, probabilities[:, 1]))
        expected = reference.average_precision_score(targets, probabilities[:, 1])
        assert report["average_precision"]["value"] == pytest.approx(expected)


@pytest.mark.parametrize("k", [2, 4])
def test_every_score_has_an_interval_around_it(k: int) -> None:
    probabilities, targets = random_case(150, k, seed=k)
    names = [f"c{i}" for i in range(k)]
    report = classification_report(probabilities, targets, names, abstain=0.7, train_counts=[1] * k)
    found = scores_of(report)
    assert len(found) > 20 + 3 * k
    for score in found:
        if score["value"] is None:
            assert score["note"]
        else:
            assert score["low"] <= score["value"] <= score["high"]
            assert score["n"] > 0
            assert score["low"] < score["high"], score
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_undefined_ratios_are_null_with_their_reason() -> None:
    # Class c has no samples; class b is never predicted.
    targets, predicted = [0, 0, 1], [0, 0, 2]
    report = classification_report(sure(predicted, 4), np.array(targets), ["a", "b", "c", "d"])
    a, b, c, d = report["per_class"]
    assert b["precision"] == {"value": None, "low": None, "high": None, "n": 0, "note": "never predicted"}
    assert (b["recall"]["value"], b["f1"]["value"]) == (0.0, 0.0)
    assert c["recall"]["note"] == "no samples of this class"
    assert (c["precision"]["value"], c["f1"]["value"]) == (0.0, 0.0)
    assert d["f1"]["value"] is None
    assert a["auc"]["value"] == 1.0
    assert "both positive and negative" in c["auc"]["note"]
    assert report["balanced_accuracy"]["value"] == 0.5
    assert report["balanced_accuracy"]["note"].startswith("mean over 2 of 4 classes; the others were without samples")
    assert report["macro_precision"]["value"] == 0.5
    assert report["macro_precision"]["note"].startswith("mean over 2 of 4 classes; the others were never predicted")
    assert report["macro_f1"]["value"] == pytest.approx(1 / 3)
    assert report["macro_auc"]["note"] == "mean over 2 of 4 classes"


@pytest.mark.parametrize("k", [2, 5])
def test_no_samples_is_a_report_not_a_crash(k: int) -> None:
    names = [f"c{i}" for i in range(k)]
    empty = np.zeros(0, dtype=int)
    report = classification_report(np.zeros((0, k)), empty, names, abstain=0.5, train_counts=[3] * k)
    assert report["n"] == 0
    assert all(score["value"] is None and score["note"] for score in scores_of(report))
    json.dumps(report, allow_nan=False)


def test_the_threshold_decides_and_abstaining_is_reported_beside() -> None:
    probabilities = np.array([[0.65, 0.35], [0.9, 0.1], [0.05, 0.95], [0.45, 0.55]])
    targets = np.array([1, 0, 1, 0])
    report = classification_report(probabilities, targets, ["no", "yes"], threshold=0.3, abstain=0.9)
    assert report["threshold"] == 0.3
    assert report["positive"] == "yes"
    assert report["confusion"] == [[1, 1], [0, 2]]
    assert report["abstain"]["coverage"]["value"] == 0.5
    assert (report["abstain"]["accuracy"]["value"], report["abstain"]["accuracy"]["n"]) == (1.0, 2)
    nothing = classification_report(probabilities, targets, ["no", "yes"], abstain=0.99)
    assert nothing["abstain"]["accuracy"]["note"] == "nothing was answered"
    assert nothing["confusion"] == [[1, 1], [1, 1]]


def test_a_probability_of_zero_is_counted_not_infinite() -> None:
    report = classification_report(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 0]), ["no", "yes"])
    assert report["log_loss"]["value"] == pytest.approx((-np.log(np.finfo(float).eps) + np.log(2)) / 2)
    assert report["log_loss"]["note"].startswith("1 samples gave their own class a probability of 0")


def test_equal_probabilities_earn_no_free_top_three() -> None:
    report = classification_report(np.full((10, 10), 0.1), np.arange(10), [str(i) for i in range(10)])
    assert report["top_3_accuracy"]["value"] == pytest.approx(0.3)


def test_errors_name_what_came() -> None:
    good, targets = sure([0, 1], 2), np.array([0, 1])
    with pytest.raises(ShapeError, match=r"\(N, 3\).*got \(2, 2\)"):
        classification_report(good, targets, ["a", "b", "c"])
    with pytest.raises(ConfigError, match="3 classes"):
        classification_report(sure([0], 3), np.array([0]), ["a", "b", "c"], threshold=0.5)
    with pytest.raises(ShapeError, match="each of the 2 classes"):
        classification_report(good, targets, ["a", "b"], train_counts=[1, 2, 3])
    with pytest.raises(DataError, match=r"not all 0; got \[0, 0\]"):
        classification_report(good, targets, ["a", "b"], train_counts=[0, 0])


def test_the_same_seed_gives_the_same_report() -> None:
    probabilities, targets = random_case(80, 3, seed=9)
    one, same, other = (classification_report(probabilities, targets, "abc", seed=s) for s in (1, 1, 2))
    assert one == same
    assert one["macro_f1"]["low"] != other["macro_f1"]["low"]
    assert one["macro_f1"]["value"] == other["macro_f1"]["value"]


def test_the_headline_follows_the_imbalance_of_training() -> None:
    report = classification_report(sure([0, 1], 2), np.array([0, 1]), ["a", "b"])
    assert headline(report, [30, 10]) == "accuracy"
    assert headline(report, [31, 10]) == "balanced_accuracy"
    assert headline(report, [5, 0]) == "balanced_accuracy"
    assert report[headline(report, [31, 10])]["n"] == 2
    with pytest.raises(ShapeError, match="2 classes"):
        headline(report, [1, 2, 3])


def test_importing_the_metrics_imports_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, convlens.metrics.classification; "
        "print(sorted({'torch', 'sklearn', 'scipy', 'torchmetrics'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
