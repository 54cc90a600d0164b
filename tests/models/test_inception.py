"""GoogLeNet: the counts of the table, the paths of a module by hand, and the same logits as torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d

from agree import awaken, difference, difference_with_the_weights_of
from convlens.errors import ConfigError
from convlens.models import catalog
from convlens.models.inception import WIDTHS, GoogLeNet, Inception, googlenet
from convlens.shapes import conv_parameters
from transplant import transplant

torchvision = pytest.importorskip("torchvision.models", reason="torchvision is not installed")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_module_3a_has_the_channels_and_parameters_of_the_lecture() -> None:
    module = Inception(192, WIDTHS["3a"], batch_norm=False)
    by_hand = [(192, 64, 1), (192, 96, 1), (96, 128, 3), (192, 16, 1), (16, 32, 5), (192, 32, 1)]
    assert count(module) == sum(conv_parameters(*widths) for widths in by_hand) == 163_696
    assert sum(p.numel() for p in module.parameters() if p.ndim == 4) == 163_328
    assert module(torch.rand(1, 192, 28, 28)).shape == (1, 256, 28, 28)


def test_a_module_stacks_its_four_paths_in_the_order_of_the_figure() -> None:
    module, x = Inception(6, (1, 2, 3, 4, 5, 7), batch_norm=False), torch.randn(2, 6, 9, 8)
    w = dict(module.named_parameters())

    def conv(x: torch.Tensor, name: str, padding: int = 0) -> torch.Tensor:
        return conv2d(x, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], padding=padding).relu()

    one, pooled = conv(x, "path1"), conv(max_pool2d(x, 3, 1, 1), "path_pool.project")
    three = conv(conv(x, "path3.reduce"), "path3.conv", padding=1)
    five = conv(conv(x, "path5.reduce"), "path5.conv", padding=2)
    assert w["path5.conv.conv.weight"].shape == (5, 4, 5, 5)
    torch.testing.assert_close(module(x), torch.cat([one, three, five, pooled], 1))


def test_every_module_gives_what_the_table_says() -> None:
    inception = googlenet(3, 10, 64).inception
    channels = [module.out_channels for module in inception.values() if isinstance(module, Inception)]
    assert channels == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


@pytest.mark.parametrize(("variant", "parameters"), [("paper", 6_998_552), ("torchvision", 6_624_904)])
def test_parameters_are_those_of_the_published_networks(variant: str, parameters: int) -> None:
    assert count(catalog.build("googlenet", in_channels=3, outputs=1000, size_px=224, variant=variant)) == parameters


def test_gives_the_logits_of_torchvision_with_its_weights() -> None:
    reference = torchvision.googlenet(aux_logits=False, init_weights=False)
    ours, images = googlenet(3, 1000, 64, variant="torchvision"), torch.randn(4, 3, 64, 64)
    assert difference_with_the_weights_of(reference, ours, images) < 1e-4


def test_its_norms_add_what_torchvision_adds_to_the_variance() -> None:
    reference = torchvision.googlenet(aux_logits=False, init_weights=False)
    ours, images = googlenet(3, 1000, 64, variant="torchvision"), torch.randn(4, 3, 64, 64)
    for norm in (layer for layer in ours.modules() if isinstance(layer, nn.BatchNorm2d)):
        norm.eps = 1e-5
    assert difference_with_the_weights_of(reference, ours, images) > 1e-4, "the comparison must see an epsilon"


def test_the_variants_differ_where_they_say() -> None:
    paper, ours, theirs = (googlenet(3, 10, 64, variant=v) for v in ("paper", "batch_norm", "torchvision"))
    kinds = [{type(layer) for layer in network.modules()} for network in (paper, ours, theirs)]
    assert [nn.BatchNorm2d in found for found in kinds] == [False, True, True]
    assert [nn.LocalResponseNorm in found for found in kinds] == [True, False, False]
    assert repr(paper.lrn1) == repr(paper.lrn2) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"
    largest = "inception.5b.path5.conv.conv.weight"
    assert [network.state_dict()[largest].shape[-1] for network in (paper, ours, theirs)] == [5, 5, 3]
    pools = [network.pool4.get_submodule("max").kernel_size for network in (paper, ours, theirs)]
    assert pools == [3, 3, 2]


@pytest.mark.parametrize("size", [8, 9])
def test_pooling_of_an_even_size_is_that_of_caffe_and_of_an_odd_one_keeps_the_border(size: int) -> None:
    pool, x = googlenet(3, 2, 32).pool1, torch.rand(1, 2, size, size)
    theirs = max_pool2d(x, 3, 2, ceil_mode=True)
    if size % 2 == 0:
        assert torch.equal(pool(x), theirs)
    else:
        assert (pool(x).shape[-1], theirs.shape[-1]) == (5, 4)


def test_maps_have_the_sides_of_the_table() -> None:
    network, maps = googlenet(3, 10, 224).to("meta").eval(), []
    for name in ("pool1", "pool2", "pool3", "pool4", "inception.5b"):
        network.get_submodule(name).register_forward_hook(lambda _, __, y: maps.append(tuple(y.shape[1:])))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert maps == [(64, 56, 56), (192, 28, 28), (480, 14, 14), (832, 7, 7), (1024, 7, 7)]


def test_auxiliary_classifiers_answer_in_training_only_and_as_those_of_torchvision() -> None:
    reference = torchvision.googlenet(num_classes=5, init_weights=False, dropout=0.0, dropout_aux=0.0)
    ours, images = GoogLeNet(3, 5, "torchvision", 0.0, auxiliary=True), torch.randn(2, 3, 96, 96)
    for layer in (layer for layer in ours.modules() if isinstance(layer, nn.Dropout)):
        layer.p = 0.0
    awaken(reference, images)
    transplant(reference, ours)
    assert difference(ours, reference, images) < 1e-4
    assert ours.eval()(images).shape == (2, 5)
    logits, second, first = reference.train()(images)
    for found, expected in zip(ours.train()(images), (logits, first, second), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.detach().std()))


def test_the_catalog_builds_it_without_auxiliary_classifiers() -> None:
    assert googlenet(3, 5, 32).train()(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(ConfigError, match="googlenet has no option 'auxiliary'"):
        catalog.build("googlenet", in_channels=3, outputs=5, size_px=32, auxiliary=True)
    with pytest.raises(ConfigError, match="variant does not accept 'caffe'"):
        catalog.build("googlenet", in_channels=3, outputs=5, size_px=32, variant="caffe")


def test_starts_as_published() -> None:
    paper, ours = googlenet(3, 10, 64, variant="paper"), googlenet(3, 10, 64)
    state = paper.state_dict()
    assert bool((state["conv2.conv.bias"] == 0.2).all())
    assert not bool(state["head.bias"].any())
    bound = (6.0 / (64 * 9 + 192 * 9)) ** 0.5
    assert 0.95 * bound < float(state["conv2.conv.weight"].abs().max()) <= bound
    assert float(ours.state_dict()["conv2.conv.weight"].std()) == pytest.approx(0.01, rel=0.02)
