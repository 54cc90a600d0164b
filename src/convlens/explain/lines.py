"""The textbook's line: unit i of an axis sees so many cells of the input, from `start + i * jump` on.

It holds where all units see alike, as after convolutions, poolings and their joints, and goes on through axes that
change places or are counted as one. This file knows windows and joints, nothing of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from convlens.shapes import Field, Window, effective_kernel


class Line(NamedTuple):
    """What the units along one axis of a tensor see of one axis of the input."""

    input_axis: int
    field: Field


class Merged(NamedTuple):
    """The lines of several axes counted as one, the last of them fastest, each with its size."""

    parts: tuple[tuple[int, Line | None], ...]


Lined = Line | Merged | None


def parts_of(n: int, line: Lined) -> tuple[tuple[int, Line | None], ...]:
    """The lines an axis of size n is counted by, each with its size."""
    return line.parts if isinstance(line, Merged) else ((n, line),)


def slide(line: Lined, window: Window) -> Line | None:
    """The line behind a window: size + (k - 1) d jump, jump * s, start - p jump.

    Example:
        >>> slide(Line(0, Field(6, 2, -2)), Window(kernel=5, stride=2, padding=1))
        Line(input_axis=0, field=Field(size=14, jump=4, start=-4))
    """
    if not isinstance(line, Line):
        return None
    size, jump, start = line.field
    reach = effective_kernel(window.kernel, window.dilation) - 1
    return Line(line.input_axis, Field(size + reach * jump, jump * window.stride, start - window.padding * jump))


def hull(lines: Sequence[Lined]) -> Lined:
    """The line of a joint: the smallest that covers all, if they advance alike.

    Example:
        >>> hull([Line(0, Field(3, 1, -1)), Line(0, Field(3, 1, 0))])
        Line(input_axis=0, field=Field(size=4, jump=1, start=-1))
        >>> hull([Line(0, Field(3, 1, -1)), Line(0, Field(3, 2, 0))]) is None
        True
    """
    merged = [line.parts for line in lines if isinstance(line, Merged)]
    if merged:
        sizes = [n for n, _ in merged[0]]
        if len(merged) < len(lines) or any([n for n, _ in parts] != sizes for parts in merged):
            return None
        joints = [hull([line for _, line in column]) for column in zip(*merged, strict=True)]
        return Merged(tuple((n, line) for n, line in zip(sizes, joints, strict=True) if not isinstance(line, Merged)))
    known = [line for line in lines if isinstance(line, Line)]
    if len(known) < len(lines) or len({(line.input_axis, line.field.jump) for line in known}) > 1:
        return None
    start = min(line.field.start for line in known)
    end = max(line.field.start + line.field.size for line in known)
    return Line(known[0].input_axis, Field(end - start, known[0].field.jump, start))


def regroup(lines: Sequence[Lined], sizes: Sequence[int], into: Sequence[int]) -> list[Lined]:
    """The lines of some axes that are counted along others, as far as none is cut in two.

    Example:
        >>> rows, columns = Line(0, Field(1, 1, 0)), Line(1, Field(1, 1, 0))
        >>> regroup(regroup([rows, columns], (4, 6), (24,)), (24,), (4, 6)) == [rows, columns]
        True
        >>> regroup([rows, columns], (4, 6), (3, 8))
        [None, None]
    """
    parts = [part for n, line in zip(sizes, lines, strict=True) for part in parts_of(n, line) if part[0] > 1]
    found = list[Lined]()
    for size in into:
        mine = list[tuple[int, Line | None]]()
        while parts and math.prod(n for n, _ in mine) < size:
            mine.append(parts.pop(0))
        if math.prod(n for n, _ in mine) != size:
            break
        found.append(Merged(tuple(mine)) if len(mine) > 1 else mine[0][1] if mine else None)
    return [*found, *[None] * (len(into) - len(found))]
