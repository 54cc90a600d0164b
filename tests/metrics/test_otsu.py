"""Otsu's threshold: by hand, against every other one and scikit-image, and the side on which objects lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.errors import ShapeError
from convlens.metrics.otsu import otsu_map, otsu_polarity, otsu_threshold
from label_maps import square


def test_otsu_by_hand() -> None:
    assert otsu_threshold(np.array([0, 0, 10, 10, 10])) == 5.0
    assert otsu_threshold(np.array([[0.1, 0.2], [0.9, 0.8]])) == pytest.approx(0.5)
    assert otsu_threshold(np.full((3, 3), 7)) is None
    grey = np.array([[10, 200], [220, 15]])
    assert otsu_map(grey, bright=True).tolist() == [[0, 1], [1, 0]]
    assert otsu_map(grey, bright=False).tolist() == [[1, 0], [0, 1]]
    for bright in (True, False):
        assert otsu_map(np.full((2, 2), 7), bright=bright).tolist() == [[0, 0], [0, 0]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=40))
def test_no_threshold_parts_better(values: list[int]) -> None:
    grey = np.array(values)
    chosen = otsu_threshold(grey)
    if len(set(values)) == 1:
        assert chosen is None
        return
    assert chosen is not None

    def within(threshold: float) -> float:
        parts = grey[grey > threshold], grey[grey <= threshold]
        return sum(float(((part - part.mean()) ** 2).sum()) for part in parts)

    assert within(chosen) == pytest.approx(min(within(t + 0.5) for t in range(min(values), max(values))))


def test_otsu_equals_scikit_image() -> None:
    filters = pytest.importorskip("skimage.filters")
    generator = np.random.default_rng(0)
    for _ in range(20):
        values = np.concatenate([generator.normal(80, 20, 600), generator.normal(160, 25, 300)])
        grey = values.clip(0, 255).astype(np.uint8)
        threshold = otsu_threshold(grey)
        assert threshold is not None
        assert np.array_equal(grey > threshold, grey > filters.threshold_otsu(grey))


def test_the_polarity_is_the_better_one_on_training_images() -> None:
    true = square(5, 5).astype(int)
    dark, bright = np.where(true, 30, 200), np.where(true, 200, 30)
    assert otsu_polarity([(bright, true), (bright, true), (dark, true)]) is True
    assert otsu_polarity([(dark, true)]) is False
    # Only ignored pixels speak for the bright side
    ignored = np.indices(true.shape)[0] > 11
    pair = np.where(ignored, 220, np.where(true, 30, 100)), np.where(ignored, 255, true)
    assert otsu_polarity([pair], ignore_index=255) is False
    assert otsu_polarity([pair]) is True
    assert otsu_polarity([(dark, 1 - true)], background=1) is False
    with pytest.raises(ShapeError, match=r"got \(4, 4\) and \(4, 4, 3\)"):
        otsu_polarity([(np.zeros((4, 4, 3)), np.zeros((4, 4), dtype=int))])
