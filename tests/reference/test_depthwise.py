"""1x1, depthwise and separable convolution: the lectures' numbers, and the ordinary convolutions they are."""

from __future__ import annotations

import numpy as np
import pytest
from torch.nn import functional as F

from convlens.errors import ShapeError
from convlens.reference import conv2d, dense, depthwise_conv2d, pointwise_conv2d, separable_conv2d
from lectures import HORIZONTAL, LAPLACIAN, RGB, VERTICAL
from parity import assert_parity, assert_traced

OWN = [VERTICAL, HORIZONTAL, LAPLACIAN]


def test_the_lectures_1x1_values() -> None:
    y = pointwise_conv2d(RGB, [[1, 1, 1], [1, 0, -1]])
    assert y.value[:, 0].tolist() == [[336, 276, 451, 466, 158], [193, 137, 22, 237, 22]]
    assert y.value[:, 4].tolist() == [[340, 216, 616, 453, 211], [57, 25, -19, 138, -44]]
    assert_traced(y, 5)


def test_1x1_is_a_dense_layer_at_every_pixel() -> None:
    weight = np.arange(6).reshape(2, 3)
    pixels = np.array(RGB).reshape(3, 25).T
    by_pixel = dense(pixels, weight, [1, 2]).value.T.reshape(2, 5, 5)
    assert np.array_equal(pointwise_conv2d(RGB, weight, [1, 2]).value, by_pixel)


def test_the_lectures_depthwise_separable_values() -> None:
    maps = depthwise_conv2d(RGB, OWN)
    assert maps.tolist() == [
        [[253, -157, 153], [50, 17, 160], [-69, 65, 276]],
        [[-80, -319, -362], [89, -34, -54], [98, 189, 245]],
        [[-113, 30, -413], [-275, -67, 331], [573, -368, 412]],
    ]
    y = separable_conv2d(RGB, OWN, [[1, 2, -1]])
    assert y.tolist() == [[[206, -825, -158], [503, 16, -279], [-446, 811, 354]]]
    assert_traced(y)


def test_separable_is_an_ordinary_convolution_with_product_filters() -> None:
    pointwise = np.array([[1, 2, -1], [0, 3, 1]])
    composed = pointwise[:, :, None, None] * np.array(OWN)
    options = {"stride": 2, "padding": "same"}
    assert separable_conv2d(RGB, OWN, pointwise, [5, 6], **options).tolist() == (
        conv2d(RGB, composed, [5, 6], **options).tolist()
    )


def test_depthwise_parity_with_two_filters_a_channel() -> None:
    random = np.random.default_rng(0)
    inputs = {
        "x": random.standard_normal((2, 3, 6, 5)),
        "weight": random.standard_normal((6, 1, 3, 2)),
        "bias": random.standard_normal(6),
    }
    assert_parity(
        lambda *a: depthwise_conv2d(*a, stride=2, padding=1, dilation=(1, 2)),
        lambda *t: F.conv2d(*t, stride=2, padding=1, dilation=(1, 2), groups=3),
        inputs,
    )


def test_separable_parity_with_the_gradients_of_both_steps() -> None:
    random = np.random.default_rng(1)
    inputs = {
        "x": random.standard_normal((2, 3, 5, 5)),
        "depthwise": random.standard_normal((3, 3, 3)),
        "pointwise": random.standard_normal((4, 3)),
        "bias": random.standard_normal(4),
    }
    assert_parity(
        lambda *a: separable_conv2d(*a, padding=1),
        lambda x, d, p, b: F.conv2d(F.conv2d(x, d[:, None], padding=1, groups=3), p[:, :, None, None], b),
        inputs,
    )


def test_a_larger_filter_is_not_pointwise() -> None:
    with pytest.raises(ShapeError, match=r"The weight must be \(O, C\) or \(O, C, 1, 1\); got \(1, 3, 3, 3\)"):
        pointwise_conv2d(RGB, [OWN])


def test_a_wrong_number_of_depthwise_filters_is_named() -> None:
    with pytest.raises(ShapeError, match="groups must divide the 3 channels and the 2 filters"):
        depthwise_conv2d(RGB, OWN[:2])
