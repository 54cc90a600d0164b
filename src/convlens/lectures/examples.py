"""All worked examples of the lectures: read, computed with convlens's own functions, and compared.

    from convlens.lectures import examples
    outcome = examples.check_one(examples.find("000-conv-6x6-stride1"))
    outcome.verdict, outcome.wrong

A computed value is never looked up: it is worked out from the inputs of the example, and must be the right one, which
was worked out apart from this program. Where a slide prints another number, the cell must be named as a mistake.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from convlens.errors import ConfigError
from convlens.lectures import convolving, counting, learning, pooling
from convlens.lectures.compare import READINGS, at, covers, differences, exact
from convlens.lectures.layout import short, show_path
from convlens.lectures.record import CellPath, Example, Solve, Working, Workings

AGREES, WRONG, UNPRINTED, FAILS = "agrees", "slide is wrong", "nothing printed", "FAILS"
OPERATIONS: dict[str, Solve] = {
    **convolving.OPERATIONS,
    **pooling.OPERATIONS,
    **counting.OPERATIONS,
    **learning.OPERATIONS,
}


@dataclass(frozen=True)
class Outcome:
    """How an example came out.

    Attributes:
        verdict: `agrees` with the slide; `slide is wrong`, in the cells `wrong` and no others; `nothing printed`, where
            the slide gives no number to compare; `FAILS`.
        computed: what convlens gives.
        wrong: cells of the printed value that are not right.
        why: what failed, in a sentence; empty if nothing did.
    """

    example: Example
    verdict: str
    computed: Any
    wrong: tuple[CellPath, ...] = ()
    why: str = ""


def decks() -> dict[str, str]:
    """Number and title of each deck."""
    return dict(_data()["decks"])


@cache
def load() -> tuple[Example, ...]:
    """Every example, deck by deck."""
    return tuple(Example.from_json(record) for record in _data()["examples"])


def find(id: str) -> Example:
    """The example of an id.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    known = {example.id: example for example in load()}
    if id not in known:
        near = difflib.get_close_matches(id, known, n=1, cutoff=0.6)
        hint = f"Did you mean '{near[0]}'?" if near else f"'convlens examples' lists all {len(known)}."
        raise ConfigError(f"There is no example '{id}'. {hint}")
    return known[id]


def compute(example: Example) -> Any:
    """The answer of an example, worked out from its inputs."""
    return OPERATIONS[example.operation](example, Workings())


def workings(example: Example) -> list[Working]:
    """The results on the way to the answer; each can explain any of its numbers."""
    keep = Workings()
    OPERATIONS[example.operation](example, keep)
    return keep.noted


def check(examples: Iterable[Example] | None = None) -> list[Outcome]:
    """One outcome for each example; of all, if none are given."""
    return [check_one(example) for example in (load() if examples is None else examples)]


def check_one(example: Example) -> Outcome:
    """Compute an example, and compare: computed with right, then printed with right.

    It fails if the computed value is not the right one, if a printed cell is wrong and not named as a mistake, or if
    one is named and not wrong.
    """
    computed = compute(example)
    off = [*differences(example.right, computed, exact), *differences(computed, example.right, exact)]
    if off:
        found, right = _value(computed, off[0]), _value(example.right, off[0])
        return Outcome(example, FAILS, computed, why=f"{show_path(off[0])}: computed {found}, right {right}.")
    named = [cell for mistake in example.mistakes for cell in mistake.cells]
    wrong: tuple[CellPath, ...] = ()
    if example.printed is not None:
        wrong = tuple(differences(example.printed, example.right, READINGS[example.reading]))
    unnamed = [cell for cell in wrong if not any(covers(name, cell) for name in named)]
    right_after_all = [name for name in named if not any(covers(name, cell) for cell in wrong)]
    if unnamed:
        why = f"{show_path(unnamed[0])}: the slide prints {_value(example.printed, unnamed[0])}, right is "
        why += f"{_value(example.right, unnamed[0])}, and it is not named as a mistake."
        return Outcome(example, FAILS, computed, wrong, why)
    if right_after_all:
        why = f"{show_path(right_after_all[0])} is named as a mistake of the slide, and is right."
        return Outcome(example, FAILS, computed, wrong, why)
    if wrong:
        return Outcome(example, WRONG, computed, wrong)
    return Outcome(example, UNPRINTED if example.printed is None else AGREES, computed)


def _value(value: Any, path: CellPath) -> str:
    try:
        return short(at(value, path))
    except (KeyError, IndexError, TypeError):
        return "nothing"


@cache
def _data() -> dict[str, Any]:
    return json.loads(files("convlens.lectures").joinpath("examples.json").read_text(encoding="utf-8"))
