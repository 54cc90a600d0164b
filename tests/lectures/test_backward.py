"""Gradients as results: equal to `conv2d(...).backward` for every stride, padding and dilation, and traceable."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from convlens.errors import ShapeError
from convlens.lectures.backward import NAME, gradients_of_conv2d
from convlens.reference import conv2d

CASES = list(itertools.product((1, 2, 3), (0, 1, 2), (1, 2)))


@pytest.mark.parametrize(("stride", "padding", "dilation"), CASES)
def test_they_are_the_gradients_of_conv2d(stride: int, padding: int, dilation: int) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-5, 6, (7, 8)), rng.integers(-5, 6, (3, 2))
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    forward = conv2d(x, weight, 0, **options)
    gradient = rng.integers(-5, 6, forward.shape)
    expected, found = forward.backward(gradient), gradients_of_conv2d(x, weight, gradient, **options)
    assert np.array_equal(found["dL/dX"].value, expected["x"])
    assert np.array_equal(found["dL/dF"].value, expected["weight"])
    assert found["dL/db"].value == expected["bias"].sum()
    for result in found.values():
        for at in np.ndindex(result.shape):
            assert result.trace(at).result == result.value[at]
            assert result.trace(at).operation == NAME


def test_a_trace_has_the_names_of_the_slide() -> None:
    found = gradients_of_conv2d([[1, 2, 0], [3, 1, 4], [2, 5, 1]], [[1, -1], [2, 3]], [[1, 2], [-1, 3]])
    told = str(found["dL/dX"].trace((1, 1)))
    assert "dL/dX[i, j] = sum of F[a, b] * dL/dO[i - a, j - b], wherever that is a cell of dL/dO" in told
    assert "F[1, 1] * dL/dO[0, 0] = 3 * 1 = 3" in told
    told = str(found["dL/dF"].trace((0, 1)))
    assert "dL/dF[i, j] = sum over a, b of dL/dO[a, b] * X[i + a, j + b]" in told
    assert "dL/db = sum of dL/dO" in str(found["dL/db"].trace())
    assert found["dL/db"].backward(2.0)["gradient"].tolist() == [[2, 2], [2, 2]]


def test_what_does_not_fit_is_said() -> None:
    x, weight = np.ones((4, 4), int), np.ones((2, 2), int)
    with pytest.raises(ShapeError, match=r"the shape of the output, \(3, 3\); got \(2, 2\)"):
        gradients_of_conv2d(x, weight, np.ones((2, 2)))
    with pytest.raises(ShapeError, match="Give padding as a number"):
        gradients_of_conv2d(x, weight, np.ones((4, 4)), padding="same")
    with pytest.raises(ShapeError, match="Take one channel"):
        gradients_of_conv2d(x[None], weight, np.ones((3, 3)))
