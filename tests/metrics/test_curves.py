"""The curves of two classes: their ends, their thinning, and nothing where one class is alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from convlens.metrics.curves import binary_curves, thin


def random_case(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.4
    return generator.normal(size=n) + 1.5 * positive, positive


def test_areas_equal_scikit_learn() -> None:
    scores, positive = random_case(200, seed=3)
    found = binary_curves(scores, positive)
    assert found["auc"]["value"] == pytest.approx(reference.roc_auc_score(positive, scores))
    average = found["average_precision"]
    assert average["value"] == pytest.approx(reference.average_precision_score(positive, scores))
    assert average["n"] == positive.sum()
    assert average["low"] < average["value"] < average["high"]
    surer = binary_curves(scores, positive, level=0.5)
    for name in ("auc", "average_precision"):
        assert surer[name]["low"] > found[name]["low"]


def test_one_class_alone_has_no_curves() -> None:
    for side in (True, False):
        found = binary_curves(np.array([0.8, 0.7, 0.2]), np.full(3, side))
        assert found["roc"] is None
        assert found["precision_recall"] is None
        for name in ("auc", "average_precision"):
            assert (found[name]["value"], found[name]["n"]) == (None, 3)
            assert "both positive and negative" in found[name]["note"]


def test_curves_are_thinned_and_keep_their_ends() -> None:
    scores, positive = random_case(3000, seed=8)
    found = binary_curves(scores, positive)
    roc, curve = found["roc"], found["precision_recall"]
    assert len(roc["threshold"]) == len(roc["true_positive_rate"]) == len(roc["false_positive_rate"]) == 200
    assert (roc["false_positive_rate"][0], roc["true_positive_rate"][0], roc["threshold"][0]) == (0.0, 0.0, None)
    assert (roc["false_positive_rate"][-1], roc["true_positive_rate"][-1]) == (1.0, 1.0)
    assert len(curve["recall"]) == 200
    assert (curve["recall"][0], curve["recall"][-1], curve["precision"][-1]) == (1.0, 0.0, 1.0)
    assert curve["threshold"][-1] is None
    assert None not in curve["threshold"][:-1]
    area = reference.auc(roc["false_positive_rate"], roc["true_positive_rate"])
    assert area == pytest.approx(found["auc"]["value"], abs=0.01)


@pytest.mark.parametrize("length", [0, 1, 2, 199, 200, 201, 10_000])
def test_thinned_curves_keep_their_ends(length: int) -> None:
    kept = thin(length)
    assert len(kept) == min(length, 200)
    if length:
        assert (kept[0], kept[-1]) == (0, length - 1)
