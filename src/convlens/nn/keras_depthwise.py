"""Depthwise and separable convolution with Keras's names, arguments and defaults; begin with `keras.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from convlens.nn.initialisers import ByChannel
from convlens.nn.keras_conv import Window
from convlens.nn.keras_layer import Activation, Layer, await_input, bias_rules, kernel_rules, resize
from convlens.nn.layers import Each, each
from convlens.nn.rules import Rules, Wish


class DepthwiseConv2D(Layer):
    """`depth_multiplier` filters for each channel by itself; other arguments as for `Conv2D`.

    Shapes:
        (N, C, H, W) -> (N, C * depth_multiplier, H', W'), the filters of a channel side by side

    Example:
        >>> import torch
        >>> DepthwiseConv2D(3, depth_multiplier=2)(torch.zeros(1, 3, 5, 5)).shape
        torch.Size([1, 6, 3, 3])
    """

    dims = 2
    conv: nn.Conv2d

    def __init__(
        self,
        kernel_size: Each,
        strides: Each = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Each = (1, 1),
        activation: Activation = None,
        use_bias: bool = True,
        depthwise_initializer: Wish = "glorot_uniform",
        bias_initializer: Wish = "zeros",
        depthwise_regularizer: Wish = None,
        bias_regularizer: Wish = None,
        activity_regularizer: Wish = None,
        depthwise_constraint: Wish = None,
        bias_constraint: Wish = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, kwargs)
        (self.depth_multiplier,) = each(depth_multiplier, 1, "depth_multiplier")
        self.window = Window.read(self, kernel_size, strides, padding, dilation_rate)
        self.kernel_rules = kernel_rules(depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        self.bias_rules = bias_rules(use_bias, bias_initializer, bias_regularizer, bias_constraint)
        parts = self.window.convolution(1, depth_multiplier, 1, use_bias)
        await_input(parts["conv"], 0, weight=self.kernel_rules, bias=self.bias_rules)
        self.assemble(parts, activation, activity_regularizer)

    def fill(self, channels: int) -> None:
        resize_depthwise(self.conv, channels, self.depth_multiplier, self.kernel_rules)
        resize(self.conv.bias, (channels * self.depth_multiplier,), self.bias_rules)

    def channels_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        weight = tensors.get("conv.weight")
        return None if weight is None else len(weight) // self.depth_multiplier


class SeparableConv2D(Layer):
    """A depthwise convolution without bias, then a mixture of the channels at each pixel.

    Arguments are those of `Conv2D`, with one set of rules for each of the two kernels.

    Shapes:
        (N, C, H, W) -> (N, filters, H', W')

    Example:
        >>> import torch
        >>> layer = SeparableConv2D(4, 3, input_shape=(3, 8, 8))
        >>> {name: tuple(weight.shape) for name, weight in layer.named_parameters()}
        {'depthwise.weight': (3, 1, 3, 3), 'pointwise.weight': (4, 3, 1, 1), 'pointwise.bias': (4,)}
    """

    dims = 2
    depthwise: nn.Conv2d
    pointwise: nn.Conv2d

    def __init__(
        self,
        filters: int,
        kernel_size: Each,
        strides: Each = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Each = (1, 1),
        depth_multiplier: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        depthwise_initializer: Wish = "glorot_uniform",
        pointwise_initializer: Wish = "glorot_uniform",
        bias_initializer: Wish = "zeros",
        depthwise_regularizer: Wish = None,
        pointwise_regularizer: Wish = None,
        bias_regularizer: Wish = None,
        activity_regularizer: Wish = None,
        depthwise_constraint: Wish = None,
        pointwise_constraint: Wish = None,
        bias_constraint: Wish = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, kwargs)
        (self.filters,) = each(filters, 1, "filters")
        (self.depth_multiplier,) = each(depth_multiplier, 1, "depth_multiplier")
        self.window = Window.read(self, kernel_size, strides, padding, dilation_rate)
        self.depthwise_rules = kernel_rules(depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        self.pointwise_rules = kernel_rules(pointwise_initializer, pointwise_regularizer, pointwise_constraint)
        self.bias_rules = bias_rules(use_bias, bias_initializer, bias_regularizer, bias_constraint)
        parts = self.window.convolution(1, depth_multiplier, 1, bias=False)
        parts["depthwise"], parts["pointwise"] = parts.pop("conv"), nn.Conv2d(1, filters, 1, bias=use_bias)
        await_input(parts["depthwise"], 0, weight=self.depthwise_rules)
        await_input(parts["pointwise"], 1, weight=self.pointwise_rules, bias=self.bias_rules)
        self.assemble(parts, activation, activity_regularizer)

    def fill(self, channels: int) -> None:
        resize_depthwise(self.depthwise, channels, self.depth_multiplier, self.depthwise_rules)
        self.pointwise.in_channels = maps = channels * self.depth_multiplier
        resize(self.pointwise.weight, (self.filters, maps, 1, 1), self.pointwise_rules)
        resize(self.pointwise.bias, (self.filters,), self.bias_rules)

    def channels_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        weight = tensors.get("depthwise.weight")
        return None if weight is None else len(weight) // self.depth_multiplier


def resize_depthwise(conv: nn.Conv2d, channels: int, multiplier: int, rule: Rules) -> None:
    """Give a convolution a group for each channel, and kernels whose fans Keras measures in its own way."""
    conv.in_channels = conv.groups = channels
    conv.out_channels = channels * multiplier
    drawn = rule if rule.initialiser is None else rule._replace(initialiser=ByChannel(rule.initialiser, multiplier))
    resize(conv.weight, (channels * multiplier, 1, *conv.kernel_size), drawn)
