"""The engine's whole state as one sealed file, and the folder that keeps the last two of them.

A checkpoint holds the network, the averaged and the best weights, the optimiser, every counter and the running sums:
all that training needs to go on as if it had not stopped. There is no random state in it, because every random draw is
a function of the seed and the position. The newest file whose seal is whole is the one that counts; a damaged one is
set aside under another name and said so.
"""

from __future__ import annotations

import contextlib
import errno
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from convlens import artefact
from convlens.errors import ArtefactError
from convlens.files import sweep_aside
from convlens.training.history import Events

KEEP = 2
Snapshot = tuple[dict[str, Tensor], dict[str, Any]]


class Checkpoints:
    """The folder of checkpoints of one run.

    Args:
        folder: made when missing; half-written files of a killed process are removed.
        events: where damage and failed writes are noted.
        every_seconds: time between checkpoints, so that at most this much work is lost.
    """

    def __init__(self, folder: Path, events: Events, every_seconds: float) -> None:
        self.folder, self.events, self.every_seconds = folder, events, every_seconds
        self.failed = ""
        self._last = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        sweep_aside(folder)

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last one."""
        return time.monotonic() - self._last >= self.every_seconds

    def save(self, step: int, snapshot: Snapshot) -> Path | None:
        """Write one, then drop all but the last two. A full disk is noted once, the older ones stay."""
        path = self.folder / f"step-{step:08d}.safetensors"
        self._last = time.monotonic()
        try:
            artefact.write(path, *snapshot, kind="checkpoint")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            before, self.failed = self.failed, "the disk is full" if full else str(error.strerror or error)
            if self.failed != before:
                self._warn(f"Checkpoint at step {step} was not written: {self.failed}. Older ones are kept.")
            return None
        if self.failed:
            self.failed = ""
            self._warn(f"Checkpoints are written again since step {step}.")
        for old in self.list()[:-KEEP]:
            old.unlink(missing_ok=True)
        return path

    def _warn(self, message: str) -> None:
        with contextlib.suppress(OSError):  # the file of events may lie on the same full disk
            self.events.add("warning", message)

    def list(self) -> list[Path]:
        """Checkpoints from oldest to newest."""
        return sorted(self.folder.glob("step-*.safetensors"))

    def load(self) -> Snapshot | None:
        """The newest whole checkpoint, or None when there is none.

        Raises:
            ArtefactError: there are checkpoints, but every one is damaged.
        """
        for path in reversed(self.list()):
            try:
                return artefact.read(path, kind="checkpoint")
            except ArtefactError as error:
                path.rename(path.with_suffix(".damaged"))
                self.events.add("warning", f"{error} It was set aside as {path.stem}.damaged.")
        damaged = sorted(path.name for path in self.folder.glob("step-*.damaged"))  # now, or at an earlier resume
        if damaged:
            raise ArtefactError(
                f"Every checkpoint in {self.folder} is damaged ({', '.join(damaged)}). Start a new run; "
                f"training never goes on from fresh weights unasked."
            )
        return None
