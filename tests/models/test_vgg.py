"""VGG: the published sizes and names, the same answers as another implementation, sizes and options."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from convlens.errors import ConfigError, ShapeError
from convlens.models import catalog, vgg
from convlens.models.vgg import VGG, vgg11, vgg16
from transplant import gap, scatter, transplant

PARAMETERS = {11: 132_863_336, 13: 133_047_848, 16: 138_357_544, 19: 143_667_240}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def builder(depth: int) -> Callable[..., VGG]:
    return getattr(vgg, f"vgg{depth}")


def torchvisions(depth: int, batch_norm: bool) -> nn.Module:
    return getattr(torchvision_models, f"vgg{depth}{'_bn' if batch_norm else ''}")()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("depth", PARAMETERS)
def test_tensors_have_the_names_order_and_shapes_of_torchvision(depth: int, batch_norm: bool) -> None:
    with torch.device("meta"):
        ours, theirs = builder(depth)(3, 1000, 224, batch_norm=batch_norm), torchvisions(depth, batch_norm)
    assert batch_norm or count(ours) == PARAMETERS[depth]
    assert [(key, t.shape) for key, t in ours.state_dict().items()] == [
        (key, t.shape) for key, t in theirs.state_dict().items()
    ]


@pytest.mark.parametrize(("depth", "batch_norm"), [(11, False), (13, True), (16, False), (16, True), (19, False)])
def test_with_the_weights_of_torchvision_it_answers_the_same(depth: int, batch_norm: bool) -> None:
    with torch.device("meta"):
        theirs = torchvisions(depth, batch_norm)
    dense, relu, drop = nn.Linear(512 * 49, 24), nn.ReLU(), nn.Dropout()  # its own have 120 million weights
    theirs.classifier = nn.Sequential(dense, relu, drop, nn.Linear(24, 24), relu, drop, nn.Linear(24, 5))
    theirs = scatter(theirs.to_empty(device="cpu"))
    with torch.no_grad():
        for tensor in theirs.parameters():  # without norms, large shifts would drown the image on its way
            tensor.mul_(2**0.5 if tensor.ndim > 1 else 1.0 if batch_norm else 0.05)
    ours, x = builder(depth)(3, 5, 40, batch_norm=batch_norm, hidden=24), torch.randn(2, 3, 40, 70)
    transplant(theirs, ours)
    assert gap(ours, theirs, x) < 1e-4
    with torch.no_grad():
        next(ours.parameters())[::2].mul_(1.5)
    assert gap(ours, theirs, x) > 1e-3  # the first layer is still heard in the last


def test_the_map_before_the_dense_layers_is_7_x_7_whatever_the_image() -> None:
    network, whole = vgg11(1, 2, 32, width=2, hidden=4), torch.rand(1, 1, 224, 224)
    features = network.features(whole)
    assert features.shape == (1, 16, 7, 7)
    assert torch.equal(network.avgpool(features), features)  # as in the paper: nothing is averaged
    single = network.features(torch.rand(1, 1, 63, 32))
    assert single.shape == (1, 16, 1, 1)
    assert torch.equal(network.avgpool(single), single.expand(1, 16, 7, 7))


@pytest.mark.parametrize("depth", PARAMETERS)
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    layers = [m for m in builder(depth)(3, 2, 32, width=2, hidden=4).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_too_small_an_image_is_refused_with_the_repair() -> None:
    message = r"vgg16 at 31 x 40 px: the pooling of stage 5: .*All layers fit from an input of 32 on"
    with pytest.raises(ShapeError, match=message):
        catalog.build("vgg16", in_channels=3, outputs=2, size_px=(31, 40))


def test_dropout_acts_in_training_only_and_can_be_left_out() -> None:
    network, x = vgg11(1, 3, 32, width=4, hidden=64), torch.rand(2, 1, 32, 32)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    without = vgg11(1, 3, 32, width=4, hidden=64, dropout=0.0)
    assert torch.equal(without(x), without(x))


def test_weights_start_as_he_and_others_propose_and_prefer_no_class() -> None:
    network = vgg16(3, 10, 32, width=16, hidden=256)
    conv = [module for module in network.features if isinstance(module, nn.Conv2d)][-1]
    dense, _, head = (module for module in network.classifier if isinstance(module, nn.Linear))
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.03)
    assert float(dense.weight.detach().std()) == pytest.approx((2 / (49 * 128)) ** 0.5, rel=0.03)
    assert float(head.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert not any(bool(p.any()) for name, p in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("option", [{"width": 0}, {"hidden": 0}, {"dropout": 1.0}, {"batch_norm": "often"}])
def test_options_that_cannot_be(option: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"vgg16: {next(iter(option))} does not accept"):
        catalog.build("vgg16", in_channels=3, outputs=2, size_px=32, **option)
