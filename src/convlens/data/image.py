"""One image in, 8-bit pixels out, under one written policy (docs/images.md); everything else is a named `BadImage`.

The only file that knows Pillow. It uses Pillow's readers one by one, changes none of its settings, and lets no metadata
out: EXIF, GPS and colour profiles end here. It must not know labels, networks or torch.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFile, ImageFont
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from convlens.data import arrays, container
from convlens.data.policy import VERSION, Decoded, Header, ImagePolicy
from convlens.errors import BadImage, ConvlensError, DataError, ShapeError

__all__ = [
    "VERSION",
    "Decoded",
    "Header",
    "ImageLike",
    "ImagePolicy",
    "decode",
    "encode_png",
    "read_header",
    "resize",
    "to_uint8",
]

ImageLike = Path | str | bytes | np.ndarray | Image.Image

FIRST_FRAME_NOTE = "first of several frames or pages"
TAIL_NOTE = "bytes after the end of the picture ignored"
UPRIGHT_NOTE = "turned upright"
EXIF_NOTE = "EXIF unreadable, orientation not applied"
BACKGROUND_NOTE = "transparency laid on the background"
INK_NOTE = "CMYK converted without its colour profile"
PLAIN_INK_NOTE = "CMYK without Adobe's mark, read as ink"
HIGH_BYTE_NOTE = "16-bit colour, upper 8 bits kept"

ORIENTATION_TAG = 274
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


class _Jpeg(JpegImageFile):
    """Pillow's JPEG reader without its own reading of EXIF, which prints warnings about damaged blocks."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": _Jpeg,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
}


def read_header(image: ImageLike, policy: ImagePolicy, name: str | None = None) -> Header:
    """Read mode, size and channels without decoding a pixel (only a matrix as text is read whole).

    Raises:
        BadImage: not an image, damaged at its start, or beyond the limits of the policy.
    """
    name = name or _name_of(image)
    with open_image(image, policy, name) as (opened, _):
        if isinstance(opened, Image.Image):
            turned = (orientation_of(opened) or 1) >= 5
            height, width = (opened.width, opened.height) if turned else (opened.height, opened.width)
            return Header(opened.mode, height, width, 1 if _is_grey(opened) else 3)
        return Header("array", *arrays.picture_shape(opened.shape, name))


def decode(
    image: ImageLike, policy: ImagePolicy, name: str | None = None, *, reduce_to_px: int | None = None
) -> Decoded:
    """Turn a file, its bytes, an array or a Pillow image into upright 8-bit pixels.

    Args:
        image: what to read; a `str` is a path.
        policy: the rules.
        name: what to call it in errors; its suffix marks a matrix of text. Default: the path.
        reduce_to_px: a JPEG whose short side is at least 2, 4 or 8 times this is decoded at 1/2, 1/4 or 1/8 scale.

    Raises:
        BadImage: whatever makes the image unusable, with a stable `kind`.
        DataError: another library told Pillow to accept truncated files.
    """
    name = name or _name_of(image)
    with open_image(image, policy, name) as (opened, file):
        notes: list[str] = []
        if file and (promised := container.named_format(name)) not in (None, file.format):
            notes.append(f"{file.format} content under a name of {promised}")
        if isinstance(opened, Image.Image):
            return _decode_picture(opened, file, policy, name, notes, reduce_to_px)
        return _decode_array(opened, policy, name, notes)


def to_uint8(array: np.ndarray, policy: ImagePolicy) -> np.ndarray:
    """Bring the numbers of an array to 0..255 by the rules of `arrays.scale_to_uint8`; the shape stays.

    Raises:
        BadImage: the numbers fit no rule.
    """
    return arrays.scale_to_uint8(array, policy.white_level)[0]


