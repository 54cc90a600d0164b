"""The blocks: their parts, shapes, and errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convlens.errors import ConfigError, ShapeError
from convlens.nn.blocks import ACTIVATIONS, activation, conv_norm_act, dense_act, start_by_fan_out
from convlens.nn.layers import SamePad2d


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("stride", "pool", "left"), [(1, False, 9), (2, False, 5), (1, True, 4)])
def test_conv_norm_act_keeps_or_divides_the_size(kernel_size: int, stride: int, pool: bool, left: int) -> None:
    block = conv_norm_act(2, 4, kernel_size, stride, pool=pool)
    assert block(torch.rand(3, 2, 9, 9)).shape == (3, 4, left, left)


def test_conv_norm_act_is_its_parts_in_order() -> None:
    torch.manual_seed(0)
    block, x = conv_norm_act(2, 4, pool=True), torch.rand(3, 2, 8, 8)
    parts = dict(block.named_children())
    assert [type(part) for part in parts.values()] == [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU]
    conv = parts["conv"]
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is None
    maxima = nn.functional.max_pool2d(nn.functional.conv2d(x, conv.weight, padding=1), 2)
    normed = (maxima - maxima.mean((0, 2, 3), keepdim=True)) / maxima.std((0, 2, 3), keepdim=True, unbiased=False)
    torch.testing.assert_close(block(x), normed.relu(), atol=1e-2, rtol=1e-2)


def test_conv_norm_act_with_the_options_of_other_papers() -> None:
    block = conv_norm_act(4, 8, 3, 2, groups=4, act=None, same=True, eps=1e-3)
    parts = dict(block.named_children())
    assert list(parts) == ["pad", "conv", "norm"]
    pad, conv, norm = parts.values()
    assert isinstance(pad, SamePad2d)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert (pad.kernel_size, pad.stride, conv.padding, conv.groups, norm.eps) == ((3, 3), (2, 2), (0, 0), 4, 1e-3)
    assert block(torch.rand(2, 4, 5, 6)).shape == (2, 8, 3, 3)
    assert list(dict(conv_norm_act(4, 8, act="silu").named_children())) == ["conv", "norm", "act"]


def test_an_activation_in_place_gives_the_same_and_saves_a_copy() -> None:
    x = torch.tensor([-1.0, 2.0, 7.0])
    for name, expected in [("relu", [0.0, 2.0, 7.0]), ("relu6", [0.0, 2.0, 6.0])]:
        assert activation(name)(x).tolist() == expected
        assert x.tolist() == [-1.0, 2.0, 7.0], "not asked to work in place"
        other = x.clone()
        assert activation(name, inplace=True)(other) is other
        assert other.tolist() == expected


def test_convolutions_start_by_what_they_feed() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(128, 256, 3, groups=128), nn.Conv2d(256, 64, 5, groups=4))
    start_by_fan_out(network)
    for layer, fan_out in zip(network, (9 * 128, 9 * 2, 25 * 16), strict=True):
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert not bool(layer.bias.any())


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"must be odd.*got 4"):
        conv_norm_act(1, 1, 4)


def test_dense_act() -> None:
    assert dense_act(4, 3, act="tanh")(torch.full((2, 4), 100.0)).abs().max() <= 1
    block = dense_act(4, 1000, dropout=0.5)
    x = torch.ones(1, 4)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_not_linear(name: str) -> None:
    function = activation(name)
    one, two, minus = (function(torch.tensor([x])).item() for x in (1.0, 2.0, -1.0))
    assert abs(minus + one) > 0.1 or abs(two - 2 * one) > 0.1


def test_activation_errors() -> None:
    with pytest.raises(ConfigError, match=r"no activation 'rleu'. Did you mean 'relu'"):
        activation("rleu")
    with pytest.raises(ConfigError, match="Leave 'softmax' out"):
        activation("softmax")
