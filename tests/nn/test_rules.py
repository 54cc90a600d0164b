"""Rules of one weight, set on ordinary modules."""

from __future__ import annotations

import torch
from torch import nn

from convlens.nn.constraints import NonNeg, constraints
from convlens.nn.initialisers import Constant
from convlens.nn.penalties import L2, penalties
from convlens.nn.rules import Rules, ruled


def test_rules_from_names_tables_and_objects() -> None:
    assert Rules.of("ones", {"name": "l2", "l2": 3}, NonNeg()) == (Constant(1.0), L2(3), NonNeg())
    assert not any(Rules.of())


def test_a_ruled_module_begins_costs_and_stays_as_told() -> None:
    layer = ruled(lambda: nn.Linear(2, 1), weight=Rules.of("ones", "l2", "non_neg"), bias=Rules.of("zeros"))
    assert type(layer) is nn.Linear
    assert layer.weight.tolist() == [[1, 1]]
    assert layer.bias.tolist() == [0]
    assert [round(cost().item(), 6) for cost in penalties(layer)] == [0.02]
    assert len(constraints(layer)) == 1
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_without_rules_a_module_stays_as_torch_made_it() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(1, 2, 3)
    torch.manual_seed(0)
    layer = ruled(lambda: nn.Conv2d(1, 2, 3), weight=Rules(), bias=Rules())
    assert torch.equal(layer.weight, plain.weight)
    assert penalties(layer) == constraints(layer) == []


def test_a_bias_that_is_not_there_is_passed_over() -> None:
    layer = ruled(
        lambda: nn.Linear(2, 1, bias=False), weight=Rules.of("zeros"), bias=Rules.of("zeros", "l2", "non_neg")
    )
    assert penalties(layer) == constraints(layer) == []
