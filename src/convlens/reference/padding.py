"""The border: which cell of the input each cell of the padded input is a copy of.

One function, `sources`, knows the four rules. Padding reads through it, its gradient flows back through it, and a
trace says with it what stood beyond the edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.reference.result import numbers
from convlens.shapes import Pair

ZERO = -1
MODES = ("zeros", "reflect", "replicate", "circular")


def sources(size: int, before: int, after: int, mode: str = "zeros") -> np.ndarray:
    """For each cell of a padded axis the cell it copies; -1 is a zero.

    Example:
        >>> {mode: sources(4, 2, 1, mode).tolist() for mode in MODES}  # doctest: +NORMALIZE_WHITESPACE
        {'zeros': [-1, -1, 0, 1, 2, 3, -1], 'reflect': [2, 1, 0, 1, 2, 3, 2],
         'replicate': [0, 0, 0, 1, 2, 3, 3], 'circular': [2, 3, 0, 1, 2, 3, 0]}

    Raises:
        ConfigError: there is no such mode.
        ShapeError: the input is too small to be reflected or wrapped that far.
    """
    if mode not in MODES:
        raise ConfigError(f"There is no padding mode '{mode}'. {did_you_mean(mode, MODES)}")
    most = {"reflect": size - 1, "circular": size}.get(mode)
    if most is not None and max(before, after) > most:
        raise ShapeError(
            f"Padding by '{mode}' can add at most {most} cells on a side of {size}; got {max(before, after)}. "
            "Pad less, or use 'replicate' or 'zeros'."
        )
    cells = np.arange(-before, size + after)
    if mode == "zeros":
        return np.where((cells < 0) | (cells >= size), ZERO, cells)
    if mode == "replicate":
        return cells.clip(0, size - 1)
    if mode == "circular":
        return cells % size
    return size - 1 - abs(size - 1 - abs(cells))  # a mirror at each end, whose own cell is not repeated


def pad(x: ArrayLike, pads: Sequence[Pair], mode: str = "zeros") -> np.ndarray:
    """Add `(before, after)` cells to each of the last axes.

    Example:
        >>> pad([[5, 2], [6, 7]], [(1, 0), (0, 1)]).tolist()
        [[0, 0, 0], [5, 2, 0], [6, 7, 0]]
    """
    padded = numbers(x, "x")
    for axis, (before, after) in enumerate(pads, start=padded.ndim - len(pads)):
        source = sources(padded.shape[axis], before, after, mode)
        padded = padded.take(source, axis)
        padded[(slice(None),) * axis + (source == ZERO,)] = 0
    return padded


def unpad(gradient: np.ndarray, pads: Sequence[Pair], mode: str = "zeros") -> np.ndarray:
    """The gradient of `pad`: every cell hands its gradient to the cell it copied, a zero to none.

    Example:
        >>> unpad(np.ones(5), [(1, 1)], "replicate").tolist()
        [2.0, 1.0, 2.0]
    """
    for axis, (before, after) in enumerate(pads, start=gradient.ndim - len(pads)):
        size = gradient.shape[axis] - before - after
        source = sources(size, before, after, mode)
        kept = source != ZERO
        lines = np.moveaxis(gradient, axis, 0)
        total = np.zeros((size, *lines.shape[1:]))
        np.add.at(total, source[kept], lines[kept])
        gradient = np.moveaxis(total, 0, axis)
    return gradient
