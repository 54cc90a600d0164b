"""The layers torch lacks, against the lectures' values, the definitions and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens import reference
from convlens.errors import ConfigError, ShapeError
from convlens.nn import layers
from convlens.nn.layers import ChannelsFirst, ChannelsLast, CutEnd, Flatten, GaussianNoise, SamePad2d
from lectures import FORWARD_MAP, PADDED_MAP, POOL_4X4
from parity import assert_parity

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


@pytest.mark.parametrize("dims", [1, 3])
def test_same_padding_along_one_and_three_axes(dims: int) -> None:
    kernel, size = (4, 3, 2)[:dims], (5, 6, 7)[:dims]
    pad: Any = getattr(layers, f"SamePad{dims}d")(kernel, stride=2)
    conv: Any = getattr(nn, f"Conv{dims}d")(1, 1, kernel, 2, bias=False).double()
    define = getattr(reference, f"conv{dims}d")
    x = np.random.default_rng(0).standard_normal((1, 1, *size))
    weight = conv.weight.detach().numpy()
    assert_parity(lambda x: define(x, weight, stride=2, padding="same"), lambda x: conv(pad(x)), {"x": x}, traces=0)


def test_what_stands_in_the_new_cells_may_be_chosen() -> None:
    pad = SamePad2d(2, value=-float("inf"))
    assert pad(torch.ones(1, 1, 2, 2))[0, 0].tolist() == [[1, 1, -torch.inf], [1, 1, -torch.inf], [-torch.inf] * 3]
    assert str(pad).endswith("dilation=(1, 1), value=-inf)")


@settings(max_examples=8, deadline=None)
@given(st.data())
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("rule", ["min", "sum"])
def test_parity_of_pooling(rule: str, dims: int, data: st.DataObject) -> None:
    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(dims))

    window, stride, partial = each(1, 3), each(1, 3), data.draw(st.booleans())
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in window)
    size = tuple(k + more for k, more in zip(window, each(0, 3), strict=True))
    x = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers(-3, 3, (2, 1, *size)).astype(float)
    layer: Any = getattr(layers, f"{rule.title()}Pool{dims}d")(window, stride, padding, ceil_mode=partial)
    define = getattr(reference, f"{rule}_pool{dims}d")
    assert_parity(lambda x: define(x, window, stride, padding=padding, partial=partial), layer, {"x": x}, traces=0)


def test_the_lectures_minima_and_sums() -> None:
    def pooled(layer: nn.Module, matrix: list[list[int]]) -> list[list[float]]:
        return layer(torch.tensor(matrix, dtype=torch.float64)[None, None])[0, 0].tolist()

    assert pooled(layers.MinPool2d(2), POOL_4X4) == [[0, 28], [12, 2]]
    assert pooled(layers.SumPool2d(2), POOL_4X4) == [[144, 320], [48, 60]]
    assert pooled(layers.MinPool2d(2, 1), PADDED_MAP)[0] == [-370, -44, -44, 57]
    assert pooled(layers.SumPool2d(2, 1), PADDED_MAP)[0] == [-554, 57, 243, 629]
    signal = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
    assert layers.SumPool1d(2)(signal).tolist() == [[[3, 7]]]
    assert layers.SumPool1d(2, ceil_mode=True)(signal).tolist() == [[[3, 7, 5]]]
    assert len(pooled(layers.MinPool2d(2, ceil_mode=True), FORWARD_MAP)) == len(FORWARD_MAP[0]) // 2 + 1
    assert str(layers.SumPool2d(2)).startswith("SumPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), ceil_mode")


@settings(max_examples=10, deadline=None)
@given(st.data())
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_parity_of_the_same_average(dims: int, data: st.DataObject) -> None:
    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(dims))

    window, stride = each(1, 4), each(1, 3)
    x = np.random.default_rng(data.draw(st.integers(0, 2**32))).standard_normal((2, 2, *each(1, 5)))
    layer: Any = getattr(layers, f"SameAvgPool{dims}d")(window, stride)
    define = getattr(reference, f"avg_pool{dims}d")
    assert_parity(lambda x: define(x, window, stride, padding="same"), layer, {"x": x}, traces=0)


def test_noise_comes_in_training_only_and_has_its_spread() -> None:
    torch.manual_seed(0)
    layer, x = GaussianNoise(0.5), torch.full((100, 100), 3.0)
    noise = layer(x) - x
    assert noise.std().item() == pytest.approx(0.5, rel=0.03)
    assert abs(noise.mean().item()) < 0.02
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), x)
    assert GaussianNoise(0.0)(x) is x
    assert str(layer) == "GaussianNoise(stddev=0.5)"
    with pytest.raises(ConfigError, match="GaussianNoise: stddev must be a number of at least 0; got -1"):
        GaussianNoise(-1)


@pytest.mark.parametrize("order", ["channels_first", "channels_last"])
def test_parity_of_flatten(order: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert_parity(lambda x: reference.flatten(x, order), Flatten(order), {"x": x})


def test_flatten_in_kerass_order_is_what_lies_there_in_kerass_arrangement() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(Flatten("channels_last")(x), nn.Flatten()(x.movedim(1, -1)))
    assert torch.equal(Flatten()(x), nn.Flatten()(x))
    with pytest.raises(ConfigError, match=r"no flatten order 'channel_last'. Did you mean 'channels_last'"):
        Flatten("channel_last")


def test_moving_the_channels_and_cutting_the_end() -> None:
    x = torch.arange(24).reshape(1, 2, 3, 4)
    assert torch.equal(ChannelsLast()(x), x.permute(0, 2, 3, 1))
    assert torch.equal(ChannelsFirst()(ChannelsLast()(x)), x)
    assert torch.equal(CutEnd((1, 0))(x), x[:, :, :2])
    assert torch.equal(CutEnd((0, 2))(x), x[..., :2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.MinPool2d((2, 2, 2)), r"kernel_size must be a whole number of at least 1, or 2 of them; got"),
        (lambda: layers.SumPool1d(2, 0), "stride must be a whole number of at least 1; got 0"),
        (lambda: layers.MinPool2d(2, padding=2), r"window of \(2, 2\) takes a padding of at most half its size; got"),
        (lambda: SamePad2d(2.5), "kernel_size must be a whole number of at least 1, or 2 of them; got 2.5"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()
