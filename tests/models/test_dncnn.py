"""DnCNN: begins as the identity, sees what its depth lets it see, and learns to take noise away."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convlens.errors import ConfigError
from convlens.models.dncnn import dncnn
from convlens.models.options import resolve


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (28, 28), (33, 17)])
def test_answers_in_the_size_of_its_input(size: tuple[int, int], channels: int) -> None:
    network = dncnn(channels, channels, 16, depth=4, width=4).eval()  # made for one size, takes all
    assert network(torch.randn(2, channels, *size)).shape == (2, channels, *size)


@pytest.mark.parametrize("mode", [True, False])
def test_begins_as_the_identity(mode: bool) -> None:
    network, x = dncnn(3, 3, 16).train(mode), torch.randn(4, 3, 16, 16)
    change = (network(x) - x).square().mean().sqrt()
    assert 0 < change < 0.005


def test_answers_with_the_input_less_the_noise_it_finds() -> None:
    network, x = dncnn(1, 1, 8, depth=3, width=4).eval(), torch.randn(2, 1, 8, 8)
    nn.init.normal_(network.noise.get_submodule("last").get_parameter("weight"))
    assert network.noise(x).square().mean() > 0.1
    torch.testing.assert_close(network(x) + network.noise(x), x)


def test_every_parameter_receives_a_gradient_in_the_first_step() -> None:
    network, x = dncnn(1, 1, 8, depth=4, width=8), torch.randn(4, 1, 8, 8)
    (network(x) - torch.zeros_like(x)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("depth", [2, 3, 9, 17])
def test_layers_are_those_of_the_paper(depth: int) -> None:
    network = dncnn(1, 1, 40, depth=depth)
    kinds = [type(m).__name__ for m in network.modules() if not list(m.children())]
    assert kinds == ["Conv2d", "ReLU", *["Conv2d", "BatchNorm2d", "ReLU"] * (depth - 2), "Conv2d"]
    middle = (depth - 2) * (9 * 64 * 64 + 2 * 64)  # the normalisation stands in for a bias
    assert sum(p.numel() for p in network.parameters()) == (9 * 64 + 64) + middle + (9 * 64 + 1)


@pytest.mark.parametrize("depth", [2, 5])
def test_an_answer_sees_as_many_pixels_to_each_side_as_the_network_is_deep(depth: int) -> None:
    network = dncnn(1, 1, 15, depth=depth, width=16).eval()
    x = torch.randn(1, 1, 15, 15, requires_grad=True)
    network(x)[0, 0, 7, 7].backward()
    assert x.grad is not None
    rows, columns = (x.grad[0, 0] != 0).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7 - depth, 7 + depth, 7 - depth, 7 + depth)


def test_learns_one_batch_by_heart() -> None:
    clean = nn.functional.interpolate(torch.randn(8, 1, 3, 3), (12, 12), mode="bilinear")
    noise = 0.5 * torch.randn(clean.shape)
    network = dncnn(1, 1, 12, depth=5, width=16)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(100):
        loss = (network(clean + noise) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (network(clean + noise) - clean).square().mean() < 0.2 * noise.square().mean()


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^dncnn answers with a picture: outputs must equal in_channels, 3; got 10"):
        dncnn(3, 10, 28)


def test_a_depth_without_two_convolutions_is_refused() -> None:
    with pytest.raises(ConfigError, match="depth does not accept 1"):
        resolve(dncnn, {"depth": 1}, "dncnn")
