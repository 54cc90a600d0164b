"""A network from the description in a model file: compared with the file's tensors before anything is allocated.

What the file says was written by whoever made it. A name outside the catalog, an option the builder does not know, a
wish for weights to be fetched, or a network of another size than the tensors is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlens.errors import ArtefactError
from convlens.models import catalog

LAZY = (0,)  # what stands for the shape of a tensor that has none yet


def rebuild(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build the network a model file describes, with fresh weights.

    Args:
        description: `name`, `in_channels`, `outputs`, `size_px` and `options`, as `catalog.build` takes them.
        tensors: those of the file.

    Raises:
        ArtefactError: the description is not a network's of the catalog, or the tensors are another network's.
        ConvlensError: the catalog refuses the name or an option.
    """
    name, options = description["name"], description.get("options", {})
    if name == "custom":
        own = description.get("class", "MyNetwork")
        raise ArtefactError(
            f"It holds the weights of your own module {own}, which is code and is not in the file. "
            f"Load it with Model.load(path, network={own}(...))."
        )
    arguments = {key: description[key] for key in ("in_channels", "outputs", "size_px")}
    arguments["size_px"] = tuple(arguments["size_px"])
    if "pretrained" in options:
        raise ArtefactError("Its card asks for weights to be fetched. Use another copy.")
    with torch.device("meta"):
        require_fit(catalog.build(name, **arguments, **options), tensors, name)
    return catalog.build(name, **arguments, **options)


def require_fit(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Check that tensors are those of a network: every one, by name and shape, and no other.

    An axis of size 0 belongs to a layer that waits for its first input, and takes any size; so does all of a tensor of
    torch's own lazy layers.

    Raises:
        ArtefactError: they are not; names the first that differ.
    """
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    mine = network.state_dict().items()
    wanted = {key: found.get(key, LAZY) if is_lazy(tensor) else tuple(tensor.shape) for key, tensor in mine}
    wrong = sorted(key for key in wanted.keys() | found.keys() if not _fits(wanted.get(key), found.get(key)))
    if wrong:
        raise ArtefactError(
            f"Its tensors do not fit the network '{name}': {', '.join(wrong[:3])} ({len(wrong)} in all). "
            f"Expected {wanted.get(wrong[0], 'none')}, found {found.get(wrong[0], 'none')}."
        )


def _fits(wanted: tuple[int, ...] | None, found: tuple[int, ...] | None) -> bool:
    if wanted is None or found is None or 0 not in wanted:
        return wanted == found
    return len(wanted) == len(found) and all(n in (0, size) for n, size in zip(wanted, found, strict=True))