def resize(pixels: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Scale uint8 (H, W, C) to size_px = (height, width): antialiased, in integers, always a fresh array.

    Example:
        >>> resize(np.uint8([[[0], [0], [200], [200]]]), (1, 2))[..., 0]
        array([[ 29, 171]], dtype=uint8)

    Raises:
        ShapeError: the pixels are not uint8 (H, W, C), or the size is not positive.
    """
    _require_pixels(pixels)
    height, width = size_px
    if height < 1 or width < 1:
        raise ShapeError(f"Expected a size of 1 x 1 pixel or more; got {height} x {width}.")
    if pixels.shape[:2] == (height, width):
        return pixels.copy()
    if pixels.shape[2] == 3:
        return np.array(_resized(pixels, (width, height)))
    planes = [np.asarray(_resized(pixels[:, :, c], (width, height))) for c in range(pixels.shape[2])]
    return np.stack(planes, axis=2)


def encode_png(pixels: np.ndarray, palette: Sequence[tuple[int, int, int]] | None = None) -> bytes:
    """Grey or RGB pixels, uint8 (H, W, 1 or 3), as a PNG that holds nothing else.

    Args:
        palette: 256 colours; then the pixels (H, W) are their indices, and stay so in the file.

    Raises:
        ShapeError: another shape or dtype.
    """
    if palette is not None:
        coloured, buffer = Image.fromarray(pixels), io.BytesIO()
        coloured.putpalette([level for colour in palette for level in colour])
        coloured.save(buffer, "PNG")
        return buffer.getvalue()
    _require_pixels(pixels)
    if pixels.shape[2] not in (1, 3):
        raise ShapeError(f"A PNG holds 1 or 3 channels; got {pixels.shape[2]}. Choose the channels to show.")
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------- opening within limits


class OpenFile(NamedTuple):
    """An open file, its length in bytes, and the format of its content."""

    stream: BinaryIO
    size: int
    format: str


Opened = Image.Image | np.ndarray | arrays.NpyFile


def text_mask(text: str, height_px: int) -> np.ndarray:
    """One line of text as the share of each pixel that its ink covers, 0..1; letters that the font lacks are boxes.

    Args:
        height_px: about that of a line.

    Shapes:
        -> (h, w) float64
    """
    try:
        font = ImageFont.load_default(max(4.0, 0.72 * height_px))
    except ImportError:  # a Pillow without FreeType has one font of one size, for Latin letters
        font, text = ImageFont.load_default(), text.encode("latin-1", "replace").decode("latin-1")
    left, top, right, bottom = map(round, font.getbbox(text or " "))
    drawn = Image.new("L", (max(1, right - left), max(1, bottom - top)), 0)
    ImageDraw.Draw(drawn).text((-left, -top), text, fill=255, font=font)
    return np.asarray(drawn) / 255.0


@contextmanager
def open_image(image: ImageLike, policy: ImagePolicy, name: str) -> Iterator[tuple[Opened, OpenFile | None]]:
    """Yield an image whose pixels are not read yet, and the file it lies in, None where it lies in none.

    Raises:
        BadImage: it is no image or beyond the limits of the policy; so leaves every exception of the block, too.
    """
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


# ------------------------------------------------------------------------------------------------------ from pictures


def _decode_picture(
    image: Image.Image,
    file: OpenFile | None,
    policy: ImagePolicy,
    name: str,
    notes: list[str],
    reduce_to_px: int | None,
) -> Decoded:
    if policy.channels not in (1, 3):
        why = f"expected {policy.channels} channels, which no picture has; use .npy, or set data.channels to 1 or 3"
        raise BadImage(name, "channels", why)
    mode, rawmode, whole_px = image.mode, rawmode_of(image) if file else "", None
    if file and has_tail(image, file, name):
        notes.append(TAIL_NOTE)
    if getattr(image, "is_animated", False) and image.tell() == 0:  # asked before load, which would end the reading
        notes.append(FIRST_FRAME_NOTE)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(ORIENTATION_TAG) in UPRIGHT:
        notes.append(UPRIGHT_NOTE)  # done by Pillow while loading
    if reduce_to_px and isinstance(image, _Jpeg) and min(image.size) >= 2 * reduce_to_px:
        whole_px = (image.height, image.width)
        image.draft(None, (reduce_to_px, reduce_to_px))
    image.load()
    orientation = orientation_of(image)
    if orientation is None:
        notes.append(EXIF_NOTE)
    if mode in DEEP_MODES:
        white_level = 65535 if file and file.format == "PPM" else policy.white_level  # PGM states its own white
        image = _grey_from_deep(image, white_level, name, notes)
    elif mode == "CMYK":
        image = _rgb_from_ink(image, notes)
    elif ";16" in rawmode:
        _check_deep_colour(image, policy, name, notes)
    elif rawmode in SHALLOW_GREY and isinstance(key := image.info.get("transparency"), int):
        image.info["transparency"] = key * SHALLOW_GREY[rawmode]  # Pillow scales the pixels, not the transparent level
    if orientation in UPRIGHT:
        notes.append(UPRIGHT_NOTE)
        image = image.transpose(UPRIGHT[orientation])
        whole_px = (whole_px[1], whole_px[0]) if whole_px and orientation >= 5 else whole_px
    return Decoded(_eight_bit(image, policy, notes), mode, tuple(notes), whole_px)


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


def _eight_bit(image: Image.Image, policy: ImagePolicy, notes: list[str]) -> np.ndarray:
    """uint8 (H, W, 1 or 3) of an image of 8 bits or fewer."""
    mode = "L" if policy.channels == 1 else "RGB"
    if image.has_transparency_data:
        image = _on_background(image, policy, notes)
    elif image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[:, :, None] if mode == "L" else pixels


def _on_background(image: Image.Image, policy: ImagePolicy, notes: list[str]) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if np.asarray(rgba.getchannel("A")).min() == 255:
        return rgba.convert("RGB")
    notes.append(BACKGROUND_NOTE)
    ground = Image.new("RGBA", rgba.size, (*policy.background, 255))
    ground.alpha_composite(rgba)
    return ground.convert("RGB")


def _rgb_from_ink(image: Image.Image, notes: list[str]) -> Image.Image:
    notes.append(INK_NOTE)
    if isinstance(image, JpegImageFile) and "adobe" not in image.info:
        notes.append(PLAIN_INK_NOTE)
        image = ImageChops.invert(image)  # Pillow reads every CMYK JPEG as Adobe's, inverted
    return image.convert("RGB")


def _grey_from_deep(image: Image.Image, white_level: int, name: str, notes: list[str]) -> Image.Image:
    """16-bit, 32-bit and float grey as L, or LA where one level is transparent; Pillow itself would clip to white."""
    values = np.asarray(image)
    if image.mode != "F":
        low, high = values.min(), values.max()
        if low < 0 or high > 65535:
            why = f"32-bit values must be 0..65535, got {low}..{high}; store them as .npy, scaled to 0..1"
            raise BadImage(name, "value-range", why)
        values = values.astype(np.uint16)
    grey, more = arrays.scale_to_uint8(values, white_level, name)
    notes.extend(more)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return Image.fromarray(grey)
    alpha = np.where(values == key, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _check_deep_colour(image: Image.Image, policy: ImagePolicy, name: str, notes: list[str]) -> None:
    if policy.white_level != 65535:
        why = f"16-bit colour is read by its upper 8 bits, so white_level={policy.white_level} cannot apply; use .npy"
        raise BadImage(name, "unsupported", why)
    notes.append(HIGH_BYTE_NOTE)
    if isinstance(key := image.info.get("transparency"), tuple):
        image.info["transparency"] = tuple(level >> 8 for level in key)


# -------------------------------------------------------------------------------------------------------- from arrays


def _decode_array(source: np.ndarray | arrays.NpyFile, policy: ImagePolicy, name: str, notes: list[str]) -> Decoded:
    shape = arrays.picture_shape(source.shape, name)
    arrays.require_channels(shape, policy.channels, name)
    array = source.read() if isinstance(source, arrays.NpyFile) else source
    values, more = arrays.scale_to_uint8(array, policy.white_level, name)
    pixels = values.reshape(shape)
    if policy.channels == 3 and shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif policy.channels == 1 and shape[2] == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    return Decoded(pixels, "array", (*notes, *more))


# ----------------------------------------------------------------------------------------------------- small questions


def _name_of(image: ImageLike) -> str:
    if isinstance(image, Path | str):
        return str(image)
    return "array" if isinstance(image, np.ndarray) else "image"


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


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def _require_pixels(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ShapeError(f"Expected uint8 pixels (H, W, C); got {pixels.dtype} {pixels.shape}. Use decode or to_uint8.")
