"""Every network of the catalog, swept by the same tests; what is listed is tested."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import sweep
from convlens.errors import ConfigError, ShapeError
from convlens.models import catalog
from convlens.models.catalog import NETWORKS
from convlens.models.stored import rebuild
from convlens.models.walk import walk
from sweep import build

LAYERS = {
    "lenet5": ["conv1", "pool1", "conv2", "pool2", "fc1", "fc2", "fc3"],
    "tutorial": ["conv1", "pool", "conv2", "fc1", "fc2", "fc3"],
}
LARGER = ("efficientnet_b1", "efficientnet_b2", "efficientnet_b3")  # B0 once more, with no option to make them small
SWEPT = [pytest.param(name, marks=pytest.mark.slow) if name in LARGER else name for name in NETWORKS]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def stirred(network: nn.Module) -> nn.Module:
    """Some of them start with zeros, with which every image has the same answer."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return network


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", SWEPT)
@pytest.mark.parametrize(("in_channels", "outputs"), [(1, 2), (3, 10), (5, 1)])
def test_answers_for_every_image_as_its_task_needs_it_at_three_sizes(name: str, in_channels: int, outputs: int) -> None:
    smallest = NETWORKS[name].smallest_px
    for height, width in [(smallest, smallest), (28, 28), (33, 40)]:
        size = max(height, smallest), max(width, smallest)
        network, x = build(name, size, in_channels, outputs).eval(), torch.rand(2, in_channels, *size)
        with torch.no_grad():
            assert sweep.has_shape(name, network(x), x, outputs)


@pytest.mark.parametrize("name", SWEPT)
def test_one_pixel_less_than_the_smallest_is_an_error(name: str) -> None:
    with pytest.raises((ShapeError, ConfigError), match=f"{name}|at least 1"):
        build(name, NETWORKS[name].smallest_px - 1)


@pytest.mark.parametrize("name", SWEPT)
def test_every_parameter_receives_a_gradient(name: str) -> None:
    network, x = build(name), torch.rand(8, 3, 32, 32)
    sweep.error(name, network, x, 10).backward()
    if name in sweep.ZERO_HEAD:
        torch.optim.SGD(network.parameters(), lr=1.0).step()
        network.zero_grad()
        sweep.error(name, network, x, 10).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert bool(parameter.grad.isfinite().all()), path
        assert bool(parameter.grad.abs().sum() > 0), path


@pytest.mark.parametrize("name", SWEPT)
def test_evaluation_is_deterministic_and_knows_no_neighbours(name: str) -> None:
    network, x = stirred(build(name)).eval(), torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        together = network(x)
        assert torch.equal(together, network(x))
        alone = network(x[2:3])  # fresh norms let the logits of deep networks grow large
        torch.testing.assert_close(alone, together[2:3], rtol=0, atol=1e-5 * float(together.abs().max()))
        assert not torch.equal(alone, together[1:2]), "an image of its own has an answer of its own"


@pytest.mark.parametrize("name", SWEPT)
def test_learns_one_batch_by_heart(name: str) -> None:
    x, loss, right = sweep.lesson(name)
    network = build(name, (x.shape[2], x.shape[3]), outputs=4)
    optimiser = torch.optim.Adam(network.parameters(), lr=sweep.RATE.get(name, 1e-3))
    for _ in range(100):
        optimiser.zero_grad()
        loss(network).backward()
        optimiser.step()
        with torch.no_grad():
            if right(network(x)):
                return
    pytest.fail(f"{name} does not learn 8 images in 100 steps")


@pytest.mark.parametrize("name", SWEPT)
def test_the_same_seed_trains_the_same_network(name: str) -> None:
    def trained() -> nn.Module:
        torch.manual_seed(3)
        network = build(name)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
        sweep.error(name, network, torch.rand(4, 3, 32, 32), 10).backward()
        optimiser.step()
        return network

    first, second = trained().state_dict(), trained().state_dict()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.mark.parametrize("name", SWEPT)
def test_is_built_again_from_its_description(name: str) -> None:
    network, size, options = stirred(build(name)), (32, 32), sweep.SMALL.get(name, {})
    description = {"name": name, **sweep.arguments(name, size, 3, 10), "options": options}
    again = rebuild(json.loads(json.dumps(description)), network.state_dict())
    again.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, *size)
    assert torch.equal(again.eval()(x), network.eval()(x))


