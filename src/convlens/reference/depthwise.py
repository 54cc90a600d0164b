# ruff: noqa: N803
"""Three frugal forms of convolution: over the channels only, over the plane only, and one after the other.

Each is an ordinary convolution with some of its weights fixed to zero, and the tests say which.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ShapeError
from convlens.reference.conv import convolve
from convlens.reference.result import Gradients, Index, Result, numbers
from convlens.reference.trace import Trace


def pointwise_conv2d(x_NCHW: ArrayLike, weight_OC: ArrayLike, bias: ArrayLike | None = None) -> Result:
    """1x1 convolution: the same dense layer at every pixel. Height and width stay, the channels are mixed anew.

    y[n, o, i, j] = sum over c of weight[o, c] * x[n, c, i, j] + bias[o]

    Shapes:
        (N, C, H, W), (O, C) or (O, C, 1, 1) -> (N, O, H, W)

    Example:
        >>> pointwise_conv2d([[[1, 2]], [[10, 20]]], [[1, 1], [1, -1]]).tolist()
        [[[11, 22]], [[-9, -18]]]
    """
    weight = numbers(weight_OC, "weight")
    if weight.ndim not in (2, 4) or weight.shape[2:] not in ((), (1, 1)):
        raise ShapeError(
            f"The weight must be (O, C) or (O, C, 1, 1); got {weight.shape}. For larger filters use conv2d."
        )
    return _given_as(weight, convolve("pointwise_conv2d", 2, x_NCHW, weight.reshape(*weight.shape[:2], 1, 1), bias))


def depthwise_conv2d(x_NCHW: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, **options: Any) -> Result:
    """Depthwise convolution: each channel has filters of its own, and no two channels are ever added.

    Shapes:
        (N, C, H, W) with (C, h, w), or with m filters a channel (C * m, 1, h, w) -> (N, C * m, H', W').
        Traces show the weight as (C * m, 1, h, w).

    Args:
        options: stride, padding, dilation and padding_mode as for `conv2d`.

    Example:
        >>> depthwise_conv2d([[[1, 2]], [[10, 20]]], [[[1, 1]], [[1, -1]]]).tolist()
        [[[3]], [[-10]]]
    """
    x, filters = numbers(x_NCHW, "x"), numbers(weight, "weight")
    own = filters[:, np.newaxis] if filters.ndim == 3 else filters
    channels = x.shape[-3] if x.ndim > 2 else 1
    return _given_as(filters, convolve("depthwise_conv2d", 2, x, own, bias, groups=channels, **options))


def separable_conv2d(
    x_NCHW: ArrayLike, depthwise: ArrayLike, pointwise_OC: ArrayLike, bias: ArrayLike | None = None, **options: Any
) -> Result:
    """Depthwise separable convolution: first along the plane, channel by channel, then across the channels.

    It equals the convolution whose filters are weight[o, c] = pointwise[o, c] * depthwise[c], with far fewer numbers:
    h w C + C O instead of h w C O. A trace shows the second step; its x is the depthwise map.

    Shapes:
        (N, C, H, W), (C, h, w) or (C * m, 1, h, w), (O, C * m) -> (N, O, H', W')

    Args:
        options: stride, padding, dilation and padding_mode of the depthwise step, as for `conv2d`.

    Example:
        >>> separable_conv2d([[[1, 2]], [[10, 20]]], [[[1, 1]], [[1, -1]]], [[2, 1]]).tolist()
        [[[-4]]]
    """
    maps = depthwise_conv2d(x_NCHW, depthwise, **options)
    mixed = pointwise_conv2d(maps.value, pointwise_OC, bias)

    def explain(out: Index) -> Trace:
        return replace(mixed.explain(out), operation="separable_conv2d", names=("depthwise map", "pointwise"))

    def differentiate(gradient: np.ndarray) -> Gradients:
        second = mixed.differentiate(gradient)
        first = maps.differentiate(second["x"])
        return {"x": first["x"], "depthwise": first["weight"], "pointwise": second["weight"], "bias": second["bias"]}

    return Result(mixed.value, explain, differentiate)


def _given_as(weight: np.ndarray, result: Result) -> Result:
    """The same result, with the weight's gradient in the shape in which the weight was given."""

    def differentiate(gradient: np.ndarray) -> Gradients:
        gradients = result.differentiate(gradient)
        return {**gradients, "weight": gradients["weight"].reshape(weight.shape)}

    return replace(result, differentiate=differentiate)
