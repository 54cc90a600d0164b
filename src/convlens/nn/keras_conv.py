"""Convolutions and the dense layer with Keras's names, arguments and defaults; begin with `keras.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convlens.errors import ConfigError, ShapeError
from convlens.nn.keras_layer import Activation, Layer, await_input, bias_rules, kernel_rules, resize
from convlens.nn.layers import CutEnd, Each, SamePad1d, SamePad2d, SamePad3d, each
from convlens.nn.rules import Wish
from convlens.shapes import effective_kernel

CONVS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PADS = {1: SamePad1d, 2: SamePad2d, 3: SamePad3d}


@dataclass(frozen=True)
class Window:
    """How a kernel slides, in Keras's words."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]

    @classmethod
    def read(cls, layer: Layer, kernel_size: Each, strides: Each, padding: str, dilation_rate: Each) -> Window:
        """Check the four arguments of a layer.

        Raises:
            ConfigError: they are not what Keras takes.
        """
        dims = layer.dims or 0
        window = cls(
            each(kernel_size, dims, "kernel_size"),
            each(strides, dims, "strides"),
            str(padding).lower(),
            each(dilation_rate, dims, "dilation_rate"),
        )
        words = ("valid", "same", "causal") if dims == 1 else ("valid", "same")
        if window.padding not in words:
            raise ConfigError(f"{layer.name}: padding is {' or '.join(map(repr, words))}; got {padding!r}.")
        if max(window.strides) > 1 and max(window.dilation) > 1:
            raise ConfigError(
                f"{layer.name}: Keras does not combine strides above 1 with a dilation_rate above 1; got "
                f"strides={window.strides} and dilation_rate={window.dilation}. Set one of them to 1, or take torch's "
                "own convolution, which combines them."
            )
        return window

    @property
    def reach(self) -> tuple[int, ...]:
        """Size of the kernel with what lies between its taps."""
        return tuple(effective_kernel(k, d) for k, d in zip(self.kernel, self.dilation, strict=True))

    def convolution(self, channels: int, filters: int, groups: int, bias: bool) -> dict[str, nn.Module]:
        """torch's convolution, and before it the padding that it cannot do itself."""
        dims, zeros = len(self.kernel), (0,) * len(self.kernel)
        parts: dict[str, nn.Module] = {}
        if self.padding == "causal":
            parts["pad"] = nn.ConstantPad1d((self.reach[0] - 1, 0), 0.0)
        elif self.padding == "same" and max(self.strides) == 1 and all(n % 2 for n in self.reach):
            zeros = tuple(n // 2 for n in self.reach)
        elif self.padding == "same":
            parts["pad"] = PADS[dims](self.kernel, self.strides, self.dilation)
        make: Any = CONVS[dims]
        parts["conv"] = make(channels, filters, self.kernel, self.strides, zeros, self.dilation, groups, bias)
        return parts


class _Conv(Layer):
    """A convolution along one, two or three axes."""

    conv: nn.Conv1d | nn.Conv2d | nn.Conv3d

    def __init__(
        self,
        filters: int,
        kernel_size: Each,
        strides: Each = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Each = 1,
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Wish = "glorot_uniform",
        bias_initializer: Wish = "zeros",
        kernel_regularizer: Wish = None,
        bias_regularizer: Wish = None,
        activity_regularizer: Wish = None,
        kernel_constraint: Wish = None,
        bias_constraint: Wish = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, kwargs)
        (self.filters,), (self.groups,) = each(filters, 1, "filters"), each(groups, 1, "groups")
        if filters % groups:
            raise ShapeError(f"{self.name}: groups must divide the {filters} filters; got groups={groups}.")
        self.window = Window.read(self, kernel_size, strides, padding, dilation_rate)
        self.kernel_rules = kernel_rules(kernel_initializer, kernel_regularizer, kernel_constraint)
        self.bias_rules = bias_rules(use_bias, bias_initializer, bias_regularizer, bias_constraint)
        parts = self.window.convolution(groups, filters, groups, use_bias)
        await_input(parts["conv"], 1, weight=self.kernel_rules, bias=self.bias_rules)
        self.assemble(parts, activation, activity_regularizer)

    def fill(self, channels: int) -> None:
        if channels % self.groups:
            raise ShapeError(
                f"{self.name}: groups must divide the channels that come in; got {channels} channels and "
                f"groups={self.groups}. Choose a common divisor of {channels} and {self.filters}, or 1."
            )
        self.conv.in_channels = channels
        resize(self.conv.weight, (self.filters, channels // self.groups, *self.window.kernel), self.kernel_rules)
        resize(self.conv.bias, (self.filters,), self.bias_rules)

    def channels_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        weight = tensors.get("conv.weight")
        return None if weight is None else weight.shape[1] * self.groups


class Conv1D(_Conv):
    """`Conv2D` for signals (N, C, L), with one padding more.

    "causal" puts all zeros in front, so that no output sees what comes after it.
    """

    dims = 1


class Conv2D(_Conv):
    """Convolution of maps, as Keras says it.

    Shapes:
        (N, C, H, W) -> (N, filters, H', W'), H' = floor((H - d (k - 1) - 1) / s) + 1, or ceil(H / s) with "same"; with
        data_format="channels_last" (N, H, W, C) -> (N, H', W', filters).

    Args:
        padding: "valid", none; or "same", where an odd row or column of zeros goes to the bottom or right.
        data_format: "channels_first" unless given, as in torch; in Keras it is "channels_last".
        activation: a name of `nn.blocks`, a module, or a function; applied after the bias.
        kernel_initializer: see `nn.initialisers`; and likewise for the bias.
        kernel_regularizer: see `nn.penalties`; likewise for the bias and, as `activity_regularizer`, the output.
        kernel_constraint: see `nn.constraints`; likewise for the bias.
        kwargs: `name`, `dtype`, `trainable`, and `input_shape`, which builds the layer at once.

    Raises:
        ConfigError: an argument is unknown, or Keras does not take such a value.
        ShapeError: a size is no whole number, or the groups do not divide the channels and the filters.

    Example:
        >>> import torch
        >>> layer = Conv2D(8, 3, strides=2, padding="same", activation="relu")
        >>> layer(torch.zeros(1, 3, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
        >>> Conv2D(8, 3, stride=2)
        Traceback (most recent call last):
        ...
        convlens.errors.ConfigError: Conv2D has no argument 'stride'. Did you mean 'strides'?
    """

    dims = 2

    def __init__(
        self,
        filters: int,
        kernel_size: Each,
        strides: Each = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Each = (1, 1),
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Wish = "glorot_uniform",
        bias_initializer: Wish = "zeros",
        kernel_regularizer: Wish = None,
        bias_regularizer: Wish = None,
        activity_regularizer: Wish = None,
        kernel_constraint: Wish = None,
        bias_constraint: Wish = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            groups,
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            **kwargs,
        )


class Conv3D(_Conv):
    """`Conv2D` for volumes (N, C, D, H, W)."""

    dims = 3


class Conv2DTranspose(Layer):
    """Transposed convolution, which makes maps larger, as Keras says it; arguments as for `Conv2D`.

    Shapes:
        (N, C, H, W) -> (N, filters, H', W'), H' = H s with "same", and H s + max(d (k - 1) + 1 - s, 0) with "valid". It
        is what a `Conv2D` that leads back would have started from.

    Example:
        >>> import torch
        >>> Conv2DTranspose(2, 3, strides=2, padding="same")(torch.zeros(1, 1, 4, 5)).shape
        torch.Size([1, 2, 8, 10])
    """

    dims = 2
    conv: nn.ConvTranspose2d

    def __init__(
        self,
        filters: int,
        kernel_size: Each,
        strides: Each = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Each = (1, 1),
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Wish = "glorot_uniform",
        bias_initializer: Wish = "zeros",
        kernel_regularizer: Wish = None,
        bias_regularizer: Wish = None,
        activity_regularizer: Wish = None,
        kernel_constraint: Wish = None,
        bias_constraint: Wish = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, kwargs)
        (self.filters,) = each(filters, 1, "filters")
        self.window = window = Window.read(self, kernel_size, strides, padding, dilation_rate)
        self.kernel_rules = kernel_rules(kernel_initializer, kernel_regularizer, kernel_constraint)
        self.bias_rules = bias_rules(use_bias, bias_initializer, bias_regularizer, bias_constraint)
        same = window.padding == "same"
        over = [reach - s for reach, s in zip(window.reach, window.strides, strict=True)]  # cells beyond n s
        before = [max(cells, 0) // 2 if same else 0 for cells in over]  # torch cuts as many on both sides
        missing = [(0 if same else max(cells, 0)) - cells + 2 * b for cells, b in zip(over, before, strict=True)]
        added, odd = [max(cells, 0) for cells in missing], [max(-cells, 0) for cells in missing]
        make: Any = nn.ConvTranspose2d
        conv = make(1, filters, window.kernel, window.strides, before, added, 1, use_bias, window.dilation)
        await_input(conv, 0, weight=self.kernel_rules, bias=self.bias_rules)
        parts: dict[str, nn.Module] = {"conv": conv, **({"cut": CutEnd(odd)} if any(odd) else {})}
        self.assemble(parts, activation, activity_regularizer)

    def fill(self, channels: int) -> None:
        self.conv.in_channels = channels
        resize(self.conv.weight, (channels, self.filters, *self.window.kernel), self.kernel_rules)
        resize(self.conv.bias, (self.filters,), self.bias_rules)

    def channels_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        weight = tensors.get("conv.weight")
        return None if weight is None else weight.shape[0]
