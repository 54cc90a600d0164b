"""What the lectures print wrong, all in one list: the cells of the worked examples, and what is only in words.

Cells and the numbers in them come from the examples, which are computed and compared; the rest is written down in
`errata.json`.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import NamedTuple

from convlens.lectures.examples import load
from convlens.lectures.record import Example
from convlens.lectures.telling import Correction, corrected

NUMBERS, FORMULAS, STATEMENTS = "number", "formula", "statement"


class Erratum(NamedTuple):
    """One thing that is printed wrong.

    Attributes:
        kind: `number`, `formula` (also code and words for things), or `statement`.
        cause: `slide`; `reading`, where its text was read wrong; or `slide or reading`.
        example: the id of the worked example that shows it; empty if none does.
    """

    deck: str
    lines: str
    kind: str
    printed: str
    right: str
    why: str
    cause: str
    example: str = ""


def errata() -> list[Erratum]:
    """Everything, in the order of decks and lines."""
    written = json.loads(files("convlens.lectures").joinpath("errata.json").read_text(encoding="utf-8"))
    found = [Erratum(**row) for row in written]
    for example in load():
        for mistake in example.mistakes:
            wrong = corrected(example, mistake)
            found.append(
                Erratum(
                    deck=example.deck,
                    lines=mistake.line or example.lines,
                    kind=NUMBERS if mistake.cells else FORMULAS,
                    printed=_printed(example, wrong) if mistake.cells else wrong.printed,
                    right=wrong.right,
                    why=mistake.why,
                    cause=mistake.cause,
                    example=example.id,
                )
            )
    return sorted(found, key=lambda each: (each.deck, int(each.lines.replace(",", "-").split("-")[0])))


def _printed(example: Example, wrong: Correction) -> str:
    formula = example.parameters.get("formula")
    lead = f"{formula}, which gives " if formula else f"{wrong.part}: " if wrong.part else ""
    return lead + wrong.printed + (f" at {wrong.cells}" if wrong.cells and not formula else "")
