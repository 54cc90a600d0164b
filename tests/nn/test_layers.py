"""Same padding at any stride, against the lectures' values and against torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convlens.nn.layers import SamePad2d

SIX = [
    [1, 2, 3, 1, 3, 5],
    [2, 2, 5, 4, 2, 5],
    [0, 6, 9, 6, 2, 2],
    [2, 0, 1, 9, 4, 0],
    [5, 5, 4, 6, 7, 6],
    [6, 1, 3, 7, 1, 5],
]
VERTICAL = [[1, 0, -1]] * 3


def convolution(kernel: list[list[int]], stride: int, padding: int = 0) -> nn.Conv2d:
    layer = nn.Conv2d(1, 1, len(kernel), stride, padding, bias=False)
    layer.weight.data = torch.tensor(kernel, dtype=torch.float32)[None, None]
    return layer


def test_pads_an_even_size_at_the_bottom_and_right_only() -> None:
    x = torch.tensor(SIX, dtype=torch.float32)[None, None]
    same = nn.Sequential(SamePad2d(3, stride=2), convolution(VERTICAL, 2))
    assert same(x)[0, 0].tolist() == [[-14, 10, 7], [-7, 1, 13], [4, -1, 8]]
    assert convolution(VERTICAL, 2, padding=1)(x).shape == same(x).shape  # the same size, and yet
    assert not torch.equal(convolution(VERTICAL, 2, padding=1)(x), same(x))


@pytest.mark.parametrize("kernel", [1, 3, (3, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_equals_torch_at_stride_one(kernel: int | tuple[int, int], dilation: int) -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation)
    ours = nn.Conv2d(2, 3, kernel, dilation=dilation)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 2, 7, 6)
    torch.testing.assert_close(ours(SamePad2d(kernel, dilation=dilation)(x)), theirs(x))


@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2)])
def test_gives_the_ceiling_whatever_the_input(stride: int | tuple[int, int]) -> None:
    down, across = (stride, stride) if isinstance(stride, int) else stride
    layer = nn.Sequential(SamePad2d((4, 3), stride), nn.Conv2d(1, 1, (4, 3), stride))
    for height, width in [(1, 1), (5, 6), (6, 5), (9, 4)]:
        assert layer(torch.zeros(1, 1, height, width)).shape == (1, 1, -(-height // down), -(-width // across))


def test_says_what_it_is() -> None:
    assert str(SamePad2d(3, 2)) == "SamePad2d(kernel_size=(3, 3), stride=(2, 2), dilation=(1, 1))"
    assert not list(SamePad2d(3).parameters())
