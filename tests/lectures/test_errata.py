"""The list of mistakes: complete, true to the examples, and the page is what the data say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from convlens.lectures.errata import FORMULAS, NUMBERS, STATEMENTS, errata
from convlens.lectures.examples import WRONG, check, decks, load
from convlens.lectures.telling import CAUSES

DOCS = Path(__file__).parents[2] / "docs"


def maker() -> ModuleType:
    """`docs/make_errata.py` as a module."""
    spec = importlib.util.spec_from_file_location("make_errata", DOCS / "make_errata.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    page = (DOCS / "errata.md").read_text(encoding="utf-8")
    assert maker().written(page) == page, "run: python docs/make_errata.py"
    spoilt = page.replace("36.5", "36.6")
    assert spoilt != page
    assert maker().written(spoilt) == page


def test_every_wrong_slide_is_listed() -> None:
    listed = {each.example for each in errata() if each.kind == NUMBERS}
    assert listed == {outcome.example.id for outcome in check() if outcome.verdict == WRONG}
    cells = sum(len(mistake.cells) > 0 for example in load() for mistake in example.mistakes)
    assert sum(each.kind == NUMBERS for each in errata()) == cells


def test_entries_are_complete() -> None:
    ids = {example.id for example in load()} | {""}
    seen = set()
    for each in errata():
        assert each.deck in decks()
        assert re.fullmatch(r"\d+(-\d+)?(, \d+(-\d+)?)*", each.lines)
        assert each.kind in (NUMBERS, FORMULAS, STATEMENTS)
        assert each.cause in CAUSES
        assert each.example in ids
        assert each.printed
        assert each.right
        assert each.printed != each.right
        assert each.why.endswith(".")
        seen.add(each)
    assert len(seen) == len(errata())


def test_they_stand_in_the_order_of_the_decks() -> None:
    places = [(each.deck, int(re.split("[-,]", each.lines)[0])) for each in errata()]
    assert places == sorted(places)


def test_numbers_are_shown_with_their_cell() -> None:
    by_example = {each.example: each for each in errata() if each.kind == NUMBERS}
    edge = by_example["000-conv-6x6-stride1"]
    assert (edge.printed, edge.right) == ("10 at [3, 3]", "11")
    cross = [each for each in errata() if each.example == "002-xo-map-cross" and "0.88" in each.printed]
    assert cross[0].printed == "0.88 at [0, 0], [0, 6], [1, 3], [5, 3], [6, 6]"
    assert by_example["002-dense-weights-1000"].printed == "layer: 130,000,000"
    assert by_example["002-D-steps-per-epoch"].printed == "M / X, which gives 31.25"


def test_the_tables_can_be_read_as_tables() -> None:
    for line in (DOCS / "errata.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            assert len(re.split(r"(?<!\\)\|", line)) == 7, line
