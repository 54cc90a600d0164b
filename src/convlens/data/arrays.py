"""Numbers that are pictures: .npy files, matrices as text, arrays in memory; and the rules that make them 8 bit.

A rule looks at one array alone, so it must never guess: what could mean two things is refused with both meanings named.
This file must not know Pillow or any image format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

import numpy as np

from convlens.data.findings import shorten
from convlens.errors import BadImage, DataError

MAX_TEXT_BYTES = 4 * 2**20
ROUNDING = 1e-6
BINARY_NOTE = "values 0 and 1 (or -1 and +1) read as black and white"
DIM_NOTE = "8-bit values of 0 and 1 kept as they are, nearly black"
SIXTEEN_BIT_NOTE = "16 bits scaled to 8"
DARK_NOTE = "brightest 16-bit value is a quarter of white_level or less"


def scale_to_uint8(array: np.ndarray, white_level: int, name: str = "array") -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring numbers to 0..255 without clipping any, as (uint8 of the same shape, notes).

    - bool: False 0, True 255.
    - uint8: as it is. uint16: `white_level` becomes 255.
    - other integers and floats: exactly two values 0 and 1, or -1 and +1, are black and white.
    - other integers: 0..255 as they are. Floats: 0..1 becomes 0..255.

    Example:
        >>> scale_to_uint8(np.array([[-1, 1]]), 65535)[0], scale_to_uint8(np.array([[0.0, 0.2]]), 65535)[0]
        (array([[  0, 255]], dtype=uint8), array([[ 0, 51]], dtype=uint8))

    Raises:
        BadImage: value-range, not-finite or bad-array.
    """
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), ()
    if array.dtype == np.uint8:
        return array, ((DIM_NOTE,) if array.size and array.max() == 1 else ())
    if array.dtype.kind not in "iuf":
        raise BadImage(name, "bad-array", f"expected numbers, got {array.dtype}; store uint8, uint16 or float32")
    if array.size == 0:
        return array.astype(np.uint8), ()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadImage(name, "not-finite", "some values are NaN or infinite; replace or remove them")
    low, high = array.min(), array.max()
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        return _scale_sixteen_bit(array, int(high), white_level, name)
    if (low, high) in ((0, 0), (0, 1), (1, 1), (-1, 1), (-1, -1)) and ((array == low) | (array == high)).all():
        return np.where(array > 0, np.uint8(255), np.uint8(0)), ((BINARY_NOTE,) if (low, high) != (0, 0) else ())
    if array.dtype.kind == "f":
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise BadImage(
                name,
                "value-range",
                f"floats must be 0..1 (or only -1 and +1), got {low:g}..{high:g}; rescale, or store 0..255 as uint8",
            )
        return np.rint(array.astype(np.float64) * 255).astype(np.uint8), ()
    if low < 0 or high > 255:
        raise BadImage(
            name,
            "value-range",
            f"{array.dtype} values must be 0..255 (or only -1 and +1), got {low}..{high}; store 16 bits as uint16",
        )
    return array.astype(np.uint8), ()


