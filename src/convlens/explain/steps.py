"""The record of a run: its values, steps and calls. What they are, not how they are written down or what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from convlens.errors import ShapeError
from convlens.explain.memory import Layout

# what gives a tensor of the size of another without reading it
BLANK = frozenset(f"{what}_like" for what in ("empty", "zeros", "ones", "full", "rand", "randn"))
BLANK |= {*(f"new_{what}" for what in ("empty", "zeros", "ones", "full")), "zero"}
OVERWRITTEN = frozenset(["copy", "fill"])  # write over a tensor without reading it
RENEWED = "renewed view"  # stands for: the memory under this tensor was written to
MET = "met"  # a tensor that may be made from the input in ways that were not seen


@dataclass(eq=False)
class Value:
    """One tensor, with the content it had when it was made.

    Attributes:
        source: `input`, `weight` (a parameter or buffer), `constant`, `step`, or `met`, which is not known.
        step: the step that made it.
        layout: how it lay in memory then.
        reads_input: the input had a part in it.
        roots: names of the parameters and buffers it was made from, where the input had no part.
    """

    tensor: Tensor = field(repr=False)
    source: str
    step: Step | None = field(default=None, repr=False)
    reads_input: bool = False
    roots: frozenset[str] = frozenset()
    layout: Layout = field(default_factory=lambda: Layout(0, (), ()), repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)


@dataclass(eq=False)
class Call:
    """One use of a module.

    Attributes:
        name: its path in the network; empty for the network as a whole.
        parent: the call it was made in.
        use: 1 for the first use of this module, 2 for the second.
        first: number of the first step in it.
        given: what it received, with a Value for each tensor.
        output: what it gave, likewise.
        ended: it has given it; never so for one that failed.
        leaf: it called no other module.
    """

    name: str
    module: nn.Module = field(repr=False)
    parent: Call | None = field(repr=False)
    use: int
    first: int
    given: Any = field(repr=False)
    output: Any = field(default=None, repr=False)
    ended: bool = False
    leaf: bool = True

    @property
    def kind(self) -> str:
        return type(self.module).__name__


@dataclass(eq=False)
class Step:
    """One operation.

    Attributes:
        op: aten's name of it without the mark of the in-place form, such as `relu` for `relu_`.
        arguments: by the names of its schema, with a Value for each tensor.
        outputs: the tensors that came out.
        pointwise: torch says of it that each value is computed from the values at its own place.
        func: what ran, to run it again; None for what stands for a change of memory.
    """

    number: int
    op: str
    arguments: dict[str, Any] = field(repr=False)
    call: Call
    outputs: list[Value] = field(default_factory=list, repr=False)
    in_place: bool = False
    pointwise: bool = False
    func: Any = field(default=None, repr=False)

    @property
    def inputs(self) -> list[Value]:
        return list(values_in(self.arguments))

    @property
    def reads_input(self) -> bool:
        return any(value.reads_input for value in self.outputs)


@dataclass(eq=False)
class Record:
    """One run of a network.

    Attributes:
        network: the copy that ran; its parameters are those of the original.
        steps: in order.
        calls: in the order of their beginning; the first is the network as a whole.
        output: what the network gave, with a Value for each tensor.
    """

    network: nn.Module = field(repr=False)
    input: Value
    steps: list[Step] = field(default_factory=list, repr=False)
    calls: list[Call] = field(default_factory=list, repr=False)

    @property
    def output(self) -> Any:
        return self.calls[0].output

    def find(self, name: str, use: int = 1) -> Call:
        """The call of a module by its path.

        Raises:
            ShapeError: it did not run.
        """
        for call in self.calls:
            if (call.name, call.use) == (name, use) and call.ended:
                return call
        raise ShapeError(f"No module '{name}' ran (use {use}).")


def values_in(structure: Any) -> Iterator[Value]:
    """All values in arguments or an output, in order."""
    if isinstance(structure, Value):
        yield structure
    elif isinstance(structure, dict):
        for item in structure.values():
            yield from values_in(item)
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from values_in(item)