@pytest.mark.parametrize("name", SWEPT)
def test_weights_carry_the_whole_network(name: str) -> None:
    first, second, x = stirred(build(name)), stirred(build(name)), torch.rand(4, 3, 32, 32)
    first(x)  # moves the running statistics, where there are any
    first.eval(), second.eval()
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("name", SWEPT)
def test_is_built_without_memory_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        network = build(name)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


@pytest.mark.parametrize("name", SWEPT)
def test_the_walk_counts_every_parameter(name: str) -> None:
    network = build(name)
    assert sum(row.parameters for row in walk(network, (1, 3, 32, 32))) == count(network)


@pytest.mark.parametrize("name", SWEPT)
def test_an_unknown_option_lists_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} has no option 'colour'. (Options: |It takes no options)"):
        catalog.build(name, in_channels=1, outputs=2, size_px=32, colour=3)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_their_published_names(name: str) -> None:
    assert [child for child, _ in build(name).named_children()] == LAYERS[name]


def test_lenet5_frames_28_px_by_2() -> None:
    lenet28, lenet32 = build("lenet5", 28, 1).eval(), build("lenet5", 32, 1).eval()
    lenet32.load_state_dict(lenet28.state_dict())
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(lenet28(x), lenet32(nn.functional.pad(x, (2, 2, 2, 2))))


def test_the_parameters_of_lenet5_layer_by_layer() -> None:
    rows = {row.name: row for row in walk(build("lenet5", 32, 1), (1, 1, 32, 32))}
    assert [rows[n].parameters for n in ("conv1", "conv2", "fc1", "fc2", "fc3")] == [156, 2416, 48120, 10164, 850]
    shapes = [rows[n].output_shape[1:] for n in ("conv1", "pool1", "conv2", "pool2")]
    assert shapes == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]


def test_the_tutorial_network_fits_32_to_35_px_with_the_same_weights() -> None:
    assert {count(build("tutorial", n)) for n in (32, 33, 34, 35)} == {62_006}
    assert count(build("tutorial", 36)) != 62_006


def test_mlp_options() -> None:
    network = catalog.build("mlp", in_channels=1, outputs=3, size_px=(4, 5), hidden=[7, 6], dropout=0.5)
    assert count(network) == 20 * 7 + 7 + 7 * 6 + 6 + 6 * 3 + 3
    assert count(catalog.build("mlp", in_channels=1, outputs=3, size_px=4, hidden=[])) == 16 * 3 + 3


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lenet", {}, "no network 'lenet'. Did you mean 'lenet5'. .*timm:NAME"),
        ("zzz", {}, "Choose from: .*compact, .*layers, lenet5, mlp, .*tutorial"),
        ("lenet5", {"size_px": 15}, r"lenet5 at 15 x 15 px: pool2: .*floor\(.* from an input of 16 on"),
        ("tutorial", {"size_px": (40, 10)}, "tutorial at 40 x 10 px: conv2: .*from an input of 16 on"),
        ("compact", {"width": 0}, "compact: width does not accept 0"),
        ("mlp", {"hidden": [0]}, "mlp: hidden does not accept"),
        ("mlp", {"outputs": 0}, "at least 1 channel, output and pixel; got .* 0 outputs"),
        ("lenet5", {"pretrained": True}, "'lenet5' has no published weights; .*network.weights=PATH"),
        ("layers", {}, "takes one option, layers: .* got none"),
        ("layers", {"layers": [], "width": 3}, "takes one option, layers: .* got layers, width"),
    ],
)
def test_errors(name: str, arguments: dict[str, object], message: str) -> None:
    given = {"in_channels": 1, "outputs": 2, "size_px": 32, **arguments}
    with pytest.raises((ConfigError, ShapeError), match=message):
        catalog.build(name, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("negative dimension"), r"^broken cannot be built with {'depth': 2}: negative dimension.$"),
        (ConfigError("Depth must be odd."), r"^Depth must be odd.$"),
    ],
)
def test_a_builder_that_fails_is_a_config_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def broken(in_channels: int, outputs: int, size_px: tuple[int, int], *, depth: int = 1) -> nn.Module:
        raise error

    monkeypatch.setitem(NETWORKS, "broken", catalog.Entry(broken, "", 2000, "", (1, 8, 8), 1))
    with pytest.raises(ConfigError, match=message):
        catalog.build("broken", in_channels=1, outputs=2, size_px=8, depth=2)


def test_fresh_networks_expect_nothing_of_their_input() -> None:
    assert catalog.expected_input("lenet5") == {}
    assert catalog.expected_input("timm:resnet18") == {}
