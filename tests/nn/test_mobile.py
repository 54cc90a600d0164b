"""Depthwise-separable convolutions, squeeze-and-excitation, skipped paths, inverted residuals."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from convlens.nn.mobile import DropPath, InvertedResidual, SqueezeExcite, depthwise_separable, round_to_8
from lectures import HORIZONTAL, LAPLACIAN, RGB, VERTICAL


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def conv(block: nn.Module, name: str) -> nn.Conv2d:
    found = block.get_submodule(name)
    assert isinstance(found, nn.Conv2d)
    return found


def test_depthwise_separable_on_the_lectures_matrices() -> None:
    block, x = depthwise_separable(3, 1), torch.tensor(RGB, dtype=torch.float32)[None]
    depthwise, pointwise = conv(block, "depthwise.conv"), conv(block, "pointwise.conv")
    depthwise.weight.data = torch.tensor([VERTICAL, HORIZONTAL, LAPLACIAN], dtype=torch.float32)[:, None]
    pointwise.weight.data = torch.tensor([1.0, 2.0, -1.0]).reshape(1, 3, 1, 1)
    maps = depthwise(x)
    assert maps[0, 0, 1:-1, 1:-1].tolist() == [[253, -157, 153], [50, 17, 160], [-69, 65, 276]]
    assert pointwise(maps)[0, 0, 1:-1, 1:-1].tolist() == [[206, -825, -158], [503, 16, -279], [-446, 811, 354]]


def test_depthwise_separable_is_an_ordinary_convolution_with_few_weights() -> None:
    block, x = depthwise_separable(4, 6, stride=2), torch.randn(2, 4, 7, 7)
    depthwise, pointwise = conv(block, "depthwise.conv"), conv(block, "pointwise.conv")
    weight = pointwise.weight * depthwise.weight[:, 0]  # (6, 4, 3, 3)
    torch.testing.assert_close(pointwise(depthwise(x)), conv2d(x, weight, stride=2, padding=1))
    assert block(x).shape == (2, 6, 4, 4)
    assert [list(dict(part.named_children())) for part in block.children()] == [["conv", "norm", "act"]] * 2


def test_squeeze_excite_by_hand() -> None:
    block, x = SqueezeExcite(4, 2), torch.randn(3, 4, 5, 6)
    w = dict(block.named_parameters())
    hidden = (x.mean((2, 3)) @ w["squeeze.weight"][:, :, 0, 0].T + w["squeeze.bias"]).relu()
    gate = (hidden @ w["excite.weight"][:, :, 0, 0].T + w["excite.bias"]).sigmoid()
    torch.testing.assert_close(block(x), x * gate[:, :, None, None])


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean() -> None:
    layer, x = DropPath(0.25), torch.ones(4000, 2, 3)
    found = layer(x)
    assert found.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert bool((found == found[:, :1, :1]).all())
    assert float(found[:, 0, 0].eq(0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(DropPath(0.0)(x), x)


@pytest.mark.parametrize(
    ("expand", "squeezed", "parts"),
    [
        (1, 0, ["depthwise", "project"]),
        (6, 0, ["expand", "depthwise", "project"]),
        (6, 2, ["expand", "depthwise", "squeeze", "project"]),
    ],
)
def test_an_inverted_residual_is_wide_inside_and_ends_linear(expand: int, squeezed: int, parts: list[str]) -> None:
    block = InvertedResidual(4, 4, expand=expand, squeezed=squeezed)
    assert list(dict(block.path.named_children())) == parts
    assert conv(block.path, "depthwise.conv").weight.shape == (4 * expand, 1, 3, 3)
    assert list(dict(block.path.get_submodule("project").named_children())) == ["conv", "norm"]
    x = torch.randn(2, 4, 5, 5)
    assert float(block(x).detach().min()) < 0
    assert torch.equal(block.eval()(x), x + block.path(x))


@pytest.mark.parametrize(("out", "stride", "shortcut"), [(4, 1, True), (4, 2, False), (6, 1, False)])
def test_the_shortcut_is_there_only_where_the_shapes_agree(out: int, stride: int, shortcut: bool) -> None:
    block, x = InvertedResidual(4, out, stride=stride, drop_path=0.5).eval(), torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x), x + block.path(x) if shortcut else block.path(x))
    assert isinstance(block.drop, DropPath) == shortcut


def test_a_skipped_block_passes_its_input_on() -> None:
    block, x = InvertedResidual(4, 4, drop_path=0.5).train(), torch.randn(64, 4, 3, 3)
    untouched = (block(x) == x).flatten(1).all(1).float().mean()
    assert 0.2 < float(untouched) < 0.8


@pytest.mark.parametrize("channels", [1, 7.9, 16, 27, 100, 2000.5])
def test_rounding_to_8_never_loses_more_than_a_tenth(channels: float) -> None:
    rounded = round_to_8(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert abs(rounded - channels) <= 8
