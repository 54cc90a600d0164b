"""DenseNet: the published size and names, the same answers as another implementation, and what its options do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from convlens.errors import ConfigError, ShapeError
from convlens.models import catalog
from convlens.models.densenet import DenseLayer, dense_block, densenet121, transition
from transplant import gap, scatter, transplant


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_tensors_have_the_names_order_and_shapes_of_torchvision() -> None:
    with torch.device("meta"):
        ours, theirs = densenet121(3, 1000, 224), torchvision_models.densenet121()
    assert sum(parameter.numel() for parameter in ours.parameters()) == 7_978_856
    assert [(key, t.shape) for key, t in ours.state_dict().items()] == [
        (key, t.shape) for key, t in theirs.state_dict().items()
    ]


@pytest.mark.parametrize("growth_rate", [8, 32])
def test_with_the_weights_of_torchvision_it_answers_the_same(growth_rate: int) -> None:
    sizes = {"growth_rate": growth_rate, "num_init_features": 2 * growth_rate, "block_config": (6, 12, 24, 16)}
    theirs = scatter(torchvision_models.DenseNet(num_classes=5, **sizes))
    ours, x = densenet121(3, 5, 40, growth_rate=growth_rate), torch.randn(2, 3, 40, 70)
    assert gap(ours, theirs, x) > 0.1
    transplant(theirs, ours)
    assert gap(ours, theirs, x) < 1e-4


def test_a_layer_sets_its_findings_beside_what_was_there() -> None:
    layer, x = DenseLayer(6, 4).eval(), torch.randn(2, 6, 5, 5)
    y = layer(x)
    assert y.shape == (2, 10, 5, 5)
    assert torch.equal(y[:, :6], x)
    torch.testing.assert_close(y[:, 6:], layer.conv2(layer.norm2(layer.conv1(layer.norm1(x).relu())).relu()))


def test_a_block_keeps_everything_found_on_the_way() -> None:
    block, x = dense_block(6, 4, 3).eval(), torch.randn(2, 6, 5, 5)
    y = block(x)
    assert y.shape == (2, 6 + 3 * 4, 5, 5)
    assert torch.equal(y[:, :6], x)
    assert torch.equal(y[:, :10], block[0](x))


def test_a_transition_halves_the_sides_rounded_down() -> None:
    assert transition(6, 3)(torch.rand(2, 6, 7, 5)).shape == (2, 3, 3, 2)


@pytest.mark.parametrize("compression", [0.5, 0.3, 1.0])
def test_transitions_keep_their_share_of_the_channels(compression: float) -> None:
    network = densenet121(3, 2, 32, growth_rate=4, compression=compression)
    channels = 8
    for number, layers in enumerate((6, 12, 24), 1):
        grown = channels + 4 * layers
        conv = network.get_submodule(f"features.transition{number}.conv")
        assert isinstance(conv, nn.Conv2d)
        channels = int(grown * compression)
        assert (conv.in_channels, conv.out_channels) == (grown, channels)
    assert network.get_submodule("classifier").in_features == channels + 4 * 16


def test_121_counts_the_layers_with_weights() -> None:
    layers = [m for m in densenet121(3, 2, 32, growth_rate=2).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 121


def test_convolutions_start_as_he_and_others_propose() -> None:
    parts = dict(densenet121(3, 2, 32).named_parameters())
    conv = parts["features.denseblock4.denselayer9.conv1.weight"]
    assert float(conv.detach().std()) == pytest.approx((2 / 128) ** 0.5, rel=0.03)
    assert not parts["classifier.bias"].any()


@pytest.mark.parametrize("size", [(29, 29), (64, 33)])
def test_sizes_from_29_px_on_are_taken(size: tuple[int, int]) -> None:
    assert densenet121(2, 3, size, growth_rate=2).eval()(torch.rand(2, 2, *size)).shape == (2, 3)


def test_too_small_an_image_is_refused_with_the_repair() -> None:
    message = r"densenet121 at 40 x 28 px: transition3: .*All layers fit from an input of 29 on"
    with pytest.raises(ShapeError, match=message):
        catalog.build("densenet121", in_channels=3, outputs=2, size_px=(40, 28))


@pytest.mark.parametrize("option", [{"growth_rate": 0}, {"compression": 0.0}, {"compression": 1.1}])
def test_options_that_cannot_be(option: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"densenet121: {next(iter(option))} does not accept"):
        catalog.build("densenet121", in_channels=3, outputs=2, size_px=32, **option)
