"""Which cells of the input each unit of a tensor sees: exact sets of indices, one axis of the input at a time.

Units of convolutional networks see the same rows whatever their column, and the same columns whatever their row. So a
tensor needs no list of pixels for each unit, only a set of rows and a set of columns, and most of its axes do not
matter for either. Sets are bits in numpy arrays; operations become moves and unions of them. The textbook's size, jump
and start go along for as long as they hold. This file knows nothing of torch and of layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from convlens.explain.lines import Line, Lined, hull, regroup, slide
from convlens.shapes import Field, Window

NOTHING = -1  # in a table of taps: this one reads nothing
BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)  # of each byte
FIRST_BIT, LAST_BIT = BITS.argmax(1), 7 - BITS[:, ::-1].argmax(1)


@dataclass(frozen=True, eq=False)
class Seen:
    """What the units of one tensor see of the input.

    Attributes:
        shape: of the tensor.
        sets: for each spatial axis of the input, packed bits of shape (*dims, bytes). A dim is 1 where the set is the
            same all along that axis of the tensor.
        lines: for each axis of the tensor, its textbook line; None where there is none.
        sizes: of the spatial axes of the input.
    """

    shape: tuple[int, ...]
    sets: tuple[np.ndarray, ...]
    lines: tuple[Lined, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of_input(cls, shape: Sequence[int]) -> Seen:
        """Every cell of an input (N, C, *size) sees itself.

        Example:
            >>> x = Seen.of_input((1, 3, 4, 6))
            >>> [cells.tolist() for cells in x.unit((0, 0, 2, 5))]
            [[2], [5]]
        """
        sizes, sets = tuple(shape[2:]), []
        for axis, n in enumerate(sizes, 2):
            dims = [1] * len(shape)
            dims[axis] = n
            sets.append(np.packbits(np.eye(n, dtype=bool), axis=-1).reshape(*dims, -1))
        lines = (None, None, *(Line(axis, Field(1, 1, 0)) for axis in range(len(sizes))))
        return cls(tuple(shape), tuple(sets), lines[: len(shape)], sizes)

    # moving along one axis ------------------------------------------------------------------------------------------

    def window(self, axis: int, out: int, window: Window) -> Seen:
        """A window slides along an axis: unit i reads i s - p, i s - p + d, ..., as far as they are there."""
        axis %= len(self.shape)
        first = np.arange(out)[:, None] * window.stride - window.padding
        taps = first + np.arange(window.kernel) * window.dilation
        taps[(taps < 0) | (taps >= self.shape[axis])] = NOTHING
        return replace(self.take(axis, taps), lines=self._lines_with(axis, slide(self.lines[axis], window)))

    def take(self, axis: int, taps: np.ndarray) -> Seen:
        """Unit i along an axis reads the units `taps[i]`; the textbook line of the axis ends.

        Args:
            taps: (out, most), filled up with NOTHING.
        """
        axis %= len(self.shape)
        sets = [_gather(cells, axis, taps) if cells.shape[axis] > 1 else cells for cells in self.sets]
        blind = ~(taps >= 0).any(1)
        if sets and blind.any() and all(cells.shape[axis] == 1 for cells in sets):
            dims = [1] * sets[0].ndim
            dims[axis] = len(taps)
            sets[0] = sets[0] * (~blind).astype(np.uint8).reshape(dims)
        shape = (*self.shape[:axis], len(taps), *self.shape[axis + 1 :])
        return Seen(shape, tuple(sets), self._lines_with(axis, None), self.sizes)

    def reduce(self, axes: Sequence[int]) -> Seen:
        """Every unit reads all along some axes, which become 1."""
        at = tuple(axis % len(self.shape) for axis in axes)
        sets = [_slim(_union(cells, at)) for cells in self.agreed().sets]
        shape = tuple(1 if axis in at else n for axis, n in enumerate(self.shape))
        lines = tuple(None if axis in at else line for axis, line in enumerate(self.lines))
        return replace(self, shape=shape, sets=tuple(sets), lines=lines)

    def mix(self, axis: int, out: int, groups: int = 1) -> Seen:
        """Every unit reads its group along an axis of channels, of which `out` come out."""
        axis %= len(self.shape)
        sets = []
        for cells in self.agreed().sets:
            n = cells.shape[axis]
            if n > 1:
                dims = (*cells.shape[:axis], groups, n // groups, *cells.shape[axis + 1 :])
                cells = _union(cells.reshape(dims), (axis + 1,)).squeeze(axis + 1)
                cells = cells if groups == 1 else np.repeat(cells, out // groups, axis)
            sets.append(cells)
        shape = (*self.shape[:axis], out, *self.shape[axis + 1 :])
        return Seen(shape, tuple(sets), self._lines_with(axis, None), self.sizes)

    def crop(self, box: Sequence[slice]) -> Seen:
        """Only the units of a box, given by start, stop and step along each axis."""
        part = self
        for axis, at in enumerate(box):
            found = range(*at.indices(self.shape[axis]))
            if len(found) != self.shape[axis]:
                part = part.window(axis, len(found), Window(1, found.step, -found.start))
        return part

    # the same units, arranged differently ---------------------------------------------------------------------------

    def permute(self, order: Sequence[int]) -> Seen:
        """Axes in another order."""
        order = [axis % len(self.shape) for axis in order]
        sets = tuple(cells.transpose(*order, len(order)) for cells in self.sets)
        return Seen(
            tuple(self.shape[axis] for axis in order), sets, tuple(self.lines[axis] for axis in order), self.sizes
        )

    def reshape(self, shape: Sequence[int]) -> Seen:
        """The same units in the same order, counted along other axes.

        Example:
            >>> flat = Seen.of_input((1, 1, 2, 3)).reshape((1, 6))
            >>> [cells.tolist() for cells in flat.unit((0, 5))]
            [[1], [2]]
        """
        shape, old = tuple(shape), self.agreed()
        blocks = _blocks(self.shape, shape)
        sets = []
        for cells in old.sets:
            full: list[int] = []
            after: list[int] = []
            for before, behind in blocks:
                alike = all(cells.shape[axis] == 1 for axis in before)
                full += [1 if alike else self.shape[axis] for axis in before]
                after += [1 if alike else shape[axis] for axis in behind]
            sets.append(np.broadcast_to(cells, (*full, cells.shape[-1])).reshape(*after, cells.shape[-1]))
        lines = list[Lined]()
        for before, behind in blocks:
            mine, size = [self.lines[axis] for axis in before], [self.shape[axis] for axis in before]
            lines += regroup(mine, size, [shape[axis] for axis in behind])
        return Seen(shape, tuple(sets), tuple(lines), self.sizes)

    def expand(self, shape: Sequence[int]) -> Seen:
        """Axes in front, and axes of 1 repeated."""
        new = len(shape) - len(self.shape)
        sets = tuple(cells.reshape((1,) * new + cells.shape) for cells in self.sets)
        kept = (line if n == m else None for line, n, m in zip(self.lines, self.shape, shape[new:], strict=True))
        return Seen(tuple(shape), sets, ((None,) * new + tuple(kept)), self.sizes)

    # several tensors ------------------------------------------------------------------------------------------------

    @classmethod
    def join(cls, parts: Sequence[Seen], shape: Sequence[int]) -> Seen:
        """A unit reads the unit of the same place in each part: an addition, a product."""
        wide = [part.agreed().expand(shape) for part in parts]
        if len(wide) == 1:
            return wide[0]
        columns = zip(*(part.sets for part in wide), strict=True)
        sets = tuple(column[0] if all(c is column[0] for c in column) else _or(column) for column in columns)
        lines = tuple(hull(lines) for lines in zip(*(part.lines for part in wide), strict=True))
        return cls(tuple(shape), sets, lines, wide[0].sizes)

    @classmethod
    def cat(cls, parts: Sequence[Seen | None], lengths: Sequence[int], axis: int, shape: Sequence[int]) -> Seen:
        """Parts one behind the other along an axis; None is a part that does not see the input."""
        known = [part.agreed() for part in parts if part is not None]
        axis %= len(shape)
        sets = []
        for number, some in enumerate(known[0].sets):
            arrays = [None if part is None else part.agreed().sets[number] for part in parts]
            if all(
                a is not None and a.shape == some.shape and a.shape[axis] == 1 and (a == some).all() for a in arrays
            ):
                sets.append(some)
                continue
            dims = list(np.broadcast_shapes(*(_without(a.shape, axis) for a in arrays if a is not None)))
            whole = np.zeros((*dims[:axis], shape[axis], *dims[axis:], some.shape[-1]), np.uint8)
            at = 0
            for array, n in zip(arrays, lengths, strict=True):
                if array is not None:
                    whole[(slice(None),) * axis + (slice(at, at + n),)] = array
                at += n
            sets.append(whole)
        lines = [hull(lines) for lines in zip(*(part.lines for part in known), strict=True)]
        lines[axis] = None
        return cls(tuple(shape), tuple(sets), tuple(lines), known[0].sizes)

    def overwrite(self, other: Seen | None, box: Sequence[slice]) -> Seen:
        """A box of the units, as large as `other`, is written over with it; None does not see the input.

        Args:
            box: start, stop and step along each axis.
        """
        bounded = [part.indices(n) != (0, n, 1) for part, n in zip(box, self.shape, strict=True)]
        new = (None,) * len(self.sets) if other is None else other.agreed().sets
        sets = []
        for cells, above in zip(self.agreed().sets, new, strict=True):
            wide = cells.shape[:-1] if above is None else map(max, cells.shape[:-1], above.shape[:-1])
            dims = [n if limited or m > 1 else 1 for n, limited, m in zip(self.shape, bounded, wide, strict=True)]
            whole = np.broadcast_to(cells, (*dims, cells.shape[-1])).copy()
            whole[tuple(box)] = 0 if above is None else above
            sets.append(whole)
        return replace(self, sets=tuple(sets), lines=(None,) * len(self.shape))

    def blank(self, shape: Sequence[int]) -> Seen:
        """A tensor that sees nothing of the same input."""
        sets = tuple(np.zeros((1,) * len(shape) + cells.shape[-1:], np.uint8) for cells in self.sets)
        return Seen(tuple(shape), sets, (None,) * len(shape), self.sizes)

    # reading --------------------------------------------------------------------------------------------------------

    def agreed(self) -> Seen:
        """The same, with units that see nothing along one axis of the input seeing nothing along the others."""
        some = [cells.any(-1, keepdims=True) for cells in self.sets]
        if all(flags.all() for flags in some):
            return self
        both = some[0]
        for flags in some[1:]:
            both = both & flags
        return replace(self, sets=tuple(np.where(both, cells, np.uint8(0)) for cells in self.sets))

    def unit(self, at: Sequence[int | None]) -> list[np.ndarray]:
        """The indices one unit sees along each axis of the input.

        Args:
            at: its index along every axis of the tensor; None for all units along one.
        """
        found = []
        for cells, n in zip(self.agreed().sets, self.sizes, strict=True):
            index = tuple(
                slice(None) if i is None else 0 if wide == 1 else i
                for i, wide in zip(at, cells.shape[:-1], strict=True)
            )
            bits = np.unpackbits(cells[index].reshape(-1, cells.shape[-1]), axis=-1, count=n)
            found.append(np.flatnonzero(bits.any(0)))
        return found

    def all_units(self) -> list[np.ndarray]:
        """For each axis of the input, whether a unit sees a cell: (*shape, cells)."""
        pairs = zip(self.agreed().sets, self.sizes, strict=True)
        return [np.broadcast_to(np.unpackbits(c, -1, n), (*self.shape, n)).astype(bool) for c, n in pairs]

    def extent(self) -> tuple[int, ...]:
        """From the first to the last cell a unit sees along each axis of the input, for the unit that sees farthest."""
        widest = []
        for cells in self.agreed().sets:
            flat = cells.reshape(-1, cells.shape[-1])
            flat = flat[flat.any(1)]
            lit, rows = flat != 0, np.arange(len(flat))
            first, last = lit.argmax(1), lit.shape[1] - 1 - lit[:, ::-1].argmax(1)
            starts = 8 * first + FIRST_BIT[flat[rows, first]]
            ends = 8 * last + LAST_BIT[flat[rows, last]]
            widest.append(int((ends - starts + 1).max(initial=0)))
        return tuple(widest)

    def _lines_with(self, axis: int, line: Lined) -> tuple[Lined, ...]:
        return (*self.lines[:axis], line, *self.lines[axis + 1 :])


def _or(arrays: Sequence[np.ndarray]) -> np.ndarray:
    *_, last = accumulate(arrays, np.bitwise_or)
    return last


def _union(cells: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    wide = tuple(axis for axis in axes if cells.shape[axis] > 1)
    return np.bitwise_or.reduce(cells, axis=wide, keepdims=True) if wide else cells


def _slim(cells: np.ndarray) -> np.ndarray:
    """The same sets, with a dim of 1 where they do not change along an axis."""
    for axis in range(cells.ndim - 1):
        first = cells.take([0], axis)
        if cells.shape[axis] > 1 and (cells == first).all():
            cells = first
    return cells


def _gather(cells: np.ndarray, axis: int, taps: np.ndarray) -> np.ndarray:
    """Union over the columns of `taps` of the units they name."""
    dims = [1] * cells.ndim
    dims[axis] = len(taps)
    total: Any = None
    for column in taps.T:
        part = np.take(cells, np.maximum(column, 0), axis)
        if (column < 0).any():
            part *= (column >= 0).astype(np.uint8).reshape(dims)
        total = part if total is None else np.bitwise_or(total, part, out=total)
    return total


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """The dims of a set without one axis and without the bytes."""
    return (*shape[:axis], *shape[axis + 1 : -1])


def _blocks(a: Sequence[int], b: Sequence[int]) -> list[tuple[range, range]]:
    """Neighbouring axes of two shapes of the same volume, cut into blocks of equal volume.

    Example:
        >>> _blocks((2, 3, 4), (6, 2, 2))
        [(range(0, 2), range(0, 1)), (range(2, 3), range(1, 3))]
    """
    if math.prod(a) != math.prod(b) or 0 in a:
        raise ValueError(f"{tuple(a)} cannot be counted along {tuple(b)}")
    blocks, i, j = [], 0, 0
    while i < len(a) or j < len(b):
        m, n = i + (i < len(a)), j + (j < len(b))
        while math.prod(a[i:m]) != math.prod(b[j:n]):
            if n == len(b) or (m < len(a) and math.prod(a[i:m]) < math.prod(b[j:n])):
                m += 1
            else:
                n += 1
        blocks.append((range(i, m), range(j, n)))
        i, j = m, n
    return blocks
