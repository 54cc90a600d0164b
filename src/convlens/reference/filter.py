# ruff: noqa: N803
"""A kernel over a whole photograph: quick, signed, and clamped only to be looked at.

The sum is that of `conv2d`, in another order: one pass over the image for each number of the kernel, not one visit to
the kernel for each of a million pixels. This file must not know files or formats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.reference.padding import pad
from convlens.reference.result import numbers
from convlens.shapes import same_padding

TARGETS = ("channels", "luminance")
LUMINANCE = (0.299, 0.587, 0.114)


class Display(NamedTuple):
    """What can be looked at: bytes, and how many numbers had to be changed to become bytes."""

    pixels: np.ndarray
    below: int
    above: int

    @property
    def note(self) -> str:
        """One sentence on what was clamped; empty if nothing was."""
        if not self.below and not self.above:
            return ""
        return (
            f"Clamped for display: {self.below} values below 0 and {self.above} above 255 of {self.pixels.size}; "
            "the signed values are kept."
        )


def luminance(image_HWC: ArrayLike) -> np.ndarray:
    """Brightness as the eye weighs the colours: 0.299 R + 0.587 G + 0.114 B; a grey image stays as it is.

    Shapes:
        (H, W), (H, W, 1) or (H, W, 3) -> (H, W)

    Source: ITU-R BT.601.
    """
    image = _image(image_HWC)
    if image.shape[2] == 1:
        return image[..., 0]
    if image.shape[2] != 3:
        raise ShapeError(f"Luminance needs 1 or 3 channels; got {image.shape[2]}. Filter the channels instead.")
    return image @ np.array(LUMINANCE)


def filter_image(
    image_HWC: ArrayLike, kernel: ArrayLike, *, border: str = "reflect", on: str = "channels"
) -> np.ndarray:
    """Apply a kernel to each channel, or to the luminance; the size stays, and so do the signs.

    Shapes:
        (H, W) or (H, W, C), (h, w) -> the same as the image, or (H, W) for the luminance

    Args:
        border: what stands beyond the edge: zeros, reflect, replicate or circular.
        on: 'channels' or 'luminance'.

    Example:
        >>> filter_image([[1, 2, 4]], [[-1, 0, 1]], border="replicate").tolist()
        [[1.0, 3.0, 2.0]]

    Raises:
        ConfigError: an unknown border or target.
        ShapeError: image or kernel are not what they should be.
    """
    if on not in TARGETS:
        raise ConfigError(f"A kernel works on 'channels' or on 'luminance'; got '{on}'. {did_you_mean(on, TARGETS)}")
    weights = numbers(kernel, "kernel")
    if weights.ndim != 2 or not weights.size:
        raise ShapeError(f"A kernel is a matrix (h, w); got shape {weights.shape}. Write it row by row.")
    given = numbers(image_HWC, "image")
    planes = luminance(given)[..., np.newaxis] if on == "luminance" else _image(given)
    height, width, channels = planes.shape
    pads = (same_padding(height, weights.shape[0]), same_padding(width, weights.shape[1]), (0, 0))
    padded = pad(planes, pads, border)
    total = np.zeros((height, width, channels))
    for a, b in np.ndindex(weights.shape):
        total += weights[a, b] * padded[a : a + height, b : b + width]
    return total[..., 0] if on == "luminance" or given.ndim == 2 else total


def display(signed: ArrayLike) -> Display:
    """Round to whole numbers and clamp to 0..255, counting what was clamped.

    Example:
        >>> display([[-3.0, 0.6, 300.0]])
        Display(pixels=array([[  0,   1, 255]], dtype=uint8), below=1, above=1)
        >>> display([[-3.0, 0.6, 300.0]]).note
        'Clamped for display: 1 values below 0 and 1 above 255 of 3; the signed values are kept.'
    """
    rounded = np.rint(np.asarray(numbers(signed, "values"), np.float64))
    below, above = int((rounded < 0).sum()), int((rounded > 255).sum())
    return Display(rounded.clip(0, 255).astype(np.uint8), below, above)


def _image(image: ArrayLike) -> np.ndarray:
    array = np.asarray(numbers(image, "image"), np.float64)
    if array.ndim not in (2, 3) or not array.size:
        raise ShapeError(f"An image is (H, W) or (H, W, C); got shape {array.shape}. Filter one image at a time.")
    return array[..., np.newaxis] if array.ndim == 2 else array
