"""The network a config asks for, with its starting weights and the input they expect, before any image is decoded."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from convlens.config import DEFAULT, Config
from convlens.data.input import Wanted, choose_input
from convlens.data.record import Source
from convlens.data.targets import names_of_outputs
from convlens.errors import ConfigError
from convlens.model import Model
from convlens.models import backbone, catalog
from convlens.models.licence import restriction
from convlens.training.transfer import frozen_by, require_weights

RESERVED = {"in_channels", "outputs", "size_px", "pretrained", "layers"}


def build_network(config: Config, source: Source) -> tuple[Config, Model, Wanted]:
    """The network for a source, as a model that has not been trained.

    Returns:
        the config with its network and its input chosen, the model, and what the network wants of its input.

    Raises:
        ConfigError: there is no such network, or it cannot be trained as asked.
        ShapeError: it cannot take such images.
        ArtefactError: the starting weights cannot be read.
    """
    config = _choose_network(config)
    require_weights(config)
    _require_trainable(config)
    name = config.network.name
    wanted = _wanted(config)
    config = choose_input(config, source, wanted)
    classes = names_of_outputs(source, config.data, int(config.data.channels))
    options = dict(config.network.options)
    if config.network.layers is not None:
        options["layers"] = config.network.layers
    size = int(config.data.size_px)
    arguments = {"in_channels": int(config.data.channels), "outputs": len(classes), "size_px": (size, size)}
    torch.random.default_generator.manual_seed(config.seed)
    network = catalog.build(name, **arguments, pretrained=config.network.pretrained, **options)
    card = {"weights": _starting_weights(network, config)}
    if config.run.strict and (warning := restriction(card["weights"])):
        raise ConfigError(warning)
    frozen_by(network, config)
    architecture = {"name": name, **arguments, "size_px": [size, size], "options": options}
    return config, Model(network, config.task, classes, None, architecture, card), wanted


def _choose_network(config: Config) -> Config:
    """The config with the network that is meant where none is named."""
    if config.network.layers is not None and config.origins.get("network.name") == DEFAULT:
        config = config.choose("network.name", "layers", "network.layers is given")
    if config.origins.get("network.name") == DEFAULT and config.task in catalog.DEFAULTS:
        config = config.choose("network.name", catalog.DEFAULTS[config.task], f"the usual one for {config.task}")
    return config


def _require_trainable(config: Config) -> None:
    name = config.network.name
    if reserved := RESERVED & config.network.options.keys():
        raise ConfigError(
            f"network.options cannot hold {', '.join(sorted(reserved))}: channels and size are data.channels and "
            f"data.size_px, the outputs follow from the classes, and layers is network.layers."
        )
    if name in catalog.NETWORKS and (reason := catalog.NETWORKS[name].teaching):
        raise ConfigError(f"{name} is here to be read and is not trained by convlens.train: {reason}. Choose yolo.")


def _wanted(config: Config) -> Wanted:
    name, weights = config.network.name, config.network.weights
    smallest_px = catalog.NETWORKS[name].smallest_px if name in catalog.NETWORKS else 1
    return Wanted(smallest_px=smallest_px, **catalog.expected_input(name, weights, config.network.pretrained))


def _starting_weights(network: nn.Module, config: Config) -> dict[str, Any]:
    """Load them; returns what the model's card says of them."""
    if config.network.weights:
        return catalog.load_weights(network, config.network.weights).to_json()
    if config.network.pretrained:
        return backbone.published_weights(network)
    return {"origin": "random", "licence": None}
