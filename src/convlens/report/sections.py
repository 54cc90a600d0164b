"""The parts a page is made of, whatever the task: figures, tables and pictures under a heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A figure, or a picture, and the words under it.

    Attributes:
        svg: of `report.figures`; "" leaves the card out.
        png: in place of a figure.
        across: how many pictures stand side by side in it.
    """

    title: str
    caption: str
    svg: str = ""
    png: bytes | None = None
    across: int = 1


@dataclass(frozen=True)
class Table:
    """Rows of words under column names; the first column names the row."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Shot:
    """One image of the data with what is to be said about it, a line each.

    Attributes:
        id: of the record.
    """

    png: bytes
    lines: Sequence[str]
    id: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: where the menu leads.
        menu: its word in the menu.
        lead: one or two sentences that say what is to be seen.
        shots_title: over the images.
        columns: what the pictures are that stand side by side in each shot; none where there is one.
        legend: lines of (title, ((colour, words), ...)) that say what the colours in the shots mean.
    """

    id: str
    menu: str
    title: str
    lead: str
    cards: Sequence[Card] = ()
    tables: Sequence[Table] = ()
    shots_title: str = ""
    shots: Sequence[Shot] = ()
    columns: Sequence[str] = ()
    legend: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
