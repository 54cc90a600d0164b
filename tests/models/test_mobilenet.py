"""MobileNet 1 and 2: published counts, the same logits as timm's and torchvision's, and what the width does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from agree import awaken, difference, difference_with_the_weights_of
from convlens.errors import ConfigError
from convlens.models import catalog
from convlens.models.mobilenet import MobileNet, mobilenet_v1, mobilenet_v2
from convlens.nn.mobile import InvertedResidual
from transplant import transplant

timm = pytest.importorskip("timm", reason="timm is not installed")
torchvision = pytest.importorskip("torchvision.models", reason="torchvision is not installed")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def inverted(network: MobileNet) -> list[InvertedResidual]:
    return [block for block in network.modules() if isinstance(block, InvertedResidual)]


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (mobilenet_v1, {1.0: 4_231_976, 0.75: 2_585_560, 0.5: 1_331_592, 0.25: 470_072}),
        (mobilenet_v2, {1.0: 3_504_872, 1.4: 6_108_776, 0.5: 1_968_680, 0.35: 1_677_128}),
    ],
)
def test_parameters_are_the_published_ones_at_every_width(
    build: Callable[..., MobileNet], parameters: dict[float, int]
) -> None:
    with torch.device("meta"):
        assert {width: count(build(3, 1000, 224, width=width)) for width in parameters} == parameters


@pytest.mark.parametrize(("width", "name"), [(1.0, "mobilenetv1_100"), (1.25, "mobilenetv1_125")])
def test_version_1_gives_the_logits_of_timm_with_its_weights(width: float, name: str) -> None:
    ours, images = mobilenet_v1(3, 100, 64, width=width), torch.randn(4, 3, 63, 64)
    assert difference_with_the_weights_of(timm.create_model(name, num_classes=100), ours, images) < 1e-4


@pytest.mark.parametrize("width", [0.35, 1.0, 1.4])
def test_version_2_gives_the_logits_of_torchvision_with_its_weights(width: float) -> None:
    reference = torchvision.mobilenet_v2(num_classes=100, width_mult=width)
    ours, images = mobilenet_v2(3, 100, 64, width=width), torch.randn(4, 3, 63, 64)
    assert difference_with_the_weights_of(reference, ours, images) < 1e-4


@pytest.mark.parametrize(("build", "name"), [(mobilenet_v1, "mobilenetv1_100"), (mobilenet_v2, "mobilenetv2_100")])
def test_same_puts_zeros_where_tensorflow_puts_them(build: Callable[..., MobileNet], name: str) -> None:
    reference, images = timm.create_model(name, num_classes=10, pad_type="same"), torch.randn(4, 3, 64, 64)
    same, symmetric = build(3, 10, 64, same=True), build(3, 10, 64)
    awaken(reference, images)
    transplant(reference, same)
    transplant(reference, symmetric)
    assert difference(same, reference, images) < 1e-4
    assert difference(symmetric, reference, images) > 0.01, "at an even size the other zeros give other logits"


def test_version_1_is_a_stem_and_thirteen_pairs_that_halve_the_side_five_times() -> None:
    network = mobilenet_v1(3, 10, 224)
    filters = [layer for layer in network.blocks.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1]
    strides = [layer.stride[0] for layer in filters]
    assert strides == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    with torch.device("meta"):
        network.to("meta")
        maps = network.blocks(network.stem(torch.empty(1, 3, 224, 224)))
    assert maps.shape == (1, 1024, 7, 7)


def test_version_2_is_table_2_of_its_paper() -> None:
    blocks = inverted(mobilenet_v2(3, 10, 224))
    channels = [len(block.path.state_dict()["project.conv.weight"]) for block in blocks]
    assert channels == [16, 24, 24, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]
    assert sum(block.shortcut for block in blocks) == 10


def test_a_width_scales_the_cost_and_never_the_last_layer_below_1280() -> None:
    assert mobilenet_v2(3, 5, 32, width=0.35).head.in_features == 1280
    assert mobilenet_v2(3, 5, 32, width=1.4).head.in_features == 1792
    body = [count(mobilenet_v1(3, 5, 32, width=width).blocks) for width in (1.0, 0.5)]
    assert 3.8 < body[0] / body[1] < 4.0


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
@pytest.mark.parametrize("width", [0.0, -1.0, 5.0])
def test_a_width_must_be_above_zero_and_sane(name: str, width: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}: width does not accept"):
        catalog.build(name, in_channels=3, outputs=5, size_px=32, width=width)


@pytest.mark.parametrize("build", [mobilenet_v1, mobilenet_v2])
def test_dropout_acts_in_training_only(build: Callable[..., MobileNet]) -> None:
    x = torch.rand(4, 3, 32, 32)
    dropping, keeping = (build(3, 5, 32, width=0.25, dropout=share).train() for share in (0.5, 0.0))
    assert not torch.equal(dropping(x), dropping(x))
    assert torch.equal(keeping(x), keeping(x))
    assert torch.equal(dropping.eval()(x), dropping(x))
    assert (mobilenet_v1(3, 5, 32).dropout.p, mobilenet_v2(3, 5, 32).dropout.p) == (0.0, 0.2)


def test_starts_its_depthwise_filters_by_what_they_feed() -> None:
    for network in (mobilenet_v1(3, 5, 64), mobilenet_v2(3, 5, 64)):
        filters = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1]
        weights = torch.cat([layer.weight.detach().flatten() for layer in filters])
        assert float(weights.std()) == pytest.approx((2 / 9) ** 0.5, rel=0.05)
        assert float(network.head.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
        assert not bool(network.head.bias.any())
