"""MNIST-style idx files, plain or gzipped, read whole into arrays.

An idx file is a four-byte magic number (two zero bytes, a type code, the number of axes), one big-endian 32-bit length
for each axis, then the values in row-major order. Images and labels lie in two files whose names differ only in the
word `images` or `labels`. A file that is not exactly what its header says is a `DataError` with both numbers.
This file knows nothing of records, splits or class names.

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998, section "File formats".
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convlens.data.findings import Finding, shorten
from convlens.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_BYTES = 8 * 2**30
_CHUNK = 2**20
_NAME = re.compile(
    r"(?P<set>.*?)[-_. ]?(?P<what>images?|labels?)(?P<mark>([-_. ]?(idx\d?|ubyte|u?int\d*))+)(\.gz)?", re.I
)


@dataclass(frozen=True)
class IdxSet:
    """One pair of files.

    Attributes:
        name: the images file without its endings, such as `train-images`.
        part: what stands before the word `images`, in lower case: `train`, `t10k`, `emnist-letters-test`, or empty.
        images: the values as stored, (N, H, W) or (N, H, W, C).
        labels: (N,) integers; None where they were not asked for.
    """

    name: str
    part: str
    images: np.ndarray
    labels: np.ndarray | None


def is_idx_name(name: str) -> bool:
    """Whether a file name says that the file is an idx file.

    Example:
        >>> [is_idx_name(n) for n in ("train-images-idx3-ubyte.gz", "t10k-labels.idx1-ubyte", "a.idx", "images.png")]
        [True, True, True, False]
    """
    return _NAME.fullmatch(name) is not None or re.fullmatch(r".+\.idx(\.gz)?", name, re.I) is not None


def read_idx(path: Path) -> np.ndarray:
    """One idx file as an array of the type and shape its header announces, in the machine's byte order.

    Raises:
        DataError: a wrong magic number, a file shorter or longer than announced, or a damaged gzip stream.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read(raw, path.name)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(unpacked, path.name)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path.name} is a damaged gzip file: {error}. Download or copy it again.") from None
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}.") from None


def find_idx_sets(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Pair images files with labels files: {part: (images file, labels file)}, an empty name where one is missing.

    A file that is there both plain and gzipped is taken plain.

    Example:
        >>> find_idx_sets(["t10k-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "readme.txt"])
        {'t10k': ('t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz')}
    """
    found: dict[str, list[str]] = {}
    for name in sorted(names, reverse=True):
        match = _NAME.fullmatch(name)
        if match:
            pair = found.setdefault(match["set"].lower(), ["", ""])
            pair[match["what"].lower().startswith("label")] = name
    return {part: (found[part][0], found[part][1]) for part in sorted(found)}


def read_idx_folder(folder: Path, *, labelled: bool) -> tuple[tuple[IdxSet, ...], tuple[Finding, ...]]:
    """Every pair of idx files directly in a folder, in the order of their names; none if there is no idx file.

    Raises:
        DataError: a file without its partner, or a malformed file.
    """
    files, names = _listing(folder)
    pairs = find_idx_sets(files)
    sets = tuple(_read_pair(folder, part, *pair, labelled=labelled) for part, pair in pairs.items())
    used = {name for pair in pairs.values() for name in pair}
    rest = [name for name in names if name not in used and not name.startswith(".")]
    message = f"Beside the idx files of {folder.name}, these were not read: {shorten(rest)}."
    return sets, (Finding("not-read", "note", message, tuple(rest)),) if sets and rest else ()


def read_idx_file(path: Path, *, labelled: bool) -> IdxSet:
    """One images file, with the labels file that lies beside it.

    Raises:
        DataError: the labels file is missing, or one of the two is malformed.
    """
    match = _NAME.fullmatch(path.name)
    part = match["set"].lower() if match else ""
    if match and match["what"].lower().startswith("label"):
        raise DataError(f"{path.name} holds labels; expected the images file. Name the file with 'images' in its name.")
    labels = ""
    if match and labelled:
        labels = find_idx_sets(_listing(path.parent)[0]).get(part, ("", ""))[1]
    return _read_pair(path.parent, part, path.name, labels, labelled=labelled)


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files, and of everything, directly in a folder."""
    try:
        with os.scandir(folder) as entries:
            is_file = {entry.name: entry.is_file() for entry in entries}
    except OSError as error:
        raise DataError(f"Folder {folder} cannot be read: {error.strerror}. Check its permissions.") from None
    return [name for name in sorted(is_file) if is_file[name]], sorted(is_file)


def _read_pair(folder: Path, part: str, images_name: str, labels_name: str, *, labelled: bool) -> IdxSet:
    if not images_name:
        raise DataError(f"{labels_name} has no images file beside it; expected one named the same with 'images'.")
    images = read_idx(folder / images_name)
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"{images_name}: expected images as (N, H, W) or (N, H, W, C), none empty; got {images.shape}.")
    name = re.sub(r"([-_. ]?(idx\d?|ubyte|u?int\d*))+(\.gz)?$", "", images_name, flags=re.I)
    if not labelled:
        return IdxSet(name, part, images, None)
    if not labels_name:
        raise DataError(f"{images_name} has no labels file beside it; expected one named the same with 'labels'.")
    labels = read_idx(folder / labels_name)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{labels_name}: expected one integer for each image; got {labels.shape} of {labels.dtype}.")
    if len(labels) != len(images):
        raise DataError(
            f"{labels_name} and {images_name} must have equally many entries; "
            f"got {len(labels):,} labels and {len(images):,} images. Check that the two files belong together."
        )
    return IdxSet(name, part, images, labels)


def _read(file: BinaryIO | gzip.GzipFile, name: str) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= 4:
        raise DataError(
            f"{name} is not an idx file: expected a magic number such as 00 00 08 03 (bytes, three axes); "
            f"got {magic.hex(' ') or 'an empty file'}."
        )
    dtype, axes = np.dtype(TYPES[magic[2]]), magic[3]
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(f"{name} is cut off: expected {4 * axes} bytes of lengths in the header; got {len(lengths)}.")
    shape = struct.unpack(f">{axes}I", lengths)
    expected = dtype.itemsize
    for length in shape:
        expected *= length
    if expected > MAX_BYTES:
        raise DataError(f"{name} announces {shape}, {expected:,} bytes; expected at most {MAX_BYTES:,}.")
    values = bytearray()
    try:
        while len(values) <= expected and (piece := file.read(min(_CHUNK, expected + 1 - len(values)))):
            values += piece
    except EOFError:
        raise DataError(f"{name} is cut off: expected {expected:,} bytes of values; got {len(values):,}.") from None
    if len(values) != expected:
        got = f"{len(values):,}" if len(values) < expected else f"more than {expected:,}"
        raise DataError(f"{name} must hold {expected:,} bytes of values for its shape {shape}; got {got}.")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
