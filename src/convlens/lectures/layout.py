"""Traces and values as text that lines up, and as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from convlens.errors import ConfigError, ShapeError
from convlens.lectures.record import CellPath, Working
from convlens.reference import Trace
from convlens.reference.result import locate
from convlens.reference.trace import place, show

MOST_NUMBERS = 400
ROUNDED = "Shown to "  # how a trace begins to say that digits are left out
WIDTH = 100
MOST_SHORT = 6
LONG = 1e6


def grid(values: Any) -> list[str]:
    """A matrix, or a vector as one row, as lines that line up; planes of more axes one below the other.

    Example:
        >>> print(*grid([[1, -10], [0.5, 2]]), sep="\\n")
          1 -10
        0.5   2
    """
    array = np.asarray(values)
    if array.ndim > 2:
        planes = [grid(plane) for plane in array]
        return [line for number, plane in enumerate(planes) for line in ([""] if number else []) + plane]
    cells = [[show(value) for value in row] for row in np.atleast_2d(array).tolist()]
    width = max((len(cell) for row in cells for cell in row), default=0)
    return [" ".join(cell.rjust(width) for cell in row) for row in cells]


def explained(working: Working, out: Sequence[int] | None = None) -> str:
    """How the numbers of a result came about, one after the other; or the one at `out`, term by term.

    Example:
        >>> from convlens.reference import conv2d
        >>> print(explained(Working("conv2d", "", conv2d([[1, 2, 3]], [[1, -1]]))))
        conv2d gives
          -1 -1
        <BLANKLINE>
        y[i, j] = sum over a, b of weight[a, b] * x[i + a, j + b]
        <BLANKLINE>
        result[0, 0]
          1 2  *   1 -1  =   1 -2
          1 - 2 = -1
        <BLANKLINE>
        result[0, 1]
          2 3  *   1 -1  =   2 -3
          2 - 3 = -1

    Raises:
        ConfigError: the result has too many numbers to explain them all.
        ShapeError: there is no number at `out`.
    """
    result = working.result
    head = [f"{working.operation}{f', {working.label}' if working.label else ''} gives"]
    head += indented(grid(result.value))
    if out is not None:
        return "\n".join([*head, "", str(result.trace(out))])
    made = traces(working)
    equations = list(dict.fromkeys(trace.equation for trace in made))
    common = equations if len(equations) == 1 else []
    blocks = [brief(trace, equation=not common) for trace in made]
    if any(ROUNDED in str(trace) for trace in made):
        blocks.append("Shown to 6 digits.")
    return "\n\n".join(["\n".join(head), *common, *blocks])


def having(workings: Sequence[Working], out: Sequence[int] | None) -> list[Working]:
    """Those results that have a number at `out`; all, if none is asked for.

    Raises:
        ShapeError: none has.
    """
    if out is None:
        return list(workings)
    found: list[Working] = []
    missing: ShapeError | None = None
    for working in workings:
        try:
            locate(working.result.shape, out)
        except ShapeError as error:
            missing = missing or error
        else:
            found.append(working)
    if missing is not None and not found:
        raise missing
    return found


def traces(working: Working) -> list[Trace]:
    """The trace of each number of a result.

    Raises:
        ConfigError: there are more than 400.
    """
    size = working.result.value.size
    if size > MOST_NUMBERS:
        last = ",".join(str(side - 1) for side in working.result.shape)
        raise ConfigError(
            f"{working.operation} gives {size:,} numbers here, too many to explain one by one (at most "
            f"{MOST_NUMBERS}). Choose one with --out, up to {last}."
        )
    return [working.result.trace(at) for at in np.ndindex(working.result.shape)]


def brief(trace: Trace, *, equation: bool = False) -> str:
    """One number of a result: window, kernel, products and their sum; or what the trace has, without empty lines."""
    _, *blocks = str(trace).split("\n\n")
    lines = [place("result", trace.out), *([f"  {trace.equation}"] if equation else [])]
    blocks = [block for block in blocks if ROUNDED not in block]
    if trace.window is None or trace.window.ndim < 2:
        return "\n".join([*lines, *(line for block in blocks for line in block.splitlines())])
    planes = math.prod(trace.window.shape[:-2])
    for block in blocks[:planes]:
        lines += block.splitlines()
    products = [term.product for term in trace.terms] + [value for name, value in trace.steps if "bias" in name]
    lines += _wrapped(f"{_sum(products)} = {show(trace.result)}")
    return "\n".join(lines)


def to_json(working: Working, out: Sequence[int] | None = None) -> dict[str, Any]:
    """A result and its traces as plain JSON values."""
    shown = traces(working) if out is None else [working.result.trace(out)]
    return {
        "operation": working.operation,
        "label": working.label,
        "result": plain(working.result.value.tolist()),
        "traces": [trace.to_json() for trace in shown],
    }


def plain(value: Any) -> Any:
    """A value in which numbers that JSON lacks are words.

    Example:
        >>> plain({"a": [1.5, float("nan")]})
        {'a': [1.5, 'nan']}
    """
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def value_lines(value: Any) -> list[str]:
    """A value of a worked example, whatever it is, as lines.

    Example:
        >>> print(*value_lines({"map": [[1, 2], [3, 4]], "total": 62006}), sep="\\n")
        map
          1 2
          3 4
        total  62,006
    """
    if isinstance(value, dict):
        lines = []
        for name, each in value.items():
            below = value_lines(each)
            one_line = len(below) == 1 and not isinstance(each, dict)
            lines += [f"{name}  {below[0]}"] if one_line else [str(name), *indented(below)]
        return lines
    if isinstance(value, list):
        return _list_lines(value)
    return [f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else word(value)]


def indented(lines: Iterable[str]) -> list[str]:
    """Lines two places to the right; empty ones stay empty."""
    return [f"  {line}" if line else "" for line in lines]


def word(value: Any) -> str:
    """A single value.

    Example:
        >>> word(0.1 + 0.2), word(True), word("same")
        ('0.3', 'yes', 'same')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return show(value) if isinstance(value, int | float) else str(value)


