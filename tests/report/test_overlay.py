"""Classes, mistakes and scores painted over an image: which pixels change, and into what."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from convlens.errors import ShapeError
from convlens.report.overlay import (
    ERROR_COLOURS,
    FILL,
    PALETTE,
    PAPER,
    class_colour,
    error_map,
    heat,
    heat_colours,
    outlines,
    overlay,
)

DRAW = np.random.default_rng(0)
IMAGE = DRAW.integers(0, 256, (20, 24, 3), dtype=np.uint8)


def square(value: int = 1) -> np.ndarray:
    classes = np.zeros((20, 24), np.uint8)
    classes[5:12, 6:16] = value
    return classes


def test_a_class_is_filled_half_transparent_with_a_crisp_outline_and_the_rest_is_left_alone() -> None:
    before = IMAGE.copy()
    painted = overlay(IMAGE, square(2))
    np.testing.assert_array_equal(IMAGE, before)
    assert (painted.shape, painted.dtype) == ((20, 24, 3), np.uint8)
    outside, inside = square() == 0, np.zeros((20, 24), bool)
    inside[6:11, 7:15] = True
    np.testing.assert_array_equal(painted[outside], IMAGE[outside])
    assert (painted[~outside & ~inside] == class_colour(2)).all()
    mixed = IMAGE[inside] * (1 - FILL) + np.array(class_colour(2)) * FILL
    np.testing.assert_array_equal(painted[inside], np.rint(mixed))


def test_outlines_lie_between_classes_and_not_along_the_border() -> None:
    classes = np.zeros((4, 6), np.uint8)
    classes[:, :2], classes[:, 2:4] = 1, 2
    assert outlines(classes)[0].tolist() == [False, True, True, True, False, False]
    assert not outlines(np.ones((4, 4), np.uint8)).any()
    assert outlines(np.uint8([[0], [3], [255], [0]]))[:, 0].tolist() == [False, True, False, False]
    alone = np.zeros((3, 3), np.uint8)
    alone[1, 1] = 200
    assert outlines(alone).sum() == 1


def test_grey_and_other_channels_are_shown_grey() -> None:
    plain = overlay(IMAGE[..., :1], np.zeros((20, 24), np.uint8))
    np.testing.assert_array_equal(plain, np.repeat(IMAGE[..., :1], 3, axis=2))
    five = np.dstack([IMAGE, IMAGE[..., :2]])
    np.testing.assert_array_equal(overlay(five, np.zeros((20, 24), np.uint8)), plain)


def test_what_is_ignored_is_hatched_on_any_picture() -> None:
    for level in (0, 128, 255):
        picture = np.full((20, 24, 3), level, np.uint8)
        painted = overlay(picture, square(255))
        ignored = square(255) == 255
        np.testing.assert_array_equal(painted[~ignored], picture[~ignored])
        changed = (painted[ignored] != level).any(axis=1).mean()
        assert 0.1 <= changed <= 0.3
        assert set(np.unique(painted[ignored])) <= {0, level, 255}


def test_a_second_map_is_drawn_as_dashes_of_black_and_white() -> None:
    other = square()
    painted = overlay(IMAGE, np.zeros((20, 24), np.uint8), others=other)
    edge = outlines(other)
    np.testing.assert_array_equal(painted[~edge], IMAGE[~edge])
    assert {tuple(pixel) for pixel in painted[edge].tolist()} == {(0, 0, 0), (255, 255, 255)}


def test_the_colours_of_classes_differ_also_for_colour_blind_eyes() -> None:
    assert [class_colour(index) for index in range(1, len(PALETTE) + 1)] == list(PALETTE)
    assert class_colour(len(PALETTE) + 1) == PALETTE[0]
    # Protanopia and deuteranopia as projections of linear RGB: Vienot, Brettel and Mollon, 1999.
    for red, green in ((0.11238, 0.88762), (0.29275, 0.70725)):
        for palette in (PALETTE[:7], tuple(ERROR_COLOURS.values())):
            linear = (np.array(palette) / 255) ** 2.2
            shade = linear[:, 0] * red + linear[:, 1] * green
            seen = np.stack([shade, linear[:, 2]], axis=1) ** (1 / 2.2) * 255
            nearest = min(np.abs(seen[a] - seen[b]).max() for a, b in combinations(range(len(seen)), 2))
            assert nearest > 20


def test_mistakes_have_their_colours() -> None:
    true = np.uint8([[0, 1, 1, 0, 1, 255, 255]])
    predicted = np.uint8([[0, 1, 0, 2, 2, 0, 1]])
    found = error_map(true, predicted)
    kinds = ["right", "missed", "false", "confused"]
    assert found[0, :5].tolist() == [[PAPER] * 3, *(list(ERROR_COLOURS[kind]) for kind in kinds)]
    assert {tuple(pixel) for pixel in found[0, 5:].tolist()} <= {(PAPER,) * 3, (0,) * 3, (255,) * 3}


def test_mistakes_over_the_image_leave_its_background_in_grey() -> None:
    true, predicted = square(), np.roll(square(), 2, axis=1)
    found = error_map(true, predicted, IMAGE)
    grey = np.rint(IMAGE @ np.array([0.299, 0.587, 0.114]))
    outside, right = (true == 0) & (predicted == 0), (true == 1) & (predicted == 1)
    np.testing.assert_array_equal(found[outside], np.repeat(grey[outside][:, None], 3, axis=1))
    wanted = np.rint(grey[right][:, None] * (1 - FILL) + np.array(ERROR_COLOURS["right"]) * FILL)
    np.testing.assert_array_equal(found[right], wanted)
    assert (found[(true == 1) & (predicted == 0)] == ERROR_COLOURS["missed"]).all()


def test_hatching_lies_at_the_same_places_in_all_pictures() -> None:
    ignored = square(255)
    painted, mistakes = overlay(np.full((20, 24, 3), 9, np.uint8), ignored), error_map(ignored, ignored)
    np.testing.assert_array_equal((painted != 9).any(axis=2) & (ignored == 255), (mistakes != PAPER).any(axis=2))


# ----------------------------------------------------------------------------------------------------------------- heat


def lightness(colours: np.ndarray) -> np.ndarray:
    """L* of CIELAB."""
    linear = np.where(colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    shade = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(shade > 0.008856, 116 * np.cbrt(shade) - 16, 903.3 * shade)


def test_heat_grows_lighter_in_even_steps() -> None:
    colours = heat_colours(np.linspace(0, 1, 101))
    steps = np.diff(lightness(colours))
    assert (steps > 0).all()
    assert np.abs(steps - steps.mean()).max() < 0.6 * steps.mean()
    assert colours[0].tolist() == [0, 0, 4]
    assert colours[-1].tolist() == [0xFC, 0xFF, 0xA4]
    assert heat_colours(np.array([[-1.0, 2.0]])).tolist() == [[[0, 0, 4], [0xFC, 0xFF, 0xA4]]]


def test_heat_is_bright_where_scores_are_high_and_absent_where_there_are_none() -> None:
    grey = np.full((2, 3, 1), 100, np.uint8)
    shown = heat(grey, np.array([[0.0, 5.0, 10.0], [np.nan, np.inf, 10.0]]))
    assert (shown[1, :2] == 100).all()
    cold, middle, hot = lightness(shown[0])
    assert cold < middle < hot
    np.testing.assert_array_equal(shown[0, 2], shown[1, 2])
    np.testing.assert_array_equal(shown[0, 2], np.rint(100 * 0.15 + np.array([0xFC, 0xFF, 0xA4]) * 0.85))


def test_the_scale_of_heat_can_be_shared_between_pictures() -> None:
    grey = np.full((1, 3, 3), 100, np.uint8)
    one = heat(grey, np.array([[0.0, 1.0, 2.0]]), low=0, high=4)
    two = heat(grey, np.array([[2.0, 4.0, 9.0]]), low=0, high=4)
    np.testing.assert_array_equal(one[0, 2], two[0, 0])
    np.testing.assert_array_equal(two[0, 1], two[0, 2])
    flat = heat(grey, np.full((1, 3), 7.0))
    np.testing.assert_array_equal(flat, np.broadcast_to(flat[0, 0], flat.shape))
    np.testing.assert_array_equal(heat(grey, np.full((1, 3), np.nan)), grey)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    small = np.zeros((3, 3), np.uint8)
    for call in (
        lambda: overlay(IMAGE, small),
        lambda: overlay(IMAGE, square(), others=small),
        lambda: overlay(IMAGE / 255, square()),
        lambda: overlay(IMAGE[..., 0], square()),
        lambda: error_map(square(), small),
        lambda: error_map(small, small, IMAGE),
        lambda: heat(IMAGE, small),
    ):
        with pytest.raises(ShapeError):
            call()
