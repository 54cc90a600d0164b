"""Keras's dense layer against the definition, and the two worked examples of Keras's own documentation."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from convlens.errors import ConfigError, ShapeError
from convlens.nn.keras import L1, L2, Dense
from convlens.nn.penalties import penalties
from convlens.reference import dense
from parity import assert_parity


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
def test_parity_with_the_definition(n: int, inputs: int, units: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    layer = Dense(units, input_shape=(inputs,), dtype="float64")
    arrays = {
        "x": random.standard_normal((n, inputs)),
        "weight": random.standard_normal((units, inputs)),
        "bias": random.standard_normal(units),
    }
    assert_parity(
        dense, lambda x, w, b: functional_call(layer, {"dense.weight": w, "dense.bias": b}, (x,)), arrays, traces=1
    )


def test_the_penalties_of_kerass_documentation() -> None:
    """`keras.Regularizer`: a kernel of 25 ones costs 0.25, and outputs of 10 in 5 samples of 5 cost 5."""
    layer = Dense(5, kernel_initializer="ones", kernel_regularizer=L1(0.01), activity_regularizer=L2(0.01))
    layer(torch.ones(5, 5) * 2.0)
    assert sorted(cost().item() for cost in penalties(layer)) == pytest.approx([0.25, 5.0])


def test_it_works_along_the_last_axis() -> None:
    layer = Dense(2, use_bias=False, kernel_initializer="ones")
    assert layer(torch.ones(3, 4, 5)).shape == (3, 4, 2)
    assert layer.dense.bias is None
    assert layer(torch.ones(1, 5)).tolist() == [[5.0, 5.0]]


def test_its_arguments_are_kerass() -> None:
    assert list(inspect.signature(Dense).parameters)[:3] == ["units", "activation", "use_bias"]
    with pytest.raises(ConfigError, match=r"Dense has no argument 'unit'. Did you mean 'units'"):
        Dense(2, unit=3)
    with pytest.raises(ShapeError, match="units must be a whole number of at least 1; got 'classes'"):
        Dense("classes")  # type: ignore[arg-type]
