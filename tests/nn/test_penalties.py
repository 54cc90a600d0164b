"""Penalties: the values and gradients of the definitions, of weights and of what a layer gives."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.errors import ConfigError
from convlens.nn.penalties import L1, L1L2, L2, ActivityRegularization, penalise, penalties, regulariser
from convlens.reference import l1_penalty, l2_penalty
from parity import assert_close, assert_parity

WEIGHTS = st.lists(st.floats(-3, 3), min_size=1, max_size=6).map(np.array)


@settings(deadline=None, max_examples=20)
@given(WEIGHTS, st.floats(0, 2))
def test_parity_with_the_definitions(weight: np.ndarray, strength: float) -> None:
    assert_parity(lambda w: l1_penalty(w, strength), L1(strength), {"weight": weight})
    assert_parity(lambda w: l2_penalty(w, strength), L2(strength), {"weight": weight})
    both = torch.tensor(weight, requires_grad=True)
    value = L1L2(strength, 0.5)(both)
    value.backward()
    first, second = l1_penalty(weight, strength), l2_penalty(weight, 0.5)
    assert both.grad is not None
    assert_close(value.detach(), first.value + second.value, 1e-12, "value")
    assert_close(both.grad, first.backward()["weight"] + second.backward()["weight"], 1e-10, "gradient")


def test_exact_values_of_the_names() -> None:
    weight = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    assert regulariser("l1")(weight).item() == pytest.approx(0.06, abs=1e-15)
    assert regulariser("l2")(weight).item() == pytest.approx(0.14, abs=1e-15)
    assert regulariser("l1_l2")(weight).item() == pytest.approx(0.20, abs=1e-15)
    assert regulariser({"name": "l1_l2", "l1": 1}) == L1L2(1, 0.01)
    assert L1L2()(weight).item() == 0
    assert regulariser(torch.sum)(weight).item() == 2


def test_the_penalty_of_an_output_is_divided_by_its_samples() -> None:
    layer, x = ActivityRegularization("l1"), torch.tensor([[1.0, -2.0], [3.0, 4.0]], requires_grad=True)
    assert layer(x) is x
    layer.penalty().backward()
    assert layer.penalty().item() == pytest.approx(0.05)
    torch.testing.assert_close(x.grad, torch.tensor([[0.005, -0.005], [0.005, 0.005]]))


def test_only_training_leaves_a_penalty() -> None:
    layer, x = ActivityRegularization("l2"), torch.ones(2, 2)
    assert layer.penalty() == 0
    layer(x)
    assert layer.penalty() > 0
    with torch.no_grad():
        layer(x)
    assert layer.penalty() == 0
    layer(x)
    layer.eval()(x)
    assert layer.penalty() == 0
    assert str(layer) == "ActivityRegularization(L2(l2=0.01))"


def test_the_penalty_of_half_precision_is_summed_in_full() -> None:
    layer = ActivityRegularization(L2(1.0))
    layer(torch.full((1, 100_000), 0.1, dtype=torch.bfloat16))
    assert layer.penalty().dtype == torch.float32
    assert layer.penalty().item() == pytest.approx(1000, rel=0.01)


def test_a_layer_with_a_graph_behind_it_can_be_copied() -> None:
    layer = ActivityRegularization("l1")
    layer(torch.ones(2, 2, requires_grad=True) * 2)
    assert copy.deepcopy(layer).penalty() == 0
    assert layer.penalty() > 0


def test_the_penalties_of_a_network() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 1, bias=False)
    network = nn.Sequential(first, nn.ReLU(), second)
    assert penalties(network) == []
    penalise(first, "weight", L2(1.0))
    penalise(first, "bias", L1(1.0))
    penalise(second, "bias", L1(1.0))  # it has none
    with torch.no_grad():
        first.weight.fill_(2)
        first.bias.fill_(-3)
    found = penalties(network)
    assert [cost().item() for cost in found] == [16, 6]
    first.weight.requires_grad_(False)  # frozen later on
    assert [cost().item() for cost in found] == [0, 6]
    sum(cost() for cost in found).backward()  # type: ignore[union-attr]
    assert first.bias.grad is not None
    assert first.bias.grad.tolist() == [-1, -1]
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin[0].bias.fill_(1)
    assert [cost().item() for cost in penalties(twin)] == [0, 2]
    assert [cost().item() for cost in penalties(network)] == [0, 6]


def test_a_module_may_have_a_penalty_of_its_own() -> None:
    class Own(nn.Module):
        def penalty(self) -> torch.Tensor:
            return torch.tensor(7.0)

    assert [cost().item() for cost in penalties(nn.Sequential(Own(), nn.ReLU()))] == [7]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("l3", "'l3' is not the name of a penalty. Choose from: l1, l1_l2, l2"),
        ({"name": "l2", "strength": 1}, "'l2' has no option 'strength'. Choose from: l2"),
        ({"name": "l1", "l1": -1}, "l1: l1 must be a number of at least 0; got -1"),
        ({"name": "l1_l2", "l2": "much"}, "l1_l2: l2 must be a number of at least 0; got 'much'"),
        (0.01, "Give a penalty as a name"),
    ],
)
def test_errors(wanted: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        regulariser(wanted)
