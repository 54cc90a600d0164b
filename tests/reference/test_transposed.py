"""Transposed and full convolution: the lectures' numbers, parity with torch, and what they are the reverse of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from convlens.errors import ConfigError, ShapeError
from convlens.reference import conv2d, conv_transpose2d, full_conv2d
from lectures import F2, X4
from parity import assert_close, assert_parity, assert_traced

SMALL, STAMP = [[1, 2], [3, 4]], [[1, 0], [1, -1]]


@pytest.mark.parametrize(
    ("stride", "padding", "expected"),
    [
        (1, 0, [[1, 2, 0], [4, 5, -2], [3, 1, -4]]),
        (2, 0, [[1, 0, 2, 0], [1, -1, 2, -2], [3, 0, 4, 0], [3, -3, 4, -4]]),
        (1, 1, [[5]]),
    ],
)
def test_the_lectures_values(stride: int, padding: int, expected: list[list[int]]) -> None:
    y = conv_transpose2d(SMALL, STAMP, stride=stride, padding=padding)
    assert y.tolist() == expected
    assert_traced(y)


def test_it_is_the_adjoint_of_convolution() -> None:
    y = np.array([[2, -3], [5, 7]])
    there = (conv2d(X4, F2, stride=2).value * y).sum()
    back = (np.array(X4) * conv_transpose2d(y, F2, stride=2).value).sum()
    assert there == back


def test_it_is_the_input_gradient_of_convolution() -> None:
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((2, 4, 7, 6)), random.standard_normal((6, 2, 3, 2))
    y = conv2d(x, weight, stride=2, padding=1, groups=2)
    gradient = random.standard_normal(y.shape)
    layer = conv_transpose2d(gradient, weight, stride=2, padding=1, groups=2)
    np.testing.assert_allclose(layer.value, y.backward(gradient)["x"], atol=1e-12)


def test_full_convolution_is_the_input_gradient_at_stride_1() -> None:
    gradient, weight = [[1, 2], [-1, 3]], [[1, -1], [2, 3]]
    assert full_conv2d(gradient, weight).tolist() == [[1, 1, -2], [1, 11, 3], [-2, 3, 9]]
    assert full_conv2d(gradient, weight).tolist() == conv_transpose2d(gradient, weight).tolist()
    unturned = conv2d(gradient, weight, padding=1)
    assert unturned.tolist() == [[3, 8, 4], [-4, 6, 8], [1, -4, 3]]


def test_full_convolution_multiplies_polynomials() -> None:
    product = full_conv2d([[1, 2, 3]], [[4, 5]])
    assert product.value[0].tolist() == np.polymul([1, 2, 3], [4, 5]).tolist()
    trace = product.trace((0, 1))
    assert "turned[0, 0] * x[0, 0] = 5 * 1 = 5" in str(trace)
    assert "sum over a, b of turned[a, b]" in trace.equation


def test_parity_of_full_convolution() -> None:
    random = np.random.default_rng(0)
    inputs = {
        "x": random.standard_normal((2, 2, 4, 3)),
        "weight": random.standard_normal((3, 2, 2, 3)),
        "bias": random.standard_normal(3),
    }
    assert_parity(full_conv2d, lambda x, w, b: F.conv2d(x, w.flip(-1, -2), b, padding=(1, 2)), inputs)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_parity_with_torch(data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    size, kernel, stride, dilation = pair(1, 4), pair(1, 3), pair(1, 3), pair(1, 2)
    reach = [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    padding = tuple(data.draw(st.integers(0, min(2, (r - 1) // 2))) for r in reach)
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    groups, channels, filters = (data.draw(st.integers(1, 2)) for _ in range(3))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = {
        "x": random.standard_normal((data.draw(st.integers(1, 2)), groups * channels, *size)),
        "weight": random.standard_normal((groups * channels, filters, *kernel)),
        "bias": random.standard_normal(groups * filters),
    }
    options: dict[str, Any] = {
        "stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups,
    }  # fmt: skip
    assert_parity(
        lambda *arrays: conv_transpose2d(*arrays, **options),
        lambda *tensors: F.conv_transpose2d(*tensors, **options),
        inputs,
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_words_of_keras_lead_back_from_a_convolution(padding: str, data: st.DataObject) -> None:
    """Keras's layer is the input gradient of the convolution with the same word, on a map of the wanted size."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    size, kernel, stride, dilation = pair(1, 4), pair(1, 4), pair(1, 3), pair(1, 2)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    gradient, weight = random.standard_normal((1, 3, *size)), random.standard_normal((3, 2, *kernel))
    y = conv_transpose2d(gradient, weight, stride=stride, padding=padding, dilation=dilation)
    over = [max(d * (k - 1) + 1 - s, 0) for k, s, d in zip(kernel, stride, dilation, strict=True)]
    wanted = [n * s + (more if padding == "valid" else 0) for n, s, more in zip(size, stride, over, strict=True)]
    assert y.shape == (1, 2, *wanted)
    back = conv2d(np.zeros((1, 2, *wanted)), weight, stride=stride, padding=padding, dilation=dilation)
    assert_close(y.value, back.backward(gradient)["x"], 1e-12, "the input gradient")
    assert_traced(y, 4)


def test_same_cuts_an_odd_cell_at_the_bottom_and_right() -> None:
    line = [[1, 0, 0, 2]]
    full = conv_transpose2d(line, [[1, 10, 100, 1000]])
    assert full.tolist() == [[1, 10, 100, 1002, 20, 200, 2000]]
    same = conv_transpose2d(line, [[1, 10, 100, 1000]], padding="same")
    assert same.tolist() == [[10, 100, 1002, 20]]
    assert "x[i - a, j + 1 - b]" in same.trace((0, 0)).equation
    gaps = conv_transpose2d([[1, 2]], [[7]], stride=(1, 3), padding="same", bias=[5])
    assert gaps.tolist() == [[12, 5, 5, 19, 5, 5]]


def test_parity_of_the_words_of_keras() -> None:
    random = np.random.default_rng(0)
    inputs = {
        "x": random.standard_normal((2, 2, 3, 4)),
        "weight": random.standard_normal((2, 3, 4, 3)),
        "bias": random.standard_normal(3),
    }
    assert_parity(
        lambda *arrays: conv_transpose2d(*arrays, stride=(1, 2), padding="same"),
        lambda *tensors: F.conv_transpose2d(*tensors, stride=(1, 2))[:, :, 1:4, :8],
        inputs,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 3}, r"Nothing is left of the output: .* Choose a padding from 0 to 1"),
        ({"output_padding": 1}, "output_padding must be smaller than the stride or the dilation"),
        ({"groups": 2}, "groups must divide them; got 1 and groups=2"),
        ({"bias": [1, 2]}, "one number for each of the 1 filters; got 2"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        conv_transpose2d(SMALL, STAMP, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "full"}, "padding is 'same', 'valid' or a number of cells; got 'full'"),
        (
            {"padding": "same", "output_padding": 1, "stride": 2},
            r"'same' decides the size; got output_padding=\(1, 1\)",
        ),
    ],
)
def test_word_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        conv_transpose2d(SMALL, STAMP, **options)
