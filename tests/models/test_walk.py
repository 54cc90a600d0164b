"""The walk through any network: its rows, what it leaves untouched, and its errors."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

from convlens.errors import ConfigError, ShapeError
from convlens.models.walk import materialise, require_float32, require_module, walk
from convlens.nn.layers import SamePad2d


class Shared(nn.Module):
    """One layer used twice, a parameter of its own, a layer never used, a counter, and a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.unused = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(2, 1, 1))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += 1
        x = torch.dropout(self.norm(self.conv(self.conv(x))) * self.scale, 0.5, train=True)
        return x.mean((2, 3)), x


def test_rows_add_up_and_follow_the_execution() -> None:
    network = Shared()
    rows = walk(network, (3, 2, 5, 5))
    assert [row.name for row in rows] == ["conv", "conv", "norm", "network"]
    assert [row.parameters for row in rows] == [38, 0, 4, 2 + 12]
    assert rows[-1].output_shape == (3, 2)
    assert rows[0].output_shape == (3, 2, 5, 5)
    assert sum(row.parameters for row in rows) == sum(parameter.numel() for parameter in network.parameters())


def test_leaves_everything_as_it_was() -> None:
    network = nn.Sequential(Shared(), nn.Identity()).train()
    network[0].norm.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flags = [module.training for module in network.modules()]
    states = torch.random.get_rng_state(), random.getstate()
    walk(network, (1, 2, 5, 5))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [module.training for module in network.modules()] == flags
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_rows_become_json() -> None:
    row = walk(nn.Linear(4, 2), (1, 4))[-1]
    assert asdict(row) == {"name": "network", "kind": "Linear", "output_shape": (1, 2), "parameters": 10}


def test_nested_layers_have_their_path_and_identities_are_left_out() -> None:
    network = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Identity()), nn.Flatten())
    assert [row.name for row in walk(network, (1, 2, 2))] == ["0.0", "1", "network"]


def test_works_without_memory_and_in_other_precisions() -> None:
    with torch.device("meta"):
        assert walk(nn.Linear(4, 2), (1, 4))[-1].output_shape == (1, 2)
    assert walk(nn.Linear(4, 2).double(), (1, 4))[-1].output_shape == (1, 2)


def test_an_output_that_is_no_tensor_has_no_shape() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "no tensor"

    class Named(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": x}

    assert walk(Odd(), (1, 2))[-1].output_shape == ()
    assert walk(Named(), (1, 2))[-1].output_shape == (1, 2)


def test_where_one_tensor_is_needed_several_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"must give one tensor; Shared gives no tensor but a tuple of 2\. Return"):
        walk(Shared(), (1, 2, 5, 5), one_tensor=True)
    assert walk(nn.Linear(4, 2), (1, 4), one_tensor=True)[-1].output_shape == (1, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("lenet5", r"got 'lenet5'\. .*convlens\.train\(\.\.\., network=\"lenet5\"\)"),
        (nn.Linear, r"got the class Linear\. Make one of it first: Linear\(\.\.\.\)"),
        (lambda x: x, "got a function. Write a class with a forward method"),
        (None, "got a NoneType"),
    ],
)
def test_what_is_no_module_is_told_from_one(given: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_module(given)
    require_module(nn.Identity())


def test_other_precisions_are_refused_where_float32_is_needed() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ConfigError, match=r"must be float32; 1\.weight is float64\. Call network\.float\(\) first"):
        require_float32(network)
    require_float32(network.float())


class Careful(nn.Module):
    """Tries one layer, falls back on another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.first(x)
        except RuntimeError:
            return self.second(x)


def test_a_failure_that_a_network_catches_itself_is_none() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.careful = Careful()

        def forward(self, x: Tensor) -> Tensor:
            return self.careful(x).view(7)

    assert [row.name for row in walk(Careful(), (1, 4))] == ["second", "network"]
    with pytest.raises(ShapeError, match=r"^network \(Outer\) receives 1 x 4. torch says"):
        walk(Outer(), (1, 4))


class Reshaped(nn.Module):
    """Fails outside any layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(1, 7)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(99, 2)),
            (1, 1, 8, 8),
            r"2 \(Linear\) receives 1 x 72. It expects 99 values; set in_features=72, or another data.size_px.$",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(72, 2)),
            (1, 1, 8, 8),
            r"1 \(Linear\) receives 1 x 2 x 6 x 6. .*Flatten the map before it",
        ),
        (
            nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 3))),
            (1, 1, 8, 8),
            r"0.0 \(Conv2d\) receives 1 x 1 x 8 x 8. It expects 3 channels; set in_channels=1, or data.channels",
        ),
        (nn.Sequential(nn.Conv2d(1, 1, 5)), (1, 1, 4, 3), r"window of 5 does not fit into 4 \+ 2 x 0 = 4.*padding=1"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, dilation=4)), (1, 1, 8, 8), "window of 9 does not fit into 8"),
        (nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2)), (1, 1, 3, 3), r"1 \(MaxPool2d\) .*window of 2 .* into 1"),
        (nn.Sequential(nn.BatchNorm2d(4)), (1, 3, 8, 8), r"0 \(BatchNorm2d\) .*expects 4 channels; set num_features=3"),
        (
            nn.Sequential(nn.Flatten(), nn.Conv2d(1, 1, 1)),
            (1, 1, 4, 4),
            r"1 \(Conv2d\) receives 1 x 16. It expects a map",
        ),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm2d(1)), (1, 1, 4, 4), "expects a map"),
        (nn.Sequential(SamePad2d(3), Reshaped()), (1, 1, 4, 4), r"1 \(Reshaped\) receives 1 x 1 x 6 x 6. torch says: "),
        (Reshaped(), (1, 4), r"network \(Reshaped\) receives 1 x 4. torch says: .*Change this layer, or data.size_px"),
    ],
)
def test_errors_name_layer_input_and_repair(network: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        walk(network, shape)


def test_lazy_layers_take_their_sizes_and_modes_stay() -> None:
    lazy = nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), *lazy)
    network[0].eval()
    weight = network[0].weight.detach().clone()
    materialise(network, (1, 1, 8, 8))
    assert [type(layer) for layer in network] == [nn.Conv2d, nn.Conv2d, nn.BatchNorm2d, nn.Flatten, nn.Linear]
    assert (network[1].in_channels, network[2].num_features, network[4].in_features) == (2, 3, 48)
    assert [layer.training for layer in network] == [False, True, True, True, True]
    assert torch.equal(network[0].weight, weight)
    assert not network[2].running_mean.any(), "zeros are no data"  # type: ignore[union-attr]
    assert walk(network, (1, 1, 8, 8))[-1].output_shape == (1, 2)


def test_only_lazy_layers_are_shown_an_input() -> None:
    seen = list[int]()
    network = nn.Sequential(nn.Linear(2, 2))
    network.register_forward_hook(lambda *_: seen.append(1))
    materialise(network, (1, 3, 8, 8))  # which would not fit
    assert not seen


def test_a_size_that_lazy_layers_cannot_take_is_a_shape_error() -> None:
    network = nn.Sequential(nn.LazyConv2d(3, 9), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(ShapeError, match=r"find no sizes in 1 x 1 x 8 x 8: .*[Kk]ernel size.*data\.size_px"):
        materialise(network, (1, 1, 8, 8))
