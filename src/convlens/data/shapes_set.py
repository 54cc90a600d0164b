"""Drawn pictures to learn detection from: discs, squares and triangles on a textured ground, with exact boxes.

Equal arguments give equal pictures. This file knows nothing of records or splits.
"""

from __future__ import annotations

import numpy as np

from convlens.data.boxes import Box
from convlens.errors import DataError

SHAPES = ("disc", "square", "triangle")
MOST = 6
RADIUS = (0.07, 0.26)  # of the circle around a shape, as a share of the side
MOST_OVERLAP = 0.1  # of the smaller of two boxes
CONTRAST = 60  # levels between the mean of a shape and that of its ground, at least
GREY_SHARE = 0.25
_TRIES = 30
_WAVES = 4

Vertices = np.ndarray | None


def make_shapes(n: int = 800, size_px: int = 128, seed: int = 0) -> tuple[np.ndarray, list[tuple[Box, ...]]]:
    """Draw pictures of 0 to 6 shapes, and the boxes around these.

    Sizes are spread evenly on a logarithmic scale, places and turns at random; of two boxes, at most a tenth of the
    smaller is covered, and none reaches beyond the picture. Squares and triangles are turned by any angle, and a box
    is that of the turned shape. A quarter of the pictures is grey. Ground and shapes carry waves and noise, so that no
    level of brightness gives a shape away. A picture depends on `seed` and its number alone, whatever `n` is.

    Shapes:
        images (n, size_px, size_px, 3) uint8, n tuples of boxes in the order in which they were drawn.

    Raises:
        DataError: fewer than one picture, or a side below 16.

    Example:
        >>> images, boxes = make_shapes(3, 64)
        >>> images.shape, [box.name for box in boxes[2]]
        ((3, 64, 64, 3), ['triangle', 'triangle', 'triangle', 'disc'])
    """
    if n < 1 or size_px < 16:
        raise DataError(f"The shapes need n >= 1 and size_px >= 16; got n={n} and size_px={size_px}.")
    images = np.empty((n, size_px, size_px, 3), np.uint8)
    boxes = []
    for i in range(n):
        layout, grain = (np.random.default_rng(part) for part in np.random.SeedSequence((seed, i)).spawn(2))
        placed = _place(layout, size_px)
        images[i] = _draw(layout, grain, size_px, placed)
        boxes.append(tuple(box for box, _, _ in placed))
    return images, boxes


def _place(rng: np.random.Generator, size_px: int) -> list[tuple[Box, np.ndarray, Vertices]]:
    """(box, centre and radius, corners) of every shape of a picture; a shape that finds no room is not drawn."""
    placed: list[tuple[Box, np.ndarray, Vertices]] = []
    for _ in range(rng.integers(MOST + 1)):
        name = SHAPES[rng.integers(len(SHAPES))]
        radius = size_px * RADIUS[0] * (RADIUS[1] / RADIUS[0]) ** rng.random()
        turn, places = rng.random() * 2 * np.pi, rng.random((_TRIES, 2))
        if name == "disc":
            around = None
            low, high = np.full(2, -radius), np.full(2, radius)
        else:
            corners = 4 if name == "square" else 3
            angles = turn + np.arange(corners) * 2 * np.pi / corners
            around = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (V, 2) as x, y
            low, high = around.min(axis=0), around.max(axis=0)
        starts = places * (size_px - (high - low))  # (tries, 2), so that the box lies inside
        for start in starts:
            x, y = start.tolist()
            width, height = (high - low).tolist()
            box = Box(name, x, y, min(x + width, float(size_px)), min(y + height, float(size_px)))
            if all(_overlap(box, other) <= MOST_OVERLAP for other, _, _ in placed):
                centre = start - low
                placed.append((box, np.array([*centre, radius]), None if around is None else around + centre))
                break
    return placed


def _overlap(one: Box, other: Box) -> float:
    """The share of the smaller box that the other covers."""
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    return max(width, 0.0) * max(height, 0.0) / min(one.area, other.area)


def _draw(
    layout: np.random.Generator,
    grain: np.random.Generator,
    size_px: int,
    placed: list[tuple[Box, np.ndarray, Vertices]],
) -> np.ndarray:
    """The picture, (size_px, size_px, 3) uint8."""
    ground = layout.uniform(50, 205, 3)
    if is_grey := layout.random() < GREY_SHARE:
        ground[:] = ground[0]
    side = np.arange(size_px, dtype=np.float32)
    waves = _waves(layout, side, side, size_px)[:, :, None]
    picture = (ground + waves * layout.uniform(0.5, 1.0, 3)).astype(np.float32)  # (H, W, 3)
    for box, circle, vertices in placed:
        colour = _contrasting(layout, ground)
        if is_grey:
            colour[:] = colour.mean()
        rows, columns = slice(int(box.y1), int(np.ceil(box.y2))), slice(int(box.x1), int(np.ceil(box.x2)))
        y, x = side[rows], side[columns]
        cover = _cover(x[None, :] + 0.5, y[:, None] + 0.5, circle, vertices)[:, :, None]
        patch = picture[rows, columns]
        patch += cover * (colour + _waves(layout, y, x, size_px)[:, :, None] - patch)
    noise = grain.standard_normal((size_px, size_px, 1 if is_grey else 3), dtype=np.float32)
    if is_grey:
        picture[:] = picture.mean(axis=2, keepdims=True)
    picture += np.float32(layout.uniform(2, 14)) * noise
    return np.rint(np.clip(picture, 0, 255, out=picture), out=picture).astype(np.uint8)


def _waves(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, size_px: int) -> np.ndarray:
    """A texture of a few plane waves at some rows and columns, (len(y), len(x)), mostly between -25 and 25."""
    turns = (rng.uniform(-8, 8, (_WAVES, 2)) * 2 * np.pi / size_px).astype(np.float32)  # radians a pixel
    phases, heights = rng.random((_WAVES, 1)) * 2 * np.pi, rng.uniform(2, 9, (_WAVES, 1)).astype(np.float32)
    down, across = turns[:, :1] * y, turns[:, 1:] * x + phases.astype(np.float32)  # (waves, H), (waves, W)
    # cos(a + b) = cos a cos b - sin a sin b, so that two products of matrices do
    return (heights * np.cos(down)).T @ np.cos(across) - (heights * np.sin(down)).T @ np.sin(across)


def _contrasting(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour whose mean differs enough from that of the ground."""
    mean = ground.mean()
    room = np.array([max(mean - CONTRAST - 10, 0.0), max(245 - mean - CONTRAST, 0.0)])  # below it, above it
    draw = rng.random() * room.sum()
    level = 10 + draw if draw < room[0] else mean + CONTRAST + draw - room[0]
    tint = rng.uniform(-1, 1, 3)
    tint -= tint.mean()
    return level + tint * min(level, 255 - level, 60) / max(float(np.abs(tint).max()), 1e-9)


def _cover(x: np.ndarray, y: np.ndarray, circle: np.ndarray, vertices: Vertices) -> np.ndarray:
    """How much of each pixel a shape covers, 0..1, by the distance of its middle to the edge."""
    if vertices is None:
        inside = circle[2] - np.hypot(x - circle[0], y - circle[1])
        return np.clip(inside + 0.5, 0.0, 1.0)
    inside = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf)
    for (x1, y1), (x2, y2) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        length = np.hypot(x2 - x1, y2 - y1)
        inside = np.minimum(inside, ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / length)
    return np.clip(inside + 0.5, 0.0, 1.0)
