"""Starting weights from a local `.safetensors` or `.pth` file, and the facts that came with them.

Tensors are matched by name and shape, or by order and shape where the names are another library's; which it was, and
whatever is not taken over, is listed. The facts (licence, and how images were prepared) are read from the file's own
metadata and from a `.json` of the same name beside it. Knows no network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from convlens import artefact
from convlens.errors import ArtefactError
from convlens.models.matching import COUNTER, Shape, match_by_order
from convlens.models.tensors import opened, read_tensors
from convlens.options import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Facts:
    """What is known about a file of weights; None where it is not.

    Attributes:
        size_px: side of the images it was trained on.
        store_px: side from which that was cut.
        mean, std: per channel, for pixels from 0 to 1.
        network: the network it was made for, in its maker's words.
    """

    licence: str | None = None
    network: str | None = None
    source: str | None = None
    size_px: int | None = None
    store_px: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Part(NamedTuple):
    """What of a network can start from a classifier's weights: what its method `classifier_part()` gives.

    Attributes:
        names: of the part's tensors in the network, to those in the classifier.
        shapes: of all the classifier's tensors, in the order of their definition.
    """

    names: dict[str, str]
    shapes: dict[str, Shape]


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a file and of a network.

    Attributes:
        matched: taken over.
        missing: in the network only; left at its fresh values.
        unexpected: in the file only; not used.
        other_shape: in both, with (shape in the file, shape in the network); left fresh.
        by: how the two were matched, by `name` or by `order` and shape.
        sources: name in the file of every tensor that was taken over.
    """

    path: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    facts: Facts = field(default_factory=Facts)
    by: Literal["name", "order"] = "name"
    sources: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.other_shape)
        shapes = [f"{name} ({_by(mine)}, file {_by(theirs)})" for name, (theirs, mine) in self.other_shape.items()]
        parts = [f"{len(self.matched)} of {total} tensors from {Path(self.path).name}"]
        if renamed := [f"{mine} is {self.sources[mine]}" for mine in self.matched if self.sources[mine] != mine]:
            how = "by order and shape, since the names differ" if self.by == "order" else "as those of a classifier"
            parts += [f"matched {how} ({renamed[0]})"]
        parts += [f"left fresh: {_few([*shapes, *self.missing])}"] if shapes or self.missing else []
        parts += [f"not used: {_few(list(self.unexpected))}"] if self.unexpected else []
        parts += [f"made for {self.facts.network}"] if self.facts.network else []
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """What the card of a trained model says about where it started."""
        return {
            "origin": Path(self.path).name,
            "licence": self.facts.licence,
            "matched": len(self.matched),
            "matched_by": self.by,
            "fresh": [*self.other_shape, *self.missing],
            "missing": list(self.missing),
            "other_shape": {name: [list(shape) for shape in shapes] for name, shapes in self.other_shape.items()},
            "unused": list(self.unexpected),
            "summary": str(self),
            "facts": asdict(self.facts),
        }


def load_weights(network: nn.Module, path: str | Path) -> LoadReport:
    """Copy weights from a file into a network; a tensor of another shape, such as the head, stays fresh.

    They are matched by name. Where names of the network are not in the file, but the file's layers are the network's in
    order and shape, they are matched by that, and the report says so. A network with a method `classifier_part` can
    take this part of it from a classifier's file; all else of it is then missing. A dense layer's weights, (O, C H W),
    fit the convolution it became there, (O, C, H, W). A fresh head starts at zero: every class begins equally likely,
    and the first steps do not push random directions into what the network has learned.

    Raises:
        ArtefactError: the file cannot be read, holds a value that is not finite, or has nothing for this network.
    """
    import torch

    from convlens.models.depth import in_head, start_head_at_zero

    theirs, ordered = read_tensors(path)
    mine = network.state_dict()
    ask: Callable[[], Part | None] = getattr(network, "classifier_part", lambda: None)
    plan = _plan(mine, theirs, ordered, ask())
    taken = [name for name in plan.fits if not name.endswith(COUNTER)]
    # how many batches a normalisation has seen is a counter, and many files lack it
    missing = tuple(name for name in mine if name not in plan.sources and not name.endswith(COUNTER))
    if not taken:
        wanted = [name for name in mine if not name.endswith(COUNTER)]
        raise ArtefactError(
            f"{path} has nothing for this network: no tensor has the same name and shape, and by order and shape "
            f"{plan.reason}. It holds {_few(sorted(theirs))}; the network needs {_few(sorted(wanted))}. Check "
            f"network.name and its options."
        )
    for name in taken:
        value = theirs[plan.sources[name]]
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ArtefactError(
                f"{path} is damaged: '{plan.sources[name]}' holds a value that is not finite. Use another copy."
            )
    with torch.no_grad():
        for name in plan.fits:
            mine[name].copy_(theirs[plan.sources[name]].reshape(mine[name].shape))
    other = {
        name: (tuple(theirs[source].shape), tuple(mine[name].shape))
        for name, source in plan.sources.items()
        if name not in plan.fits
    }
    if not in_head(network) <= set(plan.fits):
        start_head_at_zero(network)
    used = set(plan.sources.values())
    unexpected = tuple(name for name in theirs if name not in used)
    sources = {name: plan.sources[name] for name in plan.fits}
    return LoadReport(str(path), tuple(plan.fits), missing, unexpected, other, read_facts(path), plan.by, sources)


