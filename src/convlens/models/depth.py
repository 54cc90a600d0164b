"""Which part of a network is its head, and how the rest divides into stages. Knows modules, not training.

A stage is what papers call so: the run of layers whose feature maps have one size. It is read off a forward pass, so
that it means the same in every network, whoever wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from convlens.models.walk import walk

DECODER = "decoder"


@dataclass(frozen=True)
class Stage:
    """Layers at one depth.

    Attributes:
        name: `head`, `decoder`, the size of the feature maps, or the layer's own name where there are no maps.
        parameters: names, as in `named_parameters`.
    """

    name: str
    parameters: tuple[str, ...]


def head_of(network: nn.Module) -> tuple[str, ...]:
    """The names of the layers that give the answer: what `get_classifier` says, as in timm, else the last dense layer.

    Without dense layers it is the last convolution. Only a network with several heads has more than one name.

    Example:
        >>> head_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)))
        ('4',)
    """
    names = {id(module): name for name, module in network.named_modules()}
    if callable(ask := getattr(network, "get_classifier", None)):
        said = ask()
        heads = said if isinstance(said, list | tuple) else (said,)
        found = [head for head in heads if isinstance(head, nn.Module) and next(head.parameters(), None) is not None]
        if found:
            return tuple(names[id(head)] for head in found)
    for kind in (nn.Linear, nn.Conv2d):
        layers = [module for module in network.modules() if isinstance(module, kind)]
        if layers:
            return (names[id(layers[-1])],)
    return ()


def in_head(network: nn.Module) -> set[str]:
    """The names of the head's parameters."""
    heads = head_of(network)
    return {name for name, _ in network.named_parameters() if any(below(name, head) for head in heads)}


def below(name: str, module: str) -> bool:
    """Whether a dotted name is a module, or something within it; everything lies within the module without a name.

    Example:
        >>> below("layer1.0.weight", "layer1"), below("layer10.weight", "layer1")
        (True, False)
    """
    return not module or name == module or name.startswith(f"{module}.")


@torch.no_grad()
def start_head_at_zero(network: nn.Module) -> None:
    """Give a dense head the weight and the bias 0: every class begins equally likely.

    So the first steps do not push random directions into what the layers below have learned. A convolution is left as
    it is, because a rectifier may follow it, which would let no gradient through.
    """
    for name in head_of(network):
        if isinstance(head := network.get_submodule(name), nn.Linear):
            for parameter in head.parameters():
                parameter.zero_()


def stages_of(network: nn.Module, input_shape: Sequence[int]) -> list[Stage]:
    """The network's parameters from the head down to the first layer, each in one stage.

    A small map inside a stage, as in squeeze-and-excitation, belongs to that stage: what counts is the largest map that
    is still to come. Dense layers before the head are a stage each. What no forward pass uses goes with the first.
    Where a network answers with a map and makes it from a smaller one, all that enlarges it is one stage, `decoder`.

    Args:
        input_shape: (N, C, H, W).

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.Flatten(),
        ...     nn.Linear(2, 4), nn.Linear(4, 3))
        >>> [stage.name for stage in stages_of(network, (1, 1, 8, 8))]
        ['head', '4', '1 x 1', '6 x 6']
    """
    *rows, whole = walk(network, input_shape)
    heads = head_of(network)
    rows = [row for row in rows if not any(below(row.name, head) for head in heads)]
    maps = [_places(network.get_submodule(row.name), row.output_shape) for row in rows]
    turn = _turn(maps, whole.output_shape)
    labels, largest, label = [DECODER] * (len(rows) - turn), 0, ""
    for places in reversed(maps[:turn]):
        if places and math.prod(places) > largest:
            largest = math.prod(places)
            label = " x ".join(map(str, places)) if len(places) > 1 else f"{largest} tokens"
        labels.insert(0, label)
    head = in_head(network)
    left = [name for name, _ in network.named_parameters() if name not in head]
    found: dict[str, list[str]] = {}
    last = ""
    for row, label in zip(rows, labels, strict=True):
        own = [name for name in left if name.startswith(f"{row.name}.")]
        if not own:
            continue
        left = [name for name in left if name not in own]
        if label or not last or any(network.get_parameter(name).ndim > 1 for name in own):
            last = label or row.name  # else a norm after a dense layer, which goes with it
        found.setdefault(last, []).extend(own)
    if left:
        found.setdefault(next(iter(found), "the rest"), []).extend(left)
    stages = [Stage(name, tuple(names)) for name, names in found.items()]
    answering = tuple(name for name, _ in network.named_parameters() if name in head)
    return [*([Stage("head", answering)] if answering else []), *reversed(stages)]


def _turn(maps: Sequence[tuple[int, ...]], answer: tuple[int, ...]) -> int:
    """How many rows come before the maps grow again: all of them, where the answer is no map or never was smaller.

    Maps of one cell are left out, since squeeze-and-excitation has them at every depth.
    """
    areas = [math.prod(places) for places in maps]
    smallest = min((area for area in areas if area > 1), default=0)
    if len(answer) != 4 or math.prod(answer[2:]) <= smallest or not smallest:
        return len(areas)
    return len(areas) - areas[::-1].index(smallest)


def _places(module: nn.Module, output_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of a feature map, or the number of tokens; nothing for a vector."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d | nn.GroupNorm):
        return output_shape[2:]
    return output_shape[1:-1] if isinstance(module, nn.Linear) else ()
