"""One decode pass over a source: what was learnt of every record, in the order of the records whatever the threads do.

An image that cannot be used becomes a fact that says why; nothing takes its place. The pixels pass through on their way
to a store, so that nothing is decoded twice. This file must not know classes, splits, disks or torch.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Protocol

import numpy as np

from convlens.data.arrays import DIM_NOTE
from convlens.data.image import decode
from convlens.data.image_file import ImageLike
from convlens.data.pixels import resize
from convlens.data.policy import Decoded, ImagePolicy
from convlens.data.sources import Record, Source
from convlens.errors import BadImage

THUMB_PX = 16
SHRUNK_PX = 64
ROWS_AT_ONCE = 512
JOBS_AHEAD = 8
Progress = Callable[[int, int], None]
Found = tuple[list["Fact"], np.ndarray | None]


@dataclass(frozen=True, slots=True)
class Fact:
    """What one decode learnt of one record.

    Attributes:
        ok: whether the image can be used; if not, only `id`, `kind` and `reason` say anything.
        kind: the kind of its `BadImage`.
        reason: the reason of its `BadImage`.
        mode: how the image was stored: `L`, `RGB`, `I;16`, ..., or `array`.
        height: of the upright image as stored, before any resizing; so is `width`.
        peak: the largest value of its pixels.
        content: hash of the decoded pixels and their shape; equal for equal pictures in different file formats.
        phash: 64-bit difference hash: whether each of 8 x 8 regions is darker than its right neighbour.
        thumb: 16 x 16 grey levels, row by row.
        notes: what the decoder did that a person may want to know.
    """

    id: str
    ok: bool
    kind: str | None = None
    reason: str | None = None
    mode: str = ""
    height: int = 0
    width: int = 0
    peak: int = 0
    content: str = ""
    phash: int = 0
    thumb: bytes = b""
    notes: tuple[str, ...] = ()


class Sizing(Protocol):
    """What a decode pass needs of a `Preprocess`."""

    @property
    def store_px(self) -> tuple[int, int]:
        """Height and width kept in the store."""
        ...

    def decode(self, image: ImageLike, name: str) -> Decoded:
        """An image under the policy, not much larger than needed."""
        ...

    def pixels(self, decoded: Decoded) -> np.ndarray:
        """A decoded image at that size."""
        ...


def scan(source: Source, policy: ImagePolicy, threads: int, progress: Progress | None = None) -> tuple[Fact, ...]:
    """Decode everything and keep only the facts, as `convlens check` does.

    Raises:
        Exception: as `decode_all`.
    """
    return tuple(fact for facts, _ in decode_all(source, policy, None, threads, progress) for fact in facts)


def decode_all(
    source: Source, policy: ImagePolicy, sizing: Sizing | None, threads: int, progress: Progress | None = None
) -> Generator[Found, None, None]:
    """Decode each record once, giving (facts, stored pixels of the readable ones) for successive runs of records.

    The order is that of the records; never more than a few runs are in memory.

    Args:
        sizing: how pixels are brought to storage size; None keeps none.
        threads: decoders at work; Pillow releases the interpreter's lock.
        progress: called with (records done, records in all).

    Shapes:
        list of n facts, and (n or fewer, H, W, C) uint8 or None.

    Raises:
        Exception: whatever is not a `BadImage` is a fault of the program; it leaves with the record's id as a note.
    """
    records, rows = source.records, _plain_rows(source, policy)
    size = 1 if rows is None else ROWS_AT_ONCE
    jobs = (records[start : start + size] for start in range(0, len(records), size))

    def work(job: Sequence[Record]) -> Found:
        if rows is None:
            return _decode_one(source, job[0], policy, sizing)
        return _decode_rows(rows, job, policy, sizing)

    done, waiting = 0, deque[Future[Found]]()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        while True:
            for job in islice(jobs, threads * JOBS_AHEAD - len(waiting)):
                waiting.append(pool.submit(work, job))
            if not waiting:
                return
            found = waiting.popleft().result()
            yield found
            done += len(found[0])
            if progress:
                progress(done, len(records))
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_one(source: Source, record: Record, policy: ImagePolicy, sizing: Sizing | None) -> Found:
    try:
        image = source.image(record)
        decoded = sizing.decode(image, record.id) if sizing else decode(image, policy, record.id)
        stored = sizing.pixels(decoded)[None] if sizing else None
        height, width = decoded.pixels.shape[:2]
        shrunk = resize(decoded.pixels, (min(height, SHRUNK_PX), min(width, SHRUNK_PX)))
        images, mode, notes = decoded.pixels[None], decoded.mode, [decoded.notes]
        return _facts([record], images, shrunk[None], decoded.size_px, mode, notes), stored
    except BadImage as bad:
        return [Fact(record.id, False, bad.kind, bad.reason)], None
    except Exception as error:
        error.add_note(f"while decoding {record.id} of {source.name}")
        raise


def _plain_rows(source: Source, policy: ImagePolicy) -> np.ndarray | None:
    """The source's images as (N, H, W, C), where they are small uint8 of the right channels and need no decoding."""
    if source.arrays is None or source.arrays.dtype != np.uint8:
        return None
    rows = source.arrays if source.arrays.ndim == 4 else source.arrays[..., None]
    _, height, width, channels = rows.shape
    in_limits = max(height, width) <= min(SHRUNK_PX, policy.max_side_px) and height * width <= policy.max_pixels
    return rows if in_limits and (channels == policy.channels or (channels, policy.channels) == (1, 3)) else None


