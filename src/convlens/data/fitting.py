"""Where the parts of an image land in the stored image, for what goes with the image: its mask there, answers back.

`place` is the geometry of `Preprocess.pixels`, which follows it for what was decoded; here it starts from the image's
true size, also where a JPEG was decoded smaller. This file moves values and never looks into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convlens.data.mask_map import IGNORED
from convlens.errors import ShapeError

if TYPE_CHECKING:
    from convlens.data.preprocess import Preprocess


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns it covers."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Placement:
    """Which part of an image is shown, and where.

    Attributes:
        source: in pixels of the image; the rest of the image is cut off.
        target: in pixels of the stored image; the rest of it is padding.
    """

    source: Window
    target: Window


def place(size_px: tuple[int, int], preprocess: Preprocess) -> Placement:
    """How an image of some size becomes a stored one.

    Args:
        size_px: (height, width) of the whole image, upright.
    """
    (h, w), (height, width) = size_px, preprocess.store_px
    whole, stored = Window(0, 0, h, w), Window(0, 0, height, width)
    if size_px == (height, width) or preprocess.fit == "squash":
        return Placement(whole, stored)
    if preprocess.fit == "crop":
        cut = min(h, max(1, round(w * height / width))), min(w, max(1, round(h * width / height)))
        return Placement(Window((h - cut[0]) // 2, (w - cut[1]) // 2, *cut), stored)
    ratio = min(height / h, width / w)
    inner = min(height, max(1, round(h * ratio))), min(width, max(1, round(w * ratio)))
    return Placement(whole, Window((height - inner[0]) // 2, (width - inner[1]) // 2, *inner))


def fit_mask(classes: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """A mask of an image as the mask of its stored image: each pixel has the class at its centre, padding is ignored.

    Shapes:
        (h, w) uint8 -> (store height, store width) uint8

    Raises:
        ShapeError: not (h, w) uint8.
    """
    if classes.ndim != 2 or classes.dtype != np.uint8 or 0 in classes.shape:
        raise ShapeError(f"Expected a mask of classes (h, w) uint8; got {classes.shape} {classes.dtype}.")
    placed = place((classes.shape[0], classes.shape[1]), preprocess)
    source, target = placed.source, placed.target
    fitted = np.full(preprocess.store_px, IGNORED, np.uint8)
    rows = source.top + _centres(target.height, source.height)
    columns = source.left + _centres(target.width, source.width)
    fitted[target.slices] = classes[rows[:, None], columns]
    return fitted


def unfit(
    values: np.ndarray, size_px: tuple[int, int], preprocess: Preprocess, fill: float | None = None
) -> np.ndarray:
    """What a network answered for each pixel, as the pixels of the whole image: the way back of `fit_mask`.

    Whole numbers are classes and come from the nearest pixel; fractions are scores and are interpolated linearly,
    never with padding.

    Args:
        values: of the network's input, or of all of the stored image; told by their size.
        size_px: (height, width) of the whole image, upright.
        fill: where the network did not look. Default: 255, ignored, for whole numbers, nan for fractions.

    Shapes:
        (H, W) or (K, H, W) -> (h, w) or (K, h, w), of the same dtype

    Raises:
        ShapeError: values of neither size.
    """
    seen = tuple(values.shape[-2:])
    if values.ndim not in (2, 3) or seen not in (preprocess.size_px, preprocess.store_px):
        raise ShapeError(
            f"Expected values (H, W) or (K, H, W) of the network's input {preprocess.size_px} or of the stored image "
            f"{preprocess.store_px}; got {values.shape}."
        )
    smooth = values.dtype.kind == "f"
    if fill is None:
        fill = np.nan if smooth else IGNORED
    placed = place(size_px, preprocess)
    offsets = preprocess.offset_px if seen == preprocess.size_px else (0, 0)
    whole = np.full((*values.shape[:-2], *size_px), fill, values.dtype)
    found, spans = values, []
    for axis, (source_at, source, target_at, target, offset, side) in enumerate(
        (
            (placed.source.top, placed.source.height, placed.target.top, placed.target.height, offsets[0], seen[0]),
            (placed.source.left, placed.source.width, placed.target.left, placed.target.width, offsets[1], seen[1]),
        )
    ):
        first = target_at - offset  # of the picture, within the values; below 0 where the input begins later
        nearest = first + _centres(source, target)
        visible = np.flatnonzero((nearest >= 0) & (nearest < side))
        if not len(visible):
            return whole
        spans.append(slice(source_at + visible[0], source_at + visible[-1] + 1))
        if smooth:
            at = first + (visible + 0.5) * target / source - 0.5
            ends = max(first, 0), min(first + target, side) - 1
            found = _interpolated(found, at, ends, axis - 2)
        else:
            found = found.take(nearest[visible], axis - 2)
    whole[..., spans[0], spans[1]] = found
    return whole


def _centres(count: int, length: int) -> np.ndarray:
    """For each of `count` equal parts of `length` pixels, the pixel that its centre lies in.

    Example:
        >>> _centres(2, 5), _centres(4, 2)
        (array([1, 3]), array([0, 0, 1, 1]))
    """
    return (2 * np.arange(count) + 1) * length // (2 * count)


def _interpolated(values: np.ndarray, at: np.ndarray, ends: tuple[int, int], axis: int) -> np.ndarray:
    """Values between pixels along an axis; beyond the ends, those of the ends."""
    at = at.clip(*ends)
    low, high = np.floor(at).astype(np.int64), np.ceil(at).astype(np.int64)
    if (low == high).all():
        return values.take(low, axis)
    share = (at - low).astype(values.dtype).reshape(-1, *([1] * (-axis - 1)))
    return values.take(low, axis) * (1 - share) + values.take(high, axis) * share
