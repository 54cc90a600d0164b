"""What became of an image, held against what the written policy (docs/images.md) says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convlens.data.image import decode
from convlens.data.policy import Decoded, ImagePolicy
from convlens.errors import BadImage
from torture import Expectation

POLICY = ImagePolicy()
KINDS = {
    *("missing", "not-a-file", "unreadable", "empty", "too-large", "not-an-image", "vector", "unsupported"),
    *("truncated", "damaged", "channels", "bad-array", "value-range", "not-finite", "unsafe"),
}


def outcome(source: Path | bytes, name: str | None = None) -> Decoded | BadImage:
    try:
        return decode(source, POLICY, name)
    except BadImage as error:
        return error


def complaint(expected: Expectation, got: Decoded | BadImage) -> str | None:
    """What differs from the policy; None where nothing does."""
    if isinstance(got, BadImage):
        if expected.kind != got.kind or expected.says.lower() not in got.reason.lower():
            return f"expected {expected.kind or 'an image'} ({expected.says}), got {got.kind}: {got.reason}"
        return None
    if expected.kind:
        return f"expected {expected.kind}, got an image of mode {got.mode}"
    if (got.mode, sorted(got.notes)) != (expected.mode, sorted(expected.notes)):
        return f"expected {expected.mode} {expected.notes}, got {got.mode} {got.notes}"
    if got.pixels.dtype != np.uint8 or got.pixels.shape != (*expected.size_px, 3):
        return f"expected {expected.size_px}, got {got.pixels.dtype} {got.pixels.shape}"
    for at, colour in expected.points:
        if np.abs(got.pixels[at].astype(int) - colour).max() > expected.tolerance:
            return f"expected {colour} at {at}, got {got.pixels[at].tolist()}"
    return None


def complaints(folder: Path, wanted: dict[str, Expectation]) -> dict[str, str]:
    found = {name: complaint(expected, outcome(folder / name)) for name, expected in wanted.items()}
    return {name: what for name, what in found.items() if what}