def _scale_sixteen_bit(array: np.ndarray, high: int, white_level: int, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if high > white_level:
        raise BadImage(
            name, "value-range", f"16-bit values reach {high}, above white_level={white_level}; raise data.white_level"
        )
    scaled = (array.astype(np.uint32) * 255 + white_level // 2) // white_level
    notes = (SIXTEEN_BIT_NOTE, DARK_NOTE) if high * 4 <= white_level else (SIXTEEN_BIT_NOTE,)
    return scaled.astype(np.uint8), notes


def one_array(images: Any, what: str = "images") -> np.ndarray:
    """An array, a tensor or a list of arrays as one array.

    Args:
        what: what they are, for the error.

    Raises:
        DataError: they differ in size, or are no arrays.
    """
    try:
        return np.asarray(images)
    except ValueError:
        shapes = dict.fromkeys(map(_shape, images))
    except Exception as error:  # a tensor that is not in memory may raise whatever its library likes
        raise DataError(f"Expected {what} in memory as an array; got {described(images)}: {error}.") from None
    raise DataError(
        f"Expected {what} in memory to be all of one size; got {shorten(shapes)}. Bring them to one size, or save them "
        f"in a folder, where they may differ."
    )


def _shape(image: Any) -> str:
    try:
        return str(np.shape(image))
    except ValueError:
        return "rows of several lengths"


def described(value: Any) -> str:
    """What a value is, with its shape where it has one.

    Example:
        >>> described(np.zeros((2, 4))), described(3), described(None)
        ('an ndarray of shape (2, 4)', 'an int', 'None')
    """
    if value is None:
        return "None"
    name, shape = type(value).__name__, getattr(value, "shape", None)
    article = "an" if name[0].lower() in "aeio" or name == "ndarray" else "a"
    return f"{article} {name}" + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")


def picture_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """(H, W, C) of an array that is (H, W) or (H, W, C).

    Raises:
        BadImage: bad-array or empty.
    """
    if len(shape) not in (2, 3):
        raise BadImage(name, "bad-array", f"expected an array (H, W) or (H, W, C), got {shape}; reshape it")
    if 0 in shape:
        raise BadImage(name, "empty", f"the array has no values: its shape is {shape}")
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1


def require_channels(shape: tuple[int, int, int], channels: int, name: str) -> None:
    """Check that (H, W, C) can become `channels`: the same number, or grey and RGB into one another.

    Raises:
        BadImage: channels.
    """
    if shape[2] != channels and {shape[2], channels} != {1, 3}:
        first = shape[0] == channels
        advice = "move the channels last: np.moveaxis(a, 0, -1)" if first else "set data.channels, or change the array"
        raise BadImage(name, "channels", f"expected {channels} channels, got an array {shape}; {advice}")


@dataclass(frozen=True)
class NpyFile:
    """An .npy file whose header is known and whose values are still on disk."""

    stream: BinaryIO
    shape: tuple[int, ...]

    @classmethod
    def open(cls, stream: BinaryIO, size: int, name: str) -> Self:
        """Read the header, and check that the file can hold what it promises.

        Raises:
            BadImage: unsafe (Python objects), truncated or damaged.
        """
        stream.seek(0)
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
        except Exception as error:  # the header is a Python literal: its parser may raise almost anything
            raise BadImage(name, "damaged", f"the .npy header cannot be read ({error}); save the array again") from None
        if dtype.hasobject:
            raise BadImage(name, "unsafe", "holds pickled Python objects, which are never loaded; store numbers")
        promised = dtype.itemsize * math.prod(shape)
        if stream.tell() + promised > size:
            raise BadImage(name, "truncated", f"ends before its {promised:,} bytes of values; copy the file again")
        return cls(stream, shape)

    def read(self) -> np.ndarray:
        """The array; nothing is ever unpickled."""
        self.stream.seek(0)
        return np.lib.format.read_array(self.stream, allow_pickle=False)


def read_matrix(stream: BinaryIO, size: int, name: str) -> np.ndarray:
    """A matrix of numbers as text: a row a line, separated by commas, semicolons, tabs or blanks.

    Raises:
        BadImage: too-large or bad-array (words, ragged rows, nothing at all).
    """
    if size > MAX_TEXT_BYTES:
        raise BadImage(name, "too-large", f"the text has {size:,} bytes, {MAX_TEXT_BYTES:,} are read; store it as .npy")
    try:
        text = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadImage(name, "not-an-image", "not an image, nor a matrix in UTF-8 text") from None
    rows = [line for line in text.splitlines() if line.partition("#")[0].strip()]
    if not rows:
        raise BadImage(name, "empty", "the text holds no numbers")
    separator = next((sign for sign in ",;\t" if sign in text), None)
    try:
        matrix = np.loadtxt(rows, delimiter=separator, ndmin=2, dtype=np.float64)
    except ValueError as error:
        why = str(error).partition("; use")[0].rstrip(".")
        raise BadImage(name, "bad-array", f"not an image, nor a matrix of numbers ({why})") from None
    whole = np.isfinite(matrix).all() and (matrix == np.rint(matrix)).all() and np.abs(matrix).max() < 2**53
    return matrix.astype(np.int64) if whole else matrix
