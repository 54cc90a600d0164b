"""Pixels scaled, lettered and written: antialiasing, memory of their own, and PNG without loss."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from convlens.data.image import decode
from convlens.data.pixels import encode_png, resize, text_mask
from convlens.data.policy import ImagePolicy
from convlens.errors import ShapeError
from torture import flag, waves


def test_resize_averages_what_it_makes_smaller() -> None:
    fine = np.indices((64, 64)).sum(0) % 2 * 255
    for channels in (1, 3, 5):
        pixels = np.repeat(fine[:, :, None], channels, axis=2).astype(np.uint8)
        small = resize(pixels, (8, 10))
        assert (small.shape, small.dtype) == ((8, 10, channels), np.uint8)
        assert np.abs(small.astype(int) - 127).max() < 12
    flat = np.full((7, 9, 3), 201, np.uint8)
    np.testing.assert_array_equal(resize(flat, (31, 4)), np.full((31, 4, 3), 201))


def test_resize_treats_every_channel_alike_and_returns_fresh_memory() -> None:
    pixels = waves(50, 70)
    for size_px in ((20, 31), (50, 70), (90, 100)):
        together = resize(pixels, size_px)
        apart = [resize(pixels[:, :, c : c + 1], size_px) for c in range(3)]
        np.testing.assert_array_equal(together, np.concatenate(apart, axis=2))
        assert together.flags.writeable
        assert not np.shares_memory(together, pixels)
        window = resize(pixels[3:40, 5:61], size_px)
        np.testing.assert_array_equal(window, resize(pixels[3:40, 5:61].copy(), size_px))


def test_resize_agrees_with_plain_bilinear() -> None:
    pixels = waves(600, 800)
    plain = np.asarray(Image.fromarray(pixels).resize((40, 30), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resize(pixels, (30, 40)).astype(int), plain, atol=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_comes_back_as_it_went(channels: int) -> None:
    pixels = np.ascontiguousarray(waves(9, 7)[:, :, :channels])
    np.testing.assert_array_equal(decode(encode_png(pixels), ImagePolicy(channels=channels)).pixels, pixels)


def test_wrong_pixels_are_named() -> None:
    with pytest.raises(ShapeError, match=r"uint8 pixels \(H, W, C\); got float64 \(4, 4\)"):
        resize(np.zeros((4, 4)), (2, 2))
    with pytest.raises(ShapeError, match="0 x 5"):
        resize(flag(), (0, 5))
    with pytest.raises(ShapeError, match="got 2"):
        encode_png(np.zeros((4, 4, 2), np.uint8))


@pytest.mark.parametrize("text", ["", "cat", "\u03b1\u4e2d", "x" * 300])
def test_a_line_of_text_is_ink(text: str) -> None:
    ink = text_mask(text, 16)
    assert ink.ndim == 2
    assert 0 <= ink.min() <= ink.max() <= 1
    assert bool(text.strip()) == bool(ink.any())
    assert 4 <= text_mask("Ag", 16).shape[0] < text_mask("Ag", 32).shape[0] <= 32
