"""What happened, line by line: one row an epoch, one line an event, in memory and, in a run, as JSON lines on disk.

A resumed run cuts both back to where its checkpoint stood and continues. Nothing here is random or timed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from convlens.errors import RunError
from convlens.files import write_atomic


class Journal:
    """An append-only list of plain rows, mirrored to a file of JSON lines when it has one."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = read_lines(path) if path and path.exists() else []
        self._behind = False

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; on disk it is flushed before this returns, or, while the disk is full, with the next that fits."""
        self.rows.append(row)
        if not self.path:
            return
        try:
            if self._behind:
                write_atomic(self.path, _lines(self.rows))
            else:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(_lines([row]))
                    file.flush()
                    os.fsync(file.fileno())
            self._behind = False
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._behind = True

    def cut(self, length: int) -> None:
        """Keep the first rows only."""
        del self.rows[length:]
        if self.path:
            write_atomic(self.path, _lines(self.rows))

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


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


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
