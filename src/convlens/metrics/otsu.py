"""A label map without learning, to stand beside a network's: what is brighter, or darker, than Otsu's threshold.

This file knows grey images and label maps as arrays, not networks or files.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from convlens.metrics.pixel_tally import PixelTally, foreground_dice


def otsu_threshold(grey: np.ndarray) -> float | None:
    """The grey value that parts an image into the two most different halves; None where all its pixels are alike.

    Among all thresholds the one with the largest variance between the two groups, found exactly (no histogram bins).
    Half-way between the two values it parts, so that `grey > threshold` does not hang on a rounding.

    Shapes:
        any

    Example:
        >>> otsu_threshold(np.array([[1, 2, 2], [9, 8, 1]]))
        5.0

    Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    values, counts = np.unique(np.asarray(grey, dtype=np.float64), return_counts=True)
    if len(values) < 2:
        return None
    below, sums = counts.cumsum(), (counts * values).cumsum()
    above = below[-1] - below[:-1]
    distance = sums[:-1] / below[:-1] - (sums[-1] - sums[:-1]) / above
    best = int(np.argmax(below[:-1] * above.astype(np.float64) * distance**2))
    return float((values[best] + values[best + 1]) / 2)


def otsu_map(grey: np.ndarray, *, bright: bool) -> np.ndarray:
    """A label map without learning: 1 on the brighter (or darker) side of Otsu's threshold, 0 elsewhere.

    Shapes:
        (H, W) -> (H, W)
    """
    threshold = otsu_threshold(grey)
    objects = False if threshold is None else (np.asarray(grey) > threshold) == bright
    return np.full(np.shape(grey), objects, dtype=np.int64)


def otsu_polarity(
    images: Iterable[tuple[np.ndarray, np.ndarray]], background: int = 0, ignore_index: int | None = None
) -> bool:
    """Whether the objects are the brighter side, as `otsu_map` takes it: the better foreground Dice on training images.

    Args:
        images: pairs of a grey image and its true map.
        background: the class that is no object.
        ignore_index: label in the true maps of pixels that do not count.

    Raises:
        ShapeError: an image is not (H, W), or its map differs in shape.
    """
    bright, dark = (PixelTally(2, ignore_index=-1, tolerance_px=None) for _ in range(2))
    for grey, true in images:
        truth = foreground_map(true, background, ignore_index)
        bright.add(truth, otsu_map(grey, bright=True))
        dark.add(truth, otsu_map(grey, bright=False))
    return bool(np.nan_to_num(foreground_dice(bright.total)) >= np.nan_to_num(foreground_dice(dark.total)))


def foreground_map(true: np.ndarray, background: int = 0, ignore_index: int | None = None) -> np.ndarray:
    """A true map of two classes, 1 for every object; ignored pixels become -1.

    Example:
        >>> foreground_map(np.array([[0, 3], [2, 255]]), ignore_index=255).tolist()
        [[0, 1], [1, -1]]
    """
    true = np.asarray(true)
    truth = (true != background).astype(np.int64)
    return truth if ignore_index is None else np.where(true == ignore_index, -1, truth)
