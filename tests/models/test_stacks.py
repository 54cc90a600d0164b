"""Three stacks: the same maps at every layer, and prices by formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from convlens.errors import ConfigError
from convlens.models import catalog
from convlens.models.stacks import Stack, bottleneck_stack, plain_stack, separable_stack
from convlens.shapes import conv_parameters, depthwise_parameters

STACKS: dict[str, Callable[..., Stack]] = {
    "plain_stack": plain_stack,
    "separable_stack": separable_stack,
    "bottleneck_stack": bottleneck_stack,
}


def layers(network: Stack) -> list[nn.Module]:
    return [layer for stage in network.stages.children() for layer in stage.children()]


def kernels(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.ndim == 4)


def test_every_layer_has_the_same_maps_in_all_three() -> None:
    shapes = {}
    for name, build in STACKS.items():
        network, x = build(3, 10, 32, depth=2, width=8), torch.rand(2, 3, 30, 17)
        x, found = network.stem(x), []
        for layer in layers(network):
            x = layer(x)
            found.append(tuple(x.shape[1:]))
        shapes[name] = found
    assert shapes["plain_stack"] == [(8, 30, 17)] * 2 + [(16, 15, 9)] * 2 + [(32, 8, 5)] * 2
    assert shapes["separable_stack"] == shapes["bottleneck_stack"] == shapes["plain_stack"]


def test_a_layer_costs_what_its_formula_says() -> None:
    channels = [(32, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    plain, separable, bottleneck = ([kernels(x) for x in layers(f(3, 10, 32, depth=2))] for f in STACKS.values())
    assert plain == [conv_parameters(c, o, 3, bias=False) for c, o in channels]
    assert separable == [depthwise_parameters(c, 3, bias=False) + c * o for c, o in channels]
    assert bottleneck == [c * o // 4 + 9 * o * o // 16 + o * o // 4 for c, o in channels]


def test_the_plain_stack_can_be_the_plain_20_layer_network_of_the_paper() -> None:
    network = plain_stack(3, 10, 32, depth=6, width=16)
    assert sum(p.numel() for p in network.parameters()) == 269_722  # as ResNet-20: its shortcuts have none
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules()) == 20


@pytest.mark.parametrize(
    ("build", "last"), [(plain_stack, "conv"), (separable_stack, "pointwise.conv"), (bottleneck_stack, "expand.conv")]
)
def test_there_is_no_way_around_a_layer(build: Callable[..., Stack], last: str) -> None:
    network, x = build(3, 10, 32, depth=2, width=8).eval(), torch.rand(2, 3, 16, 16)
    assert not torch.equal(*network(x))
    network.stages.state_dict()[f"stage2.0.{last}.weight"].zero_()
    assert torch.equal(*network(x)), "behind a layer of zeros all images look alike"


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("options", [{"depth": 0}, {"width": 6}, {"width": 0}])
def test_options_that_cannot_be(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .* does not accept"):
        catalog.build(name, in_channels=3, outputs=5, size_px=32, **options)
