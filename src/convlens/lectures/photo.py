"""A kernel on a picture file, and all named kernels on one picture.

The arithmetic is that of `reference.filter`, the reading that of `data.image`; this file puts the two together, and
never writes over what it reads.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convlens.data.image import decode
from convlens.data.image_file import read_header
from convlens.data.pixels import encode_png, resize
from convlens.data.policy import ImagePolicy
from convlens.errors import ConfigError
from convlens.files import write_atomic
from convlens.lectures.lettering import TALL, lettered
from convlens.reference import KERNELS
from convlens.reference.filter import display, filter_image, luminance

TILE_PX = 240
ACROSS = 5
GAP = 16
PAPER, PALE_INK, INK = 250, 110, 30


@dataclass(frozen=True)
class Filtered:
    """What a kernel made of a picture.

    Attributes:
        signed: the result as it is, (H, W) of the luminance or (H, W, C).
        pixels: rounded and clamped to bytes, (H, W, 1 or 3).
        below: how many numbers were below 0, and became 0.
        above: how many were above 255, and became 255.
        notes: what was done to the picture when it was read.
    """

    signed: np.ndarray
    pixels: np.ndarray
    below: int
    above: int
    notes: tuple[str, ...]


def read_picture(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Upright pixels uint8 (H, W, 1 or 3), and what was done to get them.

    Raises:
        BadImage: it cannot be read as a picture.
    """
    channels = 1 if read_header(path, ImagePolicy()).is_grey else 3
    decoded = decode(path, ImagePolicy(channels=channels))
    return decoded.pixels, decoded.notes


def filter_file(
    source: Path,
    kernel: np.ndarray,
    out: Path,
    *,
    signed: Path | None = None,
    border: str = "reflect",
    on: str = "channels",
) -> Filtered:
    """Apply a kernel to a picture and write the result as a PNG, the signed numbers as .npy where asked.

    Args:
        border: what stands beyond the edge: zeros, reflect, replicate or circular.
        on: 'channels' or 'luminance'.

    Raises:
        BadImage: the picture cannot be read.
        ConfigError: a file to be written has another suffix, or is the picture itself.
        ShapeError: the picture is too small for this border.
    """
    require_target(out, ".png", source)
    if signed is not None:
        require_target(signed, ".npy", source)
    pixels, notes = read_picture(source)
    result = filter_image(pixels, kernel, border=border, on=on)
    shown = display(result)
    flat = shown.pixels[..., np.newaxis] if shown.pixels.ndim == 2 else shown.pixels
    write_atomic(out, encode_png(flat))
    if signed is not None:
        buffer = io.BytesIO()
        np.save(buffer, result, allow_pickle=False)
        write_atomic(signed, buffer.getvalue())
    return Filtered(result, flat, shown.below, shown.above, notes)


def require_target(path: Path, suffix: str, source: Path | None = None) -> None:
    """Refuse a file that would not hold what is written, or that would replace the picture.

    Raises:
        ConfigError: another suffix, the picture itself, or a folder that is not there.
    """
    if path.suffix.lower() != suffix:
        raise ConfigError(f"{path} must end in {suffix}, which keeps every value. Give {path.with_suffix(suffix)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder '{path.parent}' to write {path.name} into. Make it first.")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise ConfigError(f"{path} is the picture itself and would be lost. Give another name to write to.")


def sheet(pixels: np.ndarray | None = None) -> bytes:
    """All named kernels on one picture, as a PNG with their names.

    Where a kernel's numbers add up to 0, its result has signs: there grey means 0, and the largest number is white, or
    black below 0. Other results are clamped to what can be shown.

    Shapes:
        uint8 (H, W, 1 or 3); a drawn picture if none is given
    """
    small = _small(drawn_picture() if pixels is None else pixels)
    tiles = [_tile(name, small) for name in KERNELS]
    tall, wide = tiles[0].shape[:2]
    rows = -(-len(tiles) // ACROSS)
    page = np.full((rows * (tall + GAP) + GAP, ACROSS * (wide + GAP) + GAP, 3), PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (GAP + (size + GAP) * at for size, at in zip((tall, wide), divmod(number, ACROSS), strict=True))
        page[top : top + tall, left : left + wide] = tile
    return encode_png(page)


def drawn_picture(side: int = TILE_PX) -> np.ndarray:
    """A picture with an edge of every direction: a disc, a square, stripes, a slope, and dots.

    Shapes:
        -> uint8 (side, side, 1)
    """
    y, x = np.mgrid[0:side, 0:side] / side
    grey = 60 + 120 * x * y

    def within(left: float, top: float, right: float, bottom: float) -> np.ndarray:
        return (x > left) & (x < right) & (y > top) & (y < bottom)

    from_centre = (x - 0.3) ** 2 + (y - 0.3) ** 2
    grey[from_centre < 0.2**2] = 230
    grey[from_centre < 0.1**2] = 40
    grey[within(0.6, 0.1, 0.92, 0.42)] = 200
    grey[within(0.68, 0.18, 0.84, 0.34)] = 90
    across = np.where(x < 0.22, x, np.where(x < 0.36, y, x + y))  # upright, lying and slanting stripes
    striped = np.where((across * 20).astype(int) % 2 == 0, 220, 30)
    grey = np.where(within(0.08, 0.58, 0.5, 0.92), striped, grey)
    from_dots = ((x * 12) % 1 - 0.5) ** 2 + ((y * 12) % 1 - 0.5) ** 2
    grey[within(0.6, 0.58, 0.92, 0.92) & (from_dots < 0.06)] = 240
    return grey.astype(np.uint8)[..., np.newaxis]


def _small(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    share = TILE_PX / width
    return resize(pixels, (max(8, min(2 * TILE_PX, round(height * share))), TILE_PX))


def _tile(name: str, picture: np.ndarray) -> np.ndarray:
    """The picture under one kernel, with its name and sum below."""
    kernel = KERNELS[name]
    balanced = abs(kernel.sum()) < 1e-9
    if balanced:
        signed = filter_image(luminance(picture), kernel)
        shown = np.rint(128 + 127 * signed / max(abs(signed).max(), 1)).astype(np.uint8)[..., np.newaxis]
    else:
        shown = display(filter_image(picture, kernel)).pixels
    height, width = shown.shape[:2]
    name_top, sum_top = height + 4, height + 6 + 2 * TALL
    tile = np.full((sum_top + TALL, width, 3), PAPER, np.uint8)
    tile[:height] = shown
    tile[name_top : name_top + 2 * TALL][_ink(name, 2, width)] = INK
    line = "sum 0: grey is 0" if balanced else f"sum {kernel.sum():g}"
    tile[sum_top:][_ink(line, 1, width)] = PALE_INK
    return tile


def _ink(text: str, scale: int, width: int) -> np.ndarray:
    dots = lettered(text, scale)[:, :width]
    return np.pad(dots, ((0, 0), (0, width - dots.shape[1])))
