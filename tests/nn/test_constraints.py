"""Constraints: the projections of the definitions, Keras's axes, and what a network collects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.errors import ConfigError, ShapeError
from convlens.nn.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm, constrain, constraint, constraints
from convlens.reference import max_norm, min_max_norm, non_negative, unit_norm
from parity import assert_close


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([(3, 4), (3, 2, 2), (4, 2, 3, 3), (2, 2, 1, 2, 3)]),
    st.floats(0, 2),
    st.floats(0, 2),
)
def test_parity_with_the_definitions(seed: int, shape: tuple[int, ...], low: float, more: float) -> None:
    weight = np.random.default_rng(seed).standard_normal(shape)
    weight[0] = 0
    pairs = [
        (max_norm(weight, more), MaxNorm(more)),
        (min_max_norm(weight, low, low + more), MinMaxNorm(low, low + more)),
        (unit_norm(weight), UnitNorm()),
        (non_negative(weight), NonNeg()),
    ]
    for expected, ours in pairs:
        assert_close(ours(torch.tensor(weight)), expected, 1e-12, str(ours))


def test_what_is_allowed_is_left_bit_for_bit() -> None:
    weight = torch.randn(5, 3, 3, 3) * 0.1
    assert torch.equal(MaxNorm(2.0)(weight), weight)
    assert torch.equal(MinMaxNorm(0.0, 2.0)(weight), weight)
    assert torch.equal(MaxNorm()(torch.zeros(2, 2)), torch.zeros(2, 2))


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, (0, 1), [0, 1, 2], (0, 1, 2, 3)])
def test_an_axis_is_one_of_kerass_kernel(axis: Any) -> None:
    """Keras's formula on Keras's layout (h, w, I, O), and ours on torch's (O, I, h, w)."""
    random = np.random.default_rng(0)
    kernel = random.standard_normal((3, 2, 4, 5))
    norm = np.sqrt((kernel**2).sum(axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=True))
    expected = kernel * (norm.clip(0.5, 1.0) / norm)
    ours = MinMaxNorm(0.5, 1.0, axis=axis)(torch.tensor(kernel.transpose(3, 2, 0, 1)))
    assert_close(ours.permute(2, 3, 1, 0), expected, 1e-12, "weight")


def test_without_an_axis_every_filter_or_unit_has_its_norm() -> None:
    conv, dense = torch.randn(4, 3, 3, 3), torch.randn(4, 6)
    assert torch.equal(UnitNorm()(conv), UnitNorm(axis=(0, 1, 2))(conv))
    assert torch.equal(UnitNorm()(dense), UnitNorm(axis=0)(dense))
    bias = torch.tensor([3.0, 4.0])
    assert torch.allclose(UnitNorm()(bias), torch.tensor([0.6, 0.8]))
    assert torch.equal(UnitNorm()(bias), UnitNorm(axis=0)(bias))


def test_a_rate_below_one_goes_a_part_of_the_way() -> None:
    weight = torch.tensor([[3.0, 4.0]])
    assert MinMaxNorm(0.0, 1.0, rate=0.25)(weight).norm().item() == pytest.approx(4.0)
    assert MinMaxNorm(0.0, 1.0, rate=0.0)(weight).norm().item() == pytest.approx(5.0)


def test_the_constraints_of_a_network() -> None:
    layer, plain = nn.Linear(2, 2), nn.Linear(2, 1, bias=False)
    network = nn.Sequential(layer, plain)
    assert constraints(network) == []
    constrain(layer, "weight", UnitNorm())
    constrain(layer, "bias", NonNeg())
    constrain(plain, "bias", NonNeg())  # it has none
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, -2.0]]))
        layer.bias.copy_(torch.tensor([-1.0, 1.0]))
    found, kept = constraints(network), layer.weight
    assert len(found) == 2
    layer.bias.requires_grad_(False)  # frozen later on
    for project in found:
        project()
    assert layer.weight is kept
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert layer.bias.tolist() == [-1, 1]


def test_a_module_may_constrain_itself() -> None:
    class Own(nn.Module):
        called = 0

        def constrain(self) -> None:
            self.called += 1

    own = Own()
    for project in constraints(nn.Sequential(own, nn.ReLU())):
        project()
    assert own.called == 1


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("maxnorm", "'maxnorm' is not the name of a constraint. Did you mean 'max_norm'"),
        ({"name": "max_norm", "maxvalue": 1}, "'max_norm' has no option 'maxvalue'. Did you mean 'max_value'"),
        ({"name": "max_norm", "max_value": -1}, "max_norm: max_value must be a number of at least 0; got -1"),
        ({"name": "min_max_norm", "min_value": 2}, "min_max_norm: max_value must be a number of at least 2; got 1.0"),
        ({"name": "min_max_norm", "rate": 1.5}, "rate is the share of the way, from 0 to 1; got 1.5"),
        ({"name": "unit_norm", "axis": "rows"}, "unit_norm: axis must be a whole number or a list of them; got 'rows'"),
        ({"name": "unit_norm", "axis": []}, r"unit_norm: axis must be a whole number or a list of them; got \[\]"),
        ({"name": "non_neg", "axis": 0}, "'non_neg' has no option 'axis'. It has none"),
    ],
)
def test_errors(wanted: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        constraint(wanted)


def test_an_axis_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(ShapeError, match=r"has 2 axes, as Keras lays it out \(taps, in, out\); a norm along \[0, 2\]"):
        constrain(nn.Linear(2, 2), "weight", UnitNorm(axis=[0, 2]))
    with pytest.raises(ShapeError, match=r"has 4 axes.*Leave axis out for one norm a filter"):
        MaxNorm(axis=4)(torch.zeros(2, 2, 2, 2))
