"""What is to be described: a name, a file or a module becomes a network and the shape of one image for it.

Networks asked for by name are built without memory first, on torch's `meta` device, since some are large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convlens.errors import ConfigError, did_you_mean
from convlens.models import catalog

if TYPE_CHECKING:
    from convlens.model import Model

CATALOG_OUTPUTS, TIMM_OUTPUTS = 10, 1000
EXAMPLE = "--input 3x64x64, or input_shape=(3, 64, 64)"


@dataclass(frozen=True)
class Subject:
    """A network to look at.

    Attributes:
        name: what it is called in the result.
        shape: of one image, without the batch: (C, H, W).
        again: builds it in ordinary memory, where the network here is without.
    """

    name: str
    network: nn.Module
    shape: tuple[int, ...]
    again: Callable[[], nn.Module] | None = None


def open_subject(
    what: nn.Module | Model | str | Path, shape: Sequence[int] | None = None, outputs: int | None = None
) -> Subject:
    """Find out what network is meant.

    Args:
        what: a catalog name, `timm:NAME`, a model file, a TOML file of options, a `Model`, or a module.
        shape: of one image; needed for a module and where a file does not say it.
        outputs: for a network built by its name; else what is usual for it.

    Raises:
        ConvlensError: there is no such network or file, or the shape is missing or impossible.
    """
    size = _checked(shape)
    if isinstance(what, nn.Module):
        return _ready(type(what).__name__, what, size, outputs)
    if not isinstance(what, str | Path):
        return _ready(type(what.network).__name__, what.network, size or _shape_of(what), outputs)
    name = str(what)
    if name.endswith(".safetensors"):
        from convlens.model import Model

        model = Model.load(name)
        title = f"{Path(name).name} ({type(model.network).__name__})"
        return _ready(title, model.network, size or _shape_of(model), outputs)
    if name.endswith(".toml"):
        return _from_toml(Path(name), size, outputs)
    if name.startswith(catalog.TIMM):
        size = size or (3, *(catalog.expected_input(name, pretrained=True)["size_px"],) * 2)
        return _built(name, name, size, outputs or TIMM_OUTPUTS, {})
    if name not in catalog.NETWORKS:
        hint = did_you_mean(name, catalog.NETWORKS)
        raise ConfigError(
            f"There is no network '{name}'. {hint} Or give timm:NAME, a model file (.safetensors) or options (.toml)."
        )
    size = size or catalog.NETWORKS[name].input
    return _built(name, name, size, outputs or _usual_outputs(name, size), {})


class _Unfilled(TorchFunctionMode):
    """Weights without memory are not drawn: for that torch would import its compiler, which takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "erfinv_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _checked(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    if shape is not None and (not shape or any(type(n) is not int or n < 1 for n in shape)):
        raise ConfigError(f"The input's shape is channels, height and width, such as {EXAMPLE}; got {tuple(shape)}.")
    return tuple(shape) if shape else None


def _ready(name: str, network: nn.Module, shape: tuple[int, ...] | None, outputs: int | None) -> Subject:
    if outputs is not None:
        raise ConfigError(f"{name} has its outputs already; leave out outputs={outputs}.")
    if shape is None:
        raise ConfigError(f"Say the shape of one image for {name}, such as {EXAMPLE}.")
    return Subject(name, network, shape)


def _shape_of(model: Model) -> tuple[int, ...] | None:
    steps = model.preprocess
    return (steps.policy.channels, *steps.size_px) if steps else None


def _from_toml(path: Path, shape: tuple[int, ...] | None, outputs: int | None) -> Subject:
    from convlens.config import Config
    from convlens.request import read_toml

    config = Config.build(read_toml(path), origin=str(path))
    size, channels, network = config.data.size_px, config.data.channels, config.network
    if shape is None and isinstance(size, int):
        shape = (channels if isinstance(channels, int) else 3, size, size)
    if shape is None:
        raise ConfigError(f"{path} does not say data.size_px; say the shape of one image, such as {EXAMPLE}.")
    options = {**network.options, **({"layers": network.layers} if network.layers else {})}
    outputs = outputs or _usual_outputs(network.name, shape)
    return _built(f"{path.name} ({network.name})", network.name, shape, outputs, options)


def _usual_outputs(network: str, shape: Sequence[int]) -> int:
    """Where nobody says how many: the channels of a picture, for pixels and boxes as in the list, else 10."""
    entry = catalog.NETWORKS.get(network)
    if entry is None or entry.gives == "numbers":
        return CATALOG_OUTPUTS
    return shape[0] if entry.gives == "picture" else entry.outputs


def _built(name: str, network: str, shape: tuple[int, ...], outputs: int, options: dict[str, Any]) -> Subject:
    if len(shape) != 3:
        raise ConfigError(f"{name} takes images of channels, height and width, such as {EXAMPLE}; got {shape}.")

    def build() -> nn.Module:
        return catalog.build(network, in_channels=shape[0], outputs=outputs, size_px=(shape[1], shape[2]), **options)

    try:
        with torch.device("meta"), _Unfilled():
            return Subject(name, build(), shape, build)
    except (NotImplementedError, RuntimeError):  # it computes something while it is built
        return Subject(name, build(), shape)
