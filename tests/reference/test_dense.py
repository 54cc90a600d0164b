"""Dense layers and flattening: the lectures' chain with its forgotten biases, parity with torch, both orders."""

from __future__ import annotations

import numpy as np
import pytest
from torch.nn import functional as F

from convlens.errors import ConfigError, ShapeError
from convlens.reference import conv2d, dense, flatten, max_pool2d, relu, softmax
from parity import assert_parity, assert_traced

W1 = [[1.0, 1.0, 0.2, 0.8], [1.0, 0.5, 0.5, 0.8], [0.8, 1.0, 0.2, 0.8], [0.5, 0.5, 1.0, 1.0]]
W2 = [[0.2, 0.1, 0.5, 0.5], [0.1, 0.5, 0.1, 0.2]]


def test_the_lectures_chain_from_image_to_probabilities() -> None:
    x = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, -1, 1, 1], [0, 0, -1, 1, 0], [0, 1, -1, 0, 0]]
    maps = relu(conv2d(x, [[1, 0, 1], [0, 1, 0], [1, 0, 1]]))
    assert maps.tolist() == [[2, 3, 2], [0, 2, 1], [0, 1, 0]]
    features = flatten(max_pool2d(maps, 2, stride=1))
    assert features.tolist() == [3, 3, 2, 2]
    hidden = relu(dense(features, W1, [0.1] * 4))
    assert hidden.value == pytest.approx([8.1, 7.2, 7.5, 7.1])
    scores = dense(hidden, W2, [0.1, 0.1])
    assert scores.value == pytest.approx([9.74, 6.68])
    assert softmax(scores).value == pytest.approx([0.9552122969502134, 0.04478770304978672])


def test_the_lectures_printed_values_lack_a_bias() -> None:
    assert dense([3, 3, 2, 2], W1).value == pytest.approx([8, 7.1, 7.4, 7])
    printed = [8, 7.1, 7.4, 7]
    assert dense(printed, W2).value == pytest.approx([9.51, 6.49])
    assert dense(printed, W2, [0.1, 0.1]).value == pytest.approx([9.61, 6.59])


def test_the_lectures_flattening() -> None:
    assert flatten([[1, 1, 0], [4, 2, 1], [0, 2, 1]]).tolist() == [1, 1, 0, 4, 2, 1, 0, 2, 1]


def test_the_two_orders_are_a_transpose_apart() -> None:
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert np.array_equal(flatten(x).value, x.reshape(2, -1))
    last = flatten(x, "channels_last")
    assert np.array_equal(last.value, x.transpose(0, 2, 3, 1).reshape(2, -1))
    assert_traced(last, 20)
    assert np.array_equal(last.backward(last.value)["x"], x)


def test_two_layers_without_activation_are_one() -> None:
    random = np.random.default_rng(0)
    x, first, second = random.standard_normal((5, 4)), random.standard_normal((3, 4)), random.standard_normal((2, 3))
    np.testing.assert_allclose(dense(dense(x, first), second).value, dense(x, second @ first).value, atol=1e-12)


def test_parity_with_torch() -> None:
    random = np.random.default_rng(0)
    weights = {"weight": random.standard_normal((3, 4)), "bias": random.standard_normal(3)}
    assert_parity(dense, F.linear, {"x": random.standard_normal((5, 4)), **weights})
    assert_parity(dense, F.linear, {"x": random.standard_normal(4), **weights})


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"got \(3,\) and \(2, 4\)\. The weight needs one row for each output"):
        dense([1, 2, 3], W2)
    with pytest.raises(ConfigError, match=r"no flatten order 'channel_last'\. Did you mean 'channels_last'\?"):
        flatten([[1]], "channel_last")
