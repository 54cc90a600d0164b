"""Writes the tables of `docs/errata.md` from the data: `python docs/make_errata.py`; a test compares the two."""

from __future__ import annotations

from pathlib import Path

from convlens.lectures.errata import FORMULAS, NUMBERS, STATEMENTS, Erratum, errata
from convlens.lectures.examples import decks

PAGE = Path(__file__).parent / "errata.md"
HEAD = "| deck: lines | printed | right | why | whose |\n|---|---|---|---|---|"
PARTS = {"numbers": NUMBERS, "formulas": FORMULAS, "statements": STATEMENTS}


def main() -> None:
    """Replace what stands between the markers of the page."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def written(page: str) -> str:
    """The page with its tables as the data have them."""
    page = replaced(page, "decks", "".join(f"- **{number}**: {title}\n" for number, title in decks().items()))
    for name, kind in PARTS.items():
        page = replaced(page, name, table([each for each in errata() if each.kind == kind]))
    return page


def replaced(page: str, name: str, text: str) -> str:
    """The page with what stands between one pair of markers replaced."""
    begin, end = f"<!-- {name}: written by make_errata.py -->\n", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


def table(rows: list[Erratum]) -> str:
    """One row for each mistake."""
    lines = [HEAD]
    for row in rows:
        where = f"{row.deck}: {row.lines}" + (f" `{row.example}`" if row.example else "")
        cells = (where, row.printed, row.right, row.why, row.cause)
        lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown does not take for marks."""
    for sign in "|*_":
        text = text.replace(sign, f"\\{sign}") if "`" not in text else text
    return text


if __name__ == "__main__":
    main()
