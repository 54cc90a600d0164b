"""Numbers become levels of 8 bits by written rules, and what could mean two things is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.arrays import scale_to_uint8
from convlens.errors import BadImage

WHITE = 65535


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        (np.array([[False, True]]), [0, 255]),
        (np.array([[0, 1]]), [0, 255]),
        (np.array([[-1, 1]], np.int8), [0, 255]),
        (np.array([[-1, -1]]), [0, 0]),
        (np.array([[1.0, 1.0]]), [255, 255]),
        (np.array([[-1.0, 1.0]], np.float16), [0, 255]),
        (np.array([[0.0, 0.5]]), [0, 128]),
        (np.array([[-1e-7, 1 + 1e-7]]), [0, 255]),
        (np.array([[7, 255]], np.int16), [7, 255]),
        (np.array([[0, 1]], np.uint8), [0, 1]),
        (np.array([[257, 65535]], np.uint16), [1, 255]),
        (np.array([[128, 129]], np.uint16), [0, 1]),
        (np.array([[0, 1]], np.uint64), [0, 255]),
    ],
)
def test_numbers_become_levels(given_values: np.ndarray, expected: list[int]) -> None:
    levels, _ = scale_to_uint8(given_values, WHITE)
    assert (levels.dtype, levels.tolist()) == (np.uint8, [expected])


@pytest.mark.parametrize(
    "values",
    [[[-1, 0, 1]], [[-1.0, 0.5]], [[0.0, 1.01]], [[-1, 7]], [[0, 256]], [[0.0, np.inf]], [["a"]], [[1j]]],
)
def test_numbers_that_could_mean_two_things_are_refused(values: list[list[object]]) -> None:
    with pytest.raises(BadImage) as caught:
        scale_to_uint8(np.array(values), WHITE)
    assert caught.value.kind in {"value-range", "not-finite", "bad-array"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_sixteen_bits_keep_their_order_and_their_ends(levels: list[int]) -> None:
    got = scale_to_uint8(np.array([levels], np.uint16), WHITE)[0][0].astype(float)
    assert np.abs(got - np.array(levels) / 257).max() <= 0.5
