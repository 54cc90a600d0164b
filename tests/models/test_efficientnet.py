"""EfficientNet: B0 to B3 from two coefficients, published counts, and the same logits as torchvision's."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from agree import difference_with_the_weights_of
from convlens.models.efficientnet import (
    EfficientNet,
    compound,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
)
from convlens.nn.mobile import DropPath, InvertedResidual, SqueezeExcite

torchvision = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")

Builder = Callable[..., EfficientNet]
BUILDERS: dict[str, Builder] = {
    "b0": efficientnet_b0,
    "b1": efficientnet_b1,
    "b2": efficientnet_b2,
    "b3": efficientnet_b3,
}
PARAMETERS = {"b0": 5_288_548, "b1": 7_794_184, "b2": 9_109_994, "b3": 12_233_232}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def blocks(network: EfficientNet) -> list[InvertedResidual]:
    return [block for block in network.modules() if isinstance(block, InvertedResidual)]


@pytest.mark.parametrize("name", BUILDERS)
def test_parameters_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in BUILDERS[name](3, 1000, 224).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", BUILDERS)
def test_gives_the_logits_of_torchvision_with_its_weights(name: str) -> None:
    reference = getattr(torchvision, f"efficientnet_{name}")(num_classes=100)
    ours, images = BUILDERS[name](3, 100, 64), torch.randn(4, 3, 63, 64)
    assert difference_with_the_weights_of(reference, ours, images) < 1e-4


@pytest.mark.parametrize("name", BUILDERS)
def test_skips_blocks_and_drops_features_as_often_as_torchvision(name: str) -> None:
    reference, ours = getattr(torchvision, f"efficientnet_{name}")(), BUILDERS[name](3, 5, 64)
    theirs = [layer.p for layer in reference.modules() if isinstance(layer, ops.StochasticDepth)]
    for block, share in zip(blocks(ours), theirs, strict=True):
        if block.shortcut and share:
            assert isinstance(block.drop, DropPath)
            assert block.drop.share == pytest.approx(share)
        else:
            assert not isinstance(block.drop, DropPath)
    assert ours.dropout.p == reference.classifier[0].p


def test_one_more_of_the_coefficient_doubles_the_work() -> None:
    for phi in (0.0, 0.5, 1.0, 2.0):
        scale = compound(phi)
        assert scale.depth * scale.width**2 * scale.resolution**2 == pytest.approx(2**phi, rel=0.15)


def test_b0_is_table_1_of_the_paper() -> None:
    network = efficientnet_b0(3, 10, 224)
    rows = []
    for stage in network.stages.children():
        first = next(block for block in stage.modules() if isinstance(block, InvertedResidual))
        filters, project = first.path.get_submodule("depthwise.conv"), first.path.get_submodule("project.conv")
        assert isinstance(filters, nn.Conv2d)
        assert isinstance(project, nn.Conv2d)
        rows.append((filters.kernel_size[0], filters.stride[0], project.out_channels, len(list(stage.children()))))
    assert rows[:4] == [(3, 1, 16, 1), (3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3)]
    assert rows[4:] == [(5, 1, 112, 3), (5, 2, 192, 4), (3, 1, 320, 1)]
    squeezed = [block.path.get_submodule("squeeze") for block in blocks(network)]
    assert [s.squeeze.out_channels for s in squeezed if isinstance(s, SqueezeExcite)][:4] == [8, 4, 6, 6]


@pytest.mark.parametrize(("phi", "count"), [(0.0, 16), (0.5, 23), (1.0, 23), (2.0, 26)])
def test_depth_is_rounded_up_stage_by_stage(phi: float, count: int) -> None:
    with torch.device("meta"):
        assert len(blocks(EfficientNet(3, 5, compound(phi), 0.0, 0.0))) == count
    assert sum(math.ceil(n * compound(phi).depth) for n in (1, 2, 2, 3, 3, 4, 1)) == count


def test_maps_shrink_to_7_from_224() -> None:
    network = efficientnet_b0(3, 10, 224).to("meta")
    with torch.device("meta"):
        assert network.stages(network.stem(torch.empty(1, 3, 224, 224))).shape == (1, 320, 7, 7)


def test_options() -> None:
    network = efficientnet_b0(3, 5, 32, dropout=0.0, drop_path=0.0).train()
    assert not [layer for layer in network.modules() if isinstance(layer, DropPath)]
    x = torch.rand(4, 3, 32, 32)
    assert torch.equal(network(x), network(x))
    random = efficientnet_b0(3, 5, 32, dropout=0.0, drop_path=0.5).train()
    assert not torch.equal(random(x), random(x))


def test_starts_as_published() -> None:
    network = efficientnet_b0(3, 25, 64)
    assert 0.19 < float(network.head.weight.detach().abs().max()) <= 0.2
    assert not bool(network.head.bias.any())
    stem = network.state_dict()["stem.conv.weight"]
    assert float(stem.std()) == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.1)
