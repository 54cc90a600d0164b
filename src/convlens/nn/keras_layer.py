"""What all layers of `keras.py` share: the arguments every Keras layer takes, and weights that wait for their input.

A layer is a few torch modules in a row, under names: `pad`, `conv`, `act`. So it prints as what it does, and whoever
looks into a network finds ordinary torch layers. Until the first input comes, their weights have an axis of size 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.nn.blocks import activation as named_activation
from convlens.nn.layers import ORDERS, ChannelsFirst, ChannelsLast
from convlens.nn.penalties import ActivityRegularization
from convlens.nn.rules import Rules, Wish

Activation = str | Callable[[Tensor], Tensor] | None
COMMON = ("name", "dtype", "trainable", "input_shape")
DTYPES = ("float32", "float64", "float16", "bfloat16")


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


class Layer(nn.Module):
    """Modules in a row, in the arrangement of channels that the caller uses.

    Args:
        data_format: "channels_first", the default here as in torch, or "channels_last". Weights lie the same in both.
        common: `name`, for messages; `dtype`, of the weights, to which the input is cast; `trainable`; `input_shape`,
            without the batch, to build the layer at once.

    Attributes:
        dims: axes along which it slides; None where it takes vectors.
        built: whether the weights have their size.

    Raises:
        ConfigError: an argument is unknown or not what it must be.
    """

    dims: ClassVar[int | None] = None
    weighted: ClassVar[bool] = True

    def __init__(self, data_format: str | None, common: Mapping[str, Any]) -> None:
        super().__init__()
        kind = type(self).__name__
        for name in common:
            if name not in COMMON:
                known = [*(own for own in signature(type(self)).parameters if own != "kwargs"), *COMMON]
                raise ConfigError(f"{kind} has no argument '{name}'. {did_you_mean(name, known)}")
        if data_format not in (None, *ORDERS):
            raise ConfigError(f"There is no data_format '{data_format}'. {did_you_mean(str(data_format), ORDERS)}")
        self.data_format = data_format or "channels_first"
        self.name, self.dtype = common.get("name") or kind, _dtype(common.get("dtype"))
        self.trainable, self.input_shape = bool(common.get("trainable", True)), common.get("input_shape")
        self.built, self.in_channels = not self.weighted, 0

    @property
    def channel_axis(self) -> int:
        """Where the input has its channels, or a vector its values."""
        return -1 if self.dims is None or self.data_format == "channels_last" else 1

    def forward(self, x: Tensor) -> Tensor:
        self._require(tuple(x.shape))
        if not self.built:
            self.build(x.shape[self.channel_axis])
        if self.dtype is not None:
            x = x.to(self.dtype)
        for part in self.children():
            x = part(x)
        return x

    def extra_repr(self) -> str:
        name = "" if self.name == type(self).__name__ else f"name={self.name!r}, "
        return f"{name}data_format={self.data_format!r}" if self.data_format == "channels_last" else name[:-2]

    # for the layers of `keras_conv.py` and `keras_pool.py` ------------------------------------------------------------

    def assemble(
        self, parts: Mapping[str, nn.Module], activation: Activation = None, activity_regularizer: Wish = None
    ) -> None:
        """Take over the modules in their order, and build them where the input is known."""
        last = self.data_format == "channels_last"
        row: dict[str, nn.Module | None] = {"first": ChannelsFirst() if last else None, **parts}
        row["act"] = as_module(activation)
        row["activity"] = None if activity_regularizer is None else ActivityRegularization(activity_regularizer)
        row["last"] = ChannelsLast() if last else None
        for name, part in row.items():
            if part is not None:
                self.add_module(name, part.to(self.dtype) if self.dtype else part)
        if not self.trainable:
            self.requires_grad_(False)
        if self.input_shape is not None and not self.built:
            self.build(self._channels_of(self.input_shape))

    def build(self, channels: int) -> None:
        """Give the weights their size and their first values; done by the first input.

        Raises:
            ShapeError: the layer cannot take so many channels.
        """
        with torch.inference_mode(False), torch.no_grad():
            self.fill(channels)
        self.built, self.in_channels = True, channels

    def fill(self, channels: int) -> None:
        """What `build` does for this kind of layer; nothing where there is no weight."""

    def channels_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        """The channels that the layer's own stored tensors were made for; None if they do not tell."""
        return None

    # what came ------------------------------------------------------------------------------------------------------

    def _require(self, shape: tuple[int, ...]) -> None:
        if self.dims is not None and len(shape) != self.dims + 2:
            sizes = ("length", "height x width", "depth x height x width")[self.dims - 1]
            order = f"channels x {sizes}" if self.data_format == "channels_first" else f"{sizes} x channels"
            raise ShapeError(
                f"{self.name} takes a batch of maps (samples x {order}), {self.dims + 2} axes; got shape {shape}. "
                "Put it before the flatten, and give even one sample a batch of its own."
            )
        if self.in_channels in (0, shape[self.channel_axis]):
            return
        what, where = ("values", "") if self.dims is None else ("channels", f", data_format='{self.data_format}'")
        said = "its first input" if self.input_shape is None else f"input_shape={tuple(self.input_shape)}"
        repair = f"Give it {self.in_channels}, or make a new layer."
        if self.dims is not None and shape[-self.channel_axis] == self.in_channels:
            repair = f"Its axes look like data_format='{ORDERS[self.data_format == ORDERS[0]]}'."
        raise ShapeError(
            f"{self.name} was built for {self.in_channels} {what} by {said}; got {shape[self.channel_axis]}, on axis "
            f"{self.channel_axis} of {shape}{where}. {repair}"
        )

    def _channels_of(self, input_shape: Any) -> int:
        shape = tuple(input_shape) if isinstance(input_shape, list | tuple) else ()
        channels = shape[self.channel_axis - (self.channel_axis > 0)] if shape else None
        if len(shape) != (self.dims or len(shape) - 1) + 1 or type(channels) is not int or channels < 1:
            wanted = "" if self.dims is None else f", {self.dims + 1} numbers, {self.data_format.replace('_', ' ')}"
            raise ShapeError(
                f"{self.name}: input_shape is the shape of one sample, without the batch{wanted}; got {input_shape!r}."
            )
        return channels

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # type: ignore[override]
        own = {name.removeprefix(prefix): t for name, t in state_dict.items() if name.startswith(prefix)}
        if not self.built and (channels := self.channels_in(own)):
            self.build(channels)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def kernel_rules(initializer: Wish, regularizer: Wish, constraint: Wish) -> Rules:
    """The rules of a kernel; it begins as glorot_uniform unless told otherwise."""
    return Rules.of("glorot_uniform" if initializer is None else initializer, regularizer, constraint)


