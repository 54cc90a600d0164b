from __future__ import annotations

import numpy as np
import pytest

from convlens.data.builtin import BUILTIN, RADIUS, digits, draw_xo
from convlens.errors import DataError

STILL = {"rotate_deg": 0, "shift": 0, "scale": 1, "thickness": 0.1, "noise": 0}


def test_digits_are_the_originals_scaled_exactly():
    from sklearn.datasets import load_digits

    original = load_digits()
    images, labels = digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.uint8
    values = original.images.astype(int)  # type: ignore[attr-defined]
    expected = np.array([round(v * 255 / 16) for v in range(17)])[values]
    assert (images == expected).all()
    assert (images.min(), images.max()) == (0, 255)
    assert labels == tuple(str(t) for t in original.target)  # type: ignore[attr-defined]


def test_every_built_in_set_gives_bytes_and_one_label_per_image():
    assert sorted(BUILTIN) == ["digits", "xo"]
    for make in BUILTIN.values():
        images, labels = make()
        assert images.dtype == np.uint8
        assert images.ndim == 3
        assert len(images) == len(labels)
        assert all(isinstance(label, str) for label in labels)


def test_the_letters_lie_where_geometry_says():
    images, labels = draw_xo(2, 101, **STILL)  # an odd side puts a pixel centre at the middle
    assert labels == ("X", "O")
    x, o = images.astype(int)
    middle, radius = 50, round(RADIUS * 101)
    assert (x[middle, middle], o[middle, middle]) == (255, 0)
    assert (x[middle, middle + radius], o[middle, middle + radius]) == (0, 255)
    diagonal = round(RADIUS * 101 / np.sqrt(2))
    for dy, dx in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        assert x[middle + dy * (diagonal - 2), middle + dx * (diagonal - 2)] == 255
        assert x[middle + dy * (diagonal + 8), middle + dx * (diagonal + 8)] == 0
    for letter in (x, o):
        assert (letter == letter.T).all()
        assert (letter == letter[::-1, ::-1]).all()


def test_antialiased_area_is_the_area_of_the_stroke():
    images, _ = draw_xo(2, 200, **STILL)
    ring = 2 * np.pi * RADIUS * 0.1
    assert images[1].sum() / 255 / 200**2 == pytest.approx(ring, rel=0.002)
    assert len(np.unique(images[1])) > 50


def test_rotation_turns_counter_clockwise_and_shift_and_scale_move_the_ink():
    x = draw_xo(1, 65, **STILL)[0][0]
    plus = draw_xo(1, 65, **{**STILL, "rotate_deg": 45})[0][0]
    assert (plus[32, 32 + 20], x[32, 32 + 20]) == (255, 0)
    tilted = draw_xo(1, 65, **{**STILL, "rotate_deg": 20})[0][0]
    assert (tilted[32 - 14, 32 + 6], tilted[32 - 14, 32 - 6]) == (255, 0)  # the rising arm now stands at 65 degrees
    rows, columns = np.indices((65, 65)) - 32
    moved = draw_xo(2, 65, **{**STILL, "shift": 0.2, "scale": 0.5})[0][1]
    assert np.average(columns, weights=moved) == pytest.approx(13, abs=0.1)
    assert np.average(rows, weights=moved) == pytest.approx(-13, abs=0.1)
    small = draw_xo(2, 65, **{**STILL, "scale": 0.5})[0][1]
    radius = 65 * (RADIUS / 2 + 0.1**2 / (6 * RADIUS))  # the mean over a ring of that width
    assert np.average(np.hypot(rows, columns), weights=small) == pytest.approx(radius, rel=0.005)


def test_one_seed_one_set_and_a_longer_set_begins_with_the_shorter():
    first, labels = draw_xo(300, 12, seed=7)
    again, _ = draw_xo(300, 12, seed=7)
    longer, more = draw_xo(600, 12, seed=7)
    other, _ = draw_xo(300, 12, seed=8)
    assert (first == again).all()
    assert (first == longer[:300]).all()
    assert labels == more[:300]
    assert (first != other).any(axis=(1, 2)).all()
    assert labels.count("X") == labels.count("O") == 150


def test_one_range_changes_nothing_but_itself():
    calm, _ = draw_xo(20, 40, noise=0, rotate_deg=0)
    turned, _ = draw_xo(20, 40, noise=0, rotate_deg=(0, 90))
    assert (calm[1::2] == turned[1::2]).mean() > 0.999  # a turned O is the same O, up to rounding
    assert (calm[0::2] != turned[0::2]).any(axis=(1, 2)).all()


def test_noise_has_the_spread_it_was_given():
    images, _ = draw_xo(2, 200, **{**STILL, "noise": 0.1, "scale": 0.1, "thickness": 0.001})
    corner = images[:, :40, :40].astype(float) / 255
    assert np.sqrt((corner**2).mean() * 2) == pytest.approx(0.1, rel=0.05)  # the lower half is cut off at black


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n >= 1 and size_px >= 4; got n=0"),
        ({"size_px": 3}, "got n=2000 and size_px=3"),
        ({"scale": (1.0, 0.5)}, r"scale must be .* got \(1.0, 0.5\)"),
        ({"noise": -0.1}, "noise must be .* not below 0; got -0.1"),
        ({"rotate_deg": (0.0, float("nan"))}, "rotate_deg must be .* finite; got"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        draw_xo(**options)
