"""The tensors of a file of weights, and nothing else of it: a `.pth` file may hold code, which is never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.errors import ArtefactError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("state_dict", "model_state_dict", "model")  # what training scripts put the tensors under


def opened(path: Path) -> Any:
    """A `.safetensors` file, open for reading.

    Raises:
        ArtefactError: there is none, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ArtefactError(f"There is no file of weights {path}.")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is not a .safetensors file, or is damaged: {error}.") from None


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a file, and whether it lists them in the order in which the network defines them.

    Raises:
        ArtefactError: the file is of another kind, is not there, is damaged, or holds more than tensors.
    """
    path = Path(path)
    if path.suffix in (".pth", ".pt"):
        return _of_torch(path), True
    if path.suffix != ".safetensors":
        raise ArtefactError(
            f"Weights are read from a .safetensors file, or from a .pth or .pt file of tensors; got '{path.name}'."
        )
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, False  # noqa: SIM118 - no mapping


def _of_torch(path: Path) -> dict[str, Tensor]:
    import torch

    if not path.is_file():
        raise ArtefactError(f"There is no file of weights {path}.")
    try:
        # tensors and plain containers; anything that would run code is refused, and there is no second attempt
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch lets its parsers' own errors through
        raise ArtefactError(
            f"{path} cannot be read as weights: it is damaged, or holds code beside the tensors, which is never run "
            f"({' '.join(str(error).split())[:120]}). Save the tensors alone: torch.save(network.state_dict(), path), "
            "or a .safetensors file."
        ) from None
    for wrapper in WRAPPERS:
        found = found[wrapper] if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ArtefactError(
            f"{path} holds no table of tensors by name, neither by itself nor under {', '.join(WRAPPERS)}. Save one "
            "with torch.save(network.state_dict(), path)."
        )
    return {str(name): value for name, value in found.items()}
