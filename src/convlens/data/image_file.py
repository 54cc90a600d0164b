"""An image opened within the limits of the policy, no pixel decoded yet; what cannot be is a named `BadImage`.

Both that read pixels start here: `image.py`, which wants colours, and `masks.py`, which wants the values as they stand.
Pillow's readers are used one by one, and none of its settings is changed. This file must not know what becomes of the
pixels, nor labels, networks or torch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from convlens.data import arrays, container
from convlens.data.policy import Header, ImagePolicy
from convlens.data.video import VideoFrame
from convlens.errors import BadImage, ConvlensError, DataError

ImageLike = Path | str | bytes | np.ndarray | Image.Image | VideoFrame

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
GREY_MODES = ("1", "L", "LA", "La", *DEEP_MODES)
SHALLOW_GREY = {"L;2": 85, "L;4": 17}
PLAIN_PPM = (b"P1", b"P2", b"P3")


class Jpeg(JpegImageFile):
    """Pillow's JPEG reader without its own reading of EXIF, which prints warnings about damaged blocks."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": Jpeg,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
}


class OpenFile(NamedTuple):
    """An open file, its length in bytes, and the format of its content."""

    stream: BinaryIO
    size: int
    format: str


Opened = Image.Image | np.ndarray | arrays.NpyFile


def read_header(image: ImageLike, policy: ImagePolicy, name: str | None = None) -> Header:
    """Read mode, size and channels without decoding a pixel (only a matrix as text is read whole).

    Raises:
        BadImage: not an image, damaged at its start, or beyond the limits of the policy.
    """
    name = name or name_of(image)
    with open_image(image, policy, name) as (opened, _):
        if isinstance(opened, Image.Image):
            turned = (orientation_of(opened) or 1) >= 5
            height, width = (opened.width, opened.height) if turned else (opened.height, opened.width)
            return Header(opened.mode, height, width, 1 if _is_grey(opened) else 3)
        return Header("array", *arrays.picture_shape(opened.shape, name))


@contextmanager
def open_image(image: ImageLike, policy: ImagePolicy, name: str) -> Iterator[tuple[Opened, OpenFile | None]]:
    """Yield an image whose pixels are not read yet, and the file it lies in, None where it lies in none.

    Raises:
        BadImage: it is no image or beyond the limits of the policy; so leaves every exception of the block, too.
    """
    image = _readable(image, name)
    try:
        if isinstance(image, np.ndarray | Image.Image):
            policy.check_size(*_stored_size(image, name), name)
            yield image, None
            return
        with container.open_stream(image, name, policy.max_bytes) as (stream, size):
            file = OpenFile(stream, size, container.identify(stream, name))
            opened = _open_file(file, policy, name)
            policy.check_size(*_stored_size(opened, name), name)
            yield opened, file
    except ConvlensError:
        raise
    except Exception as error:
        raise _bad_image(error, name) from error


def _readable(image: Any, name: str) -> Path | str | bytes | np.ndarray | Image.Image:
    """The image itself, or the array of a frame, or of what can become one, such as a tensor of torch."""
    if isinstance(image, VideoFrame):
        return image.pixels
    if isinstance(image, Path | str | bytes | np.ndarray | Image.Image):
        return image
    kind = "None" if image is None else type(image).__name__
    if image is None or not hasattr(image, "__array__"):
        raise BadImage(name, "not-an-image", f"expected a path, bytes, an array or a Pillow image; got {kind}")
    try:
        return np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)  # known by what it can
    except Exception as error:  # whose array it is, and what it may raise, is not known here
        raise BadImage(name, "bad-array", f"the {kind} cannot become an array ({error}); give an array") from None


def _open_file(file: OpenFile, policy: ImagePolicy, name: str) -> Opened:
    if file.format == "MATRIX":
        return arrays.read_matrix(file.stream, file.size, name)
    if file.format == "NPY":
        return arrays.NpyFile.open(file.stream, file.size, name)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DataError(
            "Another library set PIL.ImageFile.LOAD_TRUNCATED_IMAGES, so damaged images would pass as whole. "
            "Set it back to False before using convlens."
        )
    container.check_start(file.stream, file.size, name)
    if file.format == "GIF":  # Pillow paints the canvas as soon as it opens a GIF
        policy.check_size(*container.gif_size(file.stream, name), name)
    file.stream.seek(0)
    if file.format == "PPM" and file.stream.read(2) in PLAIN_PPM and file.size > arrays.MAX_TEXT_BYTES:
        raise BadImage(name, "too-large", f"a PPM written as text has {file.size:,} bytes; save it as PNG")
    file.stream.seek(0)
    return READERS[file.format](file.stream)


def _stored_size(opened: Opened, name: str) -> tuple[int, int]:
    if isinstance(opened, Image.Image):
        return opened.height, opened.width
    return arrays.picture_shape(opened.shape, name)[:2]


def _bad_image(error: Exception, name: str) -> BadImage:
    """Name what Pillow, numpy or the system could not do."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        return BadImage(name, "too-large", f"the image does not fit in memory ({said})")
    if "too large" in said or "memory used" in said:
        return BadImage(name, "too-large", f"its text or colour profile unpacks beyond measure ({said})")
    early = isinstance(error, EOFError | IndexError | struct.error)
    if early or any(sign in said.lower() for sign in ("truncated", "eof", "requires a buffer", "not enough")):
        return BadImage(name, "truncated", f"the file ends too early ({said}); copy it again")
    return BadImage(name, "damaged", f"the image is damaged or of a rare kind ({said}); save it again as PNG")


def name_of(image: ImageLike) -> str:
    """What to call an image in errors when nobody said: its path, if it has one."""
    if isinstance(image, Path | str | VideoFrame):
        return image.name if isinstance(image, VideoFrame) else str(image)
    return "array" if isinstance(image, np.ndarray) else "image"


def has_tail(image: Image.Image, file: OpenFile, name: str) -> bool:
    """Whether something follows the picture in its file, which is checked as a whole where Pillow does not.

    Raises:
        BadImage: it is cut off or damaged.
    """
    if file.format not in ("PNG", "JPEG"):
        return False
    at = file.stream.tell()
    if file.format == "PNG":
        tail = container.check_png(file.stream, file.size, name)
    else:
        tail = container.check_jpeg(file.stream, file.size, name, progressive="progressive" in image.info)
    file.stream.seek(at)
    return tail


def orientation_of(image: Image.Image) -> int | None:
    """How a picture must be turned, 1 to 8; 1 for TIFF, which Pillow turns itself, None where the EXIF is damaged."""
    exif = image.info.get("exif")
    return container.exif_orientation(exif) if isinstance(exif, bytes) else 1


def rawmode_of(image: Image.Image) -> str:
    """The order of the stored bits, such as `RGB;16B`, before the image is loaded."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else ""
    return args if isinstance(args, str) else str(args[0])


def _is_grey(image: Image.Image) -> bool:
    palette = image.palette
    if image.mode == "P" and palette is not None and (palette.mode, palette.rawmode) == ("RGB", None):
        levels = bytes(palette.palette)
        return levels[0::3] == levels[1::3] == levels[2::3]
    return image.mode in GREY_MODES
