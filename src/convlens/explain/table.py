"""An anatomy as text: a table that fits the width there is, and the sums below it. It draws and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convlens.explain.rows import Row, Totals

if TYPE_CHECKING:
    from convlens.explain.anatomy import Anatomy

GAP = "  "
HEADS = ("layer", "kind", "output", "size", "parameters", "MACs", "memory", "field / jump")
LEFT = 4  # columns of words; the others are numbers
SIZE = 3  # the column that moves to a line of its own where it does not fit
NAMES = (0, 1)  # the columns that are cut where nothing else helps
SMALLEST = 10


def table(anatomy: Anatomy, width: int | None = None) -> list[tuple[str, str]]:
    """Lines of text, each with what it is: `head`, `row`, `note` or `sum`.

    Args:
        width: in characters; None for as many as it takes.
    """
    cells = [_cells(row, anatomy.input_shape) for row in anatomy.rows]
    one_line = width is None or sum(_widths([HEADS, *cells])) + len(GAP) * (len(HEADS) - 1) <= width
    shown = [*range(len(HEADS))] if one_line else [i for i in range(len(HEADS)) if i != SIZE]
    rows = [[line[i] for i in shown] for line in [HEADS, *cells]]
    widths = _fitted(_widths(rows), width)
    left = LEFT - (not one_line)
    output = _times(anatomy.output_shape) or "no tensor"
    lines = [
        ("sum", f"{anatomy.name}, input {_times(anatomy.input_shape)}, output {output}"),
        ("sum", ""),
        ("head", _line(rows[0], widths, left)),
    ]
    for full, row in zip(cells, rows[1:], strict=True):
        lines.append(("row", _line(row, widths, left)))
        if not one_line and full[SIZE]:
            lines += [("note", part) for part in _folded(f"    {full[SIZE]}", width, indent=4)]
    return [*lines, ("sum", ""), *(("sum", part) for text in _sums(anatomy.totals) for part in _folded(text, width))]


def _cells(row: Row, input_shape: Sequence[int]) -> tuple[str, ...]:
    name = f"{row.name} #{row.use}" if row.use > 1 else row.name
    learnt = row.trainable + row.frozen
    parameters = "shared" if row.shared else f"{learnt:,}" if learnt else ""
    return (
        name,
        row.kind,
        _times(row.output_shape[1:], "x") or ("" if row.output_shape else "no tensor"),
        "; ".join(filter(None, (row.formula, row.unread))),
        f"{parameters} frozen" if row.frozen and not row.trainable else parameters,
        "unknown" if row.macs is None else short(row.macs) if row.macs else "",
        f"{short(row.memory_bytes)}B" if row.memory_bytes else "",
        _field(row, input_shape[2:]),
    )


def _field(row: Row, sizes: Sequence[int]) -> str:
    if row.sees is None:
        return "unknown" if row.output_shape else ""
    fields = [field for field in row.fields if field]
    if fields and len(fields) == len(row.fields):
        return f"{_both(field.size for field in fields)} / {_both(field.jump for field in fields)}"
    if row.whole:
        return "whole image"
    return f"up to {_both(row.sees)}" if any(row.sees) else "none" if sizes else ""


def _both(numbers: object) -> str:
    """One number for all axes if they are the same."""
    found = list(dict.fromkeys(numbers_ := list(numbers)))  # type: ignore[call-overload]
    return str(found[0]) if len(found) == 1 else _times(numbers_, "x")


def _sums(totals: Totals) -> list[str]:
    macs = f"{totals.macs:,} multiply-accumulates ({short(totals.macs).strip()})"
    lines = [
        f"parameters   {totals.trainable + totals.frozen:,}: {totals.trainable:,} trainable, {totals.frozen:,} frozen; "
        f"and {totals.buffers:,} numbers in buffers",
        f"MACs         {macs}; FLOPs = 2 x MACs = {totals.flops:,}",
        f"elementwise  {totals.elementwise:,} other operations: biases, normalisation, activations, pooling",
        f"memory       {short(totals.activation_bytes)}B of activations for one image, "
        f"{short(totals.weight_bytes)}B of weights",
        "field/jump   side of what a unit sees of the image / distance between neighbours, in pixels, by the textbook; "
        "'up to': exactly, for the unit that sees farthest",
    ]
    if totals.unused:
        lines.insert(1, f"             {totals.unused:,} of them take no part")
    if totals.unknown:
        lines.append(f"unknown      {', '.join(totals.unknown)}: in no sum")
    return lines


def short(number: int) -> str:
    """Four digits and a letter.

    Example:
        >>> short(156), short(416520), short(1814073344), short(999960)
        ('156 ', '416.5 k', '1.814 G', '1.000 M')
    """
    value, letters = float(number), " kMGT"
    while value >= 999.95 and len(letters) > 1:
        value, letters = value / 1000, letters[1:]
    digits = 3 if value < 9.9995 else 2 if value < 99.995 else 1
    return f"{number} " if letters[0] == " " else f"{value:.{digits}f} {letters[0]}"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _fitted(widths: list[int], width: int | None) -> list[int]:
    """Names are cut, the longer column first, until the table fits."""
    while width and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        widest = max(NAMES, key=lambda i: widths[i])
        if widths[widest] <= SMALLEST:
            break
        widths[widest] -= 1
    return widths


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cell if len(cell) <= width else f"…{cell[len(cell) - width + 1 :]}"
        parts.append(text.ljust(width) if i < left else text.rjust(width))
    return GAP.join(parts).rstrip()


def _folded(text: str, width: int | None, indent: int = 13) -> list[str]:
    """A line in pieces that fit, those after the first indented."""
    pieces, line = [], ""
    for word in text.split(" "):
        if width and line and len(line) + 1 + len(word) > width:
            pieces.append(line)
            line = f"{' ' * indent}{word}"
        else:
            line = f"{line} {word}" if line or pieces else word
    return [*pieces, line]


def _times(numbers: Sequence[int], sign: str = " x ") -> str:
    return sign.join(map(str, numbers))
