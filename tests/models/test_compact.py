"""The default network: sizes, channels, cost, and whether it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convlens.errors import ShapeError
from convlens.models.compact import compact


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("side", [4, 8, 12, 16, 20, 28, 32, 64])
def test_answers_one_row_of_logits_per_image(side: int, channels: int) -> None:
    network = compact(channels, 6, side, width=4).eval()
    assert network(torch.rand(2, channels, side, side)).shape == (2, 6)


@pytest.mark.parametrize(("side", "left"), [(4, 2), (8, 4), (16, 4), (28, 3), (32, 4), (64, 4)])
def test_halves_until_three_or_four_pixels_are_left(side: int, left: int) -> None:
    network = compact(1, 2, side, width=4)
    assert network.stages(torch.rand(2, 1, side, side)).shape[2:] == (left, left)


def test_each_stage_and_the_last_convolution_double_the_channels() -> None:
    heads = [compact(1, 2, side, width=8).head.in_features for side in (8, 16, 28, 64)]
    assert heads == [16, 32, 64, 128]


def test_a_network_made_for_one_size_takes_others() -> None:
    network = compact(1, 3, 28, width=4).eval()
    for size in [(8, 8), (20, 28), (33, 41)]:
        assert network(torch.rand(2, 1, *size)).shape == (2, 3)


def test_the_shorter_side_decides_the_depth() -> None:
    assert [len(compact(1, 2, size, width=4).stages) for size in [(64, 28), (28, 64), (28, 28)]] == [3, 3, 3]


def test_too_small_an_image_is_refused_with_the_repair() -> None:
    with pytest.raises(ShapeError, match=r"at least 4 x 4 px; got 3 x 9. Set data.size_px to 4 or more"):
        compact(1, 2, (3, 9))


def test_parameters_match_the_count_by_hand() -> None:
    parts = dict(compact(3, 10, 28).named_parameters())
    kernels = 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256)
    norms = 2 * (2 * (32 + 64 + 128) + 256)
    assert sum(p.numel() for p in parts.values()) == kernels + norms + 256 * 10 + 10
    assert not [name for name in parts if name.endswith("conv.bias")]


def test_every_parameter_receives_a_gradient() -> None:
    network = compact(3, 5, 16, width=4, dropout=0.1)
    network(torch.rand(8, 3, 16, 16)).logsumexp(1).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_dropout_acts_in_training_only() -> None:
    network, x = compact(1, 3, 8, width=8, dropout=0.5), torch.rand(8, 1, 8, 8)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("side", [8, 28])
def test_learns_one_batch_of_noise_by_heart(side: int) -> None:
    network = compact(1, 4, side, width=8)
    images, labels = torch.randn(32, 1, side, side), torch.arange(32) % 4
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(20):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert bool((network(images).argmax(1) == labels).all())
