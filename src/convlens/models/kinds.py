"""The kinds of layers a user's list may hold, one function each.

A function's keyword arguments are the options of its kind. From the shape that reaches the layer it works out the shape
that leaves it and the number of parameters, with whole numbers only, and says what to build later. Names and defaults
are those of Keras; but weights start as PyTorch starts them and flatten goes channel by channel, unless told otherwise.

Shapes here have no batch: (channels, height, width), or (values,) after flatten.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, Strict
from torch import nn

from convlens import shapes
from convlens.errors import ShapeError
from convlens.models.weighted import with_weight_options
from convlens.nn.blocks import activation as make_activation
from convlens.nn.layers import Flatten, GaussianNoise, MinPool2d, SamePad2d, SumPool2d
from convlens.shapes import Pair, pair

Shape = tuple[int, ...]
Parts = list[tuple[str, Callable[[], nn.Module]]]
Count = Annotated[int, Strict(), Field(ge=1)]
Zeros = Annotated[int, Strict(), Field(ge=0)]
Counts = Count | tuple[Count, Count]
Padding = Literal["valid", "same"] | Zeros | tuple[Zeros, Zeros]
Outputs = Count | Literal["classes"]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Order = Literal["channels_first", "channels_last"]
Deviation = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Step(NamedTuple):
    """One layer, planned but not built.

    Attributes:
        shape: what leaves it.
        parts: names and makers of the modules it is made of.
    """

    shape: Shape
    parameters: int
    parts: Parts


def conv(
    shape: Shape,
    outputs: int,
    *,
    filters: Outputs,
    kernel_size: Counts = 3,
    stride: Counts = 1,
    padding: Padding = "valid",
    dilation: Counts = 1,
    groups: Count = 1,
    bias: bool = True,
    activation: str | None = None,
) -> Step:
    """A convolution. Padding: valid, same (ceil(n / stride), odd zeros at the bottom and right), or zeros a side."""
    channels, *size = _map(shape)
    filters = outputs if filters == "classes" else filters
    kernel, steps, spread = pair(kernel_size), pair(stride), pair(dilation)
    zeros: list[shapes.Padding] = [padding, padding] if isinstance(padding, str) else [*pair(padding)]
    height, width = (shapes.conv_size(*axis) for axis in zip(size, kernel, steps, zeros, spread, strict=True))
    parameters = shapes.conv_parameters(channels, filters, kernel, groups=groups, bias=bias)
    both_sides, parts = _padding(padding, kernel, steps, spread)
    parts.append(("conv", partial(nn.Conv2d, channels, filters, kernel, steps, both_sides, spread, groups, bias)))
    return _activated(Step((filters, height, width), parameters, parts), activation)


def depthwise_conv(
    shape: Shape,
    outputs: int,
    *,
    kernel_size: Counts = 3,
    stride: Counts = 1,
    padding: Padding = "valid",
    dilation: Counts = 1,
    multiplier: Count = 1,
    bias: bool = True,
    activation: str | None = None,
) -> Step:
    """A filter, or `multiplier` of them, for each channel by itself."""
    channels = _map(shape)[0]
    sliding: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
    step = conv(shape, outputs, filters=channels * multiplier, groups=channels, bias=bias, **sliding)
    return _activated(_renamed(step, "depthwise"), activation)


def separable_conv(
    shape: Shape,
    outputs: int,
    *,
    filters: Outputs,
    kernel_size: Counts = 3,
    stride: Counts = 1,
    padding: Padding = "valid",
    dilation: Counts = 1,
    multiplier: Count = 1,
    bias: bool = True,
    activation: str | None = None,
) -> Step:
    """A depthwise convolution without bias, then a mixture of the channels at each pixel."""
    sliding: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
    first = depthwise_conv(shape, outputs, multiplier=multiplier, bias=False, **sliding)
    second = _renamed(conv(first.shape, outputs, filters=filters, kernel_size=1, bias=bias), "pointwise")
    both = Step(second.shape, first.parameters + second.parameters, [*first.parts, *second.parts])
    return _activated(both, activation)


def transposed_conv(
    shape: Shape,
    outputs: int,
    *,
    filters: Outputs,
    kernel_size: Counts = 2,
    stride: Counts = 2,
    padding: Zeros = 0,
    output_padding: Zeros = 0,
    bias: bool = True,
    activation: str | None = None,
) -> Step:
    """A convolution run backwards: it enlarges the map by its stride."""
    channels, *size = _map(shape)
    filters = outputs if filters == "classes" else filters
    kernel, steps = pair(kernel_size), pair(stride)
    height, width = (
        shapes.transposed_size(n, k, s, padding, output_padding) for n, k, s in zip(size, kernel, steps, strict=True)
    )
    parameters = shapes.conv_parameters(channels, filters, kernel, bias=bias)
    make = partial(nn.ConvTranspose2d, channels, filters, kernel, steps, padding, output_padding, bias=bias)
    return _activated(Step((filters, height, width), parameters, [("transposed_conv", make)]), activation)


def max_pool(
    shape: Shape,
    outputs: int,
    *,
    size: Counts = 2,
    stride: Counts | None = None,
    padding: Zeros = 0,
    partial_windows: bool = False,
) -> Step:
    """The maximum of each window; `partial_windows` keeps those that run over the bottom or right edge."""
    return _pool("max_pool", nn.MaxPool2d, shape, size, stride, padding, partial_windows)


def avg_pool(
    shape: Shape,
    outputs: int,
    *,
    size: Counts = 2,
    stride: Counts | None = None,
    padding: Zeros = 0,
    partial_windows: bool = False,
) -> Step:
    """The mean of each window, over the cells that are really there."""
    mean = partial(nn.AvgPool2d, count_include_pad=False)
    return _pool("avg_pool", mean, shape, size, stride, padding, partial_windows)


def min_pool(
    shape: Shape,
    outputs: int,
    *,
    size: Counts = 2,
    stride: Counts | None = None,
    padding: Zeros = 0,
    partial_windows: bool = False,
) -> Step:
    """The minimum of each window."""
    return _pool("min_pool", MinPool2d, shape, size, stride, padding, partial_windows)


def sum_pool(
    shape: Shape,
    outputs: int,
    *,
    size: Counts = 2,
    stride: Counts | None = None,
    padding: Zeros = 0,
    partial_windows: bool = False,
) -> Step:
    """The sum of each window."""
    return _pool("sum_pool", SumPool2d, shape, size, stride, padding, partial_windows)


def global_avg_pool(shape: Shape, outputs: int) -> Step:
    """The mean of each map: a vector with one value a channel, whatever the size."""
    parts: Parts = [("global_avg_pool", partial(nn.AdaptiveAvgPool2d, 1)), ("flatten", nn.Flatten)]
    return Step(_map(shape)[:1], 0, parts)


def global_max_pool(shape: Shape, outputs: int) -> Step:
    """The maximum of each map."""
    parts: Parts = [("global_max_pool", partial(nn.AdaptiveMaxPool2d, 1)), ("flatten", nn.Flatten)]
    return Step(_map(shape)[:1], 0, parts)


def batch_norm(shape: Shape, outputs: int) -> Step:
    """Batch normalisation of each channel of a map, or of each value of a vector."""
    make = partial(nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d, shape[0])
    return Step(shape, shapes.norm_parameters(shape[0]), [("batch_norm", make)])


def activation(shape: Shape, outputs: int, *, activation: str) -> Step:
    """A non-linearity by itself."""
    return _activated(Step(shape, 0, []), activation)


def dropout(shape: Shape, outputs: int, *, rate: Share = 0.5) -> Step:
    """Zeroes a share of the values, while training."""
    return Step(shape, 0, [("dropout", partial(nn.Dropout, rate))])


def gaussian_noise(shape: Shape, outputs: int, *, stddev: Deviation) -> Step:
    """Adds normal noise, while training."""
    return Step(shape, 0, [("gaussian_noise", partial(GaussianNoise, stddev))])


def flatten(shape: Shape, outputs: int, *, order: Order = "channels_first") -> Step:
    """A map to a vector: channel by channel, row by row; or as in Keras, pixel by pixel with all its channels."""
    make = nn.Flatten if order == "channels_first" else partial(Flatten, order)
    return Step((math.prod(shape),), 0, [("flatten", make)])


def dense(shape: Shape, outputs: int, *, units: Outputs, bias: bool = True, activation: str | None = None) -> Step:
    """Every value of a vector to every unit."""
    if len(shape) != 1:
        raise ShapeError(
            f"It takes a vector. Put a flatten before it (then {math.prod(shape):,} values) or a global_avg_pool "
            f"(then {shape[0]:,})."
        )
    units = outputs if units == "classes" else units
    parameters = shapes.dense_parameters(shape[0], units, bias=bias)
    return _activated(Step((units,), parameters, [("dense", partial(nn.Linear, shape[0], units, bias))]), activation)


LAYERS: dict[str, Callable[..., Step]] = {
    "conv": with_weight_options(conv, "conv"),
    "depthwise_conv": with_weight_options(depthwise_conv, "depthwise"),
    "separable_conv": with_weight_options(separable_conv, "depthwise", "pointwise"),
    "transposed_conv": with_weight_options(transposed_conv, "transposed_conv"),
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "min_pool": min_pool,
    "sum_pool": sum_pool,
    "global_avg_pool": global_avg_pool,
    "global_max_pool": global_max_pool,
    "batch_norm": batch_norm,
    "activation": activation,
    "dropout": dropout,
    "gaussian_noise": gaussian_noise,
    "flatten": flatten,
    "dense": with_weight_options(dense, "dense"),
}


def _map(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ShapeError("It takes a map (channels x height x width). Put it before flatten and global pooling.")
    return shape[0], shape[1], shape[2]


def _padding(padding: Padding, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Parts]:
    """Zeros torch's convolution adds on both sides, and a layer before it where both sides are not enough."""
    if padding == "valid":
        return (0, 0), []
    if padding != "same":
        return pair(padding), []
    reach = [shapes.effective_kernel(k, d) for k, d in zip(kernel, dilation, strict=True)]
    if stride == (1, 1) and all(n % 2 for n in reach):
        return (reach[0] // 2, reach[1] // 2), []
    return (0, 0), [("pad", partial(SamePad2d, kernel, stride, dilation))]


def _pool(
    name: str,
    make: Callable[..., nn.Module],
    shape: Shape,
    window: int | Pair,
    stride: int | Pair | None,
    padding: int,
    partial_windows: bool,
) -> Step:
    channels, *size = _map(shape)
    kernel = pair(window)
    steps = kernel if stride is None else pair(stride)
    height, width = (
        shapes.pool_size(n, k, s, padding, partial=partial_windows) for n, k, s in zip(size, kernel, steps, strict=True)
    )
    parts: Parts = [(name, partial(make, kernel, steps, padding, ceil_mode=partial_windows))]
    return Step((channels, height, width), 0, parts)


def _activated(step: Step, name: str | None) -> Step:
    if name is None:
        return step
    learned = sum(parameter.numel() for parameter in make_activation(name).parameters())
    return Step(step.shape, step.parameters + learned, [*step.parts, (name, partial(make_activation, name))])


def _renamed(step: Step, name: str) -> Step:
    return step._replace(parts=[(name if part == "conv" else part, make) for part, make in step.parts])