class _Plan(NamedTuple):
    """The file's name for each of the network's tensors, those of them that have the same shape, and how it was found.

    `reason` says why order and shape found nothing, where they were tried.
    """

    by: Literal["name", "order"]
    sources: dict[str, str]
    fits: list[str]
    reason: str = ""


def _plan(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], ordered: bool, part: Part | None) -> _Plan:
    def plan(by: Literal["name", "order"], sources: dict[str, str], reason: str = "") -> _Plan:
        fits = [name for name, other in sources.items() if _fits(mine[name], theirs[other], name != other)]
        return _Plan(by, sources, fits, reason)

    part = part or Part({name: name for name in mine}, {name: tuple(tensor.shape) for name, tensor in mine.items()})
    wanted = {name: name if name in theirs else part.names.get(name) for name in mine}
    named = plan("name", {name: other for name, other in wanted.items() if other and other in theirs})
    if named.fits and all(name in named.sources or name.endswith(COUNTER) for name in part.names):
        return named
    match = match_by_order(part.shapes, {name: tuple(tensor.shape) for name, tensor in theirs.items()}, ordered=ordered)
    pairs = {name: match.pairs[other] for name, other in part.names.items() if other in match.pairs}
    found = plan("order", pairs, match.reason)
    contradicts = any(found.sources.get(name) != named.sources[name] for name in named.fits)
    if contradicts or len(found.fits) <= len(named.fits):
        return named._replace(reason=match.reason or "nothing in it has these shapes")
    return found


def _fits(mine: Tensor, theirs: Tensor, renamed: bool) -> bool:
    """Whether two shapes are one, or a convolution's and that of the dense layer it was under another name."""
    dense = renamed and mine.ndim == 4 and theirs.ndim == 2
    return mine.shape == theirs.shape or (dense and mine.flatten(1).shape == theirs.shape)


def read_facts(path: str | Path) -> Facts:
    """What the metadata of a file of weights and the `.json` beside it say; the latter wins.

    A model file of convlens says it in its card. Elsewhere the keys `licence`, `arch`, `source`, `size_px`, `store_px`,
    `mean` and `std` are read, and `input`, a line such as "mean .5 std .5, 224 crop of 256".

    Raises:
        ArtefactError: the file cannot be read, or its `.json` is not JSON.
    """
    path, metadata = Path(path), dict[str, Any]()
    if path.suffix == ".safetensors":
        with opened(path) as file:
            metadata = dict(file.metadata() or {})
    elif not path.is_file():
        raise ArtefactError(f"There is no file of weights {path}.")
    if artefact.ENTRY in metadata:
        return _facts_of_card(artefact.read(path)[1])
    beside = path.with_suffix(".json")
    if beside.is_file():
        try:
            found = json.loads(beside.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ArtefactError(f"{beside}, the facts about {path.name}, is not JSON: {error}.") from None
        metadata |= found if isinstance(found, dict) else {}
    said = {**parse_input(str(metadata.get("input", ""))), **metadata}
    try:
        return Facts(
            licence=_text(said.get("licence", said.get("license"))),
            network=_text(said.get("arch")),
            source=_text(said.get("source")),
            size_px=_whole(said.get("size_px")),
            store_px=_whole(said.get("store_px")),
            mean=_numbers(said.get("mean")),
            std=_numbers(said.get("std")),
        )
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{beside}, the facts about {path.name}, cannot be understood: {error}.") from None


def parse_input(text: str) -> dict[str, Any]:
    """Read the usual ways of writing down how images were prepared.

    Example:
        >>> parse_input("RGB/255, mean .5 std .5, 224 crop of 256")
        {'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5), 'size_px': 224, 'store_px': 256}
        >>> parse_input("RGB/255 ImageNet mean/std, 32x32")
        {'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225), 'size_px': 32}
    """
    found: dict[str, Any] = {}
    if re.search(r"imagenet mean\s*/\s*std", text, re.IGNORECASE):
        found |= {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    elif numbers := re.search(r"mean\s*=?\s*(\d*\.\d+),?\s+std\s*=?\s*(\d*\.\d+)", text, re.IGNORECASE):
        channels = 3 if "rgb" in text.lower() else 1
        found |= {"mean": (float(numbers[1]),) * channels, "std": (float(numbers[2]),) * channels}
    if crop := re.search(r"(\d+)\s*crop of\s*(\d+)", text, re.IGNORECASE):
        found |= {"size_px": int(crop[1]), "store_px": int(crop[2])}
    elif square := re.search(r"\b(\d{2,})\s*x\s*\1\b", text):
        found["size_px"] = int(square[1])
    return found


def _facts_of_card(card: Mapping[str, Any]) -> Facts:
    prepared, network = card.get("preprocess", {}), card.get("network", {})
    weights = card.get("weights", {})
    return Facts(
        licence=weights.get("licence"),
        network=network.get("name"),
        source=weights.get("origin"),
        size_px=prepared["size_px"][0] if prepared.get("size_px") else None,
        store_px=prepared["store_px"][0] if prepared.get("store_px") else None,
        mean=tuple(prepared["mean"]) if prepared.get("mean") else None,
        std=tuple(prepared["std"]) if prepared.get("std") else None,
    )


def _few(names: list[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
