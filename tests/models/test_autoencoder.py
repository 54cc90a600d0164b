"""Autoencoders: pictures in, codes between, pictures of the same size out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from convlens.errors import ConfigError, ShapeError
from convlens.models.autoencoder import Autoencoder, autoencoder, dense_autoencoder
from convlens.models.depth import head_of
from convlens.models.options import resolve

SMALL: dict[Any, dict[str, Any]] = {autoencoder: {"width": 8}, dense_autoencoder: {"hidden": (24, 12)}}
BOTH = pytest.mark.parametrize("build", SMALL)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def make(build: Any, size: int | tuple[int, int] = 12, channels: int = 1, **options: Any) -> Autoencoder:
    return build(channels, channels, size, **SMALL[build] | options)


def blurred(n: int, size: int) -> torch.Tensor:
    """Pictures whose neighbouring pixels resemble each other, of mean 0 and variance 1."""
    x = nn.functional.interpolate(torch.randn(n, 1, 3, 3), (size, size), mode="bilinear")
    return (x - x.mean()) / x.std()


@BOTH
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("size", [(4, 4), (5, 4), (7, 9), (8, 8), (13, 10), (28, 28), (27, 45), (33, 64), (4, 50)])
def test_a_picture_comes_back_in_its_own_size(build: Any, size: tuple[int, int], channels: int) -> None:
    network, x = make(build, size, channels, code=3), torch.randn(2, channels, *size)
    for mode in (True, False):
        network.train(mode)
        assert network.encode(x).shape == (2, 3)
        assert network(x).shape == x.shape


@BOTH
def test_forward_is_decode_of_encode(build: Any) -> None:
    network, x = make(build).eval(), torch.randn(3, 1, 12, 12)
    assert torch.equal(network(x), network.decode(network.encode(x)))
    assert not torch.equal(network(x)[0], network(x)[1])


@BOTH
def test_nothing_but_the_code_reaches_the_decoder(build: Any) -> None:
    network, codes = make(build, code=2).eval(), torch.randn(5, 2)
    assert network.decode(codes).shape == (5, 1, 12, 12)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x), torch.randn(1, 1, 12, 12))
    assert int(torch.linalg.matrix_rank(jacobian.view(144, 144))) == 2  # type: ignore[union-attr]


@BOTH
def test_the_answer_is_not_squeezed_into_a_range(build: Any) -> None:
    network = make(build).eval()
    z = torch.randn(200, 32)
    far = network.decode(100 * z)
    assert far.max() > 3
    assert far.min() < -3


@BOTH
def test_the_code_may_have_either_sign(build: Any) -> None:
    codes = make(build).encode(torch.randn(64, 1, 12, 12))
    assert 0.2 < (codes < 0).float().mean() < 0.8
    assert 0.2 < (codes > 0).float().mean() < 0.8


@BOTH
def test_learns_one_batch_by_heart(build: Any) -> None:
    network, x = make(build, code=8), blurred(16, 12)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(80):
        loss = (network(x) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (network(x) - x).square().mean() < 0.05
    mean_picture = (x - x.mean(0)).square().mean()
    assert (network.eval()(x) - x).square().mean() < 0.1 * mean_picture


@BOTH
def test_every_parameter_receives_a_gradient(build: Any) -> None:
    network = make(build, (13, 10), 3)
    network(torch.randn(8, 3, 13, 10)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@BOTH
def test_the_head_is_the_last_layer_not_the_last_dense_one(build: Any) -> None:
    assert head_of(make(build)) == ("decoder.last",)


@BOTH
def test_another_number_of_outputs_is_refused(build: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{build.__name__} answers with a picture: outputs must equal .* 3; got 10"
    ):
        build(3, 10, 28)


@BOTH
@pytest.mark.parametrize("shape", [(1, 11, 12), (1, 12, 13), (3, 12, 12)])
def test_a_picture_of_another_shape_is_refused(build: Any, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ShapeError, match=r"takes \(N, 1, 12, 12\); got \(2, "):
        make(build)(torch.zeros(2, *shape))


@pytest.mark.parametrize(
    ("size", "left"), [((4, 4), (2, 2)), ((5, 9), (3, 5)), ((28, 28), (4, 4)), ((64, 64), (4, 4)), ((28, 64), (4, 8))]
)
def test_halves_until_about_four_pixels_are_left(size: tuple[int, int], left: tuple[int, int]) -> None:
    network = autoencoder(1, 1, size, width=2)
    maps = [m for m in network.encoder.children() if isinstance(m, nn.Sequential)]
    assert nn.Sequential(*maps)(torch.zeros(2, 1, *size)).shape == (2, 2 ** len(maps), *left)


def test_one_channel_is_wide_enough() -> None:
    assert autoencoder(3, 3, 9, width=1, code=1).eval()(torch.zeros(1, 3, 9, 9)).shape == (1, 3, 9, 9)


def test_too_small_a_picture_is_refused_with_the_repair() -> None:
    with pytest.raises(ShapeError, match=r"at least 4 x 4 px; got 3 x 9. Set data.size_px to 4 or more"):
        autoencoder(1, 1, (3, 9))


def test_dropout_blanks_the_code_in_training_only() -> None:
    network, x = make(autoencoder, dropout=0.5), torch.randn(8, 1, 12, 12)
    assert 0.3 < float((network.encode(x) == 0).float().mean()) < 0.7
    network.eval()
    assert torch.equal(network(x), network(x))


def test_channels_double_down_and_halve_back_up() -> None:
    convolutions = [
        m for m in autoencoder(3, 3, 28, width=8).modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    channels = [(m.in_channels, m.out_channels) for m in convolutions]
    assert channels == [(3, 8), (8, 16), (16, 32), (32, 16), (16, 8), (8, 4), (4, 3)]


def test_hidden_layers_come_back_in_reverse() -> None:
    network = dense_autoencoder(1, 1, 28, code=30, hidden=(100, 50, 25))
    widths = [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]
    assert widths == [100, 50, 25, 30, 25, 50, 100, 784]


def test_without_hidden_layers_it_is_linear() -> None:
    network = dense_autoencoder(1, 1, 6, code=4, hidden=())
    x, y = torch.randn(2, 5, 1, 6, 6)
    torch.testing.assert_close(network(x + y) - network(y), network(x) - network(0 * x), atol=1e-5, rtol=0)


def test_options_are_checked_by_the_signature() -> None:
    assert resolve(dense_autoencoder, {"hidden": [20, 10]}, "dense_autoencoder") == {"hidden": (20, 10)}
    for build, options in (
        (autoencoder, {"code": 0}),
        (autoencoder, {"dropout": 1.0}),
        (dense_autoencoder, {"hidden": [0]}),
    ):
        with pytest.raises(ConfigError, match=f"{next(iter(options))} does not accept"):
            resolve(build, options, "it")
