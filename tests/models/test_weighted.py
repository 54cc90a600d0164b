"""The seven options of layers with weights: what they set, that they change nothing else, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from convlens.config import Config
from convlens.errors import ConfigError, ShapeError
from convlens.models import catalog, layered
from convlens.models.stored import rebuild
from convlens.nn.constraints import constraints
from convlens.nn.penalties import penalties

FLAT, END = {"layer": "flatten"}, {"layer": "dense", "units": "classes"}
KINDS: dict[str, dict[str, Any]] = {
    "conv": {"filters": 4},
    "depthwise_conv": {},
    "separable_conv": {"filters": 4},
    "transposed_conv": {"filters": 4},
}


def build(*layers: dict[str, Any]) -> nn.Sequential:
    return layered.build([*layers], in_channels=2, outputs=3, size_px=8)


@pytest.mark.parametrize("kind", KINDS)
def test_each_option_reaches_its_weight(kind: str) -> None:
    rules = {
        "kernel_initializer": {"name": "constant", "value": 2.0},
        "bias_initializer": {"name": "constant", "value": 3.0},
        "kernel_regularizer": {"name": "l1", "l1": 1.0},
        "bias_regularizer": {"name": "l1", "l1": 100.0},
        "kernel_constraint": {"name": "max_norm", "max_value": 1},
        "bias_constraint": {"name": "max_norm", "max_value": 1},
    }
    network = build({"layer": kind, **KINDS[kind], **rules}, FLAT, END)
    named = {n: p for n, p in network.named_parameters() if not n.startswith("3_")}
    kernels = [p for n, p in named.items() if n.endswith("weight")]
    biases = [p for n, p in named.items() if n.endswith("bias")]
    assert len(kernels) == (2 if kind == "separable_conv" else 1)
    assert len(biases) == 1
    assert all(p.unique().tolist() == [2.0] for p in kernels)
    assert biases[0].unique().tolist() == [3.0]
    costs = sorted(cost().item() for cost in penalties(network))
    assert costs == sorted([*(2.0 * p.numel() for p in kernels), 300.0 * biases[0].numel()])
    for project in constraints(network):
        project()
    assert all(torch.allclose(p.flatten(1).norm(dim=1), torch.tensor(1.0)) for p in kernels)
    assert biases[0].norm().item() == pytest.approx(1)


def test_they_are_not_about_padding_and_activations() -> None:
    rules = {"kernel_initializer": "ones", "kernel_regularizer": "l2", "kernel_constraint": "non_neg"}
    conv = {"layer": "conv", "filters": 4, "padding": "same", "stride": 2, "activation": "prelu"}
    network = build(conv | rules, FLAT, END)
    assert [name for name, _ in network.named_children()][:3] == ["1_pad", "1_conv", "1_prelu"]
    assert network[2].weight.item() == 0.25
    assert len(penalties(network)) == len(constraints(network)) == 1


def test_a_dense_layer_and_what_it_gives() -> None:
    dense = {**END, "kernel_initializer": "ones", "activity_regularizer": {"name": "l2", "l2": 1.0}}
    network = build(FLAT, dense | {"bias_initializer": "zeros"})
    assert [name for name, _ in network.named_children()] == ["1_flatten", "2_dense", "2_penalty"]
    network(torch.ones(5, 2, 8, 8))
    assert [cost().item() for cost in penalties(network)] == [3 * 128.0**2]


@pytest.mark.parametrize("kind", KINDS)
def test_without_them_nothing_changes(kind: str) -> None:
    torch.manual_seed(0)
    plain = build({"layer": kind, **KINDS[kind]}, FLAT, END)
    torch.manual_seed(0)
    ruled = build({"layer": kind, **KINDS[kind], "kernel_regularizer": "l2", "kernel_constraint": "non_neg"}, FLAT, END)
    ours, theirs = ruled.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [type(m) for m in ruled.modules()] == [type(m) for m in plain.modules()]
    assert penalties(plain) == constraints(plain) == []


def test_they_come_from_toml_and_through_the_model_file() -> None:
    table = {
        "layer": "conv",
        "filters": 2,
        "kernel_initializer": "glorot_normal",
        "kernel_constraint": {"name": "max_norm", "max_value": 3, "axis": [0, 1, 2]},
        "activity_regularizer": {"name": "l1", "l1": 0.5},
    }
    config = Config.build({"network": {"name": "layers", "layers": [table, FLAT, END]}})
    layers = Config.from_json(config.to_json()).network.layers
    description = {"name": "layers", "in_channels": 2, "outputs": 3, "size_px": [8, 8], "options": {"layers": layers}}
    network = catalog.build("layers", in_channels=2, outputs=3, size_px=8, layers=layers)
    again = rebuild(description, network.state_dict())
    again.load_state_dict(network.state_dict())
    x = torch.randn(2, 2, 8, 8)
    assert torch.equal(again(x), network(x))
    assert len(penalties(again)) == 1
    assert len(constraints(again)) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"kernel_regulariser": "l2"},
            ConfigError,
            "no option 'kernel_regulariser'. Did you mean 'kernel_regularizer'",
        ),
        (
            {"kernel_regularizer": "l3"},
            ConfigError,
            r"Layer 1 \(conv\): 'l3' is not the name of a penalty. Choose from",
        ),
        ({"activity_regularizer": "l"}, ConfigError, r"Layer 1 \(conv\): 'l' is not the name of a penalty"),
        ({"kernel_regularizer": 0.1}, ConfigError, r"Layer 1 \(conv\): kernel_regularizer does not accept 0.1"),
        ({"kernel_initializer": {"name": "constant", "val": 1}}, ConfigError, r"no option 'val'. Did you mean 'value'"),
        ({"bias": False, "bias_regularizer": "l2"}, ConfigError, r"Layer 1 \(conv\): .*no effect with bias=False"),
        ({"kernel_constraint": {"name": "max_norm", "axis": 4}}, ShapeError, "The kernel has 4 axes"),
        ({"bias_initializer": "he_normal"}, ShapeError, "For a bias choose zeros"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build({"layer": "conv", "filters": 4, **options}, FLAT, END)
