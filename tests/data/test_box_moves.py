"""Boxes follow augmentation: what is painted into an image is afterwards where its box is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.augment import Augment, beyond, resolve
from convlens.data.box_moves import move_boxes
from convlens.data.draws import Draw, draw
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.present import Boxed
from convlens.options import AugmentConfig


def preprocess(size: tuple[int, int], store: tuple[int, int]) -> Preprocess:
    return Preprocess(ImagePolicy(channels=1), size, store, "pad", (0.25,), (0.5,))


def boxed(size: tuple[int, int], store: tuple[int, int], **options: Any) -> Boxed:
    prepared = preprocess(size, store)
    return Boxed(prepared, Augment(resolve(AugmentConfig(**options), "none"), prepared, seed=3, classes=2))


def still(n: int, **changes: Any) -> Draw:
    none = resolve(AugmentConfig(), "none")
    given = {key: np.broadcast_to(value, (n, *np.shape(value))).copy() for key, value in changes.items()}
    return replace(draw(none, 0, 0, np.arange(n), (4, 4)), **given)


def rows(*boxes: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([[[0.0, *box] for box in boxes]])


@settings(max_examples=60, deadline=None)
@given(
    box=st.tuples(st.integers(2, 50), st.integers(2, 40), st.integers(6, 30), st.integers(6, 30)),
    room=st.sampled_from([((64, 60), (64, 60)), ((64, 60), (80, 97)), ((50, 51), (64, 60)), ((60, 60), (64, 64))]),
    flip=st.sampled_from(["none", "horizontal", "vertical", "both"]),
    rotate=st.sampled_from([0.0, 40.0, 180.0]),
    scale=st.sampled_from([0.0, 0.4]),
    translate=st.sampled_from([0.0, 0.2]),
    crop=st.sampled_from([0.0, 0.1]),
    turn=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_what_is_painted_is_where_its_box_is(
    box: tuple[int, int, int, int],
    room: tuple[tuple[int, int], tuple[int, int]],
    flip: str,
    rotate: float,
    scale: float,
    translate: float,
    crop: float,
    turn: bool,
    epoch: int,
) -> None:
    size, store = room
    left, top = box[:2]
    right, bottom = min(left + box[2], store[1]), min(top + box[3], store[0])
    image = torch.zeros(1, *store, 1, dtype=torch.uint8)
    image[0, top:bottom, left:right] = 255
    turn = turn and size[0] == size[1]
    shown = boxed(size, store, flip=flip, turn=turn, rotate_deg=rotate, scale=scale, translate=translate, crop=crop)
    x, found = shown.changed(image, rows((left, top, right, bottom)), np.array([7]), epoch)
    painted = shown.preprocess.levels(x)[0, 0] > (0.3 if rotate else 0.5)  # the tip of a turned corner is thin
    if found[0, 0, 0] < 0:
        assert int(painted.sum()) < 0.35 * (right - left) * (bottom - top) * 1.4**2
        return
    seen = [painted.any(axis).nonzero() for axis in (0, 1)]
    assert len(seen[0])
    edges = [float(line) for line in (seen[0][0], seen[1][0], seen[0][-1] + 1, seen[1][-1] + 1)]
    off = np.array(edges) - found[0, 0, 1:].numpy()
    if rotate and ((found[0, 0, 1:3] <= 0).any() or (found[0, 0, 3:] >= torch.tensor([size[1], size[0]])).any()):
        assert (off[:2] >= -1).all()  # cut off, the box around a turned box is larger than it need be
        assert (off[2:] <= 1).all()
    else:
        assert np.abs(off).max() <= (1.3 if rotate else 1.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (2, 1, 6, 4)),
        ({"flip": [False, True]}, (14, 1, 18, 4)),
        ({"flip": [True, False]}, (2, 6, 6, 9)),
        ({"shift": [1, 2]}, (0, 0, 4, 3)),
        ({"translate": [-0.5, -1.5]}, (3.5, 1.5, 7.5, 4.5)),
        ({"zoom": 0.5}, (6, 3, 8, 4.5)),
        ({"flip": [False, True], "shift": [0, 2]}, (16, 1, 20, 4)),
    ],
)
def test_a_box_by_hand(changes: dict[str, Any], expected: tuple[float, ...]) -> None:
    found = move_boxes(rows((2, 1, 6, 4)), still(1, **changes), (10, 20), (10, 20))
    assert found[0, 0, 1:].tolist() == pytest.approx(list(expected))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1, 2, 4, 6)),
        ({"flip": [True, False]}, (16, 2, 19, 6)),  # mirrored first
        ({"shift": [1, 2]}, (0, 0, 3, 4)),
    ],
)
def test_a_turned_box_by_hand(changes: dict[str, Any], expected: tuple[float, ...]) -> None:
    found = move_boxes(rows((2, 1, 6, 4)), still(1, turn=True, **changes), (20, 20), (20, 20))
    assert found[0, 0, 1:].tolist() == pytest.approx(list(expected))


def test_a_quarter_turn_is_counter_clockwise() -> None:
    found = move_boxes(rows((6, 4, 10, 6)), still(1, angle_deg=90.0), (10, 10), (10, 10))
    assert found[0, 0, 1:].tolist() == pytest.approx([4, 0, 6, 4], abs=1e-5)


def test_the_window_is_the_middle_of_a_larger_store() -> None:
    found = move_boxes(rows((10, 10, 14, 14)), still(1), (20, 31), (10, 20))
    assert found[0, 0].tolist() == [0, 5, 5, 9, 9]


def test_less_than_a_fifth_of_a_box_is_left_out() -> None:
    """The window moves 8 px to the right: of the first box a tenth is left, of the second three tenths."""
    found = move_boxes(rows((0, 0, 8.8, 8), (0, 0, 11.4, 8)), still(1, shift=[0, 8]), (20, 20), (20, 20))
    assert found[0, 0].tolist() == [-1, 0, 0, 0, 0]
    assert found[0, 1].tolist() == pytest.approx([0, 0, 0, 3.4, 8])


def test_rows_that_fill_up_stay_so_and_those_that_do_not_count_follow() -> None:
    targets = torch.tensor([[[-1.0, 0, 0, 0, 0], [-3, 2, 2, 6, 6]]])
    found = move_boxes(targets, still(1, flip=[False, True]), (10, 10), (10, 10))
    assert found.tolist() == [[[-1, 0, 0, 0, 0], [-3, 4, 2, 8, 6]]]


def test_every_image_of_a_batch_has_its_own_draw() -> None:
    targets, samples = rows((2, 2, 9, 9)).repeat(6, 1, 1), np.arange(6)
    shown = boxed((16, 16), (16, 16), flip="horizontal", scale=0.3, translate=0.1)
    images = torch.zeros(6, 16, 16, 1, dtype=torch.uint8)
    together = shown.changed(images, targets, samples, 1)[1]
    for i in samples:
        alone = shown.changed(images[i : i + 1], targets[i : i + 1], samples[i : i + 1], 1)[1]
        assert torch.equal(alone[0], together[i])
    assert len({tuple(row[0].tolist()) for row in together}) == 6


def test_beyond_the_border_is_the_mean_and_no_mirror_image() -> None:
    shown = boxed((8, 8), (8, 8), translate=0.4)
    images = torch.full((4, 8, 8, 1), 200, dtype=torch.uint8)
    x, _ = shown.changed(images, rows((0, 0, 8, 8)).repeat(4, 1, 1), np.arange(4), 0)
    assert {round(v, 3) for v in x.unique().tolist()} == {0.0, round((200 / 255 - 0.25) / 0.5, 3)}
    assert beyond(still(2), (8, 8), (8, 8), x.device) is None


def test_validation_sees_all_of_the_stored_image_and_its_boxes() -> None:
    shown = boxed((8, 8), (12, 10), flip="both")
    images, targets = torch.zeros(2, 12, 10, 1, dtype=torch.uint8), rows((0, 0, 10, 12)).repeat(2, 1, 1)
    x, found = shown.still(images, targets, np.arange(2))
    assert x.shape == (2, 1, 12, 10)
    assert found is targets
