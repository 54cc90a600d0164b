"""What a worked example is: the numbers of a slide, what it prints, what is right, and where the two differ.

This file knows the shape of the data and nothing of what is computed from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from convlens.reference.result import Result

CellPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """Something that is printed wrong.

    Attributes:
        cells: where in the printed value; a path may stop early and then means all that lies under it.
        cause: `slide`; `reading`, where its text was read wrong; or `slide or reading`, where it cannot be told.
        why: what shows that it is wrong.
        line: for a mistake that no number shows, the line of the deck; then `printed` and `right` are in words.
    """

    cells: tuple[CellPath, ...] = ()
    cause: str = "slide"
    why: str = ""
    line: str = ""
    printed: str = ""
    right: str = ""


@dataclass(frozen=True)
class Example:
    """One worked example of the lectures.

    Attributes:
        deck: number of the deck.
        lines: where in the text of the deck.
        kind: what the deck has of it: `printed` (input and result), `input printed`, `result printed`,
            `formula printed`, or `named only`, where the numbers are ours.
        operation: which function of `lectures` works it out.
        printed: what the slide gives; None if it gives no number.
        right: what is right, worked out apart from this program.
        reading: how a printed number is meant: `exact`, `cut to 2 decimals`, or `about`.
    """

    id: str
    deck: str
    lines: str
    title: str
    kind: str
    operation: str
    right: Any
    note: str
    inputs: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    printed: Any = None
    reading: str = "exact"
    mistakes: tuple[Mistake, ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Example:
        """Read one record."""
        mistakes = tuple(
            Mistake(**{**mistake, "cells": tuple(tuple(path) for path in mistake.get("cells", ()))})
            for mistake in data.get("mistakes", ())
        )
        return cls(**{**data, "mistakes": mistakes})


class Working(NamedTuple):
    """A result on the way to the answer, which can be explained number by number."""

    operation: str
    label: str
    result: Result


class Workings:
    """Notes down each result and hands it on.

    Example:
        >>> from convlens.reference import relu
        >>> keep = Workings()
        >>> keep(relu([-1, 2])).tolist(), keep.noted[0].operation
        ([0, 2], 'relu')
    """

    def __init__(self) -> None:
        self.noted: list[Working] = []

    def __call__(self, result: Result, label: str = "") -> Result:
        operation = result.trace((0,) * len(result.shape)).operation
        self.noted.append(Working(operation, label, result))
        return result


Solve = Callable[[Example, Workings], Any]
