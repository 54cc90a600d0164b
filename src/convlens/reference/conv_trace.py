"""How one number of a convolution came about: which cell met which weight, and what stood beyond the edge.

It reads the numbers of a `Convolution` again, one by one, without the slices that computed it: a second opinion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlens.reference.arguments import position_text
from convlens.reference.padding import ZERO, sources
from convlens.reference.trace import Number, Term, Trace, place

if TYPE_CHECKING:
    from convlens.reference.conv import Convolution

POSITIONS, TAPS = {1: "i", 2: "ij", 3: "tij"}, {1: "a", 2: "ab", 3: "eab"}


def trace_convolution(conv: Convolution, x_axes: int, weight_axes: int, out: tuple[int, ...]) -> Trace:
    """The trace of the output at `out`; indices are shown with as many axes as x and weight were given."""
    dims = len(conv.pads)
    n, o, *at = (0,) * (dims + 2 - len(out)) + out
    filters, depth, *kernel = conv.weight.shape
    first = o // (filters // conv.groups) * depth
    source = [sources(size, *sides, conv.mode) for size, sides in zip(conv.x.shape[2:], conv.pads, strict=True)]

    terms = []
    for c, *tap in np.ndindex(depth, *kernel):
        padded = [i * s + a * d for i, a, s, d in zip(at, tap, *conv.slide[1:], strict=True)]
        here = (n, first + c, *(p - before for p, (before, _) in zip(padded, conv.pads, strict=True)))
        read = (n, first + c, *(int(cells[p]) for p, cells in zip(padded, source, strict=True)))
        value, mark = _read(conv.x, read, here, x_axes)
        weight = conv.weight[o, c, *tap].item()
        terms.append(Term(here[-x_axes:], value, (o, c, *tap)[-weight_axes:], weight, mark))

    shape = conv.weight.shape[1:][-weight_axes:]
    total = sum(term.product for term in terms)
    steps: list[tuple[str, Number]] = [(f"sum of {len(terms)} products", total)]
    if conv.bias is not None:
        steps.append((f"bias[{o}]", conv.bias[o].item()))
    return Trace(
        conv.name,
        out,
        _equation(conv, len(out), x_axes, weight_axes),
        sum(value for _, value in steps),
        tuple(terms),
        tuple(steps),
        window=np.array([term.value for term in terms]).reshape(shape),
        kernel=conv.weight[o].reshape(shape),
    )


def _read(x: np.ndarray, read: tuple[int, ...], here: tuple[int, ...], x_axes: int) -> tuple[Number, str]:
    if ZERO in read[2:]:
        return 0, "padding"
    return x[read].item(), "" if read == here else f"padding, a copy of {place('x', read[-x_axes:])}"


def _equation(conv: Convolution, y_axes: int, x_axes: int, weight_axes: int) -> str:
    dims = len(conv.pads)
    positions, taps = POSITIONS[dims], TAPS[dims]
    befores = [before for before, _ in conv.pads]
    _, stride, dilation = conv.slide
    cells = [position_text(*axis) for axis in zip(positions, stride, taps, dilation, befores, strict=True)]
    y = ", ".join(["n", "o", *positions][-y_axes:])
    x = ", ".join(["n", "c", *cells][-x_axes:])
    weight = ", ".join(["o", "c", *taps][-weight_axes:])
    over = ", ".join([*taps] if weight_axes == dims else ["c", *taps])
    group = f", c in the group of o ({conv.groups} groups)" if conv.groups > 1 else ""
    border = f", {conv.mode} beyond the edge" if any(map(any, conv.pads)) else ""
    bias = (" + bias[o]" if y_axes > dims else " + bias") if conv.bias is not None else ""
    return f"y[{y}] = sum over {over} of weight[{weight}] * x[{x}]{bias}{group}{border}"
