"""What all Keras layers share: the first input, the arrangement of channels, common arguments, copies and files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convlens.errors import ShapeError
from convlens.models.walk import walk
from convlens.nn.constraints import constraints
from convlens.nn.keras import (
    AveragePooling2D,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalMaxPooling2D,
    MaxPooling2D,
    MinPooling2D,
    SeparableConv2D,
    SumPooling2D,
)
from convlens.nn.keras_layer import Layer, build, waits_for_input
from convlens.nn.penalties import penalties

MAPS: dict[str, Callable[..., Layer]] = {
    "conv": lambda **o: Conv2D(4, 3, **o),
    "strided": lambda **o: Conv2D(4, 3, strides=2, padding="same", activation="relu", **o),
    "grouped": lambda **o: Conv2D(4, 3, groups=2, **o),
    "depthwise": lambda **o: DepthwiseConv2D(3, depth_multiplier=2, **o),
    "separable": lambda **o: SeparableConv2D(4, 3, padding="same", strides=2, **o),
    "transposed": lambda **o: Conv2DTranspose(4, 3, strides=2, padding="same", **o),
    "max": lambda **o: MaxPooling2D(3, 2, "same", **o),
    "min": lambda **o: MinPooling2D(**o),
    "sum": lambda **o: SumPooling2D(**o),
    "average": lambda **o: AveragePooling2D(3, 2, "same", **o),
    "global": lambda **o: GlobalMaxPooling2D(keepdims=True, **o),
}
WEIGHTED = ["conv", "strided", "grouped", "depthwise", "separable", "transposed"]


def small() -> nn.Sequential:
    return nn.Sequential(
        Conv2D(4, 3, padding="same", activation="relu", kernel_regularizer="l2", kernel_constraint="max_norm"),
        DepthwiseConv2D(3),
        SeparableConv2D(3, 1),
        Conv2DTranspose(2, 2, strides=2),
        MaxPooling2D(),
        Flatten(),
        Dense(3, activity_regularizer="l1"),
    )


@pytest.mark.parametrize("kind", MAPS)
def test_both_arrangements_of_channels_give_the_same_numbers(kind: str) -> None:
    torch.manual_seed(0)
    first, last = MAPS[kind](dtype="float64"), MAPS[kind](data_format="channels_last", dtype="float64")
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    y = first(x)
    last.load_state_dict(first.state_dict())
    other = last(x.movedim(1, -1))
    torch.testing.assert_close(other.movedim(-1, 1), y, rtol=0, atol=0)
    assert other.shape[-1] == y.shape[1]


@pytest.mark.parametrize("kind", WEIGHTED)
def test_the_first_input_gives_the_size(kind: str) -> None:
    layer = MAPS[kind]()
    parameters = list(layer.parameters())
    assert sum(p.numel() for p in parameters) < 10  # at most the bias
    assert waits_for_input(layer)
    layer(torch.zeros(1, 6, 8, 8))
    assert not waits_for_input(layer)
    assert layer.in_channels == 6
    assert [id(p) for p in layer.parameters()] == [id(p) for p in parameters]  # an optimiser may hold them
    known = MAPS[kind](input_shape=(6, 8, 8))
    assert not waits_for_input(known)
    assert {n: p.shape for n, p in known.named_parameters()} == {n: p.shape for n, p in layer.named_parameters()}
    late = MAPS[kind](data_format="channels_last", input_shape=[None, None, 6])
    assert {n: p.shape for n, p in late.named_parameters()} == {n: p.shape for n, p in layer.named_parameters()}


@pytest.mark.parametrize("kind", MAPS)
def test_a_layer_that_is_given_channels_again_checks_them(kind: str) -> None:
    layer = MAPS[kind]()
    layer(torch.zeros(1, 2, 8, 8))
    if kind in WEIGHTED:
        with pytest.raises(ShapeError, match=r"was built for 2 channels by its first input; got 4, on axis 1"):
            layer(torch.zeros(1, 4, 8, 8))
    else:
        assert layer(torch.zeros(1, 4, 8, 8)).shape[1] == 4


def test_an_optimiser_made_before_the_first_input_works() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Conv2D(2, 3), Flatten(), Dense(1))
    optimiser = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    for _ in range(2):
        optimiser.zero_grad()
        network(torch.ones(1, 1, 5, 5)).square().sum().backward()
        before = [p.detach().clone() for p in network.parameters()]
        optimiser.step()
        assert not torch.equal(before[0], next(network.parameters()))


def test_a_first_input_without_gradients_is_enough() -> None:
    layer = Conv2D(2, 3)
    with torch.inference_mode():
        layer(torch.zeros(1, 1, 5, 5))
    layer(torch.ones(1, 1, 5, 5)).sum().backward()
    assert layer.conv.weight.grad is not None


def test_walking_copying_and_loading_before_the_first_input() -> None:
    torch.manual_seed(0)
    network, x = small(), torch.randn(2, 3, 6, 6)
    rows = walk(network, (1, 3, 6, 6))
    assert rows[-1].output_shape == (1, 3)
    assert waits_for_input(network)  # the walk is on a copy
    twin = copy.deepcopy(network)
    y = network(x)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in network.parameters())
    twin.load_state_dict(network.state_dict())
    assert not waits_for_input(twin)
    assert torch.equal(twin(x), y)
    copied = copy.deepcopy(network)  # after a forward pass, which left a penalty
    assert torch.equal(copied(x), y)
    assert len(penalties(copied)) == 2
    assert len(constraints(copied)) == 1
    kernel = copied[0].conv.weight
    with torch.no_grad():
        kernel.mul_(1000)
    for project in constraints(copied):
        project()
    assert kernel.flatten(1).norm(dim=1).max() < 2.001
    assert torch.equal(network(x), y)


def test_build_shows_one_input_and_changes_no_mode() -> None:
    network = nn.Sequential(Conv2D(2, 3), nn.BatchNorm2d(2), nn.Dropout(), Flatten(), Dense(1))
    network[2].eval()
    build(network, torch.ones(1, 1, 5, 5))
    assert not waits_for_input(network)
    assert [module.training for module in network] == [True, True, False, True, True]
    assert network[1].num_batches_tracked == 0
    assert not waits_for_input(nn.Sequential(nn.Linear(1, 1), MaxPooling2D()))


def test_common_arguments() -> None:
    frozen = Conv2D(2, 3, trainable=False, name="stem", dtype="float64", kernel_regularizer="l2", input_shape=(1, 5, 5))
    assert not any(p.requires_grad for p in frozen.parameters())
    assert [cost().item() for cost in penalties(frozen)] == [0.0]  # as in Keras, only what is trained is penalised
    assert frozen.conv.weight.dtype == torch.float64
    assert frozen(torch.zeros(1, 1, 5, 5)).dtype == torch.float64  # the input is cast to it
    assert "stem" in str(frozen)
    late = Conv2D(2, 3, trainable=False)
    late(torch.zeros(1, 1, 5, 5))
    assert not late.conv.weight.requires_grad


@pytest.mark.parametrize(
    "activation", ["tanh", torch.tanh, nn.Tanh(), lambda x: torch.tanh(x)], ids=["name", "function", "module", "own"]
)
def test_an_activation_by_name_as_a_function_or_as_a_module(activation: Any) -> None:
    layer = Dense(3, activation=activation, kernel_initializer="ones")
    assert torch.allclose(layer(torch.ones(1, 2)), torch.tensor(2.0).tanh())
    assert list(dict(layer.named_children())) == ["dense", "act"]
    assert list(dict(Dense(3, activation="linear").named_children())) == ["dense"]


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (
            lambda: Conv2D(2, 3, name="stem", input_shape=(28, 28, 1)),
            torch.zeros(1, 1, 28, 28),
            r"stem was built for 28 channels by input_shape=\(28, 28, 1\); got 1, on axis 1 of \(1, 1, 28, 28\), "
            r"data_format='channels_first'. Its axes look like data_format='channels_last'.",
        ),
        (
            lambda: Conv2D(2, 3, data_format="channels_last", input_shape=(9, 9, 3)),
            torch.zeros(1, 3, 9, 9),
            r"built for 3 channels .*; got 9, on axis -1 .*Its axes look like data_format='channels_first'",
        ),
        (lambda: Conv2D(2, 3, input_shape=(2, 9, 9)), torch.zeros(1, 4, 9, 9), "Give it 2, or make a new layer"),
        (
            lambda: Conv2D(2, 3),
            torch.zeros(3, 9, 9),
            r"Conv2D takes a batch of maps \(samples x channels x height x width\), 4 axes; got shape \(3, 9, 9\)",
        ),
        (lambda: Conv1D(2, 3), torch.zeros(1, 9), r"\(samples x channels x length\), 3 axes; got shape \(1, 9\)"),
        (lambda: Conv3D(2, 3), torch.zeros(1, 9), r"channels x depth x height x width\), 5 axes"),
        (
            lambda: MaxPooling2D(data_format="channels_last"),
            torch.zeros(1, 9),
            r"MaxPooling2D takes a batch of maps \(samples x height x width x channels\)",
        ),
        (
            lambda: Dense(2, input_shape=(5,)),
            torch.zeros(1, 9),
            r"Dense was built for 5 values by input_shape=\(5,\); got 9, on axis -1 of \(1, 9\). Give it 5",
        ),
        (lambda: Conv2D(2, 3, input_shape=(3, 9)), None, r"input_shape .* 3 numbers, channels first; got \(3, 9\)"),
        (lambda: Conv2D(2, 3, input_shape=(None, 9, 9)), None, r"without the batch.*got \(None, 9, 9\)"),
        (lambda: Conv2D(2, 3, input_shape=3), None, "shape of one sample, without the batch.*got 3"),
        (lambda: Dense(2, input_shape=()), None, r"shape of one sample, without the batch; got \(\)"),
    ],
)
def test_errors(layer: Callable[[], Layer], x: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        layer()(x)


def test_a_walk_reports_a_layers_own_error() -> None:
    network = nn.Sequential(Flatten(), Conv2D(2, 3))
    with pytest.raises(ShapeError, match=r"1 \(Conv2D\) receives 1 x 27. Conv2D takes a batch of maps"):
        walk(network, (1, 3, 3, 3))
