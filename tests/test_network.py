"""The network of a config: which one is meant, what it starts with, and what is refused before any image is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import rig
import small
from convlens.config import Config
from convlens.data.input import Wanted
from convlens.data.opening import open_all
from convlens.errors import ConfigError
from convlens.model import Model
from convlens.models import catalog
from convlens.network import build_network
from convlens.request import by_leaf


def built(images: Any = None, **options: Any) -> tuple[Config, Model, Wanted]:
    config = Config.build(by_leaf(options))
    return build_network(config, open_all(config, images or rig.pictures()))


def test_it_fits_the_source_and_can_be_built_again() -> None:
    config, model, wanted = built(network="lenet5", size_px=20)
    assert model.architecture == {
        "name": "lenet5",
        "in_channels": 1,
        "outputs": 3,
        "size_px": [20, 20],
        "options": {},
    }
    assert getattr(model.classes, "names", None) == ("left", "right", "top")
    assert model.card == {"weights": {"origin": "random", "licence": None}}
    assert (wanted.smallest_px, wanted.mean) == (catalog.NETWORKS["lenet5"].smallest_px, None)
    assert (config.data.size_px, config.data.channels) == (20, 1)


def test_the_seed_alone_decides_the_first_weights() -> None:
    one = built(seed=1)[1].network
    torch.rand(3)
    assert rig.same_weights(one, built(seed=1)[1].network)
    assert not rig.same_weights(one, built(seed=2)[1].network)


def test_where_none_is_named_the_task_or_the_list_of_layers_says_which() -> None:
    images = rig.pictures()[0]
    assert built()[0].network.name == "compact"
    config, *_ = built((images, None), task="denoise")
    assert config.network.name == catalog.DEFAULTS["denoise"]
    assert config.origins["network.name"] == "chosen: the usual one for denoise"
    layers = [{"layer": "flatten"}, {"layer": "dense", "units": "classes"}]
    config, model, _ = built(layers=layers)
    assert (config.network.name, config.origins["network.name"]) == ("layers", "chosen: network.layers is given")
    assert model.architecture
    assert model.architecture["options"] == {"layers": layers}
    config, *_ = built((images, None), task="denoise", network="dense_autoencoder")
    assert config.origins["network.name"] == "argument"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"options": {"outputs": 3, "layers": []}}, "network.options cannot hold layers, outputs: channels and size"),
        ({"network": "yolo_v1"}, "yolo_v1 is here to be read and is not trained by convlens.train: its loss"),
        ({"freeze": "backbone"}, "network.freeze=backbone builds on trained weights, and there are none"),
    ],
)
def test_what_cannot_be_trained_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        built(**options)


def test_starting_weights_are_loaded_and_told() -> None:
    path = small.finished().model_path
    config, model, wanted = built(options={"width": 8}, weights=str(path))
    assert model.card["weights"]["origin"] == path.name
    assert rig.same_weights(model.network, small.finished().model.network)
    assert wanted.reason == f"as {path} says"
    assert wanted.mean == small.finished().model.preprocess.mean  # type: ignore[union-attr]
    assert config.origins["data.size_px"] == f"chosen: as {path} says"


def test_a_licence_that_forbids_is_an_error_where_warnings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(small.finished().model_path)
    monkeypatch.setattr("convlens.network.restriction", lambda weights: f"{weights['origin']} may not be sold")
    built(options={"width": 8}, weights=path)
    with pytest.raises(ConfigError, match=f"{Path(path).name} may not be sold"):
        built(options={"width": 8}, weights=path, strict=True)
