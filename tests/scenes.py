"""Small scenes with a bright disc or square on dark noise, and their masks: as arrays, files and finished runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import convlens as cl
import rig
import small
from convlens.data.pixels import encode_png
from convlens.run import Run

QUICK: dict[str, Any] = {**rig.QUICK, "epochs": 2, "batch_size": 8, "size_px": 16}
NETWORKS: dict[str, dict[str, Any]] = {  # of a task, small enough to be trained in a second
    "segment": {"network": "unet", "options": {"width": 4, "depth": 2}},
    "reconstruct": {"network": "autoencoder", "options": {"width": 4, "code": 6}},
    "denoise": {"network": "dncnn", "options": {"width": 4, "depth": 3}},
    "anomaly": {"network": "autoencoder", "options": {"width": 4, "code": 6}},
}


@cache
def scenes(n: int = 24, size_px: int = 16, seed: int = 0, kinds: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, size, size, 1) and masks (n, size, size): 0 ground, 1 disc, 2 square where there are two kinds."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 80, (n, size_px, size_px, 1), dtype=np.uint8)
    masks = np.zeros((n, size_px, size_px), np.uint8)
    y, x = np.mgrid[:size_px, :size_px]
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        kind, radius = number % kinds, rng.integers(3, size_px // 4 + 1)
        row, column = rng.integers(radius, size_px - radius, 2)
        away = np.maximum(abs(y - row), abs(x - column)) if kind else np.hypot(y - row, x - column)
        mask[away <= radius] = kind + 1
        image[mask > 0] += 100 + 60 * kind
    return images, masks


def files(folder: Path, pictures: np.ndarray, name: str = "{:02d}.png") -> Path:
    """Each picture (H, W) or (H, W, C) as a PNG of its number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        whole = picture if picture.ndim == 3 else picture[..., None]
        (folder / name.format(number)).write_bytes(encode_png(whole))
    return folder


def masked(folder: Path, values: int = 255, **options: Any) -> Path:
    """A folder with `images` and `masks`, the object drawn with `values`, or a value for each class where it is 1."""
    images, masks = scenes(**options)
    files(folder / "images", images)
    files(folder / "masks", masks * values)
    return folder


def classed(folder: Path, n: int = 60, bad: int = 8) -> Path:
    """Class folders `good`, with a disc in each picture, and `scratch`, with a bright line through the ground."""
    images, _ = scenes(n=n)
    files(folder / "good", images)
    scratched = scenes(n=bad, seed=1)[0].copy()
    scratched[:, ::2, 3:5] = 255
    files(folder / "scratch", scratched)
    return folder


@cache
def folder(task: str) -> Path:
    """The files of a task that every test may read."""
    root = small.shared() / "scenes"
    match task:
        case "segment":
            return masked(root / "masked", n=30)
        case "anomaly":
            return classed(root / "classed", n=100)
        case _:
            return files(root / "flat", scenes(40)[0])


def train(task: str, source: Any, directory: Path, **options: Any) -> Run:
    """A quick run of a small network, with changed options."""
    given = {**QUICK, **NETWORKS[task], **options}
    return cl.train(source if isinstance(source, tuple) else str(source), task=task, directory=str(directory), **given)


@cache
def finished(task: str) -> Run:
    """A run of each task that every test may read."""
    options = {"valid_fraction": 0.3} if task == "anomaly" else {}
    return train(task, folder(task), small.shared() / "task-runs", name=task, **options)
