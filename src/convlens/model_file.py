"""What a model file holds beside the weights, and what must be true of it before it is believed.

One `.safetensors` file with a card: the task, how to build the network again, the names of its outputs, the
preprocessing, and the golden answer: what the network says to a fixed pattern. A network that answers otherwise after
loading is not the one that was saved.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens import artefact
from convlens.data.classes import Classes
from convlens.data.preprocess import Preprocess
from convlens.errors import ArtefactError, ConfigError, ConvlensError
from convlens.models import stored
from convlens.version import __version__

NEEDED = ("task", "network", "classes", "preprocess", "golden")
LARGEST_PX = 8192
GOLDEN_TOLERANCE = 1e-3
GOLDEN_VALUES = 1000  # of an answer as large as a picture


@dataclass(frozen=True)
class Parts:
    """What a file gives back.

    Attributes:
        architecture: catalog name and arguments; None for a user's own module.
    """

    network: nn.Module
    task: str
    classes: Classes
    preprocess: Preprocess
    architecture: dict[str, Any] | None
    card: dict[str, Any]


def write(path: Path, parts: Parts, golden: list[float]) -> Path:
    """Write a model file, completely or not at all.

    Raises:
        ConfigError: the name does not end in `.safetensors`.
        OSError: it could not be written; an older file of that name is untouched.
    """
    if path.suffix != ".safetensors":
        raise ConfigError(f"A model file ends in .safetensors; got '{path.name}'.")
    card = {
        **parts.card,
        "task": parts.task,
        "network": parts.architecture or {"name": "custom", "class": type(parts.network).__name__},
        "classes": list(parts.classes.names),
        "preprocess": parts.preprocess.to_json(),
        "versions": versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "golden": golden,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    artefact.write(path, parts.network.state_dict(), card)
    return path


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the card of a model file.

    Raises:
        ArtefactError: it is damaged, foreign or newer, or its card is incomplete.
    """
    tensors, card = artefact.read(path)
    missing = [name for name in NEEDED if name not in card]
    if missing:
        raise ArtefactError(f"{path} is incomplete: its card lacks {', '.join(missing)}. Use another copy.")
    return tensors, card


@contextmanager
def understood(path: str | Path) -> Iterator[None]:
    """Whatever a card leads to is an error that names the file."""
    try:
        yield
    except ConvlensError as error:
        raise ArtefactError(f"{path}: {error}") from None
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ArtefactError(f"{path} is damaged: its card cannot be understood ({error!r}).") from None


def rebuild(tensors: dict[str, Tensor], card: dict[str, Any], network: nn.Module | None) -> Parts:
    """Build the network of a card and give it its weights.

    Args:
        network: needed only for a user's own module.

    Raises:
        ArtefactError: the card contradicts itself, or does not fit the weights.
    """
    classes, preprocess = Classes(tuple(card["classes"])), Preprocess.from_json(card["preprocess"])
    architecture = None if card["network"]["name"] == "custom" else card["network"]
    keys = ("in_channels", "outputs", "size_px")
    wanted = dict(zip(keys, (preprocess.policy.channels, len(classes), list(preprocess.size_px)), strict=True))
    built = {key: architecture[key] for key in keys} if architecture else wanted
    if built != wanted or not len(card["golden"]) or max(preprocess.store_px) > LARGEST_PX:
        raise ArtefactError(
            f"Its card contradicts itself: classes and preprocessing say {wanted}, the network {built}. "
            f"Use another copy."
        )
    if network is None:
        network = stored.rebuild(card["network"], tensors)
    stored.require_fit(network, tensors, card["network"]["name"])
    network.load_state_dict(tensors)
    network.to(memory_format=torch.channels_last).requires_grad_(True).eval()  # type: ignore[call-overload]
    return Parts(network, card["task"], classes, preprocess, architecture, card)


def golden_image(preprocess: Preprocess) -> np.ndarray:
    """A fixed pattern of the stored size, (H, W, C) uint8, that depends on no random generator."""
    height, width = preprocess.store_px
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(preprocess.policy.channels), indexing="ij")
    return ((37 * y + 101 * x + 59 * c + (y * x) % 83) % 256).astype(np.uint8)


def golden_answer(answer: Tensor) -> list[float]:
    """What is kept of the answer to it: all of a row of numbers, some values of a picture."""
    flat = answer.cpu().flatten()
    places = np.linspace(0, len(flat) - 1, min(len(flat), GOLDEN_VALUES)).astype(np.int64)
    return [round(float(v), 6) for v in flat[places]]


def require_golden(found: list[float], golden: list[float]) -> None:
    """Check that the answer is the one that was saved.

    Raises:
        ArtefactError: it is not.
    """
    allowed = GOLDEN_TOLERANCE * max(1.0, *map(abs, golden))
    if len(found) != len(golden) or not all(abs(a - b) <= allowed for a, b in zip(found, golden, strict=True)):
        raise ArtefactError(
            f"The network does not answer the built-in test image as it did when it was saved (expected "
            f"{golden[:3]}..., got {found[:3]}...). The network or the preprocessing has changed."
        )


def versions() -> dict[str, str]:
    """What the result depends on."""
    return {
        "convlens": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
