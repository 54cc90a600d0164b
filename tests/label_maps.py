"""Label maps that are partly wrong, and their tallies."""

from __future__ import annotations

from typing import Any

import numpy as np

from convlens.metrics.pixel_tally import PixelTally

Pairs = list[tuple[np.ndarray, np.ndarray]]


def tally_of(pairs: Pairs, k: int, **options: Any) -> PixelTally:
    tally = PixelTally(k, **options)
    for true, predicted in pairs:
        tally.add(true, predicted)
    return tally


def random_pairs(n: int, k: int, seed: int, wrong: float = 0.2) -> Pairs:
    """Images of different sizes; some pixels, more in some images than in others, are called something else."""
    generator = np.random.default_rng(seed)
    pairs = []
    for _ in range(n):
        shape = tuple(generator.integers(6, 14, size=2))
        true = generator.integers(k, size=shape)
        flip = generator.random(shape) < wrong * generator.uniform(0, 2)
        pairs.append((true, np.where(flip, generator.integers(k, size=shape), true)))
    return pairs


def square(top: int, left: int, size: int = 6, side: int = 20) -> np.ndarray:
    """A square region in an image."""
    region = np.zeros((side, side), dtype=bool)
    region[top : top + size, left : left + size] = True
    return region
