"""Activations: the lectures' numbers, numbers far from zero, parity with torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convlens.errors import ShapeError
from convlens.reference import Result, leaky_relu, prelu, relu, sigmoid, softmax, tanh
from parity import assert_parity, assert_traced


def test_the_lectures_values() -> None:
    assert relu([-10, -5, 0, 5, 10]).tolist() == [0, 0, 0, 5, 10]
    x = [-2.0, -1.0, 0.0, 3.0]
    assert relu(x).tolist() == [0, 0, 0, 3]
    assert leaky_relu(x).tolist() == [-0.02, -0.01, 0, 3]
    assert prelu(x).tolist() == [-0.5, -0.25, 0, 3]
    assert prelu(x).backward([1, 1, 1, 1])["slope"] == -3
    x = [-2.0, -0.5, 0.0, 0.5, 2.0]
    assert sigmoid(x).value == pytest.approx(
        [0.11920292202211755, 0.3775406687981454, 0.5, 0.6224593312018546, 0.8807970779778823], abs=1e-15
    )
    assert tanh(x).value == pytest.approx(
        [-0.964027580075817, -0.4621171572600098, 0, 0.4621171572600098, 0.964027580075817], abs=1e-15
    )


def test_the_lectures_softmax() -> None:
    assert softmax([9.61, 6.49]).value == pytest.approx([0.9577102281579662, 0.04228977184203383], abs=1e-14)
    assert softmax([9.74, 6.68]).value == pytest.approx([0.9552122969502134, 0.04478770304978672], abs=1e-14)


def test_nothing_overflows_far_from_zero() -> None:
    far = [-1000.0, 1000.0]
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(far).tolist() == [0, 1]
        assert tanh(far).tolist() == [-1, 1]
        assert softmax(far).tolist() == [0, 1]


def test_softmax_does_not_see_a_constant() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_allclose(softmax(x + 5).value, softmax(x).value, atol=1e-15)
    np.testing.assert_allclose(softmax(x).value.sum(axis=1), 1, atol=1e-15)


def test_tanh_is_a_stretched_sigmoid() -> None:
    x = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(tanh(x).value, 2 * sigmoid(2 * x).value - 1, atol=1e-15)
    assert tanh([1e-12]).value[0] == pytest.approx(1e-12, rel=1e-15, abs=0)


PAIRS: dict[str, tuple[Callable[..., Result], Callable[..., torch.Tensor]]] = {
    "relu": (relu, F.relu),
    "leaky_relu": (lambda x: leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2)),
    "sigmoid": (sigmoid, torch.sigmoid),
    "tanh": (tanh, torch.tanh),
    "softmax over channels": (lambda x: softmax(x, axis=1), lambda x: F.softmax(x, 1)),
    "softmax over the last axis": (softmax, lambda x: F.softmax(x, -1)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_parity_with_torch(name: str, scale: float) -> None:
    x = scale * np.random.default_rng(0).standard_normal((2, 3, 4))
    x[0, 0, 0] = 0
    assert_parity(*PAIRS[name], {"x": x})


@pytest.mark.parametrize("slopes", [1, 3])
def test_parity_of_prelu(slopes: int) -> None:
    random = np.random.default_rng(0)
    assert_parity(prelu, F.prelu, {"x": random.standard_normal((2, 3, 4)), "slope": random.random(slopes)})


def test_traces_end_in_the_value() -> None:
    for operation in (relu, leaky_relu, prelu, sigmoid, tanh, softmax):
        assert_traced(operation([-1.5, 0.0, 2.0]))


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"one for each channel on axis 1 of x \(2, 3\); got shape \(2,\)\. Set axis"):
        prelu(np.zeros((2, 3)), [0.1, 0.2])
    with pytest.raises(ShapeError, match=r"softmax needs an axis of scores; x has shape \(3,\), and axis is 1"):
        softmax([1, 2, 3], axis=1)
