"""Keras's layers in torch: the names, arguments and defaults that the lectures quote, on ordinary torch modules.

    network = torch.nn.Sequential(
        Conv2D(32, 3, padding="same", activation="relu", kernel_regularizer="l2"),
        MaxPooling2D(),
        Flatten(),
        Dense(10, kernel_constraint=MaxNorm(3)),
    )

What is the same: arguments, defaults, "same" padding at any stride, starting values, and how a layer learns its input
channels from the first input. What differs, and why:

- data_format is "channels_first" unless given, as everything here is torch. With "channels_last" a layer takes and
  gives (N, H, W, C), with the same numbers. Weights are (O, I, h, w) in both.
- No softmax: networks here end in logits, and the loss applies it.
- Penalties are added, and constraints applied, by convlens's own training. In a loop of your own use
  `nn.penalties.penalties(network)` and `nn.constraints.constraints(network)`.
- A norm constraint takes one norm for each filter where no axis is given.

`print(layer)` shows the torch modules a layer is made of.
"""

from convlens.nn.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from convlens.nn.initialisers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    RandomNormal,
    RandomUniform,
)
from convlens.nn.keras_conv import Conv1D, Conv2D, Conv2DTranspose, Conv3D
from convlens.nn.keras_dense import Dense
from convlens.nn.keras_depthwise import DepthwiseConv2D, SeparableConv2D
from convlens.nn.keras_pool import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
    MinPooling1D,
    MinPooling2D,
    MinPooling3D,
    SumPooling1D,
    SumPooling2D,
    SumPooling3D,
)
from convlens.nn.layers import Flatten, GaussianNoise
from convlens.nn.penalties import L1, L1L2, L2, ActivityRegularization

__all__ = [
    "L1", "L1L2", "L2", "ActivityRegularization", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "Constant", "Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D",
    "Dense", "DepthwiseConv2D", "Flatten",
    "GaussianNoise", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "GlorotNormal", "GlorotUniform",
    "HeNormal", "HeUniform",
    "MaxNorm", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "MinMaxNorm",
    "MinPooling1D", "MinPooling2D", "MinPooling3D",
    "NonNeg", "RandomNormal", "RandomUniform", "SeparableConv2D",
    "SumPooling1D", "SumPooling2D", "SumPooling3D", "UnitNorm",
]  # fmt: skip
