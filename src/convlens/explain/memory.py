"""How tensors that share memory lie in it, as boxes of the one of them with the most axes, the base.

Needed for changes in place: what is written through one view is read through others. Whole numbers only, no torch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Layout(NamedTuple):
    """Where a tensor lies: cell (i, j, ...) at offset + i * stride[0] + j * stride[1] + ..."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: Any = None

    @property
    def dense(self) -> bool:
        """Without gaps, the last axis closest."""
        axes = [(n, stride) for n, stride in zip(self.shape, self.stride, strict=True) if n > 1]
        return all(stride == math.prod(n for n, _ in axes[i + 1 :]) for i, (_, stride) in enumerate(axes))

    @property
    def size(self) -> tuple[int, int]:
        """Cells and axes: the larger, the better a base."""
        return math.prod(self.shape), sum(n > 1 for n in self.shape)


class Placed(NamedTuple):
    """A view as a box of its base.

    Attributes:
        box: the part of each axis of the base that it covers.
        order: the axes of the base in the order in which the view has them, then those it does not have.
    """

    box: tuple[range, ...]
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the box, with the axes of the base."""
        return tuple(len(part) for part in self.box)

    @property
    def ordered(self) -> tuple[int, ...]:
        """The same with the axes in the view's order."""
        return tuple(len(self.box[axis]) for axis in self.order)

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(part.start, part.stop, part.step) for part in self.box)


def place(view: Layout, base: Layout) -> Placed | None:
    """Where a view lies in its base, if it is a box of it, its axes in any order or some of them merged; else None.

    Example:
        >>> base = Layout(0, (4, 6), (6, 1))
        >>> place(Layout(7, (3, 2), (6, 2)), base)  # base[1:, 1:4:2]
        Placed(box=(range(1, 4), range(1, 4, 2)), order=(0, 1))
        >>> place(Layout(0, (24,), (1,)), base).shape, place(Layout(0, (3, 8), (8, 1)), base)
        ((4, 6), None)
    """
    wide = sorted((axis for axis, n in enumerate(base.shape) if n > 1), key=lambda axis: -base.stride[axis])
    left, starts = view.offset - base.offset, [0] * len(base.shape)
    if left < 0 or any(base.stride[axis] < 1 for axis in wide):
        return None
    for axis in wide:
        starts[axis] = min(left // base.stride[axis], base.shape[axis] - 1)
        left -= starts[axis] * base.stride[axis]
    counts, steps, order = [1] * len(base.shape), [1] * len(base.shape), list[int]()
    for n, stride in _unmerged(view, base):
        fits = (a for a in wide if a not in order and stride >= base.stride[a] and stride % base.stride[a] == 0)
        axis = next(fits, None)
        if axis is None:
            return None
        counts[axis], steps[axis] = n, stride // base.stride[axis]
        order.append(axis)
    ends = [start + step * (count - 1) + 1 for start, step, count in zip(starts, steps, counts, strict=True)]
    if left or any(end > n for end, n in zip(ends, base.shape, strict=True)):
        return None
    box = tuple(map(range, starts, ends, steps))
    return Placed(box, (*order, *(axis for axis in range(len(base.shape)) if axis not in order)))


def common(a: Placed, b: Placed) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """What two boxes have in common, as a part of the one and of the other; None if that is nothing.

    Example:
        >>> base = Layout(0, (4, 6), (6, 1))
        >>> left, right = place(Layout(0, (4, 4), (6, 1)), base), place(Layout(2, (4, 4), (6, 1)), base)
        >>> common(left, right)
        ((slice(0, 4, 1), slice(2, 4, 1)), (slice(0, 4, 1), slice(0, 2, 1)))
    """
    parts = []
    for p, q in zip(a.box, b.box, strict=True):
        both = sorted(set(p) & set(q))
        if not both:
            return None
        parts.append([_part(both, of) for of in (p, q)])
    first, second = zip(*parts, strict=True)
    return tuple(first), tuple(second)


def _unmerged(view: Layout, base: Layout) -> list[tuple[int, int]]:
    """Size and stride of the view's axes, those cut in two that run over several of the base's."""
    axes = []
    for n, stride in zip(view.shape, view.stride, strict=True):
        inner = list[tuple[int, int]]()
        while n > 1:
            same = [m for m, s in zip(base.shape, base.stride, strict=True) if s == stride and 1 < m < n]
            m = same[0] if same and n % same[0] == 0 else n
            inner.insert(0, (m, stride))
            n, stride = n // m, stride * m
        axes += inner
    return axes


def _part(cells: list[int], of: range) -> slice:
    """Some equally spaced cells of a range, by their numbers in it."""
    first, last = of.index(cells[0]), of.index(cells[-1])
    return slice(first, last + 1, (last - first) // (len(cells) - 1) if len(cells) > 1 else 1)
