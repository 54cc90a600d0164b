"""The parity helper must notice what it is there to notice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from convlens.reference import Result, conv2d, relu
from parity import FORWARD, assert_close, assert_parity, assert_traced

X = {"x": np.array([-1.0, 0.5, 2.0])}


def altered(part: str) -> Result:
    """A ReLU with one planted error."""
    right = relu(X["x"])
    if part == "value":
        return replace(right, value=right.value + 1e-9)
    if part == "shape":
        return replace(right, value=right.value[:, np.newaxis])
    if part == "nan":
        return replace(right, value=right.value * np.nan)
    if part == "gradient":
        return replace(right, differentiate=lambda g: {"x": g})
    if part == "name":
        return replace(right, differentiate=lambda g: {"input": g})
    return replace(right, explain=lambda out: replace(right.explain(out), result=7.0))


def test_the_right_one_passes() -> None:
    assert_parity(relu, torch.relu, X)


@pytest.mark.parametrize("part", ["value", "shape", "nan", "gradient", "trace"])
def test_a_planted_error_fails(part: str) -> None:
    with pytest.raises(AssertionError):
        assert_parity(lambda x: altered(part), torch.relu, X)


def test_a_missing_gradient_fails() -> None:
    with pytest.raises(KeyError):
        assert_parity(lambda x: altered("name"), torch.relu, X)


def test_a_turned_filter_fails() -> None:
    inputs = {"x": np.arange(16.0).reshape(1, 1, 4, 4), "weight": np.arange(4.0).reshape(1, 1, 2, 2)}
    assert_parity(conv2d, torch.nn.functional.conv2d, inputs)
    with pytest.raises(AssertionError, match="value"):
        assert_parity(lambda x, w: conv2d(x, w[..., ::-1, ::-1]), torch.nn.functional.conv2d, inputs)


def test_one_wrong_number_among_many_fails() -> None:
    right = np.zeros(10_000)
    wrong = right.copy()
    wrong[-1] = 2e-12
    with pytest.raises(AssertionError, match=r"off by 2\.00e-12"):
        assert_close(wrong, right, FORWARD, "value")


def test_a_wrong_trace_alone_fails() -> None:
    with pytest.raises(AssertionError, match="trace of"):
        assert_traced(altered("trace"))
