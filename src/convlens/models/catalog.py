"""Every network by its name: a plain dict from name to builder, and the one way to build from it.

To add a network, write its file and add one line here; the tests take it up by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convlens.errors import ConfigError, ConvlensError, ShapeError, did_you_mean
from convlens.models import backbone, layered
from convlens.models.compact import compact
from convlens.models.lenet import lenet5
from convlens.models.options import resolve
from convlens.models.toy import mlp, tutorial
from convlens.models.weights import LoadReport, load_weights, read_facts
from convlens.shapes import pair

__all__ = ["NETWORKS", "Entry", "LoadReport", "build", "expected_input", "load_weights", "rows"]

TIMM = "timm:"


@dataclass(frozen=True)
class Entry:
    """One network of the catalog.

    Attributes:
        builder: called with in_channels, outputs and size_px; its keyword-only arguments are the network's options.
        source: where it was published.
        input: channels, height and width it is usually given; with 10 outputs, the ones its parameters are counted at.
        smallest_px: the smallest side it takes.
        licence: of the code here.
    """

    builder: Callable[..., nn.Module]
    title: str
    year: int
    source: str
    input: tuple[int, int, int]
    smallest_px: int
    licence: str = "Apache-2.0"


NETWORKS: dict[str, Entry] = {
    "compact": Entry(
        compact,
        "convlens's default: batch-normalised, for 8 to 64 px",
        2026,
        "this project; after Simonyan and Zisserman 2014, arXiv 1409.1556",
        input=(1, 28, 28),
        smallest_px=4,
    ),
    "lenet5": Entry(
        lenet5,
        "LeNet-5 in its modern form",
        1998,
        "LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 86(11), doi 10.1109/5.726791",
        input=(1, 32, 32),
        smallest_px=16,
    ),
    "tutorial": Entry(
        tutorial,
        "PyTorch's tutorial network: two convolutions, three dense layers",
        2017,
        "PyTorch tutorials, Training a Classifier",
        input=(3, 32, 32),
        smallest_px=16,
    ),
    "mlp": Entry(
        mlp,
        "baseline without convolutions: dense layers on the pixels",
        1986,
        "Rumelhart, Hinton, Williams, Nature 323, doi 10.1038/323533a0",
        input=(1, 28, 28),
        smallest_px=1,
    ),
}


def build(
    name: str,
    *,
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    pretrained: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a network by name, with fresh weights unless `pretrained`.

    Args:
        name: of the catalog; `timm:NAME`; or `layers`, with the list as the option `layers`.
        in_channels: channels of the image.
        outputs: numbers the network answers with, one per class.
        size_px: side of the image, or height and width.
        pretrained: fetch published weights; timm's networks only.
        options: the keyword-only arguments of the network's builder.

    Example:
        >>> network = build("lenet5", in_channels=1, outputs=10, size_px=28)
        >>> build("compact", in_channels=1, outputs=10, size_px=28, widht=16)
        Traceback (most recent call last):
        ...
        convlens.errors.ConfigError: compact has no option 'widht'. Did you mean 'width'? Options: width=32, \
dropout=0.0.

    Raises:
        ConfigError: the network or an option is unknown, or has a value it cannot be built with.
        ShapeError: the image is too small, or a list of layers does not fit.
    """
    size = pair(size_px)
    if min(in_channels, outputs, *size) < 1:
        raise ConfigError(
            f"A network needs at least 1 channel, output and pixel; got {in_channels} channels, {outputs} outputs, "
            f"{size[0]} x {size[1]} px."
        )
    given = {"in_channels": in_channels, "outputs": outputs, "size_px": size}
    if name.startswith(TIMM):
        return backbone.build(name.removeprefix(TIMM), **given, pretrained=pretrained, **options)
    if pretrained:
        raise ConfigError(
            f"'{name}' has no published weights; only timm:NAME has. Leave pretrained out, or give a local file: "
            f"network.weights=PATH.safetensors."
        )
    if name == "layers":
        return layered.build(_only_layers(options), **given)
    if name not in NETWORKS:
        hint = did_you_mean(name, [*NETWORKS, "layers"])
        raise ConfigError(f"There is no network '{name}'. {hint} Networks of timm are named timm:NAME.")
    entry = NETWORKS[name]
    chosen = resolve(entry.builder, options, name)
    try:
        return entry.builder(in_channels, outputs, size, **chosen)
    except ShapeError as error:
        raise ShapeError(f"{name} at {size[0]} x {size[1]} px: {error}") from None
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, ConvlensError):
            raise
        raise ConfigError(f"{name} cannot be built with {chosen}: {error}.") from None


def expected_input(name: str, weights: str | None = None, pretrained: bool = False) -> dict[str, Any]:
    """What starting weights expect of the images: size_px, store_px, mean, std and the reason; empty for fresh ones.

    Args:
        name: of the network.
        weights: a local file; what it does not say is taken from timm where the network is timm's.
        pretrained: published weights are asked for.

    Raises:
        ConfigError: timm does not know the name.
        ArtefactError: the file cannot be read.
    """
    found: dict[str, Any] = {}
    if name.startswith(TIMM) and (weights or pretrained):
        timm = backbone.expected_input(name.removeprefix(TIMM))
        if timm:
            found = {"size_px": timm.size_px, "store_px": timm.store_px, "mean": timm.mean, "std": timm.std}
            found["reason"] = f"as the published weights of {name} expect"
    if weights:
        facts = read_facts(weights)
        said = {key: getattr(facts, key) for key in ("size_px", "store_px", "mean", "std")}
        if any(said.values()):
            found = {**{key: value for key, value in said.items() if value}, "reason": f"as {weights} says"}
    return found


def rows() -> list[dict[str, Any]]:
    """The catalog as a table; parameters are counted with 10 outputs, without allocating them."""
    table = []
    for name, entry in NETWORKS.items():
        channels, *size = entry.input
        with torch.device("meta"):
            network = entry.builder(channels, 10, tuple(size))
        table.append(
            {
                "name": name,
                "title": entry.title,
                "year": entry.year,
                "source": entry.source,
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                "input": list(entry.input),
                "smallest_px": entry.smallest_px,
                "licence": entry.licence,
            }
        )
    return table


def _only_layers(options: dict[str, Any]) -> list[dict[str, Any]]:
    if set(options) != {"layers"} or not isinstance(options["layers"], list | tuple):
        raise ConfigError(
            f"The network 'layers' takes one option, layers: a list of tables such as "
            f'{{"layer": "dense", "units": 10}}; got {", ".join(options) or "none"}.'
        )
    return list(options["layers"])
