"""Counts of what was called what: the same whatever the batches, and scores that are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from convlens.errors import DataError, ShapeError
from convlens.metrics import confusion as counts
from convlens.metrics.confusion import confusion


@pytest.mark.parametrize("k", [2, 5])
def test_scores_equal_scikit_learn_one_matrix_or_many(k: int) -> None:
    generator = np.random.default_rng(k)
    cases = generator.integers(k, size=(3, 2, 60))
    matrices = np.array([confusion(true, predicted, k) for true, predicted in cases])
    for (true, predicted), matrix in zip(cases, matrices, strict=True):
        assert np.array_equal(matrix, reference.confusion_matrix(true, predicted, labels=range(k)))
    each = [reference.precision_recall_fscore_support(*case, labels=range(k))[:3] for case in cases]
    for i, function in enumerate((counts.precisions, counts.recalls, counts.f1s)):
        assert function(matrices) == pytest.approx(np.array([scores[i] for scores in each]))
    for average, names in {
        "macro": ("macro_precision", "balanced_accuracy", "macro_f1"),
        "weighted": ("weighted_precision", "accuracy", "weighted_f1"),
    }.items():
        for case, matrix in zip(cases, matrices, strict=True):
            expected = reference.precision_recall_fscore_support(*case, average=average, labels=range(k))[:3]
            assert [float(getattr(counts, name)(matrix)) for name in names] == pytest.approx(expected)


def test_errors_name_what_came() -> None:
    with pytest.raises(DataError, match=r"predictions must lie in 0\.\.1 for 2 classes; got 0\.\.2"):
        confusion(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(DataError, match=r"targets must lie in 0\.\.1"):
        confusion(np.array([-1, 1]), np.array([0, 1]), 2)
    with pytest.raises(ShapeError, match=r"got \(2,\) and \(1,\)"):
        confusion(np.array([0, 1]), np.array([0]), 2)
