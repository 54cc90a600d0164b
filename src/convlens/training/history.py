"""What happened, line by line: one row an epoch, one line an event, in memory and, in a run, as JSON lines on disk.

A resumed run cuts both back to where its checkpoint stood and continues. Nothing here is random or timed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlens.errors import RunError


class Journal:
    """An append-only list of plain rows, mirrored to a file of JSON lines when it has one."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = read_lines(path) if path and path.exists() else []

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; on disk it is flushed before this returns."""
        self.rows.append(row)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def cut(self, length: int) -> None:
        """Keep the first rows only."""
        del self.rows[length:]
        if self.path:
            lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self.rows]
            self.path.write_text("".join(lines), encoding="utf-8")

    def column(self, name: str) -> list[Any]:
        """One value from every row that has it."""
        return [row[name] for row in self.rows if name in row]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class History(Journal):
    """One row for every finished epoch: `epoch`, `train_loss`, `val_loss`, `train_accuracy`, ..., `rate`, `seconds`."""


class Events(Journal):
    """Everything the program decided, dropped or met, so that nothing happens in silence."""

    def add(self, kind: str, message: str, **facts: Any) -> None:
        """Note one event; `kind` is `choice`, `warning`, `checkpoint`, `resume`, ..."""
        self.append({"kind": kind, "message": message, **facts})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line cut short by a crash is left out.

    Raises:
        RunError: another line is not JSON.
    """
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise RunError(f"{path} line {number} is not JSON. Restore the file or start a new run.") from None
    return rows
