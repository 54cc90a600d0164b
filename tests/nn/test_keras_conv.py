"""Keras's convolutions: equal to the definitions in value and gradient, over everything their arguments can say."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from convlens import reference
from convlens.errors import ConfigError, ShapeError
from convlens.nn.keras import Conv1D, Conv2D, Conv2DTranspose, Conv3D
from convlens.nn.keras_layer import Layer
from parity import assert_parity

LAYERS: dict[int, Any] = {1: Conv1D, 2: Conv2D, 3: Conv3D}
SIX = [
    [1, 2, 3, 1, 3, 5],
    [2, 2, 5, 4, 2, 5],
    [0, 6, 9, 6, 2, 2],
    [2, 0, 1, 9, 4, 0],
    [5, 5, 4, 6, 7, 6],
    [6, 1, 3, 7, 1, 5],
]


def called(layer: Layer, x: Tensor, **weights: Tensor) -> Tensor:
    """A layer with given weights, from channels first to channels first, whichever it takes itself."""
    last = layer.data_format == "channels_last"
    y = functional_call(layer, {f"conv.{name}": w for name, w in weights.items()}, (x.movedim(1, -1) if last else x,))
    return y.movedim(-1, 1) if last else y


@settings(max_examples=12, deadline=None)
@given(st.data())
@pytest.mark.parametrize("dims", LAYERS)
def test_parity_with_the_definition(dims: int, data: st.DataObject) -> None:
    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(dims))

    widest = 2 if dims == 3 else 3
    kernel, groups, deep, out = each(1, 3), *(data.draw(st.integers(1, 2)) for _ in range(3))
    strides, dilation = (each(1, 3), 1) if data.draw(st.booleans()) else (1, each(1, widest))
    padding = data.draw(st.sampled_from(["valid", "same", "SAME", *(["causal"] if dims == 1 else [])]))
    data_format = data.draw(st.sampled_from([None, "channels_first", "channels_last"]))
    reach = [(k - 1) * widest + 1 for k in kernel]
    size = tuple(n + more for n, more in zip(reach, each(0, 2), strict=True))
    channels, filters = groups * deep, groups * out
    shape = (*size, channels) if data_format == "channels_last" else (channels, *size)
    layer = LAYERS[dims](
        filters, kernel, strides, padding, data_format, dilation, groups, input_shape=shape, dtype="float64"
    )
    spread = (dilation,) * dims if isinstance(dilation, int) else dilation
    zeros: Any = ((spread[0] * (kernel[0] - 1), 0),) if padding == "causal" else padding.lower()
    options = {"stride": strides, "padding": zeros, "dilation": dilation, "groups": groups}
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = {
        "x": random.standard_normal((2, channels, *size)),
        "weight": random.standard_normal((filters, deep, *kernel)),
        "bias": random.standard_normal(filters),
    }
    assert layer.conv.weight.shape == inputs["weight"].shape
    assert_parity(
        lambda *arrays: getattr(reference, f"conv{dims}d")(*arrays, **options),
        lambda x, weight, bias: called(layer, x, weight=weight, bias=bias),
        inputs,
        traces=0,
    )


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_parity_of_the_transposed_convolution(data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    size, kernel, channels, filters = pair(1, 4), pair(1, 4), *pair(1, 3)
    strides, dilation = (pair(1, 3), (1, 1)) if data.draw(st.booleans()) else ((1, 1), pair(1, 2))
    padding = data.draw(st.sampled_from(["valid", "same"]))
    data_format = data.draw(st.sampled_from(["channels_first", "channels_last"]))
    layer = Conv2DTranspose(filters, kernel, strides, padding, data_format, dilation, dtype=torch.float64)
    layer.build(channels)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = {
        "x": random.standard_normal((2, channels, *size)),
        "weight": random.standard_normal((channels, filters, *kernel)),
        "bias": random.standard_normal(filters),
    }
    options: dict[str, Any] = {"stride": strides, "padding": padding, "dilation": dilation}
    assert_parity(
        lambda *arrays: reference.conv_transpose2d(*arrays, **options),
        lambda x, weight, bias: called(layer, x, weight=weight, bias=bias),
        inputs,
        traces=0,
    )
    if padding == "same":
        assert layer(torch.zeros(*_arranged(layer, 1, channels, size), dtype=torch.float64)).shape == _arranged(
            layer, 1, filters, tuple(n * s for n, s in zip(size, strides, strict=True))
        )


def _arranged(layer: Layer, n: int, channels: int, size: tuple[int, int]) -> tuple[int, ...]:
    return (n, *size, channels) if layer.data_format == "channels_last" else (n, channels, *size)


def test_the_signature_is_the_one_of_keras() -> None:
    quoted = (
        "filters, kernel_size, strides=(1, 1), padding='valid', data_format=None, dilation_rate=(1, 1), groups=1, "
        "activation=None, use_bias=True, kernel_initializer='glorot_uniform', bias_initializer='zeros', "
        "kernel_regularizer=None, bias_regularizer=None, activity_regularizer=None, kernel_constraint=None, "
        "bias_constraint=None, **kwargs"
    )
    bare = [p.replace(annotation=p.empty) for p in inspect.signature(Conv2D).parameters.values()]
    assert str(inspect.Signature(bare)) == f"({quoted})"


@pytest.mark.parametrize("layer", [Conv1D, Conv2DTranspose, Conv3D])
def test_its_kin_have_the_same_arguments(layer: type[Layer]) -> None:
    wanted = list(inspect.signature(Conv2D).parameters)
    if layer is Conv2DTranspose:
        wanted.remove("groups")
    assert list(inspect.signature(layer).parameters) == wanted


def test_what_keras_does_by_default() -> None:
    torch.manual_seed(0)
    layer = Conv2D(8, 3, input_shape=(2, 6, 6))
    assert layer.data_format == "channels_first"
    assert layer(torch.zeros(1, 2, 6, 6)).shape == (1, 8, 4, 4)  # "valid", stride 1, no activation, a bias of zeros
    assert layer(torch.full((1, 2, 6, 6), -1.0)).min() < 0
    assert layer.conv.bias is not None
    assert layer.conv.bias.tolist() == [0.0] * 8
    limit = (6 / (2 * 9 + 8 * 9)) ** 0.5
    assert 0.9 * limit < layer.conv.weight.abs().max() <= limit
    assert layer.trainable
    assert layer.name == "Conv2D"
    assert Conv2D(8, 3, use_bias=False).conv.bias is None
    unsaid = Conv2D(8, 3, kernel_initializer=None, bias_initializer=None, input_shape=(2, 6, 6))
    assert 0.9 * limit < unsaid.conv.weight.abs().max() <= limit
    assert unsaid(torch.zeros(1, 2, 6, 6)).abs().max() == 0


def test_same_at_stride_two_pads_at_the_bottom_and_right() -> None:
    layer = Conv2D(1, 3, strides=2, padding="same", use_bias=False, input_shape=(1, 6, 6))
    layer.conv.weight.data = torch.tensor([[[[1.0, 0.0, -1.0]] * 3]])
    assert layer(torch.tensor(SIX, dtype=torch.float32)[None, None])[0, 0].tolist() == [
        [-14, 10, 7],
        [-7, 1, 13],
        [4, -1, 8],
    ]


@pytest.mark.parametrize(("strides", "kernel"), [(1, 3), (1, 4), (2, 3), (3, 2)])
def test_same_gives_the_ceiling(strides: int, kernel: int) -> None:
    layer = Conv2D(1, kernel, strides, "same")
    for size in (5, 6, 7):
        assert layer(torch.zeros(1, 1, size, size)).shape[2] == -(-size // strides)
        assert Conv2D(1, 2, 1, "same", dilation_rate=3)(torch.zeros(1, 1, size, size)).shape[2] == size


def test_causal_sees_nothing_that_comes_later() -> None:
    layer = Conv1D(1, 3, padding="causal", dilation_rate=2, kernel_initializer="ones")
    x = torch.zeros(1, 1, 7)
    x[0, 0, 4] = 1
    assert layer(x)[0, 0].tolist() == [0, 0, 0, 0, 1, 0, 1]


def test_a_layer_is_made_of_torchs_own() -> None:
    layer = Conv2D(4, 3, strides=2, padding="same", activation="relu", activity_regularizer="l1", input_shape=(1, 8, 8))
    parts = dict(layer.named_children())
    assert list(parts) == ["pad", "conv", "act", "activity"]
    assert type(parts["conv"]) is nn.Conv2d
    assert list(layer.state_dict()) == ["conv.weight", "conv.bias"]
    assert list(dict(Conv2D(4, 3, padding="same").named_children())) == ["conv"]  # torch can do this itself
    last = Conv2D(4, 3, data_format="channels_last", activation="relu")
    assert list(dict(last.named_children())) == ["first", "conv", "act", "last"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stride": 2}, ConfigError, r"Conv2D has no argument 'stride'. Did you mean 'strides'\?"),
        ({"kernel_regulariser": "l2"}, ConfigError, "Did you mean 'kernel_regularizer'"),
        ({"input_shpae": (1, 2, 3)}, ConfigError, "Did you mean 'input_shape'"),
        ({"padding": "full"}, ConfigError, "Conv2D: padding is 'valid' or 'same'; got 'full'"),
        ({"padding": "causal"}, ConfigError, "padding is 'valid' or 'same'; got 'causal'"),
        ({"data_format": "channel_last"}, ConfigError, "no data_format 'channel_last'. Did you mean 'channels_last'"),
        (
            {"strides": 2, "dilation_rate": (1, 2), "name": "first"},
            ConfigError,
            r"first: Keras does not combine strides above 1 with a dilation_rate above 1; got strides=\(2, 2\) and "
            r"dilation_rate=\(1, 2\). Set one of them to 1",
        ),
        ({"groups": 3}, ShapeError, "groups must divide the 8 filters; got groups=3"),
        ({"filters": 0}, ShapeError, "filters must be a whole number of at least 1; got 0"),
        ({"filters": 2.5}, ShapeError, "filters must be a whole number of at least 1; got 2.5"),
        ({"kernel_size": (3, 3, 3)}, ShapeError, r"kernel_size must be .* or 2 of them; got \(3, 3, 3\)"),
        ({"strides": (1, 0)}, ShapeError, r"strides must be a whole number of at least 1, or 2 of them; got \(1, 0\)"),
        ({"activation": "rleu"}, ConfigError, "no activation 'rleu'. Did you mean 'relu'"),
        ({"activation": "softmax"}, ConfigError, "networks end in logits"),
        ({"kernel_initializer": "glorot"}, ConfigError, "'glorot' is not the name of an initialiser. Did you mean"),
        ({"use_bias": False, "bias_constraint": "non_neg"}, ConfigError, "no effect with use_bias=False"),
        ({"dtype": "float31"}, ConfigError, "no dtype 'float31' for weights. Did you mean 'float32'"),
        ({"dtype": torch.int64}, ConfigError, "no dtype torch.int64 for weights"),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Conv2D(**({"filters": 8, "kernel_size": 3} | arguments))


def test_channels_that_the_groups_do_not_divide() -> None:
    with pytest.raises(ShapeError, match=r"got 3 channels and groups=2. Choose a common divisor of 3 and 4, or 1"):
        Conv2D(4, 3, groups=2)(torch.zeros(1, 3, 5, 5))
