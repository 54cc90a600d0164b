"""Image sets that need no file: scikit-learn's digits, and drawn X's and O's.

A maker returns (images, labels): (N, H, W) uint8 with bright ink on black, and N class names. Equal arguments give
equal images. This file knows nothing of records or splits; it is the home of `sklearn.datasets`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlens.errors import DataError

Range = float | tuple[float, float]
Images = tuple[np.ndarray, tuple[str, ...]]
RADIUS = 0.34
_CHUNK = 256


def digits() -> Images:
    """The 1,797 handwritten digits of scikit-learn, 8 x 8, their values 0..16 scaled to 0..255.

    Source: Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    return images, tuple(str(label) for label in labels.tolist())


def draw_xo(
    n: int = 2000,
    size_px: int = 32,
    *,
    seed: int = 0,
    rotate_deg: Range = (-20.0, 20.0),
    shift: Range = (-0.1, 0.1),
    scale: Range = (0.7, 1.1),
    thickness: Range = (0.06, 0.14),
    noise: Range = (0.0, 0.15),
) -> Images:
    """Draw X's and O's in turn, each with its own rotation, position, size, stroke and noise.

    Both letters fit the same circle: the O is that circle, the X its two diagonals. A stroke covers a pixel by its
    distance to the segment or circle, so edges are antialiased. Each range is (lowest, highest), or one number for a
    fixed value. One seed gives sample i the same draws whatever `n` is and whatever the ranges are: a table over one
    range changes nothing but that range.

    Args:
        n: number of images; even positions are X, odd ones O.
        size_px: side of the square image.
        seed: decides every draw.
        rotate_deg: turn counter-clockwise, in degrees.
        shift: displacement of the centre along each axis, as a share of the side.
        scale: 1 is a circle of 0.68 of the side across.
        thickness: stroke width as a share of the side, not scaled with the letter.
        noise: standard deviation of Gaussian noise, 1 being the whole brightness range.

    Shapes:
        images (n, size_px, size_px) uint8, n labels.

    Raises:
        DataError: a count, side or range that cannot be drawn.

    Example:
        >>> images, labels = draw_xo(2, 9, rotate_deg=0, shift=0, scale=1, thickness=0.1, noise=0)
        >>> images.shape, labels, int(images[0, 4, 4]), int(images[1, 4, 4])
        ((2, 9, 9), ('X', 'O'), 242, 0)
    """
    if n < 1 or size_px < 4:
        raise DataError(f"X-or-O needs n >= 1 and size_px >= 4; got n={n} and size_px={size_px}.")
    limits = {
        "rotate_deg": _range("rotate_deg", rotate_deg, -np.inf),
        "shift_x": _range("shift", shift, -1.0),
        "shift_y": _range("shift", shift, -1.0),
        "scale": _range("scale", scale, 0.05),
        "thickness": _range("thickness", thickness, 0.001),
        "noise": _range("noise", noise, 0.0),
    }
    geometry, grain = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(2))
    draws = geometry.random((n, len(limits)))
    values = {name: low + (high - low) * draws[:, i] for i, (name, (low, high)) in enumerate(limits.items())}
    images = np.empty((n, size_px, size_px), np.uint8)
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n))
        ink = _ink(size_px, rows % 2 == 1, {name: value[rows, None, None] for name, value in values.items()})
        ink += values["noise"][rows, None, None] * grain.standard_normal(ink.shape)
        images[rows] = np.rint(np.clip(ink, 0.0, 1.0) * 255)
    return images, tuple("XO"[i % 2] for i in range(n))


BUILTIN: dict[str, Callable[[], Images]] = {"digits": digits, "xo": draw_xo}


def _ink(size_px: int, is_circle: np.ndarray, values: dict[str, np.ndarray]) -> np.ndarray:
    """How much of each pixel the stroke covers, 0..1."""
    side = (np.arange(size_px) + 0.5) / size_px - 0.5
    x = side[None, None, :] - values["shift_x"]  # (n, 1, W)
    y = -side[None, :, None] - values["shift_y"]  # (n, H, 1), upwards
    turn, radius = np.deg2rad(values["rotate_deg"]), RADIUS * values["scale"]
    along = np.cos(turn) * x + np.sin(turn) * y  # (n, H, W), the letter's own axes
    across = np.cos(turn) * y - np.sin(turn) * x
    circle = np.abs(np.hypot(along, across) - radius)
    rising, falling = (along + across) / np.sqrt(2), (along - across) / np.sqrt(2)  # coordinates along the diagonals
    cross = np.minimum(_to_segment(rising, falling, radius), _to_segment(falling, rising, radius))
    distance = np.where(is_circle[:, None, None], circle, cross)
    return np.clip(0.5 + (values["thickness"] / 2 - distance) * size_px, 0.0, 1.0)


def _to_segment(along: np.ndarray, across: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Distance to a segment on the first axis, from -half to +half."""
    return np.hypot(np.maximum(np.abs(along) - half, 0.0), across)


def _range(name: str, value: Range, lowest: float) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple) else (value, value)
    if not (np.isfinite(low) and np.isfinite(high) and lowest <= low <= high):
        floor = "" if lowest == -np.inf else f" and not below {lowest:g}"
        raise DataError(f"{name} must be a number or (lowest, highest), finite{floor}; got {value!r}.")
    return float(low), float(high)
