"""A network from a list of layers: shapes before building, what is built, and what is said when it does not fit."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import torch
from torch import nn

from convlens.errors import ConfigError, ShapeError
from convlens.models import catalog, layered
from convlens.models.kinds import LAYERS
from convlens.models.walk import walk

CONV = {"layer": "conv", "filters": 8}
POOL, FLAT, END = {"layer": "max_pool"}, {"layer": "flatten"}, {"layer": "dense", "units": "classes"}
GLOBAL = {"layer": "global_avg_pool"}
RULES: dict[str, Any] = {
    "kernel_initializer": "he_normal",
    "kernel_regularizer": {"name": "l1_l2", "l2": 0.1},
    "kernel_constraint": "unit_norm",
    "bias_initializer": {"name": "constant", "value": 0.5},
    "bias_regularizer": "l1",
    "bias_constraint": "non_neg",
    "activity_regularizer": "l2",
}
# one line for each thing a layer can do; the sweep below builds, walks and trains it
CASES: list[dict[str, Any]] = [
    {"layer": "conv", "filters": 6},
    {"layer": "conv", "filters": 6, "kernel_size": [3, 5], "stride": [2, 1], "padding": [1, 2], "activation": "relu"},
    {"layer": "conv", "filters": 6, "padding": "same", "dilation": 2, "bias": False},
    {"layer": "conv", "filters": 6, "padding": "same", "stride": 2, "activation": "prelu"},
    {"layer": "conv", "filters": 6, "padding": "same", "kernel_size": 4},
    {"layer": "conv", "filters": 8, "groups": 2, "kernel_size": 1},
    {"layer": "depthwise_conv", "padding": "same", "multiplier": 2, "activation": "silu"},
    {"layer": "separable_conv", "filters": 6, "stride": 2, "padding": "same", "activation": "relu"},
    {"layer": "separable_conv", "filters": 6, "bias": False},
    {"layer": "transposed_conv", "filters": 6},
    {"layer": "transposed_conv", "filters": 6, "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    {"layer": "max_pool"},
    {"layer": "max_pool", "size": 3, "stride": 2, "padding": 1, "partial_windows": True},
    {"layer": "avg_pool", "size": [2, 3]},
    {"layer": "avg_pool", "size": 4, "stride": 3, "partial_windows": True},
    {"layer": "min_pool", "size": 3, "stride": 2, "padding": 1, "partial_windows": True},
    {"layer": "sum_pool", "size": [2, 3]},
    {"layer": "global_avg_pool"},
    {"layer": "global_max_pool"},
    {"layer": "batch_norm"},
    {"layer": "activation", "activation": "prelu"},
    {"layer": "dropout", "rate": 0.2},
    {"layer": "gaussian_noise", "stddev": 0.1},
    {"layer": "flatten"},
    {"layer": "flatten", "order": "channels_last"},
    {"layer": "conv", "filters": 6, "padding": "same", "stride": 2, "activation": "prelu", **RULES},
    {"layer": "depthwise_conv", "multiplier": 2, **RULES},
    {"layer": "separable_conv", "filters": 6, **RULES},
    {"layer": "transposed_conv", "filters": 6, **RULES},
]


def build(layers: list[dict[str, Any]], size_px: int | tuple[int, int] = 12, outputs: int = 3) -> nn.Sequential:
    return layered.build(layers, in_channels=4, outputs=outputs, size_px=size_px)


def test_the_cases_cover_every_kind() -> None:
    assert {case["layer"] for case in CASES} | {"dense"} == set(LAYERS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(value) for value in case.values()))
@pytest.mark.parametrize("size", [(11, 12), (16, 16)])
def test_what_is_planned_is_what_is_built(case: dict[str, Any], size: tuple[int, int]) -> None:
    ending = [END] if case["layer"] in ("global_avg_pool", "global_max_pool", "flatten") else [FLAT, END]
    layers = [case, *ending]
    planned = layered.plan(layers, in_channels=4, outputs=3, size_px=size)
    network = build(layers, size)
    x = torch.rand(2, 4, *size)
    for row in planned:
        parts = [network.get_submodule(f"{row.number}_{name}") for name, _ in row.step.parts]
        for part in parts:
            x = part(x)
        assert tuple(x.shape[1:]) == row.step.shape
        assert sum(p.numel() for part in parts for p in part.parameters()) == row.step.parameters
    x.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_list_of_the_handbook() -> None:
    text = """
        [[layers]]
        layer = "conv"
        filters = 32
        kernel_size = 3
        stride = 1
        padding = "same"
        activation = "relu"
        [[layers]]
        layer = "batch_norm"
        [[layers]]
        layer = "max_pool"
        size = 2
        [[layers]]
        layer = "dropout"
        rate = 0.2
        [[layers]]
        layer = "flatten"
        [[layers]]
        layer = "dense"
        units = 128
        activation = "relu"
        [[layers]]
        layer = "dense"
        units = "classes"
    """
    network = catalog.build("layers", in_channels=1, outputs=10, size_px=28, **tomllib.loads(text))
    names = ["1_conv", "1_relu", "2_batch_norm", "3_max_pool", "4_dropout", "5_flatten", "6_dense", "6_relu", "7_dense"]
    assert [name for name, _ in network.named_children()] == names
    assert isinstance(network, nn.Sequential)
    rows = walk(network, (2, 1, 28, 28))
    assert rows[-1].output_shape == (2, 10)
    assert sum(row.parameters for row in rows) == 320 + 64 + 32 * 14 * 14 * 128 + 128 + 1290


def test_lenet5_as_a_list() -> None:
    layers = [
        {"layer": "conv", "filters": 6, "kernel_size": 5, "activation": "relu"},
        POOL,
        {"layer": "conv", "filters": 16, "kernel_size": 5, "activation": "relu"},
        POOL,
        FLAT,
        {"layer": "dense", "units": 120, "activation": "relu"},
        {"layer": "dense", "units": 84, "activation": "relu"},
        END,
    ]
    ours = catalog.build("layers", in_channels=1, outputs=10, size_px=32, layers=layers)
    theirs = catalog.build("lenet5", in_channels=1, outputs=10, size_px=32)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))


def test_same_padding_at_stride_two_is_that_of_the_lectures() -> None:
    network = build([CONV | {"filters": 1, "padding": "same", "stride": 2, "kernel_size": 3}, FLAT, END], 6)
    assert [name for name, _ in network.named_children()] == ["1_pad", "1_conv", "2_flatten", "3_dense"]


def test_the_weights_of_a_separable_convolution_are_counted_by_the_formula() -> None:
    separable = {"layer": "separable_conv", "filters": 6, "kernel_size": 3}
    first = layered.plan([separable, FLAT, END], in_channels=4, outputs=3, size_px=12)[0]
    assert first.step.parameters == 3 * 3 * 4 + 4 * 6 + 6  # k k C + C n, and a bias for each of the n maps


def test_mean_pooling_divides_by_the_cells_that_are_there() -> None:
    network = build([{"layer": "avg_pool", "size": 2, "partial_windows": True}, FLAT, END], 3)
    assert torch.equal(network[0](torch.ones(1, 4, 3, 3)), torch.ones(1, 4, 2, 2))


def test_what_pooling_and_flatten_give() -> None:
    x = torch.arange(32.0).reshape(1, 2, 4, 4).repeat(1, 2, 1, 1)
    for kind, corner in (("max_pool", 5.0), ("avg_pool", 2.5), ("min_pool", 0.0), ("sum_pool", 10.0)):
        assert build([{"layer": kind}, FLAT, END], 4)[0](x)[0, 0, 0, 0] == corner
    assert build([FLAT, END], 4)[0](x)[0, :3].tolist() == [0, 1, 2]
    assert build([FLAT | {"order": "channels_last"}, END], 4)[0](x)[0, :3].tolist() == [0, 16, 0]


def test_a_network_may_end_in_global_pooling() -> None:
    assert build([{"layer": "conv", "filters": "classes"}, GLOBAL])(torch.rand(2, 4, 9, 9)).shape == (2, 3)


def test_nothing_is_built_before_everything_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*arguments: object, **options: object) -> None:
        pytest.fail("a layer was built")

    monkeypatch.setattr(nn.Conv2d, "__init__", built)
    with pytest.raises(ShapeError, match="Layer 2"):
        build([CONV, END])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [CONV, POOL, CONV | {"kernel_size": 7}, FLAT, END],
            r"Layer 3 \(conv\) receives a map of 8 x 5 x 5 \(channels x height x width\). A window of 7 does not fit "
            r"into 5: floor\(\(5 \+ 0 - 7\) / 1\) \+ 1 = -1.*An image of 16 x 16 fits all layers: set data.size_px=16.",
        ),
        ([POOL, POOL, POOL, POOL, FLAT, END], r"Layer 4 \(max_pool\) receives a map of 4 x 1 x 1.*data.size_px=16"),
        ([CONV, END], r"Layer 2 \(dense\) receives a map.*Put a flatten before it \(then 800 values\) or .*\(then 8\)"),
        ([FLAT, CONV], r"Layer 2 \(conv\) receives a vector of 576 values. It takes a map"),
        ([CONV | {"groups": 3}], r"Layer 1 \(conv\) .*groups=3 must divide the 4 channels"),
        ([CONV], r"must end in 3 outputs.*1 \(conv\), gives a map of 8 x 10 x 10 .*Go on with .*flatten"),
        ([FLAT], r"2?1 \(flatten\), gives a vector of 576 values. End with"),
        ([FLAT, {"layer": "dense", "units": 7}], r"2 \(dense\), gives a vector of 7 values. Give it units=\"classes\""),
    ],
)
def test_shape_errors_name_layer_formula_and_repair(layers: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        build(layers)


def test_the_repair_of_a_size_works() -> None:
    assert build([CONV, POOL, CONV | {"kernel_size": 7}, FLAT, END], 16)(torch.rand(1, 4, 16, 16)).shape == (1, 3)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "list of layers is empty"),
        ([3], r"Layer 1 must be a table .*layer = \"conv\"; got 3"),
        ([{"filters": 3}], "Layer 1 must be a table"),
        ([{"layer": "Conv2D"}], "Layer 1: there is no layer 'Conv2D'. Did you mean 'conv'"),
        (
            [{"layer": "conv", "filter": 3}],
            r"Layer 1 \(conv\) has no option 'filter'. Did you mean 'filters'\? Options: ",
        ),
        ([{"layer": "conv", "filters": 3, "strides": 2}], "Did you mean 'stride'"),
        ([{"layer": "max_pool", "pool_size": 2}], "Did you mean 'size'"),
        ([{"layer": "conv"}], r"Layer 1 \(conv\) needs 'filters'"),
        ([CONV | {"filters": 0}], "filters does not accept 0"),
        ([CONV | {"filters": True}], "filters does not accept True"),
        ([CONV | {"kernel_size": [3, 3, 3]}], "kernel_size does not accept"),
        ([CONV | {"padding": "full"}], "padding does not accept 'full'"),
        ([CONV | {"padding": -1}], "padding does not accept -1"),
        ([{"layer": "dropout", "rate": 1.0}], "rate does not accept 1.0"),
        ([{"layer": "flatten", "order": "channel_last"}], "order does not accept 'channel_last'"),
        ([{"layer": "gaussian_noise"}], r"Layer 1 \(gaussian_noise\) needs 'stddev'"),
        ([{"layer": "gaussian_noise", "stddev": -1}], "stddev does not accept -1"),
        ([CONV | {"activation": "rleu"}], r"Layer 1 \(conv\): There is no activation 'rleu'. Did you mean 'relu'"),
        ([FLAT, END | {"activation": "softmax"}], r"Layer 2 \(dense\): Leave 'softmax' out"),
    ],
)
def test_option_errors_name_layer_and_repair(layers: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(layers)
