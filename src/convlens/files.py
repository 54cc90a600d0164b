"""Writing so that nothing is lost: a file is either the old one or the new one, never half of each.

Every file that matters is written aside, flushed to the disk, renamed over the old one, and the folder is flushed too.
A run directory is held by one process at a time. This file knows bytes and folders, not what they mean.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from convlens.errors import RunError

ASIDE = ".writing"


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Replace a file completely or not at all.

    Raises:
        OSError: the disk is full or the folder is not writable; the old file is untouched and nothing is left aside.
    """
    target = Path(path)
    aside = target.with_name(f"{target.name}.{os.getpid()}{ASIDE}")
    try:
        with aside.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    flush_folder(target.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A large file, written piece by piece, that takes its place when it is complete and else leaves nothing behind."""
    aside = path.with_name(f"{path.name}.{os.getpid()}{ASIDE}")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        flush_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write plain values as readable JSON, atomically; NaN is refused rather than written as non-JSON."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_aside(folder: Path) -> list[str]:
    """Remove what a killed process left half-written; returns the names."""
    orphans = sorted(folder.glob(f"*{ASIDE}"))
    for orphan in orphans:
        orphan.unlink(missing_ok=True)
    return [orphan.name for orphan in orphans]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process.

    Raises:
        RunError: another process holds it, or it cannot be written.
    """
    try:
        handle = (folder / "lock").open("w")
    except OSError as error:
        raise RunError(
            f"The run directory {folder} cannot be written ({error.strerror}). Choose another with run.directory."
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"Another process is working in {folder}. Wait for it to end, or start a run of your own."
            ) from None
        yield