def short(value: Any) -> str:
    """A value in a few characters: a number, a few numbers, or how many there are.

    Example:
        >>> short([3, 3, 2, 2]), short([[1, 2, 3], [4, 5, 6]]), short(1024000000), short(7 / 9), short({"map": [4]})
        ('[3, 3, 2, 2]', '2 x 3', '1,024,000,000', '0.7778', '[4]')
    """
    if isinstance(value, dict):
        return short(next(iter(value.values())))
    if isinstance(value, list):
        if len(value) > MOST_SHORT or any(isinstance(each, list | dict) for each in value):
            return _count(value)
        return f"[{', '.join(short(each) for each in value)}]"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < LONG else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else word(value)


def show_path(path: CellPath) -> str:
    """Where in a value, for reading.

    Example:
        >>> show_path(("map", 1, 0)), show_path((3, 3)), show_path(("layer",)), show_path(())
        ('map [1, 0]', '[3, 3]', 'layer', 'the result')
    """
    words = [step for step in path if isinstance(step, str)]
    numbers = [str(step) for step in path if isinstance(step, int)]
    return " ".join([*words, *([f"[{', '.join(numbers)}]"] if numbers else [])]) or "the result"


def _count(values: list[Any]) -> str:
    shape = np.array(values, dtype=object).shape
    if len(shape) > 1:
        return " x ".join(str(side) for side in shape)
    return f"{len(values)} {'numbers' if all(isinstance(each, int | float) for each in values) else 'parts'}"


def _list_lines(values: list[Any]) -> list[str]:
    if values and all(isinstance(each, list) for each in values):
        try:
            array = np.array(values)
        except ValueError:
            array = np.array(["ragged"])
        if array.dtype.kind in "buif" and array.ndim > 1:
            return grid(values)
        return [line for each in values for line in _list_lines(each)]
    if any(isinstance(each, dict) for each in values):
        return [", ".join(f"{key} {word(item)}" for key, item in each.items()) for each in values]
    return [", ".join(word(each) for each in values)]


def _sum(products: Sequence[int | float]) -> str:
    first, *rest = products
    return " ".join([show(first), *(f"{'-' if value < 0 else '+'} {show(abs(value))}" for value in rest)])


def _wrapped(text: str) -> list[str]:
    lines, line = [], " "
    for part in text.split(" "):
        if len(line) + len(part) >= WIDTH:
            lines.append(line)
            line = "   "
        line += f" {part}"
    return [*lines, line]
