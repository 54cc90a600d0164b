"""The file around the pixels: opened safely, named by its content rather than its name, checked for wholeness.

This file knows bytes. It must not know Pillow, pixels or policies: what the bytes mean is the business of `image.py`.
"""

from __future__ import annotations

import codecs
import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

from convlens.errors import BadImage

HEAD_BYTES = 4096
MAX_SCANS = 200

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x93NUMPY", "NPY"),
)
SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".txt", ".csv", ".tsv"), "MATRIX"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    ".gif": "GIF",
    ".webp": "WEBP",
    ".npy": "NPY",
}
FOREIGN: tuple[tuple[bytes, str, str, str], ...] = (
    (b"%PDF-", "vector", "a PDF document", "export its page as PNG"),
    (b"%!PS", "vector", "a PostScript drawing", "export it as PNG"),
    (b"\xc5\xd0\xd3\xc6", "vector", "a PostScript drawing", "export it as PNG"),
    (b"8BPS", "unsupported", "a Photoshop document", "export it as PNG"),
    (b"\0\0\1\0", "unsupported", "an icon file", "convert it to PNG"),
    (b"\0\0\0\x0cjP  ", "unsupported", "a JPEG 2000 picture", "convert it to PNG"),
    (b"\xff\x4f\xff\x51", "unsupported", "a JPEG 2000 picture", "convert it to PNG"),
    (b"\xff\x0a", "unsupported", "a JPEG XL picture", "convert it to JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "unsupported", "a JPEG XL picture", "convert it to JPEG or PNG"),
    (b"v/1\x01", "unsupported", "an OpenEXR picture", "convert it to TIFF or .npy"),
    (b"SIMPLE  =", "unsupported", "a FITS file", "convert it to TIFF or .npy"),
    (b"PK\3\4", "not-an-image", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "not-an-image", "a gzip archive", "unpack it first"),
)
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")


@contextmanager
def open_stream(image: Path | str | bytes, name: str, max_bytes: int) -> Iterator[tuple[BinaryIO, int]]:
    """Open bytes or a regular file for reading, as (stream, size in bytes).

    A folder, a pipe or a device is refused without waiting for it.

    Raises:
        BadImage: missing, not-a-file, unreadable, empty or too-large.
    """
    if isinstance(image, bytes):
        _check_size(len(image), name, max_bytes)
        yield io.BytesIO(image), len(image)
        return
    try:
        descriptor = os.open(image, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        why = "a link to a file that does not exist" if Path(image).is_symlink() else "there is no such file"
        raise BadImage(name, "missing", why) from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and Path(image).is_dir():
            raise BadImage(name, "not-a-file", "a folder, not an image file") from None
        why = getattr(error, "strerror", None) or str(error)
        advice = "; check its permissions" if isinstance(error, PermissionError) else ""
        raise BadImage(name, "unreadable", f"the file cannot be opened ({why}){advice}") from None
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            what = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or a device"
            raise BadImage(name, "not-a-file", f"{what}, not an image file")
        _check_size(about.st_size, name, max_bytes)
    except BadImage:
        os.close(descriptor)
        raise
    with open(descriptor, "rb") as stream:
        yield stream, about.st_size


def identify(stream: BinaryIO, name: str) -> str:
    """The format of the content: JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, NPY or MATRIX (numbers as text).

    Only MATRIX asks the name: text has no magic bytes, so it needs the suffix .txt, .csv or .tsv.

    Raises:
        BadImage: vector, unsupported, truncated or not-an-image, naming what the file is instead.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    for magic, format_ in MAGIC:
        if head.startswith(magic):
            return format_
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and head[14:18] in [struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124)]:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    is_stub = len(head) < 18 and head.startswith((b"RIFF", b"BM")) and not _is_text(head)
    if is_stub or any(magic.startswith(head) for magic, _ in MAGIC):
        raise BadImage(name, "truncated", f"only the first {len(head)} bytes of an image; copy the file again")
    _refuse_foreign(head, name)
    if named_format(name) == "MATRIX":
        return "MATRIX"
    if _is_text(head):
        raise BadImage(
            name, "not-an-image", "not an image but text; remove it, or name a matrix of numbers .txt or .csv"
        )
    raise BadImage(name, "not-an-image", f"not an image of any known kind (first bytes: {head[:4].hex(' ')})")


def named_format(name: str) -> str | None:
    """The format the suffix of a name promises; None where it promises none.

    Example:
        >>> named_format("a/B.JPG"), named_format("notes.md")
        ('JPEG', None)
    """
    return SUFFIXES.get(PurePath(name).suffix.lower())


def exif_orientation(exif: bytes) -> int | None:
    """The orientation 1 to 8 written in a block of EXIF data; 1 where it says none, None where it cannot be read.

    Example:
        >>> block = b"MM\\0*" + bytes.fromhex("00000008 0001 0112 0003 00000001 0006 0000 00000000")
        >>> exif_orientation(block), exif_orientation(block[:12]), exif_orientation(b"")
        (6, None, None)

    Source: CIPA DC-008 (EXIF 2.32), tag 274.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
            if tag == 274:
                (value,) = struct.unpack_from(f"{order}{ {1: 'B', 4: 'I'}.get(kind, 'H') }", tiff, at + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return None
    return 1


def check_start(stream: BinaryIO, size: int, name: str) -> None:
    """Refuse a WEBP or TIFF whose first bytes promise more than the file holds.

    Raises:
        BadImage: truncated.
    """
    stream.seek(0)
    head, promised = stream.read(8), 0
    if head.startswith(b"RIFF"):
        promised = int.from_bytes(head[4:], "little") + 8
    elif head.startswith((b"II*\0", b"MM\0*")):
        promised = int.from_bytes(head[4:], "little" if head.startswith(b"II") else "big") + 2
    if promised > size:
        raise BadImage(name, "truncated", "the file ends before what its start promises; copy it again")


def check_png(stream: BinaryIO, size: int, name: str) -> bool:
    """Verify the checksum of every PNG chunk up to the end mark; True when bytes follow it.

    Pillow leaves the checksums of the pixel data unread, so a flipped bit could pass for a picture.

    Raises:
        BadImage: damaged or truncated.
    """
    at = 8
    while True:
        stream.seek(at)
        header = stream.read(8)
        length, kind = struct.unpack(">I4s", header) if len(header) == 8 else (0, b"")
        if not kind or at + 12 + length > size:
            raise BadImage(name, "truncated", "the PNG stops before its end mark; copy the file again")
        body, checksum = stream.read(length), stream.read(4)
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            chunk = kind.decode("ascii", "replace")
            raise BadImage(name, "damaged", f"the PNG chunk {chunk!r} fails its checksum; copy the file again")
        at += 12 + length
        if kind == b"IEND":
            return at < size


def check_jpeg(stream: BinaryIO, size: int, name: str, *, progressive: bool) -> bool:
    """Bound the scans of a progressive JPEG, whose work has no other limit; True when bytes follow the end mark.

    Raises:
        BadImage: too-large.
    """
    if progressive:
        stream.seek(0)
        scans = stream.read().count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise BadImage(name, "too-large", f"the JPEG has {scans} scans, {MAX_SCANS} are allowed; save it again")
    stream.seek(size - 2)
    return stream.read(2) != b"\xff\xd9"


def gif_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Height and width of a GIF's canvas with its first frame, read without opening it.

    Raises:
        BadImage: damaged, when something other than blocks comes before the first frame.
    """
    stream.seek(6)
    width, height, flags = struct.unpack("<HHB2x", stream.read(7))
    if flags & 0x80:
        stream.seek(3 << ((flags & 7) + 1), io.SEEK_CUR)
    while (block := stream.read(1)) in (b"!", b"\0"):
        if block == b"!":
            stream.seek(1, io.SEEK_CUR)
            while (length := stream.read(1)) not in (b"", b"\0"):
                stream.seek(length[0], io.SEEK_CUR)
    if block != b",":
        raise BadImage(name, "damaged", "the GIF holds no picture")
    left, top, frame_width, frame_height = struct.unpack("<4H", stream.read(8))
    return max(height, top + frame_height), max(width, left + frame_width)


def _check_size(size: int, name: str, max_bytes: int) -> None:
    if size == 0:
        raise BadImage(name, "empty", "the file is empty (0 bytes)")
    if size > max_bytes:
        raise BadImage(name, "too-large", f"the file has {size:,} bytes, {max_bytes:,} are allowed")


def _refuse_foreign(head: bytes, name: str) -> None:
    for magic, kind, what, advice in FOREIGN:
        if head.startswith(magic):
            raise BadImage(name, kind, f"{what}, not an image that is read; {advice}")
    if head[4:8] == b"ftyp":
        if head[8:12] in HEIF_BRANDS:
            raise BadImage(name, "unsupported", "a HEIC or AVIF picture, not an image that is read; convert it to JPEG")
        raise BadImage(name, "not-an-image", "not an image but a video; extract its frames as PNG")
    if not head.strip(b"\0"):
        raise BadImage(name, "not-an-image", "not an image: it starts with zero bytes only; copy the file again")
    lower = head.lower()
    if b"<!doctype html" in lower or b"<html" in lower:
        raise BadImage(name, "not-an-image", "not an image but a web page (HTML); download the picture again")
    if b"<svg" in lower:
        raise BadImage(name, "vector", "not an image of pixels but an SVG drawing; export it as PNG")


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(sign.isprintable() or sign.isspace() or sign == "\ufeff" for sign in text)
