"""Residual blocks: what they add up, and the ways past them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convlens.errors import ShapeError
from convlens.nn.residual import Bottleneck, PadChannels, Residual, Shortcut, shortcut_of

BLOCKS = [Residual, Bottleneck]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("shortcut", ["project", "pad", "none"])
@pytest.mark.parametrize(("stride", "left"), [(1, 9), (2, 5)])
@pytest.mark.parametrize("block", BLOCKS)
def test_shapes(block: type[Residual] | type[Bottleneck], stride: int, left: int, shortcut: Shortcut) -> None:
    y = block(3, 4, stride, shortcut)(torch.rand(3, 3, 9, 9))
    assert y.shape == (3, 4 * block.expansion, left, left)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_that_adds_nothing_hands_its_input_on(block: type[Residual] | type[Bottleneck]) -> None:
    same, x = block(4 * block.expansion, 4), torch.randn(2, 4 * block.expansion, 6, 6)
    assert not torch.allclose(same(x), x.relu())
    same.start_as_shortcut()
    torch.testing.assert_close(same(x), x.relu())
    same(x).square().sum().backward()
    last = same.bn3 if isinstance(same, Bottleneck) else same.bn2
    assert last.weight.grad is not None
    assert bool(last.weight.grad.all())  # and can learn to add


def test_a_residual_block_is_the_sum_of_its_two_ways() -> None:
    block, x = Residual(3, 4, stride=2).eval(), 100 * torch.randn(2, 3, 8, 8)
    with_sum, past = block(x), block.downsample
    assert past is not None
    way = past(x)
    block.downsample = None
    through = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
    torch.testing.assert_close(block(x), through.relu())
    torch.testing.assert_close(with_sum, (through + way).relu())


def test_a_bottleneck_is_the_sum_of_its_two_ways() -> None:
    block, x = Bottleneck(8, 2).eval(), 100 * torch.randn(2, 8, 6, 6)
    narrow = block.bn1(block.conv1(x)).relu()
    through = block.bn3(block.conv3(block.bn2(block.conv2(narrow)).relu()))
    torch.testing.assert_close(block(x), (through + x).relu())


def test_the_stride_of_a_bottleneck_is_that_of_its_3x3() -> None:
    block = Bottleneck(8, 2, stride=2)
    assert [conv.stride for conv in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]


def test_the_gradient_takes_the_shortcut_past_a_dead_branch() -> None:
    block, x = Residual(4, 4), torch.rand(2, 4, 6, 6).requires_grad_()
    block.start_as_shortcut()
    block(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_blocks_leave_their_input_as_it_was() -> None:
    for block in (Residual(4, 4), Bottleneck(4, 1), Residual(4, 8, 2, "pad"), Residual(4, 4, 1, "none")):
        x = torch.randn(2, 4, 6, 6)
        before = x.clone()
        block(x)
        assert torch.equal(x, before)


def test_shortcuts() -> None:
    assert shortcut_of("none", 4, 8, 2) is None
    for kind in ("project", "pad"):
        assert isinstance(shortcut_of(kind, 4, 4, 1), nn.Identity)
    project = shortcut_of("project", 4, 8, 2)
    assert isinstance(project, nn.Sequential)
    assert [type(part) for part in project] == [nn.Conv2d, nn.BatchNorm2d]
    assert sum(parameter.numel() for parameter in project.parameters()) == 4 * 8 + 2 * 8
    assert isinstance(shortcut_of("pad", 4, 4, 2), PadChannels)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_padding_takes_every_second_pixel_and_puts_zeros_on_both_sides(side: int) -> None:
    x = torch.rand(2, 3, side, side)
    y = PadChannels(3, 8, stride=2)(x)
    assert y.shape == (2, 8, -(-side // 2), -(-side // 2))
    assert torch.equal(y[:, 2:5], x[:, :, ::2, ::2])
    assert y[:, :2].abs().sum() + y[:, 5:].abs().sum() == 0


def test_padding_cannot_take_channels_away() -> None:
    with pytest.raises(ShapeError, match=r"only add channels; got 8 in and 4 out\. Use shortcut='project'"):
        Residual(8, 4, shortcut="pad")
