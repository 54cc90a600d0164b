"""Keras's pooling, and its kin, against the definitions: partial windows, both paddings, one to three axes."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens import reference
from convlens.errors import ConfigError, ShapeError
from convlens.nn import keras
from parity import assert_parity

NAMES = {"max": "Max", "min": "Min", "sum": "Sum", "avg": "Average"}


@settings(max_examples=8, deadline=None)
@given(st.data())
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("rule", NAMES)
def test_parity_with_the_definition(rule: str, dims: int, data: st.DataObject) -> None:
    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(dims))

    window = each(1, 3)
    stride = None if data.draw(st.booleans()) else each(1, 3)
    padding, ceil_mode = data.draw(st.sampled_from([("valid", False), ("valid", True), ("same", False)]))
    last = data.draw(st.booleans())
    size = tuple((1 if padding == "same" else k) + more for k, more in zip(window, each(0, 3), strict=True))
    x = np.random.default_rng(data.draw(st.integers(0, 2**32))).standard_normal((2, 2, *size))
    if data.draw(st.booleans()) and rule in ("max", "min"):
        x = x.round()  # many ties
    layer = getattr(keras, f"{NAMES[rule]}Pooling{dims}D")(
        window, stride, padding, "channels_last" if last else None, ceil_mode=ceil_mode
    )
    defined = getattr(reference, f"{rule}_pool{dims}d")
    assert_parity(
        lambda x: defined(x, window, stride, padding=padding, partial=ceil_mode),
        lambda x: layer(x.movedim(1, -1)).movedim(-1, 1) if last else layer(x),
        {"x": x},
        traces=0,
    )


def test_what_keras_does_by_default() -> None:
    bare = [p.replace(annotation=p.empty) for p in inspect.signature(keras.MaxPooling2D).parameters.values()][:4]
    assert str(inspect.Signature(bare)) == "(pool_size=2, strides=None, padding='valid', data_format=None)"
    layer = keras.MaxPooling2D()
    assert layer(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 2, 3)
    assert keras.MaxPooling2D(3, padding="same")(torch.zeros(1, 3, 7, 8)).shape == (1, 3, 3, 3)
    assert keras.MaxPooling2D(3, ceil_mode=True)(torch.zeros(1, 3, 7, 8)).shape == (1, 3, 3, 3)


def test_padding_wins_no_maximum_and_counts_in_no_average() -> None:
    x = torch.full((1, 1, 3, 3), -4.0)
    for pooling in (keras.MaxPooling2D, keras.AveragePooling2D):
        assert pooling(2, padding="same")(x).tolist() == torch.full((1, 1, 2, 2), -4.0).tolist()
        assert pooling(3, 1, padding="same")(x).tolist() == x.tolist()
    assert keras.MinPooling2D(2, padding="same")(-x).min() == 4
    assert keras.SumPooling2D(2, padding="same")(x)[0, 0].tolist() == [[-16, -8], [-8, -4]]


def test_a_window_without_padding_is_torchs_own_layer() -> None:
    assert [type(part) for part in keras.MaxPooling2D().children()] == [nn.MaxPool2d]
    assert [type(part) for part in keras.AveragePooling1D().children()] == [nn.AvgPool1d]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_global_pooling(dims: int) -> None:
    x = torch.randn(2, 3, *(4,) * dims, dtype=torch.float64)
    cells = tuple(range(2, dims + 2))
    for name, expected in (("Average", x.mean(cells)), ("Max", x.amax(cells))):
        make: Any = getattr(keras, f"Global{name}Pooling{dims}D")
        torch.testing.assert_close(make()(x), expected, rtol=1e-12, atol=1e-12)
        assert make(keepdims=True)(x).shape == (2, 3, *(1,) * dims)
        last = make("channels_last")(x.movedim(1, -1))
        torch.testing.assert_close(last, expected, rtol=1e-12, atol=1e-12)
        assert make("channels_last", keepdims=True)(x.movedim(1, -1)).shape == (2, *(1,) * dims, 3)


def test_global_pooling_is_the_definition() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    pool = keras.GlobalAveragePooling2D(keepdims=True)
    assert_parity(reference.global_avg_pool2d, pool, {"x": x})
    assert_parity(reference.global_max_pool2d, keras.GlobalMaxPooling2D(keepdims=True), {"x": x})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stride": 2}, ConfigError, "MaxPooling2D has no argument 'stride'. Did you mean 'strides'"),
        ({"padding": 1}, ConfigError, "MaxPooling2D: padding is 'valid' or 'same'; got 1"),
        ({"padding": "same", "ceil_mode": True}, ConfigError, "padding='same' keeps partial windows anyway"),
        ({"pool_size": (2, 2, 2)}, ShapeError, r"pool_size must be .* or 2 of them; got \(2, 2, 2\)"),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        keras.MaxPooling2D(**arguments)
