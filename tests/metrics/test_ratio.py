"""What cannot be divided is nan, not 0 and not a warning."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.metrics.ratio import defined_mean, ratio


def test_nothing_by_nothing_is_nan() -> None:
    assert ratio(np.array([[3, 0], [0, 5]]), np.array([[4, 0], [2, 0]])) == pytest.approx(
        np.array([[0.75, np.nan], [0.0, np.nan]]), nan_ok=True
    )
    assert float(ratio(np.int64(1), np.int64(4))) == 0.25
    assert np.isnan(ratio(np.float64(1), np.float64(0)))


def test_a_mean_leaves_out_what_is_nan_and_its_weight() -> None:
    values = np.array([[1.0, np.nan, 4.0], [np.nan, np.nan, np.nan]])
    assert defined_mean(values) == pytest.approx(np.array([2.5, np.nan]), nan_ok=True)
    assert defined_mean(values, np.array([[2, 9, 1], [1, 1, 1]])) == pytest.approx(np.array([2.0, np.nan]), nan_ok=True)
    assert np.isnan(defined_mean(np.array([3.0, np.nan]), np.array([0, 4])))
