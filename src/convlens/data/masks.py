"""What the pixels of masks say: their raw values, and how often each occurs.

A mask is a drawing whose values are names, so nothing is scaled, blended or laid on a background: a palette gives its
indices, grey its levels, colour its codes. Which value means what is the business of `mask_meaning.py`, or the user's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convlens.data import arrays, container, image_file
from convlens.data.findings import Finding, shorten
from convlens.data.mask_map import COLOUR, MaskMap, as_colour, value_text
from convlens.data.policy import ImagePolicy
from convlens.errors import BadImage, DataError

__all__ = ["MaskMap", "ValueCounts", "histogram", "lossy_masks", "read_mask", "require_size"]

MAX_VALUES = 100_000


# Reading --------------------------------------------------------------------------------------------------------------


def read_mask(mask: Path | np.ndarray, max_pixels: int = 50_000_000, name: str | None = None) -> np.ndarray:
    """The raw values of a mask, upright: indices of a palette, grey levels, whole numbers of an array, or colours.

    Colours are `COLOUR + 0xRRGGBB`; transparency is not looked at. A picture in colour mode that holds only greys gives
    grey levels. Orientation and limits are those of `image.decode`.

    Args:
        mask: a file of any kind that images are read from, or an array (H, W), (H, W, 1) or, of 8 bit, (H, W, 3).
        max_pixels: larger masks are refused from their header.
        name: what errors call it. Default: the path.

    Shapes:
        -> (h, w) uint8, uint16 or int32

    Raises:
        BadImage: the mask cannot be read, or holds fractions, several pages or values beyond 24 bits.
    """
    name = name or ("mask" if isinstance(mask, np.ndarray) else str(mask))
    with image_file.open_image(mask, ImagePolicy(max_pixels=max_pixels), name) as (opened, file):
        if isinstance(opened, arrays.NpyFile):
            opened = opened.read()
        if isinstance(opened, np.ndarray):
            return _from_array(opened, name)
        return _from_picture(opened, file, name)


def _from_array(values: np.ndarray, name: str) -> np.ndarray:
    channels = arrays.picture_shape(values.shape, name)[2]
    if values.ndim == 2 or channels == 1:
        return _whole(values.reshape(values.shape[:2]), name)
    if channels in (3, 4) and values.dtype == np.uint8:
        return _colours(values)
    why = f"expected one whole number per pixel, or 8-bit RGB; got {values.dtype} {values.shape}; store (H, W)"
    raise BadImage(name, "channels", why)


def _from_picture(picture: Any, file: Any, name: str) -> np.ndarray:
    """The values of an opened Pillow image, by its mode."""
    if getattr(picture, "is_animated", False):
        raise BadImage(name, "unsupported", "the mask has several frames or pages; save the one that is meant")
    rawmode, tiles = image_file.rawmode_of(picture), getattr(picture, "tile", None)  # both are gone after loading
    args: Any = tiles[0].args if tiles else None
    if file:
        image_file.has_tail(picture, file, name)  # verifies the checksums of a PNG, which Pillow leaves unread
    picture.load()
    turn = image_file.UPRIGHT.get(image_file.orientation_of(picture) or 1)
    picture = picture if turn is None else picture.transpose(turn)
    mode = picture.mode
    if mode in image_file.DEEP_MODES or mode in ("1", "L", "P"):
        values = np.asarray(picture)
        if rawmode in image_file.SHALLOW_GREY:  # Pillow spreads 2 and 4 bits over 0..255
            values = values // image_file.SHALLOW_GREY[rawmode]
        elif file and file.format == "PPM" and isinstance(args, tuple) and mode in ("L", "I"):
            white = 255 if mode == "L" else 65535  # and does the same with the greys of a PGM
            values = (values.astype(np.int64) * int(args[1]) * 2 + white) // (2 * white)
        return _whole(values, name)
    if ";16" in rawmode:
        why = "16 bits a channel, of which only 8 would be read; store the classes as one channel"
        raise BadImage(name, "unsupported", why)
    if mode in ("LA", "La", "PA"):
        return _whole(np.asarray(picture.getchannel(0)), name)
    if mode in ("RGB", "RGBA", "RGBX", "RGBa"):
        pixels = np.asarray(picture)
        if mode == "RGBA" and np.ptp(pixels[..., 3]) and not np.ptp(pixels[..., :3], axis=(0, 1)).any():
            why = "the mask is drawn in its transparency alone, which is not looked at; save it as grey or colours"
            raise BadImage(name, "channels", why)
        return _colours(pixels)
    raise BadImage(name, "unsupported", f"the colours of a mask must be grey, RGB or a palette; got {mode}")


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """The same numbers in the smallest of uint8, uint16 and int32."""
    if values.dtype.kind not in "buif":
        raise BadImage(name, "bad-array", f"expected whole numbers, got {values.dtype}; store uint8 or uint16")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise BadImage(name, "value-range", "the values of a mask must be whole numbers; round them, or store classes")
    low, high = values.min(), values.max()
    if low <= -COLOUR or high >= COLOUR:
        why = f"the values of a mask must lie within 24 bits; got {low:g}..{high:g}; number the classes from 0"
        raise BadImage(name, "value-range", why)
    return values.astype(np.int32 if low < 0 or high > 65535 else np.uint8 if high < 256 else np.uint16)


def _colours(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = (pixels[..., channel] for channel in range(3))
    if (red == green).all() and (green == blue).all():
        return red.copy()
    return COLOUR + ((red.astype(np.int32) << 16) | (green.astype(np.int32) << 8) | blue)


def require_size(raw: np.ndarray, size_px: tuple[int, int], name: str) -> None:
    """Check that a mask is as large as its image.

    Args:
        size_px: (height, width) of the image, upright.
        name: of the mask, or of the pair.

    Raises:
        BadImage: mask-size.
    """
    if raw.shape != size_px:
        hint = "one of the two is turned" if raw.shape == size_px[::-1] else "they must be equal; export it again"
        raise BadImage(
            name,
            "mask-size",
            f"the mask is {raw.shape[0]} x {raw.shape[1]} pixels (height x width), its image {size_px[0]} x "
            f"{size_px[1]}: {hint}",
        )


def lossy_masks(masks: Mapping[str, Path]) -> tuple[Finding, ...]:
    """A warning about masks stored as JPEG or lossy WebP, whose values are no longer the ones that were drawn.

    Args:
        masks: {id: file}; only the first bytes are read, and files that cannot be are passed over.
    """
    lossy = []
    for identity, path in masks.items():
        try:
            with container.open_stream(path, str(path), ImagePolicy().max_bytes) as (stream, _):
                head = stream.read(16)
        except BadImage:
            continue
        if head.startswith(b"\xff\xd8\xff") or (head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8 "):
            lossy.append(identity)
    if not lossy:
        return ()
    message = (
        f"{len(lossy):,} masks are JPEG or lossy WebP, which changes values along every edge: {shorten(lossy)}. "
        "Save masks as PNG."
    )
    return (Finding("lossy-mask", "warning", message, tuple(lossy)),)


# Counting -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ValueCounts:
    """Which values a set of masks holds.

    Attributes:
        pixels: value -> pixels that have it, in order of the values. If any is a colour, all greys are colours too.
        images: value -> masks in which it occurs.
        masks: how many were counted.
        drawn: masks with any value above 0, 255 aside where 254 is absent.
        running: those of them whose values above 0 are 1, 2, .., n, as numbered objects are.
        beside_255: masks in which 255 stands beside another value above 0.
        alike: of the pixels above 0, the share whose right neighbour has the same value: near 1 in drawings, low in
            photographs.
    """

    pixels: Mapping[int, int]
    images: Mapping[int, int]
    masks: int
    drawn: int = 0
    running: int = 0
    beside_255: int = 0
    alike: float = 1.0

    @property
    def coloured(self) -> bool:
        """Whether the values are colours."""
        return max(self.pixels, default=0) >= COLOUR

    def share(self, *values: int) -> float:
        """Of all pixels, those with one of the values."""
        return sum(self.pixels.get(value, 0) for value in values) / max(1, sum(self.pixels.values()))

    def describe(self, most: int = 8) -> str:
        """The histogram in words, most frequent first.

        Example:
            >>> histogram([np.array([[0, 0, 0, 7]])]).describe()
            '0 in 75 % of the pixels (1 of 1 masks), 7 in 25 % (1)'
        """
        order = sorted(self.pixels, key=lambda value: (-self.pixels[value], value))
        told = [f"{value_text(value)} in {100 * self.share(value):.3g} % ({self.images[value]})" for value in order]
        if told:
            told[0] = told[0].replace(" % (", " % of the pixels (", 1).replace(")", f" of {self.masks} masks)")
        rest = len(told) - most
        return ", ".join(told[:most]) + (f" and {rest:,} more values" if rest > 0 else "")


def histogram(masks: Iterable[np.ndarray]) -> ValueCounts:
    """Count the values of masks, one after the other.

    Shapes:
        each (h, w) of whole numbers, as `read_mask` gives them

    Raises:
        DataError: so many values that these are no masks.
    """
    pixels, images = Counter[int](), Counter[int]()
    count = drawn = running = beside = 0
    neighbours = equal = 0
    for raw in masks:
        values, times = _values_of(raw)
        count += 1
        pixels.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
        images.update(values.tolist())
        if len(pixels) > MAX_VALUES:
            raise DataError(
                f"The first {count:,} masks hold more than {MAX_VALUES:,} different values; masks hold one value per "
                "class, pictures hold many. Is the folder of masks that of the pictures?"
            )
        above = values[values > 0]
        kept = above if 254 in above else above[above != 255]
        drawn += len(kept) > 0
        running += len(kept) > 0 and kept[0] == 1 and kept[-1] == len(kept)
        beside += bool(len(kept)) and 255 in above
        marked = raw[:, :-1] > 0
        neighbours += np.count_nonzero(marked)
        equal += np.count_nonzero(marked & (raw[:, :-1] == raw[:, 1:]))
    if any(value >= COLOUR for value in pixels):
        pixels, images = _lifted(pixels), _lifted(images)
    ordered, where = dict(sorted(pixels.items())), dict(sorted(images.items()))
    return ValueCounts(
        ordered, where, count, int(drawn), int(running), int(beside), equal / neighbours if neighbours else 1.0
    )


def _values_of(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values in order, and how often each occurs."""
    if raw.dtype.kind == "u" and raw.dtype.itemsize <= 2:
        counts = np.bincount(raw.ravel())
        values = np.flatnonzero(counts)
        return values, counts[values]
    values, counts = np.unique(raw, return_counts=True)
    return values.astype(np.int64), counts


def _lifted(found: Counter[int]) -> Counter[int]:
    """Greys as the colours they are."""
    lifted = Counter[int]()
    for value, count in found.items():
        lifted[as_colour(value)] += count
    return lifted
