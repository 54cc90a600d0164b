"""8-bit pixels of ours: scaled, lettered, and written as PNG.

Nothing here reads a file; Pillow does the rest. This file must not know policies, labels, networks or torch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convlens.errors import ShapeError


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
        picture = Image.fromarray(pixels)
        picture.putpalette([level for colour in palette for level in colour])
    else:
        _require_pixels(pixels)
        if pixels.shape[2] not in (1, 3):
            raise ShapeError(f"A PNG holds 1 or 3 channels; got {pixels.shape[2]}. Choose the channels to show.")
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


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


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def _require_pixels(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ShapeError(f"Expected uint8 pixels (H, W, C); got {pixels.dtype} {pixels.shape}. Use image.decode.")
