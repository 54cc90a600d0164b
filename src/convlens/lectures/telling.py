"""Outcomes of the worked examples, told to a reader or to a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from convlens.lectures.compare import at
from convlens.lectures.examples import FAILS, UNPRINTED, WRONG, Outcome, decks, workings
from convlens.lectures.layout import indented, plain, short, show_path, value_lines
from convlens.lectures.record import CellPath, Example, Mistake

KINDS = {
    "printed": "The deck prints input and result.",
    "input printed": "The deck prints the input; its result is lost, or was left open.",
    "result printed": "The deck prints the result; its input was a picture.",
    "formula printed": "The deck prints a formula or a count; the numbers put into it are ours where it has none.",
    "named only": "The deck names it; the numbers are ours.",
}
CAUSES = {
    "slide": "mistake of the slide",
    "reading": "the slide's text was read wrong",
    "slide or reading": "of the slide, or its text was read wrong",
}


def row(outcome: Outcome) -> tuple[str, str, str, str, str]:
    """One line of the list: id, title, what is printed, what is computed, verdict."""
    example, verdict = outcome.example, outcome.verdict
    where: CellPath = outcome.wrong[0] if outcome.wrong else ()
    if not where and isinstance(example.printed, dict):
        where = (next(iter(example.printed)),)
    printed = "" if example.printed is None else short(at(example.printed, where))
    computed = short(at(outcome.computed, where))
    if verdict == WRONG:
        cells, more = show_path(tuple(outcome.wrong[0])), len(outcome.wrong) - 1
        verdict = f"{WRONG}: {cells}{f' and {more} more' if more else ''}"
    elif verdict == FAILS:
        verdict = f"{FAILS}: {outcome.why}"
    return example.id, example.title, printed, computed, verdict


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many came out right, in one line.

    Example:
        >>> summary([])
        '0 of 0 come out right; 0 slides are wrong, and named; 0 print nothing to compare.'
    """
    passed = [outcome for outcome in outcomes if outcome.verdict != FAILS]
    wrong = sum(outcome.verdict == WRONG for outcome in outcomes)
    silent = sum(outcome.verdict == UNPRINTED for outcome in outcomes)
    return (
        f"{len(passed)} of {len(outcomes)} come out right; {wrong} slides are wrong, and named; "
        f"{silent} print nothing to compare."
    )


def in_full(outcome: Outcome) -> str:
    """Everything about one example: the numbers of the slide, ours, what is wrong and why, and how to go on."""
    example = outcome.example
    blocks = [[f"{example.id}: {example.title}", f"Deck {example.deck}, lines {example.lines}: {_deck(example)}"]]
    blocks[0].append(KINDS[example.kind])
    if example.inputs:
        blocks.append(value_lines(example.inputs))
    if example.parameters:
        blocks.append(value_lines(example.parameters))
    if example.printed is not None:
        blocks.append(["printed", *indented(value_lines(example.printed))])
    blocks.append(["computed", *indented(value_lines(outcome.computed))])
    verdict = [outcome.verdict if not outcome.why else f"{outcome.verdict}: {outcome.why}"]
    for mistake in example.mistakes if outcome.verdict != FAILS else ():
        wrong = corrected(example, mistake)
        reason = f"{mistake.why} ({CAUSES[mistake.cause]})"
        verdict.append(f"  {wrong.where}: printed {wrong.printed}; right {wrong.right}. {reason}")
    if example.reading != "exact" and example.printed is not None:
        verdict.append(f"  The printed numbers are read as {example.reading}.")
    blocks.append(verdict)
    if example.note:
        blocks.append([example.note])
    operations = dict.fromkeys(working.operation for working in workings(example))
    if operations:
        blocks.append([f"convlens explain-op {name} --example {example.id}" for name in operations])
    return "\n\n".join("\n".join(block) for block in blocks)


class Correction(NamedTuple):
    """A mistake in words: the part of the answer and the cells where it stands, what is printed, what is right."""

    part: str
    cells: str
    printed: str
    right: str

    @property
    def where(self) -> str:
        """Part and cells in one."""
        return " ".join(filter(None, (self.part, self.cells))) or "the result"


def corrected(example: Example, mistake: Mistake) -> Correction:
    """Put a mistake in words; cells of one cause are named together.

    Example:
        >>> example = Example("", "", "", "", "", "", right=[1, 2], note="", printed=[1, 3])
        >>> corrected(example, Mistake(cells=((1,),)))
        Correction(part='', cells='[1]', printed='3', right='2')
    """
    if not mistake.cells:
        return Correction(
            f"line{'s' if '-' in mistake.line else ''} {mistake.line}", "", mistake.printed, mistake.right
        )
    printed, right = ([_few(at(value, cell)) for cell in mistake.cells] for value in (example.printed, example.right))
    parts = dict.fromkeys(str(cell[0]) for cell in mistake.cells if cell and isinstance(cell[0], str))
    indices = [tuple(step for step in cell if isinstance(step, int)) for cell in mistake.cells]
    cells = ", ".join(show_path(index) for index in indices if index)
    return Correction(", ".join(parts), cells, _together(printed), _together(right))


def to_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain JSON values."""
    example = outcome.example
    return {
        "id": example.id,
        "title": example.title,
        "deck": example.deck,
        "lines": example.lines,
        "kind": example.kind,
        "inputs": example.inputs,
        "parameters": example.parameters,
        "printed": plain(example.printed),
        "computed": plain(outcome.computed),
        "right": plain(example.right),
        "verdict": outcome.verdict,
        "why": outcome.why,
        "wrong": [list(cell) for cell in outcome.wrong],
        "note": example.note,
    }


def _deck(example: Example) -> str:
    return decks()[example.deck]


def _few(value: Any) -> str:
    return f"{len(value)} rows" if isinstance(value, list) and value and isinstance(value[0], list) else short(value)


def _together(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else ", ".join(values)
