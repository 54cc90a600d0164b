"""Masks and answers follow their image into the stored size and back, to the pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data.fitting import Window, fit_mask, place, unfit
from convlens.data.policy import Decoded, ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import ShapeError
from torture import encoded

FITS = ("crop", "pad", "squash")
SIZES = st.integers(1, 70)


def make(store: tuple[int, int], fit: str, size: tuple[int, int] | None = None) -> Preprocess:
    fields: dict[str, Any] = {"size_px": size or store, "store_px": store, "fit": fit}
    return Preprocess(policy=ImagePolicy(channels=1, background=(77, 77, 77)), mean=(0.0,), std=(1.0,), **fields)


def stored(preprocess: Preprocess, image: np.ndarray) -> np.ndarray:
    return preprocess.pixels(Decoded(image[:, :, None], "array"))[..., 0]


def blocks(height: int, width: int, tall: int, wide: int) -> np.ndarray:
    """0 and 255 in blocks, as a picture and, above 128, as a mask."""
    tiles = np.random.default_rng(0).integers(0, 2, (height // tall + 1, width // wide + 1), dtype=np.uint8) * 255
    return np.kron(tiles, np.ones((tall, wide), np.uint8))[:height, :width]


def differs(mask: np.ndarray, pixels: np.ndarray) -> float:
    return float((mask != (pixels > 128))[1:-1, 1:-1].mean())


# ------------------------------------------------------------------------------------------------ there, with the image


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from(FITS))
def test_the_geometry_is_that_of_the_pixels(h: int, w: int, height: int, width: int, fit: str) -> None:
    preprocess = make((height, width), fit)
    placed = place((h, w), preprocess)
    for window, size in ((placed.source, (h, w)), (placed.target, (height, width))):
        assert window.top >= 0
        assert window.left >= 0
        assert window.height >= 1
        assert window.width >= 1
        assert window.top + window.height <= size[0]
        assert window.left + window.width <= size[1]
    pixels = stored(preprocess, np.zeros((h, w), np.uint8))
    padded = np.ones((height, width), bool)
    padded[placed.target.slices] = False
    np.testing.assert_array_equal(pixels == 77, padded)
    inside = np.full((h, w), 255, np.uint8)
    inside[placed.source.slices] = 0
    assert not stored(preprocess, inside)[~padded].any(), "a pixel from outside the source was shown"
    np.testing.assert_array_equal(fit_mask(np.ones((h, w), np.uint8), preprocess) == 255, padded)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("size", "store"),
    [
        ((96, 96), (32, 32)),  # smaller
        ((96, 144), (32, 32)),
        ((130, 97), (41, 37)),  # odd
        ((24, 30), (72, 72)),  # larger
        ((23, 31), (64, 47)),
        ((60, 60), (60, 60)),
        ((300, 90), (80, 70)),
    ],
)
def test_a_mask_of_the_picture_stays_on_the_picture(fit: str, size: tuple[int, int], store: tuple[int, int]) -> None:
    preprocess = make(store, fit)
    placed = place(size, preprocess)
    tall = max(4, 6 * placed.source.height // placed.target.height)
    wide = max(4, 6 * placed.source.width // placed.target.width)
    picture = blocks(*size, tall, wide)
    pixels, mask = (
        stored(preprocess, picture)[placed.target.slices],
        fit_mask((picture > 128).view(np.uint8), preprocess),
    )
    mask = mask[placed.target.slices]
    sure = np.abs(pixels.astype(int) - 127.5) > 60  # an edge or a corner that runs through a pixel leaves it grey
    assert sure.mean() > 0.5
    np.testing.assert_array_equal(mask[sure], pixels[sure] > 128)
    moved = [np.roll(mask, step, axis) for axis in (0, 1) for step in (-1, 1)]
    assert differs(mask, pixels) < 0.25 * min(differs(one, pixels) for one in moved), "one pixel beside"


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("length", "side"), [(60, 20), (20, 60), (61, 20), (33, 47), (100, 31)])
def test_every_single_edge_lies_where_it_lies_in_the_picture(fit: str, length: int, side: int) -> None:
    preprocess = make((side, side), fit)
    for edge in range(2, length - 2):
        picture = np.zeros((length, length), np.uint8)
        picture[:, edge:] = 255
        pixels, mask = stored(preprocess, picture), fit_mask((picture > 128).view(np.uint8), preprocess)
        tie = np.abs(pixels.astype(int) - 127.5) <= 12  # the edge runs through the middle of the pixel
        np.testing.assert_array_equal(mask[~tie], pixels[~tie] > 128)


def test_a_jpeg_decoded_smaller_fits_the_mask_of_its_true_size() -> None:
    picture = blocks(403, 609, 80, 80)
    jpeg = encoded(Image.fromarray(picture), "JPEG", quality=95)
    for fit in FITS:
        preprocess = make((50, 50), fit)
        decoded = preprocess.decode(jpeg)
        assert decoded.pixels.shape[0] < 403
        assert decoded.size_px == (403, 609)
        pixels, mask = preprocess.pixels(decoded)[..., 0], fit_mask((picture > 128).view(np.uint8), preprocess)
        sure = (np.abs(pixels.astype(int) - 127.5) > 90) & (mask != 255)
        assert sure.mean() > 0.4
        np.testing.assert_array_equal(mask[sure], pixels[sure] > 128)


def test_by_hand() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert place((2, 6), make((4, 4), "crop")).source == Window(0, 2, 2, 2)
    assert fit_mask(mask, make((4, 4), "crop")).tolist() == [[2, 2, 3, 3], [2, 2, 3, 3], [8, 8, 9, 9], [8, 8, 9, 9]]
    assert fit_mask(mask, make((3, 3), "pad")).tolist() == [[255] * 3, [7, 9, 11], [255] * 3]
    assert fit_mask(mask, make((2, 3), "squash")).tolist() == [[1, 3, 5], [7, 9, 11]]
    same = fit_mask(mask, make((2, 6), "crop"))
    np.testing.assert_array_equal(same, mask)
    assert not np.shares_memory(same, mask)


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 2, 1), np.uint8), np.zeros((0, 2), np.uint8)])
def test_only_classes_are_fitted(bad: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="mask of classes"):
        fit_mask(bad, make((4, 4), "crop"))


# ------------------------------------------------------------------------------------------------------------- and back


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.integers(1, 4), st.sampled_from(FITS), st.integers(0, 9))
def test_what_was_enlarged_comes_back_as_it_was(h: int, w: int, times: int, fit: str, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 5, (h, w), dtype=np.uint8)
    preprocess = make((h * times, w * times), fit)
    np.testing.assert_array_equal(unfit(fit_mask(mask, preprocess), (h, w), preprocess), mask)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from(FITS))
def test_the_way_back_fills_what_was_cut_off_and_nothing_else(
    h: int, w: int, height: int, width: int, fit: str
) -> None:
    preprocess = make((height, width), fit)
    cut = np.ones((h, w), bool)
    cut[place((h, w), preprocess).source.slices] = False
    inner = np.full((height, width), 9, np.uint8)
    inner[place((h, w), preprocess).target.slices] = 1
    back = unfit(inner, (h, w), preprocess)
    np.testing.assert_array_equal(back, np.where(cut, 255, 1))
    scores = unfit(np.stack([inner, inner]).astype(np.float32), (h, w), preprocess)
    assert scores.shape == (2, h, w)
    np.testing.assert_array_equal(scores[1], np.where(cut, np.nan, 1).astype(np.float32))


def test_equal_sizes_are_copies_to_the_bit() -> None:
    draw = np.random.default_rng(0)
    preprocess = make((5, 7), "pad")
    for values in (draw.normal(size=(3, 5, 7)).astype(np.float32), draw.integers(0, 9, (5, 7), dtype=np.uint8)):
        back = unfit(values, (5, 7), preprocess)
        np.testing.assert_array_equal(back, values)
        assert back.dtype == values.dtype
        assert not np.shares_memory(back, values)
    odd = np.array([[np.inf, 1.0], [np.nan, 2.0]])
    np.testing.assert_array_equal(unfit(odd, (2, 2), make((2, 2), "crop")), odd)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(60, 45), (13, 20), (31, 31)])
def test_a_slope_comes_back_as_a_slope(fit: str, size: tuple[int, int]) -> None:
    """Each score stands at the centre of its pixel: positions sent there and back are still positions."""
    preprocess = make((24, 28), fit)
    placed = place(size, preprocess)
    for axis, (source, target, start, begin) in enumerate(
        (
            (placed.source.height, placed.target.height, placed.source.top, placed.target.top),
            (placed.source.width, placed.target.width, placed.source.left, placed.target.left),
        )
    ):
        at = (np.arange(preprocess.store_px[axis]) - begin + 0.5) * source / target - 0.5 + start
        slope = np.broadcast_to(at[:, None] if axis == 0 else at, preprocess.store_px)
        back = np.moveaxis(unfit(slope, size, preprocess), axis, 0)
        rows = np.flatnonzero(np.isfinite(back).any(axis=1))
        half = 0.5 * source / target
        inner = rows[(rows >= at[begin]) & (rows <= at[begin + target - 1])]
        assert len(inner) >= len(rows) - 2 * half - 2
        for row in inner:
            np.testing.assert_allclose(back[row][np.isfinite(back[row])], row, atol=1e-9)


def test_an_input_that_is_the_centre_of_the_stored_image() -> None:
    preprocess = make((8, 8), "squash", size=(4, 6))
    seen = np.arange(24, dtype=np.uint8).reshape(4, 6)
    wanted = np.full((8, 8), 255, np.uint8)
    wanted[2:6, 1:7] = seen
    np.testing.assert_array_equal(unfit(seen, (8, 8), preprocess), wanted)
    np.testing.assert_array_equal(unfit(wanted, (8, 8), preprocess), wanted)
    np.testing.assert_array_equal(unfit(seen, (8, 8), preprocess, fill=7), np.where(wanted == 255, 7, wanted))
    scores = unfit(seen.astype(float), (16, 16), preprocess, fill=-1.0)
    assert (scores[:4] == -1).all()
    assert (scores[:, :2] == -1).all()
    assert scores[4, 2] == 0
    assert scores[11, 13] == 23
    assert scores[4, 3] == 0.25
    strip = make((4, 40), "pad", size=(4, 8))  # padded at both sides; the input shows padding and the middle
    assert unfit(np.full((4, 8), 3, np.uint8), (4, 4), strip).tolist() == [[3] * 4] * 4


def test_padding_does_not_leak_into_scores() -> None:
    preprocess = make((6, 6), "pad")
    values = np.full((6, 6), np.nan)
    values[place((3, 6), preprocess).target.slices] = 1.0
    np.testing.assert_array_equal(unfit(values, (3, 6), preprocess), np.ones((3, 6)))
    np.testing.assert_array_equal(unfit(values, (30, 60), preprocess), np.ones((30, 60)))


@pytest.mark.parametrize("shape", [(5, 6), (6, 5), (6,), (1, 1, 6, 6)])
def test_values_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="network's input"):
        unfit(np.zeros(shape), (3, 3), make((6, 6), "crop"))
