"""Boundary F1: by hand, at Euclidean distances, and where there is no boundary."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.metrics.boundary import boundary_f1
from label_maps import square


def test_boundaries_by_hand() -> None:
    true = square(5, 5)
    assert boundary_f1(true, true, 0.0) == 1.0
    # Moved by 3: of 20 boundary pixels 6 lie on the true outline, and 4 more beside one of these
    moved = square(5, 8)
    assert boundary_f1(true, moved, 2.9) < 1.0
    assert boundary_f1(true, moved, 3.0) == 1.0
    assert boundary_f1(true, moved, 0.0) == pytest.approx(6 / 20)
    assert boundary_f1(true, moved, 1.0) == pytest.approx((6 + 4) / 20)
    assert boundary_f1(true, square(14, 14), 2.0) == 0.0


def test_the_distance_between_boundaries_is_euclidean() -> None:
    one, other = np.zeros((9, 9), dtype=bool), np.zeros((9, 9), dtype=bool)
    one[2, 2] = other[4, 4] = True
    assert boundary_f1(one, other, 2.0) == 0.0
    assert boundary_f1(one, other, 2.83) == 1.0


def test_precision_and_recall_of_boundaries_both_count() -> None:
    true, extra = square(2, 2), square(2, 2) | square(12, 12)
    assert boundary_f1(true, extra, 1.0) == pytest.approx(2 * 0.5 * 1.0 / 1.5)
    assert boundary_f1(extra, true, 1.0) == pytest.approx(2 * 0.5 * 1.0 / 1.5)


def test_boundaries_that_are_none() -> None:
    nothing, everything = np.zeros((6, 6), dtype=bool), np.ones((6, 6), dtype=bool)
    assert np.isnan(boundary_f1(nothing, nothing))
    assert np.isnan(boundary_f1(everything, everything))  # the border of the image is no boundary
    assert boundary_f1(square(0, 0, 3, 6), nothing) == 0.0
    half = np.arange(36).reshape(6, 6) % 6 < 3
    assert np.isnan(boundary_f1(half, half, valid=np.arange(36).reshape(6, 6) % 6 != 3))  # the rest is ignored
