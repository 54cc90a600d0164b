"""What a unit of a network sees of the input, exactly, after everything that ran; and the textbook's line beside it.

Each recorded operation has a rule that says which units of its inputs a unit of its output reads. An operation without
a rule makes all that follows from it unknown. The field is theoretical: it says what can have an effect, not how strong
that is.

Source: Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
doi 10.23915/distill.00021, for the line; index sets in place of its intervals, which are wrong at borders where a
dilated window steps over cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convlens.errors import ShapeError
from convlens.explain.arranging import Unknown
from convlens.explain.lines import Line, parts_of
from convlens.explain.reading import rule_for
from convlens.explain.seen import Seen
from convlens.explain.steps import MET, Record, Step, Value
from convlens.shapes import Field


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the input that one unit sees; per spatial axis of the input, rows first.

    Attributes:
        cells: the indices that have an effect on it.
        sizes: of the input.
        fields: the textbook's size, jump and start; None where units do not all see alike.
        padding: how many cells of the textbook's field lie before the first and behind the last cell of the input.
    """

    cells: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    fields: tuple[Field | None, ...]
    padding: tuple[tuple[int, int] | None, ...]

    @property
    def hull(self) -> tuple[tuple[int, int] | None, ...]:
        """First and last cell along each axis; None where it sees nothing."""
        return tuple((cells[0], cells[-1]) if cells else None for cells in self.cells)

    @property
    def whole(self) -> bool:
        """It sees from the first to the last cell along every axis."""
        return all(hull == (0, n - 1) for hull, n in zip(self.hull, self.sizes, strict=True))


class ReceptiveFields:
    """The receptive fields of all tensors of one run, from one walk through its steps.

    Example:
        >>> import torch
        >>> from convlens.explain.record import record
        >>> run = record(torch.nn.Conv2d(1, 1, 3, stride=2, padding=1), torch.zeros(1, 1, 7, 7))
        >>> field = ReceptiveFields(run).unit(run.output, (0, None, 0, 3))
        >>> field.hull, field.fields[0], field.padding
        (((0, 1), (5, 6)), Field(size=3, jump=2, start=-1), ((1, 0), (0, 1)))
    """

    def __init__(self, run: Record) -> None:
        self.sizes = run.input.shape[2:]
        self._seen = {run.input: Seen.of_input(run.input.shape)}
        self._unknown: set[Value] = set()
        self._extents: dict[tuple[int, ...], tuple[int, ...]] = {}
        for step in run.steps:
            if step.reads_input:
                self._follow(step)

    def _follow(self, step: Step) -> None:
        if any(self.is_unknown(value) for value in (*step.inputs, *step.outputs)):
            self._unknown.update(step.outputs)
            return
        if all(0 in output.shape for output in step.outputs):
            return  # of no values, none sees anything
        try:
            found = rule_for(step)(step, self._seen.get)
        except (Unknown, KeyError, ValueError, IndexError):  # or a use of the operation that the rule does not foresee
            self._unknown.update(step.outputs)
            return
        for number, output in enumerate(step.outputs):
            seen = found[number] if isinstance(found, list) else found
            if seen is not None and seen.shape == output.shape:
                self._seen[output] = seen
            elif seen is not None:  # a by-product, such as the mean of a normalisation
                self._unknown.add(output)

    def is_unknown(self, value: Value) -> bool:
        """An operation without a rule lies between the input and this tensor."""
        return value.source == MET or value in self._unknown

    def line(self, value: Value) -> tuple[Field | None, ...]:
        """The textbook's line of each input axis; None where there is none."""
        seen = self._seen.get(value)
        axes = zip(seen.shape, seen.lines, strict=True) if seen else ()
        by_axis = {line.input_axis: line.field for n, axis in axes for _, line in parts_of(n, axis) if line}
        return tuple(by_axis.get(axis) for axis in range(len(self.sizes)))

    def extent(self, value: Value) -> tuple[int, ...] | None:
        """From the first to the last cell along each axis, of the unit that sees farthest; None if that is unknown."""
        if self.is_unknown(value):
            return None
        seen = self._seen.get(value)
        if seen is None:
            return (0,) * len(self.sizes)
        key = tuple(id(cells) for cells in seen.sets)
        if key not in self._extents:
            self._extents[key] = seen.extent()
        return self._extents[key]

    def all_units(self, value: Value) -> list[np.ndarray] | None:
        """For each axis of the input, whether each unit sees each cell: (*shape, cells); None if that is unknown."""
        if self.is_unknown(value):
            return None
        seen = self._seen.get(value)
        return seen.all_units() if seen else [np.zeros((*value.shape, n), bool) for n in self.sizes]

    def unit(self, value: Value, at: Sequence[int | None]) -> ReceptiveField | None:
        """What one unit of a tensor sees; None if that is unknown.

        Args:
            value: a tensor of the run.
            at: the unit's index along every axis of it, the batch too; None for all units along an axis together.

        Raises:
            ShapeError: there is no such unit.
        """
        fits = len(at) == len(value.shape) and all(
            i is None or 0 <= i < n for i, n in zip(at, value.shape, strict=True)
        )
        if not fits:
            size = " x ".join(map(str, value.shape))
            raise ShapeError(f"A unit of {size} has {len(value.shape)} indices within it, or None for all; got {at}.")
        if self.is_unknown(value):
            return None
        seen = self._seen.get(value)
        if seen is None:
            none = (None,) * len(self.sizes)
            return ReceptiveField(((),) * len(self.sizes), self.sizes, none, none)
        cells = tuple(tuple(map(int, found)) for found in seen.unit(at))
        beyond: dict[int, tuple[int, int]] = {}
        for n, axis, i in zip(seen.shape, seen.lines, at, strict=True):
            parts = parts_of(n, axis)
            places = () if i is None else np.unravel_index(i, [size for size, _ in parts])
            for (_, line), place in zip(parts, places, strict=False):
                if line:
                    beyond[line.input_axis] = _beyond(line, int(place), self.sizes[line.input_axis])
        axes = range(len(self.sizes))
        return ReceptiveField(cells, self.sizes, self.line(value), tuple(beyond.get(axis) for axis in axes))


def _beyond(line: Line, i: int, size: int) -> tuple[int, int]:
    first = line.field.start + i * line.field.jump
    return max(0, -first), max(0, first + line.field.size - size)
