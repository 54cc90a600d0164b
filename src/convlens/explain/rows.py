"""From the steps of a run to the rows of its anatomy: which steps are one layer, and what that layer is and costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from convlens.explain import operations as ops
from convlens.explain.receptive_field import ReceptiveFields
from convlens.explain.steps import MET, Call, Record, Step, Value, values_in
from convlens.shapes import Field


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: its path in the network; for a step outside of any module, the path of where it stands and its own name.
        use: 1, or 2 where it runs a second time.
        kind: the module's class, or the step's name.
        output_shape: with the batch first; empty where the output is no tensor.
        formula: how its size follows from that of what came in; empty where it is the same.
        unread: cells of what came in that no window reads, such as those a floor leaves over.
        trainable, frozen: parameters, counted where they are used first.
        buffers: numbers that belong to it and are not learnt, such as a running mean.
        shared: its weights were counted in a row above.
        macs: multiply-accumulates of convolutions and matrix products; None where a step is unknown.
        elementwise: all other operations on single values; None where a step is unknown.
        memory_bytes: what it writes, for one image.
        fields: the textbook's receptive field along each axis of the input; None where units do not all see alike.
        sees: from the first to the last cell along each axis, of the unit that sees farthest; None if unknown.
        whole: some unit sees the input from the first to the last cell.
        unknown: steps of it that are not known.
    """

    name: str
    use: int
    kind: str
    output_shape: tuple[int, ...]
    formula: str
    unread: str
    trainable: int
    frozen: int
    buffers: int
    shared: bool
    macs: int | None
    elementwise: int | None
    memory_bytes: int
    fields: tuple[Field | None, ...]
    sees: tuple[int, ...] | None
    whole: bool
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Totals:
    """Sums over a network; parameters that several layers share are counted once.

    Attributes:
        unused: parameters among them that took no part.
        flops: 2 x MACs, a multiplication and an addition each.
        unknown: steps that are not known and not in the sums.
    """

    trainable: int
    frozen: int
    buffers: int
    unused: int
    macs: int
    flops: int
    elementwise: int
    activation_bytes: int
    weight_bytes: int
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class _Layer:
    """The steps of one row."""

    name: str
    kind: str
    steps: list[Step]
    output: Value | None
    module: nn.Module | None = None


def read_rows(run: Record, fields: ReceptiveFields) -> tuple[list[Row], dict[tuple[str, int], Value], Totals]:
    """The rows, the tensor that each gives by name and use, and the sums."""
    ledger, uses = _Ledger(run), Counter[str]()
    rows, values = list[Row](), dict[tuple[str, int], Value]()
    for layer in _layers(run):
        uses[layer.name] += 1
        row = _row(layer, uses[layer.name], ledger, fields)
        rows.append(row)
        if layer.output is not None:
            values[row.name, row.use] = layer.output
    return rows, values, _totals(rows, ledger)


# steps to layers ------------------------------------------------------------------------------------------------------


def _layers(run: Record) -> list[_Layer]:
    steps: dict[Call, list[Step]] = {call: [] for call in run.calls}
    for step in run.steps:
        steps[step.call].append(step)
    found: list[tuple[tuple[int, int, int], _Layer]] = []
    for number, call in enumerate(run.calls):
        if not _lives(call):
            continue
        if not (call.leaf and _is_one(call, steps[call])):
            found += [((layer.steps[-1].number, 1, 0), layer) for layer in _singles(call, steps[call])]
            continue
        output = next(values_in(call.output), None)
        if steps[call] or (output and not isinstance(call.module, nn.Identity | nn.Sequential)):
            layer = _Layer(call.name or call.kind, call.kind, steps[call], output, call.module)
            found.append(((call.first, 0, number), layer))
    return [layer for _, layer in sorted(found, key=lambda item: item[0])]


def _lives(call: Call) -> bool:
    """It and all it was called by came to an end: no failure that the network caught itself."""
    return call.ended and (call.parent is None or _lives(call.parent))


def _is_one(call: Call, steps: Iterable[Step]) -> bool:
    """Whether a module that calls no other is one layer: torch's own, or with one thing to do, or an activation."""
    work = [step for step in steps if step.reads_input and not ops.moves_only(step)]
    own = type(call.module).__module__.startswith("torch.nn.")
    return own or len(work) <= 1 or all(step.pointwise for step in work)


