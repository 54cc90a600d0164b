"""Boxes on pictures: the pixels of the outline, colours, letters, and what belongs to a picture."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.errors import ShapeError
from convlens.metrics.detection_tally import DetectionTally
from convlens.report.boxes_drawn import GREY, draw_boxes, draw_pair, draw_targets, enlarged
from convlens.report.overlay import class_colour

DARK = np.zeros((20, 30, 3), np.uint8)


def painted(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(2)


def test_the_outline_lies_inside_the_edges() -> None:
    picture = draw_boxes(DARK, np.array([[2, 3, 7, 8]]), [0])
    expected = np.zeros((20, 30), bool)
    expected[3:8, 2:7] = True
    expected[4:7, 3:6] = False
    assert np.array_equal(painted(picture, class_colour(1)), expected)
    assert not DARK.any()


def test_every_class_has_its_colour_and_the_last_box_lies_on_top() -> None:
    picture = draw_boxes(DARK, np.array([[2, 2, 9, 9], [2, 2, 9, 9], [12, 2, 19, 9]]), [0, 1, 2])
    assert not painted(picture, class_colour(1)).any()
    assert painted(picture, class_colour(2)).any()
    assert painted(picture, class_colour(3)).any()
    assert painted(draw_boxes(DARK, np.array([[2, 2, 9, 9]]), [0], colour=GREY), GREY).any()


def test_boxes_beyond_the_picture_and_tiny_ones_are_drawn_as_far_as_they_go() -> None:
    picture = draw_boxes(DARK[..., :1], np.array([[-5, -5, 50, 50], [29.9, 19.9, 30, 20], [40, 40, 50, 50]]), [0, 1, 2])
    assert picture.shape == (20, 30, 3)
    assert painted(picture, class_colour(1))[0, :29].all()
    assert picture[-1, -1].tolist() == list(class_colour(3))
    assert np.array_equal(draw_boxes(DARK, np.zeros((0, 4)), []), DARK)


def test_dashed_lines_have_gaps() -> None:
    whole, dashed = (draw_boxes(DARK, np.array([[2, 2, 28, 18]]), [0], dashed=d) for d in (False, True))
    some = painted(dashed, class_colour(1)).sum() / painted(whole, class_colour(1)).sum()
    assert 0.3 < some < 0.7


def test_letters_are_written_and_large_pictures_have_thicker_lines() -> None:
    plain = draw_boxes(np.zeros((90, 200, 3), np.uint8), np.array([[20, 40, 90, 80]]), [0])
    named = draw_boxes(np.zeros((90, 200, 3), np.uint8), np.array([[20, 40, 90, 80]]), [0], ["cat"])
    above = np.s_[20:40, 20:60]
    assert not plain[above].any()
    assert painted(named, class_colour(1))[above].any()
    assert (named[above] == 0).all(2).any()  # black letters on orange
    large = draw_boxes(np.zeros((90, 2000, 3), np.uint8), np.array([[20, 10, 90, 80]]), [0])
    assert painted(large, class_colour(1))[40].sum() == 2 * round(2000 / 260)
    bold = draw_boxes(DARK, np.array([[2, 2, 12, 12]]), [0], bold=2.0)
    assert painted(bold, class_colour(1))[7].sum() == 4


def test_a_label_stays_inside_the_picture() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    picture = draw_boxes(image, np.array([[50, 0, 60, 9]]), [1], ["a long name"])
    assert picture.shape == image.shape
    assert painted(picture, class_colour(2))[:8, :20].any()


def test_targets_are_drawn_without_rows_that_fill_up() -> None:
    rows = np.array([[1, 2, 2, 9, 9], [-1, 0, 0, 0, 0], [-2, 12, 2, 19, 9]], np.float32)
    assert np.array_equal(draw_targets(DARK, rows), draw_boxes(DARK, rows[:1, 1:], [1]))


def test_a_pair_shows_the_truth_and_what_passes_the_threshold() -> None:
    tally = DetectionTally(2)
    true = np.array([[2, 2, 9, 9], [12, 2, 19, 9]])
    found = np.array([[2, 2, 9, 9], [20, 10, 28, 18]])
    tally.add(true, np.array([0, 1]), found, np.array([0, 1]), np.array([0.9, 0.2]), ignore=np.array([False, True]))
    truth, shown = draw_pair(DARK, tally.images[0], ["a", "b"], 0.5)
    scale = enlarged(DARK)[1]
    assert scale == 11
    assert truth.shape == shown.shape == (220, 330, 3)
    assert painted(truth, GREY).any()
    assert painted(truth, class_colour(1)).any()
    assert painted(shown, class_colour(1)).any()
    assert not painted(shown, class_colour(2)).any()


@pytest.mark.parametrize(
    ("image", "classes", "labels"),
    [
        (np.zeros((9, 9, 3)), [0], ()),
        (np.zeros((9, 9), np.uint8), [0], ()),
        (DARK, [0, 1], ()),
        (DARK, [0], ("a", "b")),
    ],
)
def test_what_does_not_belong_together(image: np.ndarray, classes: list[int], labels: tuple[str, ...]) -> None:
    with pytest.raises(ShapeError, match="Expected a"):
        draw_boxes(image, np.array([[1, 1, 5, 5]]), classes, labels)
