"""ResNet: the published sizes and names, the same answers as other implementations, and what the options do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, linear, pad
from torchvision import models as torchvision_models

from convlens.errors import ConfigError
from convlens.models import resnet
from convlens.models.resnet import for_small_pictures, resnet18, resnet20, resnet50
from convlens.nn.residual import Bottleneck, Residual
from transplant import gap, scatter, transplant

PHOTOGRAPHS = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}
SMALL = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def blocks(network: nn.Module) -> list[Residual | Bottleneck]:
    return [module for module in network.modules() if isinstance(module, Residual | Bottleneck)]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_tensors_have_the_names_order_and_shapes_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = getattr(resnet, name)(3, 1000, 224), getattr(torchvision_models, name)()
    assert count(ours) == PHOTOGRAPHS[name]
    assert [(key, t.shape) for key, t in ours.state_dict().items()] == [
        (key, t.shape) for key, t in theirs.state_dict().items()
    ]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_with_the_weights_of_torchvision_it_answers_the_same(name: str) -> None:
    ours, theirs = getattr(resnet, name)(3, 5, 64), scatter(getattr(torchvision_models, name)(num_classes=5))
    x = torch.randn(2, 3, 64, 75)
    assert gap(ours, theirs, x) > 0.1
    transplant(theirs, ours)
    assert gap(ours, theirs, x) < 1e-4


def plain_reading(weights: dict[str, Tensor], x: Tensor, shortcuts: bool) -> Tensor:
    """Section 4.2 of the paper once more, with nothing but torch's functions: 2n layers in each of three stages."""
    tensors = iter(weights.values())

    def conv_and_norm(x: Tensor, stride: int = 1) -> Tensor:
        kernel, scale, shift, mean, variance, _ = (next(tensors) for _ in range(6))
        return batch_norm(conv2d(x, kernel, stride=stride, padding=1), mean, variance, scale, shift)

    x = conv_and_norm(x).relu()
    for number in range((len(weights) - 8) // 12):
        stride = 2 if number and number % ((len(weights) - 8) // 36) == 0 else 1
        y = conv_and_norm(conv_and_norm(x, stride).relu())
        if stride == 2:
            x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))
        x = (x + y if shortcuts else y).relu()
    return linear(x.mean((2, 3)), next(tensors), next(tensors))


@pytest.mark.parametrize("shortcut", ["pad", "none"])
@pytest.mark.parametrize("depth", SMALL)
def test_the_form_for_small_pictures_is_as_written_in_the_paper(depth: int, shortcut: str) -> None:
    network = scatter(getattr(resnet, f"resnet{depth}")(3, 10, 32, shortcut=shortcut)).eval()
    assert count(network) == SMALL[depth]  # shortcuts have no parameters
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = network(x), plain_reading(network.state_dict(), x, shortcut == "pad")
    assert float((ours - theirs).abs().max() / theirs.std()) < 1e-4


@pytest.mark.parametrize("depth", SMALL)
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    layers = [m for m in getattr(resnet, f"resnet{depth}")(3, 10, 32).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (27, 40), (64, 33)])
def test_every_size_is_taken(size: tuple[int, int]) -> None:
    for build in (resnet18, resnet50, resnet20):
        assert build(2, 3, size, width=4).eval()(torch.rand(2, 2, *size)).shape == (2, 3)


def test_maps_halve_and_channels_double_from_stage_to_stage() -> None:
    network, x, shapes = resnet50(3, 10, 224), torch.empty(1, 3, 224, 224, device="meta"), {}
    for name, part in network.to("meta").named_children():
        x = part(x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes["conv1"] == (64, 112, 112)
    assert shapes["maxpool"] == (64, 56, 56)
    assert [shapes[f"layer{i}"] for i in (1, 2, 3, 4)] == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]


def test_without_shortcuts_no_block_has_one() -> None:
    network = resnet50(3, 10, 32, shortcut="none", width=4)
    assert [block.downsample for block in blocks(network)] == [None] * 16
    projected = [b for b in blocks(resnet50(3, 10, 32, width=4)) if isinstance(b.downsample, nn.Sequential)]
    assert len(projected) == 4


def test_convolutions_start_as_he_and_others_propose_and_norms_at_one() -> None:
    for module in resnet18(3, 10, 64).modules():
        if isinstance(module, nn.Conv2d):
            k, _ = module.kernel_size
            expected = (2 / (k * k * module.out_channels)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.03)
        if isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all())
            assert not module.bias.any()


@pytest.mark.parametrize("build", [resnet18, resnet50, resnet20])
def test_zero_init_starts_every_block_as_its_shortcut(build: Callable[..., nn.Module]) -> None:
    network, seen = build(3, 4, 32, width=4, zero_init=True), []
    for block in blocks(network):
        block.register_forward_hook(lambda block, x, y: seen.append((block.downsample(x[0]).relu(), y)))
    network(torch.rand(4, 3, 32, 32))
    assert len(seen) in (8, 16, 9)
    for shortcut, y in seen:
        torch.testing.assert_close(y, shortcut)


def test_errors() -> None:
    with pytest.raises(ConfigError, match="zero_init needs shortcuts"):
        resnet20(3, 4, 32, shortcut="none", zero_init=True)
    for depth in (2, 21, 0):
        with pytest.raises(ConfigError, match=rf"6n \+ 2 layers: 8, 14, 20 and so on; got {depth}"):
            for_small_pictures(depth)