def _singles(call: Call, steps: Iterable[Step]) -> Iterator[_Layer]:
    """Each step of a call by itself, with the rearrangements before it; named like the call if it has its weights."""
    prefix = f"{call.name}." if call.name else ""
    own = {prefix + name for name, _ in [*_named(call.module)]}
    shown = [step for step in steps if (step.reads_input or ops.macs(step)) and not ops.is_hidden(step)]
    weighted = [step for step in shown if own & _roots([step])]
    before: list[Step] = []
    for step in steps:
        before.append(step)
        if step in shown:
            name, kind = prefix + ops.name_of(step), ops.name_of(step)
            if call.name and not call.leaf and weighted == [step]:
                name, kind = call.name, call.kind
            yield _Layer(name, kind, before, step.outputs[0] if step.outputs else None)
            before = []


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _roots(steps: Iterable[Step]) -> set[str]:
    """Names of the parameters and buffers some steps read."""
    return {name for step in steps for value in step.inputs for name in value.roots}


# layers to rows -------------------------------------------------------------------------------------------------------


class _Ledger:
    """Counts every parameter and buffer once."""

    def __init__(self, run: Record) -> None:
        self.tensors: dict[str, Tensor] = {**dict(run.network.named_parameters()), **dict(run.network.named_buffers())}
        self.learnt = {name for name, _ in run.network.named_parameters()}
        self.taken: set[str] = set()
        self._names = {id(tensor): name for name, tensor in self.tensors.items()}

    def take(self, layer: _Layer) -> tuple[set[str], bool]:
        """The names that no layer took before, and whether all that it learns was taken before."""
        names = _roots(layer.steps)
        if layer.module is not None:
            names |= {self._names[id(tensor)] for _, tensor in _named(layer.module)}
        fresh = names - self.taken
        self.taken |= names
        return fresh, bool(names & self.learnt) and not fresh & self.learnt

    def count(self, names: Iterable[str]) -> tuple[int, int, int]:
        """Numbers that are trainable, frozen, and not learnt."""
        sums = [0, 0, 0]
        for name in names:
            tensor = self.tensors[name]
            sums[2 if name not in self.learnt else 0 if tensor.requires_grad else 1] += tensor.numel()
        return sums[0], sums[1], sums[2]


def _row(layer: _Layer, use: int, ledger: _Ledger, fields: ReceptiveFields) -> Row:
    steps, output = [step for step in layer.steps if step.reads_input], layer.output
    unknown = tuple(dict.fromkeys(step.op for step in steps if not ops.is_known(step)))
    fresh, shared = ledger.take(layer)
    trainable, frozen, buffers = ledger.count(fresh)
    reads = output is not None and (output.reads_input or output.source == MET)
    sees = fields.extent(output) if output is not None else None
    return Row(
        name=layer.name,
        use=use,
        kind=layer.kind,
        output_shape=output.shape if output is not None else (),
        formula=_words(map(ops.formula, steps)),
        unread=_words(map(ops.unread, steps)),
        trainable=trainable,
        frozen=frozen,
        buffers=buffers,
        shared=shared,
        macs=None if unknown else sum(ops.macs(step) or 0 for step in layer.steps),
        elementwise=None if unknown else sum(ops.elementwise(step) or 0 for step in steps),
        memory_bytes=sum(map(ops.written_bytes, steps)),
        fields=fields.line(output) if output is not None else (None,) * len(fields.sizes),
        sees=sees,
        whole=bool(reads and fields.sizes and sees == fields.sizes),
        unknown=unknown,
    )


def _words(parts: Iterable[str]) -> str:
    return "; ".join(filter(None, dict.fromkeys(parts)))


def _totals(rows: Iterable[Row], ledger: _Ledger) -> Totals:
    rows = list(rows)
    trainable, frozen, buffers = ledger.count(ledger.tensors)
    macs = sum(row.macs or 0 for row in rows)
    return Totals(
        trainable=trainable,
        frozen=frozen,
        buffers=buffers,
        unused=sum(ledger.count(ledger.learnt - ledger.taken)),
        macs=macs,
        flops=2 * macs,
        elementwise=sum(row.elementwise or 0 for row in rows),
        activation_bytes=sum(row.memory_bytes for row in rows),
        weight_bytes=sum(tensor.numel() * tensor.itemsize for tensor in ledger.tensors.values()),
        unknown=tuple(dict.fromkeys(op for row in rows for op in row.unknown)),
    )
