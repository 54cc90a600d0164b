"""How one number came about: the equation, every number that was read, what was done to it, and the result.

A trace is data. `str()` lays it out for reading, `to_json()` gives plain values to a page or a program. Traces are made
by the operations of this package only, from the numbers they really used; this file draws them and computes nothing
but products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Number = int | float
DIGITS = 6


@dataclass(frozen=True)
class Term:
    """One number that was read, and what it was multiplied with.

    Attributes:
        index: where in the input it stands; for padding, where it would stand (outside).
        value: the number read.
        weight_index: where in the weights its factor stands; None if it has no factor.
        weight: the factor.
        mark: what is special about it: `padding`, `largest`, `tie`, ...; empty for most.
    """

    index: tuple[int, ...]
    value: Number
    weight_index: tuple[int, ...] | None = None
    weight: Number | None = None
    mark: str = ""

    @property
    def product(self) -> Number:
        """The number times its factor."""
        return self.value if self.weight is None else self.value * self.weight


@dataclass(frozen=True, eq=False)
class Trace:
    """How one number of an operation's result came about.

    Attributes:
        operation: name of the operation, as it is called.
        out: index of the number in the result.
        equation: the formula, with stride, padding and dilation filled in.
        result: the number.
        terms: what was read, in the order of the sum.
        steps: named numbers on the way, in order: sums, the bias, a mean, a root.
        window: the numbers under the kernel, in its shape; None where there is no window.
        kernel: the weights that belong to this output.
        names: what input and weights are called in the equation.

    Example:
        >>> print(Trace("dense", (0,), "y[o] = sum over i of weight[o, i] * x[i] + bias[o]", 14,
        ...             terms=(Term((0,), 3, (0, 0), 2), Term((1,), 7, (0, 1), 1)), steps=(("bias[0]", 1),)))
        dense: result[0]
          y[o] = sum over i of weight[o, i] * x[i] + bias[o]
        <BLANKLINE>
          weight[0, 0] * x[0] = 2 * 3 = 6
          weight[0, 1] * x[1] = 1 * 7 = 7
        <BLANKLINE>
          bias[0] = 1
          result[0] = 14
    """

    operation: str
    out: tuple[int, ...]
    equation: str
    result: Number
    terms: tuple[Term, ...] = ()
    steps: tuple[tuple[str, Number], ...] = ()
    window: np.ndarray | None = None
    kernel: np.ndarray | None = None
    names: tuple[str, str] = ("x", "weight")

    @property
    def products(self) -> np.ndarray | None:
        """Window times kernel, entry by entry."""
        return None if self.window is None or self.kernel is None else self.window * self.kernel

    def __str__(self) -> str:
        result = place("result", self.out)
        blocks = [
            [f"{self.operation}: {result}", f"  {self.equation}"],
            self._grids(),
            [f"  {self._line(term)}" for term in self.terms],
            [f"  {name} = {show(value)}" for name, value in (*self.steps, (result, self.result))],
        ]
        shown = [self.result, *(value for _, value in self.steps), *(term.product for term in self.terms)]
        if any(not _is_shown_exactly(value) for value in shown):
            blocks.append([f"  Shown to {DIGITS} digits; {result} is exactly {self.result!r}."])
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def to_json(self) -> dict[str, Any]:
        """The trace as plain JSON values; numbers that JSON lacks (nan, inf) become text."""
        terms = [
            {
                "index": list(term.index),
                "value": _plain(term.value),
                "weight_index": None if term.weight_index is None else list(term.weight_index),
                "weight": None if term.weight is None else _plain(term.weight),
                "product": _plain(term.product),
                "mark": term.mark,
            }
            for term in self.terms
        ]
        grids = {"window": self.window, "kernel": self.kernel, "products": self.products}
        return {
            "operation": self.operation,
            "out": list(self.out),
            "equation": self.equation,
            "terms": terms,
            **{name: None if grid is None else _plain(grid.tolist()) for name, grid in grids.items()},
            "steps": [{"name": name, "value": _plain(value)} for name, value in self.steps],
            "result": _plain(self.result),
            "names": list(self.names),
        }

    def _line(self, term: Term) -> str:
        where, value = place(self.names[0], term.index), show(term.value)
        if term.weight is not None:
            factor = self.names[1] if term.weight_index is None else place(self.names[1], term.weight_index)
            where, value = f"{factor} * {where}", f"{show(term.weight)} * {value} = {show(term.product)}"
        return f"{where} = {value}" + (f"   ({term.mark})" if term.mark else "")

    def _grids(self) -> list[str]:
        """Window, kernel and products side by side, one block a channel, where they are matrices."""
        if self.window is None or self.kernel is None or self.window.ndim < 2:
            return []
        size = self.window.shape[-2:]
        planes = [grid.reshape(-1, *size) for grid in (self.window, self.kernel, self.window * self.kernel)]
        lines: list[str] = []
        for channel in zip(*planes, strict=True):
            columns = [_right_aligned(grid) for grid in channel]
            middle = (size[0] - 1) // 2
            for row, (left, centre, right) in enumerate(zip(*columns, strict=True)):
                times, equals = ("*", "=") if row == middle else (" ", " ")
                lines.append(f"  {left}  {times}  {centre}  {equals}  {right}")
            lines.append("")
        return lines[:-1]


def place(name: str, index: Sequence[int]) -> str:
    """A name with its index.

    Example:
        >>> place("x", (0, 2)), place("loss", ())
        ('x[0, 2]', 'loss')
    """
    return f"{name}[{', '.join(str(int(i)) for i in index)}]" if len(index) else name


def show(value: Number) -> str:
    """A number for reading: whole numbers in full, others to six digits.

    Example:
        >>> show(1234567), show(2 / 3), show(-0.5)
        ('1234567', '0.666667', '-0.5')
    """
    return str(value) if isinstance(value, int) else f"{value:.{DIGITS}g}"


def _is_shown_exactly(value: Number) -> bool:
    return isinstance(value, int) or not math.isfinite(value) or float(show(value)) == value


def _right_aligned(matrix: np.ndarray) -> list[str]:
    cells = [[show(value) for value in row] for row in matrix.tolist()]
    width = max(len(cell) for row in cells for cell in row)
    return [" ".join(cell.rjust(width) for cell in row) for row in cells]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
