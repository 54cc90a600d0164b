"""The decoded images of a source at storage size, uint8, ready to be sliced into batches.

They live in memory, or in a file mapped from disk that is used only if it is complete and its key matches. This file
must not know classes, targets, splits or torch.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.data.facts import Fact, Progress, decode_all, scan
from convlens.data.sources import Record, Source
from convlens.errors import DataError, RunError
from convlens.files import locked, sweep_aside, write_atomic, writing

if TYPE_CHECKING:
    from convlens.data.preprocess import Preprocess

__all__ = ["Fact", "Store", "build_store", "fingerprint", "scan"]
FORMAT = "convlens.store/1"
MIB = 2**20
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Store:
    """The decoded images of a source.

    Attributes:
        images: (N, H, W, C) uint8, in memory or mapped read-only from `path`.
        records: the N records whose image could be read.
        facts: of all records of the source, readable or not.
        fingerprint: one hash of all ids, labels and decoded pixels; independent of order, size and storage.
        path: the folder a mapped store lies in; None in memory.
        reused: whether an earlier pass was taken over and nothing was decoded.
    """

    images: np.ndarray
    records: tuple[Record, ...]
    facts: tuple[Fact, ...]
    fingerprint: str
    path: Path | None = None
    reused: bool = False

    @property
    def kept(self) -> list[Fact]:
        """The facts of the N records."""
        return [fact for fact in self.facts if fact.ok]


def build_store(
    source: Source,
    preprocess: Preprocess,
    *,
    directory: Path,
    memory_mb: int,
    threads: int,
    progress: Progress | None = None,
) -> Store:
    """Decode a source once, into memory if all of it fits in `memory_mb`, else into a file below `directory`.

    The file's key covers ids, sizes and times of change of all files (or the values, of arrays) and everything that
    decides the stored pixels, so an edited file or another policy never meets old pixels.

    Args:
        directory: made if it is needed.
        progress: called with (records done, records in all).

    Raises:
        DataError: the disk has no room.
        RunError: the folder cannot be written, or another process is building the same store.
        Exception: as `facts.decode_all`.
    """
    shape = (*preprocess.store_px, preprocess.policy.channels)
    needed = len(source.records) * shape[0] * shape[1] * shape[2]
    if needed > memory_mb * MIB:
        return _mapped(source, preprocess, shape, directory, threads, progress)
    images, kept, facts = np.empty((len(source.records), *shape), np.uint8), 0, list[Fact]()
    for found, pixels in decode_all(source, preprocess.policy, preprocess, threads, progress):
        facts += found
        if pixels is not None:
            images[kept : kept + len(pixels)] = pixels
            kept += len(pixels)
    return _store(source, images[:kept], facts)


def fingerprint(records: Sequence[Record], facts: Sequence[Fact]) -> str:
    """One hash of what readable images show and are called; the order of records does not matter.

    Args:
        facts: one for every record, in the same order.
    """
    pairs = zip(records, facts, strict=True)
    rows = sorted((record.id, record.label or "", fact.content) for record, fact in pairs if fact.ok)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _store(
    source: Source, images: np.ndarray, facts: list[Fact], path: Path | None = None, reused: bool = False
) -> Store:
    records = tuple(record for record, fact in zip(source.records, facts, strict=True) if fact.ok)
    return Store(images, records, tuple(facts), fingerprint(source.records, facts), path, reused)


# On disk --------------------------------------------------------------------------------------------------------------


def _mapped(
    source: Source,
    preprocess: Preprocess,
    shape: Shape,
    directory: Path,
    threads: int,
    progress: Progress | None,
) -> Store:
    """Take over a complete file of the same key, or write one aside and rename it when it is complete."""
    key = _key(source, preprocess)
    folder = directory / f"store-{key[:16]}"
    if stored := _reuse(source, folder, key, shape):
        return stored
    needed = len(source.records) * shape[0] * shape[1] * shape[2]
    with _prepared(folder, needed):
        if stored := _reuse(source, folder, key, shape):  # finished by another process a moment ago
            return stored
        facts: list[Fact] = []
        with writing(folder / "pixels") as file:
            for found, pixels in decode_all(source, preprocess.policy, preprocess, threads, progress):
                facts += found
                if pixels is not None:
                    file.write(np.ascontiguousarray(pixels).data)
        card = {"format": FORMAT, "key": key, "shape": shape, "facts": [_row(fact) for fact in facts]}
        write_atomic(folder / "facts.json", json.dumps(card))  # last: without it the pixels count as incomplete
    return _store(source, _map(folder, facts, shape), facts, folder)


@contextlib.contextmanager
def _prepared(folder: Path, needed: int) -> Iterator[None]:
    """Hold a folder with room for `needed` bytes, cleared of what a killed process left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"The folder {folder} for decoded images cannot be made ({error.strerror}). Choose another "
            f"run.directory, or raise data.memory_mb to keep them in memory."
        ) from None
    with locked(folder):
        sweep_aside(folder)
        try:
            if needed > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, "no room")
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DataError(
                f"The decoded images need up to {needed / MIB:,.1f} MB in {folder}; "
                f"{shutil.disk_usage(folder).free / MIB:,.1f} MB are free there. Make room, choose another "
                f"run.directory, or raise data.memory_mb to keep them in memory."
            ) from None


def _reuse(source: Source, folder: Path, key: str, shape: Shape) -> Store | None:
    """The store in a folder, if it is complete and has this key; a damaged one counts as none and is built again."""
    try:
        card = json.loads((folder / "facts.json").read_bytes())
        if (card["format"], card["key"], tuple(card["shape"])) != (FORMAT, key, shape):
            return None
        facts = [_fact(row) for row in card["facts"]]
        kept = sum(fact.ok for fact in facts)
        whole = (folder / "pixels").stat().st_size == kept * shape[0] * shape[1] * shape[2]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not whole or [fact.id for fact in facts] != [record.id for record in source.records]:
        return None
    return _store(source, _map(folder, facts, shape), facts, folder, reused=True)


def _map(folder: Path, facts: Sequence[Fact], shape: Shape) -> np.ndarray:
    kept = sum(fact.ok for fact in facts)
    if kept == 0:  # an empty file cannot be mapped
        return np.empty((0, *shape), np.uint8)
    return np.memmap(folder / "pixels", np.uint8, mode="r", shape=(kept, *shape))


def _key(source: Source, preprocess: Preprocess) -> str:
    """Hash of all that decides the stored pixels; mean, deviation and input size do not."""
    settings = {k: v for k, v in preprocess.to_json().items() if k not in ("mean", "std", "size_px")}
    key = hashlib.sha256(json.dumps([FORMAT, settings], sort_keys=True).encode())
    if source.arrays is not None:
        key.update(f"{source.arrays.dtype} {source.arrays.shape}".encode())
        for image in source.arrays:
            key.update(np.ascontiguousarray(image).data)
    for record in source.records:
        told: list[Any] = [record.id, record.image]
        if isinstance(record.image, Path):
            try:
                about = record.image.stat()
                told[1] = [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
            except OSError:
                told[1] = None
        key.update(json.dumps(told).encode())
    return key.hexdigest()


def _row(fact: Fact) -> list[Any]:
    return [value.hex() if isinstance(value, bytes) else value for value in astuple(fact)]


def _fact(row: list[Any]) -> Fact:
    values = dict(zip((field.name for field in fields(Fact)), row, strict=True))
    return Fact(**(values | {"thumb": bytes.fromhex(values["thumb"]), "notes": tuple(values["notes"])}))
