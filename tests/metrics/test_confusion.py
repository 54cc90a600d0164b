"""Counts of what was called what: the same whatever the batches, and scores that are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from convlens.errors import DataError, ShapeError
from convlens.metrics import confusion as counts
from convlens.metrics.confusion import Tally, confusion


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
    with pytest.raises(ShapeError, match="got 2 and 3"):
        Tally(2).merge(Tally(3))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_scores_do_not_depend_on_the_batches(pairs: list[tuple[int, int]], size: int, cut: int) -> None:
    data = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    whole, batched, first, second = (Tally(4) for _ in range(4))
    whole.update(data[:, 0], data[:, 1])
    for start in range(0, len(data), size):
        batch = data[start : start + size]
        batched.update(batch[:, 0], batch[:, 1])
    second.update(data[cut:, 0], data[cut:, 1])
    first.update(data[:cut, 0], data[:cut, 1])
    second.merge(first)
    for other in (batched, second):
        assert other.n == len(data)
        assert np.array_equal(other.matrix, whole.matrix)
        assert repr(other.scores()) == repr(whole.scores())


def test_an_epoch_is_not_the_mean_of_its_batches() -> None:
    tally = Tally(2)
    tally.update(np.array([0, 0, 0]), np.array([0, 0, 0]))
    tally.update(np.array([1]), np.array([0]))
    assert tally.scores() == pytest.approx({"accuracy": 0.75, "balanced_accuracy": 0.5, "macro_f1": 3 / 7})
    assert all(np.isnan(value) for value in Tally(3).scores().values())
