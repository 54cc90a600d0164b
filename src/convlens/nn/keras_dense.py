"""The dense layer with Keras's names, arguments and defaults; begin with `keras.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from convlens.nn.keras_layer import Activation, Layer, await_input, bias_rules, kernel_rules, resize
from convlens.nn.layers import each
from convlens.nn.rules import Wish


class Dense(Layer):
    """Every value of a vector to every unit; arguments as for `Conv2D`. Put a flatten before it.

    Shapes:
        (N, ..., I) -> (N, ..., units): it works along the last axis, as in Keras

    Example:
        >>> import torch
        >>> layer = Dense(3, activation="tanh")
        >>> layer(torch.zeros(2, 5)).shape, layer.dense
        (torch.Size([2, 3]), Linear(in_features=5, out_features=3, bias=True))
    """

    dense: nn.Linear

    def __init__(
        self,
        units: int,
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
        super().__init__(None, kwargs)
        (self.units,) = each(units, 1, "units")
        self.kernel_rules = kernel_rules(kernel_initializer, kernel_regularizer, kernel_constraint)
        self.bias_rules = bias_rules(use_bias, bias_initializer, bias_regularizer, bias_constraint)
        dense = nn.Linear(1, units, use_bias)
        await_input(dense, 1, weight=self.kernel_rules, bias=self.bias_rules)
        self.assemble({"dense": dense}, activation, activity_regularizer)

    def fill(self, channels: int) -> None:
        self.dense.in_features = channels
        resize(self.dense.weight, (self.units, channels), self.kernel_rules)
        resize(self.dense.bias, (self.units,), self.bias_rules)

    def channels_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        weight = tensors.get("dense.weight")
        return None if weight is None else weight.shape[1]
