"""Which tensor of a foreign file belongs where in a network, when the names differ: told by order and shape.

Both sides are read as layers: the tensors that share all of their name but its last part. Two files of the same network
list the same layers in the same order, whatever they call them. A `.safetensors` file has lost that order, since it is
sorted by name; then every order that keeps numbered names in sequence is tried, and the answer counts only if one alone
fits. This file knows shapes and names, no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Shape = tuple[int, ...]
COUNTER = "num_batches_tracked"  # of a norm: many files lack it


class Match(NamedTuple):
    """Names of the network to names of the file; empty, with the reason, where there is none."""

    pairs: dict[str, str]
    reason: str = ""


def match_by_order(mine: Mapping[str, Shape], theirs: Mapping[str, Shape], *, ordered: bool) -> Match:
    """Find the one way in which the layers of a file are those of a network.

    The number of channels that come in may differ, and the number of outputs. Whole parts of the file that the network
    has not, such as classifiers used in training only, may be left out.

    Args:
        mine: the network's tensors in the order of their definition.
        theirs: the file's.
        ordered: the file lists them in the order of their definition too.

    Example:
        >>> mine = {"stem.weight": (8, 3), "head.weight": (2, 8)}
        >>> theirs = {"fc.weight": (10, 8), "input.weight": (8, 3)}  # sorted by name
        >>> match_by_order(mine, theirs, ordered=False).pairs
        {'stem.weight': 'input.weight', 'head.weight': 'fc.weight'}
        >>> match_by_order(mine, theirs, ordered=True).reason
        'nothing in it fits head, layer 2 of 2'
    """
    layers, tree = list(_layers(mine).items()), _tree(theirs, ordered)
    search = _Search([shapes for _, shapes in layers])
    found = search.orders(tree, 0, may_skip=True)
    whole = [order for at, orders in found.items() if at == len(layers) for order in orders]
    if len(whole) > 1:
        return Match({}, "its layers fit in more than one order, and their names do not tell which is right")
    if not whole:
        name = layers[min(search.reached, len(layers) - 1)][0]
        return Match({}, f"nothing in it fits {name}, layer {min(search.reached + 1, len(layers))} of {len(layers)}")
    pairs = {}
    for (name, _), other in zip(layers, whole[0], strict=True):
        for leaf in [key.rpartition(".")[2] for key in mine if key.rpartition(".")[0] == name]:
            if (source := f"{other}.{leaf}".lstrip(".")) in theirs:
                pairs[f"{name}.{leaf}".lstrip(".")] = source
    return Match(pairs)


@dataclass
class _Part:
    """A part of a file: its own tensors first, then the parts inside it, in chains whose order is known."""

    path: str
    shapes: dict[str, Shape] = field(default_factory=dict)
    inside: dict[str, _Part] = field(default_factory=dict)
    chains: list[list[_Part]] = field(default_factory=list)


Orders = dict[int, list[tuple[str, ...]]]


class _Search:
    """Orders of a part's layers that fit the network's from some layer on; two are enough to know it is ambiguous."""

    def __init__(self, wanted: list[dict[str, Shape]]) -> None:
        self.wanted, self.reached = wanted, 0

    def orders(self, part: _Part, start: int, *, may_skip: bool = False) -> Orders:
        """For every layer of the network that can come next, the orders that lead there."""
        own: tuple[str, ...] = ()
        if part.shapes:
            if not self._fits(start, part.shapes):
                return {}
            own, start = (part.path,), start + 1
        frontier: dict[tuple[tuple[int, ...], int], list[tuple[str, ...]]] = {((0,) * len(part.chains), start): [own]}
        for _ in range(sum(map(len, part.chains))):
            onward: dict[tuple[tuple[int, ...], int], list[tuple[str, ...]]] = {}
            for (done, at), orders in frontier.items():
                for chain, parts in enumerate(part.chains):
                    if done[chain] == len(parts):
                        continue
                    after = (*done[:chain], done[chain] + 1, *done[chain + 1 :])
                    steps = self.orders(parts[done[chain]], at)
                    for end, tails in ({**steps, at: [()]} if may_skip else steps).items():
                        found = onward.setdefault((after, end), [])
                        longer = (order + tail for order in orders for tail in tails)
                        found += [order for order in dict.fromkeys(longer) if order not in found]
                        del found[2:]
            frontier = onward
        return {at: orders for (_, at), orders in frontier.items()}

    def _fits(self, at: int, shapes: Mapping[str, Shape]) -> bool:
        if at >= len(self.wanted):
            return False
        wanted, first, last = self.wanted[at], at == 0, at == len(self.wanted) - 1
        fits = wanted.keys() == shapes.keys() and all(
            len(wanted[leaf]) == len(shapes[leaf])
            and all(
                a == b or (first and axis == 1) or (last and axis == 0)
                for axis, (a, b) in enumerate(zip(wanted[leaf], shapes[leaf], strict=True))
            )
            for leaf in wanted
        )
        self.reached = max(self.reached, at + fits)
        return fits


def _layers(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """Tensors by layer, in the order of the first of each."""
    layers: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        if leaf != COUNTER:
            layers.setdefault(layer, {})[leaf] = shape
    return layers


def _tree(shapes: Mapping[str, Shape], ordered: bool) -> _Part:
    root = _Part("")
    for name, leaves in _layers(shapes).items():
        part = root
        for word in name.split(".") if name else []:
            part = part.inside.setdefault(word, _Part(f"{part.path}.{word}".lstrip(".")))
        part.shapes = leaves
    for part in _all(root):
        known = {"": list(part.inside)} if ordered else _numbered(part.inside)
        part.chains = [[part.inside[word] for word in words] for words in known.values() if words]
    while len(root.inside) == 1 and not root.shapes:  # a wrapper around the whole network
        root = next(iter(root.inside.values()))
    return root


def _all(part: _Part) -> Iterator[_Part]:
    yield part
    for inner in part.inside.values():
        yield from _all(inner)


def _numbered(words: Mapping[str, object]) -> dict[str, list[str]]:
    """Names with the same beginning and a number behind it, in natural order: bn1, bn2, bn10."""
    chains: dict[str, list[str]] = {}
    for word in sorted(words, key=lambda word: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", word)]):
        chains.setdefault(re.split(r"\d", word)[0], []).append(word)
    return chains