def _decode_rows(rows: np.ndarray, records: Sequence[Record], policy: ImagePolicy, sizing: Sizing | None) -> Found:
    """What `_decode_one` gives for each of many small arrays, all at once."""
    images = rows[np.array([record.image for record in records], np.int64)]
    if images.shape[3] != policy.channels:
        images = np.repeat(images, policy.channels, axis=3)  # grey to RGB
    dim = (images.reshape(len(images), -1).max(axis=1) == 1).tolist()
    notes = [(DIM_NOTE,) if is_dim else () for is_dim in dim]
    facts = _facts(records, images, images, images.shape[1:3], "array", notes)
    if sizing is None:
        return facts, None
    if images.shape[1:3] == sizing.store_px:
        return facts, images
    return facts, np.stack([sizing.pixels(Decoded(image, "array")) for image in images])


def _facts(
    records: Sequence[Record],
    images: np.ndarray,
    shrunk: np.ndarray,
    size_px: tuple[int, int],
    mode: str,
    notes: Sequence[tuple[str, ...]],
) -> list[Fact]:
    n, (height, width) = len(images), size_px
    start = hashlib.blake2b(f"{height}x{width}x{images.shape[3]}".encode(), digest_size=16)
    (phashes, thumbs), peaks = look(shrunk), images.reshape(n, -1).max(axis=1).tolist()
    learnt = zip(records, images.reshape(n, -1), phashes.tolist(), thumbs, notes, strict=True)
    facts = []
    for (record, pixels, phash, thumb, said), peak in zip(learnt, peaks, strict=True):
        content = start.copy()
        content.update(pixels.data)
        facts.append(
            Fact(record.id, True, None, None, mode, height, width, peak, content.hexdigest(), phash, bytes(thumb), said)
        )
    return facts


def look(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference hashes and grey thumbnails: what two pictures are compared by.

    A region is darker than its right neighbour when their means differ by more than half a level, so that flat parts
    say nothing.

    Shapes:
        images (N, H, W, C) uint8 -> (N,) uint64 and (N, 256) uint8.

    Source: the difference hash is N. Krawetz, "Kind of Like That", 2013.
    """
    n, height, width, channels = images.shape
    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else [1 / channels] * channels, np.float32)
    grey = (images[..., 0] if channels == 1 else images @ weights).astype(np.float32)
    rows, columns = _shares(height, THUMB_PX, 8), _shares(width, THUMB_PX, 9)
    means = rows @ (grey @ columns.T)  # (n, 16 + 8, 16 + 9)
    regions = means[:, THUMB_PX:, THUMB_PX:]
    darker = regions[:, :, 1:] - regions[:, :, :-1] > 0.5
    phashes = np.packbits(darker.reshape(n, 64), axis=1).view(">u8")[:, 0].astype(np.uint64)
    return phashes, np.rint(means[:, :THUMB_PX, :THUMB_PX]).astype(np.uint8).reshape(n, -1)


@lru_cache(maxsize=256)
def _shares(length: int, *divisions: int) -> np.ndarray:
    """How much each of `length` pixels weighs in each region, for one division after another into equal regions.

    Shapes:
        (sum of divisions, length) float32, rows sum to 1.
    """
    pixel, rows = np.arange(length), []
    for parts in divisions:
        edges = np.linspace(0, length, parts + 1)
        overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
        rows.append(np.clip(overlap, 0, None) * (parts / length))
    return np.concatenate(rows).astype(np.float32)