def bias_rules(use_bias: bool, initializer: Wish, regularizer: Wish, constraint: Wish) -> Rules:
    """The rules of a bias; it begins at zero unless told otherwise.

    Raises:
        ConfigError: there is no bias that they could be for.
    """
    if not use_bias and not regularizer is constraint is None:
        raise ConfigError("bias_regularizer and bias_constraint have no effect with use_bias=False. Leave them out.")
    return Rules.of("zeros" if initializer is None else initializer, regularizer, constraint)


def await_input(module: Any, axis: int, **rules: Rules) -> None:
    """Take the inputs, which lie on an axis of the weight, out of a fresh module, and note what is to hold for it."""
    module.weight.data = module.weight.data.narrow(axis, 0, 0)
    setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", 0)
    for name, rule in rules.items():
        if getattr(module, name) is not None:
            rule.note(module, name)


def resize(parameter: Tensor | None, shape: Sequence[int], rule: Rules) -> None:
    """Give a parameter its size and first values; it stays the same object, which an optimiser may already hold."""
    if parameter is not None:
        parameter.data = parameter.data.new_empty(shape)
        if rule.initialiser:
            rule.initialiser(parameter.data)


def as_module(activation: Activation) -> nn.Module | None:
    """An activation by name, as a module or as a function; None and "linear" are none.

    Raises:
        ConfigError: there is none of that name.
    """
    if activation is None or activation == "linear":
        return None
    if isinstance(activation, str):
        return named_activation(activation)
    return activation if isinstance(activation, nn.Module) else Function(activation)


def waits_for_input(network: nn.Module) -> bool:
    """Whether a layer of the network takes its size from the first input, and has not seen it."""
    waiting = any(isinstance(module, Layer) and not module.built for module in network.modules())
    return waiting or any(is_lazy(parameter) for parameter in network.parameters())


def build(network: nn.Module, x: Tensor) -> None:
    """Let every layer that waits for its first input see one, in evaluation mode.

    Example:
        >>> from convlens.nn.keras import Conv2D, Dense
        >>> network = nn.Sequential(Conv2D(2, 3), nn.Flatten(), Dense(1))
        >>> build(network, torch.zeros(1, 3, 5, 5))
        >>> network[2].in_channels
        18
    """
    modes = [(module, module.training) for module in network.modules()]
    device = next((parameter.device for parameter in network.parameters()), x.device)
    network.eval()
    with torch.no_grad():
        network(x.to(device))
    for module, training in modes:
        module.training = training


def _dtype(wanted: Any) -> torch.dtype | None:
    if wanted is None or (isinstance(wanted, torch.dtype) and wanted.is_floating_point):
        return wanted
    if wanted not in DTYPES:
        raise ConfigError(f"There is no dtype {wanted!r} for weights. {did_you_mean(str(wanted), DTYPES)}")
    return getattr(torch, str(wanted))
