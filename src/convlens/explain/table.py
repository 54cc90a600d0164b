"""An anatomy as text: a table that fits the width there is, and the sums below it. It draws and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convlens.explain.rows import Row, Totals

if TYPE_CHECKING:
    from convlens.explain.anatomy import Anatomy

GAP = "  "
HEADS = ("layer", "kind", "output", "size", "parameters", "MACs", "memory", "field / jump")
SIZE, MEMORY = 3, 6  # what gives way where there is no room: the one to a line of its own, the other to the sum
COLUMNS = ((0, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 4, 5, 6, 7), (0, 1, 2, 4, 5, 7))
NAME, KIND = 0, 1  # are cut where nothing else helps
SMALLEST = 10
INDENT = 14  # of the sums behind their names


def table(anatomy: Anatomy, width: int | None = None) -> list[tuple[str, str]]:
    """Lines of text, each with what it is: `head`, `row`, `note` or `sum`.

    Args:
        width: in characters, 80 or more; None for as many as it takes.
    """
    cells = [HEADS, *(_cells(row, anatomy.input_shape) for row in anatomy.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    columns = next((shown for shown in COLUMNS if width is None or _total(widths, shown) <= width), COLUMNS[-1])
    while width and _total(widths, columns) > width:
        longer = max(NAME, KIND, key=lambda i: widths[i])
        if widths[longer] <= SMALLEST:
            break
        widths[longer] -= 1
    output = _times(anatomy.output_shape) or "no tensor"
    lines = [("sum", f"{anatomy.name}, input {_times(anatomy.input_shape)}, output {output}"), ("sum", "")]
    for row in cells:
        lines.append(("head" if row is HEADS else "row", _line(row, widths, columns)))
        if SIZE not in columns and row is not HEADS and row[SIZE]:
            lines += [("note", part) for part in _folded(row[SIZE], width, first=4, then=4)]
    lines.append(("sum", ""))
    for label, text in _sums(anatomy.totals):
        first, *rest = _folded(text, width, first=INDENT, then=INDENT)
        lines += [("sum", f"{label:{INDENT}}{first[INDENT:]}"), *(("sum", line) for line in rest)]
    return lines


def _total(widths: Sequence[int], columns: Sequence[int]) -> int:
    return sum(widths[i] for i in columns) + len(GAP) * (len(columns) - 1)


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


def _sums(totals: Totals) -> list[tuple[str, str]]:
    learnt = f"{totals.trainable + totals.frozen:,}: {totals.trainable:,} trainable, {totals.frozen:,} frozen"
    macs = f"{totals.macs:,} multiply-accumulates ({short(totals.macs).strip()})"
    memory = f"{short(totals.activation_bytes)}B of activations for one image, {short(totals.weight_bytes)}B of weights"
    sums = [
        ("parameters", f"{learnt}; and {totals.buffers:,} numbers in buffers"),
        ("MACs", f"{macs}; FLOPs = 2 x MACs = {totals.flops:,}"),
        ("elementwise", f"{totals.elementwise:,} other operations: biases, normalisation, activations, pooling"),
        ("memory", memory),
        (
            "field / jump",
            "pixels a unit sees from side to side / between neighbours, by the textbook; 'up to': exactly, at most",
        ),
    ]
    if totals.unused:
        sums.insert(1, ("", f"{totals.unused:,} of them take no part"))
    if totals.unknown:
        sums.append(("unknown", f"{', '.join(totals.unknown)}: in no sum"))
    return sums


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


def _line(row: Sequence[str], widths: Sequence[int], columns: Sequence[int]) -> str:
    parts = []
    for i in columns:
        text, width = row[i], widths[i]
        if len(text) > width:  # of a path the end says most, of a class the beginning
            text = f"…{text[len(text) - width + 1 :]}" if i == NAME else f"{text[: width - 1]}…"
        parts.append(text.ljust(width) if i <= SIZE else text.rjust(width))
    return GAP.join(parts).rstrip()


def _folded(text: str, width: int | None, first: int, then: int) -> list[str]:
    """A text in lines that fit, indented."""
    if width is None:
        return [" " * first + text]
    lines, line = [], " " * first
    for word in text.split():
        if line.strip() and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = " " * then
        line += word if not line.strip() else f" {word}"
    return [*lines, line]


def _times(numbers: Sequence[int], sign: str = " x ") -> str:
    return sign.join(map(str, numbers))
