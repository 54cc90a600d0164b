"""A network is built from a file's own words only when its tensors agree with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from convlens.errors import ArtefactError, ConfigError
from convlens.models import catalog
from convlens.models.stored import rebuild, require_fit
from convlens.nn.keras import Conv2D, Dense, Flatten

DESCRIPTION: dict[str, Any] = {
    "name": "compact",
    "in_channels": 1,
    "outputs": 3,
    "size_px": [10, 10],
    "options": {"width": 4},
}


def tensors() -> dict[str, torch.Tensor]:
    network = catalog.build("compact", in_channels=1, outputs=3, size_px=10, width=4)
    return network.state_dict()


def test_the_network_a_file_describes_is_built_on_the_processor() -> None:
    found = tensors()
    network = rebuild(DESCRIPTION, found)
    network.load_state_dict(found)
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    with torch.no_grad():
        assert network.eval()(torch.zeros(2, 1, 10, 10)).shape == (2, 3)


def test_nothing_is_fetched_and_no_code_is_run_for_a_file() -> None:
    with pytest.raises(ArtefactError, match="weights to be fetched"):
        rebuild({**DESCRIPTION, "name": "timm:resnet18", "options": {"pretrained": True}}, {})
    with pytest.raises(ArtefactError, match=r"own module MyNet, .*network=MyNet\(\.\.\.\)"):
        rebuild({"name": "custom", "class": "MyNet"}, {})
    with pytest.raises(ConfigError, match=r"There is no network 'os\.system'"):
        rebuild({**DESCRIPTION, "name": "os.system"}, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": torch.zeros(2)}, r"extra \(1 in all\). Expected none, found \(2,\)"),
        ({"0.weight": torch.zeros(3, 5)}, r"0\.weight \(1 in all\). Expected \(3, 4\), found \(3, 5\)"),
        ({"0.bias": None}, r"0\.bias \(1 in all\). Expected \(3,\), found none"),
    ],
)
def test_one_tensor_more_less_or_of_another_shape_is_named(change: dict[str, Any], words: str) -> None:
    network = nn.Sequential(nn.Linear(4, 3))
    found = {name: tensor for name, tensor in {**network.state_dict(), **change}.items() if tensor is not None}
    with pytest.raises(ArtefactError, match=rf"do not fit the network 'mine': {words}"):
        require_fit(network, found, "mine")
    require_fit(network, network.state_dict(), "mine")


def test_layers_that_wait_for_their_input_take_the_size_of_the_file() -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(Conv2D(4, 3), Flatten(), Dense(3))

    made, fresh = network(), network()
    made(torch.zeros(1, 2, 6, 6))
    found = made.state_dict()
    require_fit(fresh, found, "mine")
    fresh.load_state_dict(found)
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(fresh(x), made(x))
    for wrong in (torch.zeros(5, 2, 3, 3), torch.zeros(4, 2, 3), torch.zeros(4, 2, 5, 3)):
        with pytest.raises(ArtefactError, match=r"0\.conv\.weight \(1 in all\). Expected \(4, 0, 3, 3\), found"):
            require_fit(network(), {**found, "0.conv.weight": wrong}, "mine")


def test_lazy_layers_of_torch_take_the_size_of_the_file() -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))

    made, fresh = network(), network()
    made(torch.rand(2, 2, 6, 6))
    found = made.state_dict()
    require_fit(fresh, found, "mine")
    fresh.load_state_dict(found)
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(fresh.eval()(x), made.eval()(x))
    lacking = {name: tensor for name, tensor in found.items() if name != "3.weight"}
    with pytest.raises(ArtefactError, match=r"3\.weight \(1 in all\)\. Expected \(0,\), found none"):
        require_fit(network(), lacking, "mine")
    with pytest.raises(ArtefactError, match=r"4\.weight \(1 in all\)\. Expected none"):
        require_fit(network(), {**found, "4.weight": torch.zeros(1)}, "mine")
