"""Keras's depthwise and separable convolution against the definitions; their weights and first values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from convlens import reference
from convlens.errors import ShapeError
from convlens.nn.keras import DepthwiseConv2D, SeparableConv2D
from convlens.nn.penalties import penalties
from convlens.shapes import depthwise_parameters
from parity import assert_parity


@settings(max_examples=20, deadline=None)
@given(st.data())
@pytest.mark.parametrize("separable", [False, True])
def test_parity_with_the_definition(separable: bool, data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    kernel, (channels, multiplier) = pair(1, 3), pair(1, 3)
    strides, dilation = (pair(1, 3), (1, 1)) if data.draw(st.booleans()) else ((1, 1), pair(1, 2))
    padding = data.draw(st.sampled_from(["valid", "same"]))
    size = tuple((k - 1) * 2 + 1 + more for k, more in zip(kernel, pair(0, 2), strict=True))
    options: dict[str, Any] = {"strides": strides, "padding": padding, "dilation_rate": dilation}
    options |= {"depth_multiplier": multiplier, "input_shape": (channels, *size), "dtype": "float64"}
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = {
        "x": random.standard_normal((2, channels, *size)),
        "depthwise": random.standard_normal((channels * multiplier, 1, *kernel)),
    }
    names, window = ["depthwise.weight"], {"stride": strides, "padding": padding, "dilation": dilation}
    if separable:
        layer, defined = SeparableConv2D(3, kernel, **options), reference.separable_conv2d
        inputs["pointwise"] = random.standard_normal((3, channels * multiplier, 1, 1))
        inputs["bias"] = random.standard_normal(3)
        names = ["depthwise.weight", "pointwise.weight", "pointwise.bias"]
    else:
        layer, defined = DepthwiseConv2D(kernel, **options), reference.depthwise_conv2d
        inputs = {
            "x": inputs["x"],
            "weight": inputs["depthwise"],
            "bias": random.standard_normal(channels * multiplier),
        }
        names = ["conv.weight", "conv.bias"]
    assert list(layer.state_dict()) == names
    assert_parity(
        lambda *arrays: defined(*arrays, **window),
        lambda x, *weights: functional_call(layer, dict(zip(names, weights, strict=True)), (x,)),
        inputs,
        traces=0,
    )


def test_the_counts_of_the_formula() -> None:
    depthwise, separable = DepthwiseConv2D(3, depth_multiplier=2), SeparableConv2D(6, 3)
    for layer in (depthwise, separable):
        layer.build(4)
    assert sum(p.numel() for p in depthwise.parameters()) == depthwise_parameters(4, 3, multiplier=2)
    assert sum(p.numel() for p in separable.parameters()) == 3 * 3 * 4 + 4 * 6 + 6
    assert depthwise.conv.groups == depthwise.conv.in_channels == 4  # what marks a depthwise convolution in torch


def test_each_kernel_has_rules_of_its_own() -> None:
    layer = SeparableConv2D(
        2, 1, depthwise_initializer="ones", pointwise_initializer={"name": "constant", "value": 2.0},
        bias_initializer={"name": "constant", "value": 3.0}, depthwise_regularizer={"name": "l1", "l1": 1.0},
        pointwise_regularizer={"name": "l1", "l1": 10.0}, bias_regularizer={"name": "l2", "l2": 100.0},
    )  # fmt: skip
    layer.build(3)
    assert [cost().item() for cost in penalties(layer)] == [3.0, 120.0, 1800.0]


def test_its_fans_are_measured_as_keras_does() -> None:
    """Keras's kernel is (h, w, C, m): fans C h w and m h w, though a unit sees h w numbers only."""
    torch.manual_seed(0)
    layer = DepthwiseConv2D(3, depth_multiplier=2, input_shape=(50, 8, 8))
    limit = (6 / (50 * 9 + 2 * 9)) ** 0.5
    assert 0.95 * limit < layer.conv.weight.abs().max() <= limit


def test_errors() -> None:
    with pytest.raises(ShapeError, match="depth_multiplier must be a whole number of at least 1; got 0"):
        DepthwiseConv2D(3, depth_multiplier=0)
    with pytest.raises(ShapeError, match="depth_multiplier must be"):
        SeparableConv2D(3, 3, depth_multiplier=0)
