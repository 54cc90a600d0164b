"""What was noticed about the data, kept as data: nothing is printed, dropped or repaired in silence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing a person should know about their data.

    Attributes:
        kind: a short stable word: `unreadable`, `duplicate`, `near-duplicate`, `leak`, `imbalance`, `odd-size`, ...
        severity: `note` (for the record), `warning` (look at it; an error under `--strict`), `error` (training stops).
        message: one sentence with the numbers, and what was or can be done.
        records: ids of the records concerned, all of them.
    """

    kind: str
    severity: Severity
    message: str
    records: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "records": list(self.records)}


def shorten(names: Iterable[str], most: int = 3) -> str:
    """Name a few and count the rest.

    Example:
        >>> shorten(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
