"""Pictures made of four: every quarter is where it was, with the boxes that lie in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.config import Config
from convlens.data.augment import Augment, resolve
from convlens.data.mosaic import Mosaic, draw_mosaic, mosaic_boxes, mosaic_pictures
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.present import Boxed, make_present
from convlens.errors import ConfigError
from convlens.options import AugmentConfig
from convlens.tasks.catalog import require_options

SIZE = (24, 20)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), epoch=st.integers(0, 3), data=st.data())
def test_what_is_painted_is_where_its_box_is(n: int, epoch: int, data: st.DataObject) -> None:
    x, targets = torch.zeros(n, 1, *SIZE), torch.full((n, 1, 5), -1.0)
    for i in range(n):  # one box each, in a level of its own
        x1, y1 = data.draw(st.integers(0, 14)), data.draw(st.integers(0, 18))
        x2, y2 = data.draw(st.integers(x1 + 3, 20)), data.draw(st.integers(y1 + 3, 24))
        x[i, 0, y1:y2, x1:x2] = i + 1
        targets[i, 0] = torch.tensor([i, x1, y1, x2, y2], dtype=torch.float32)
    mosaic = draw_mosaic(0.8, 3, epoch, np.arange(n), SIZE)
    pictures, boxes = mosaic_pictures(x, mosaic), mosaic_boxes(targets, mosaic, SIZE, least=0.0)
    assert boxes.shape == (n, 4, 5)
    for picture, rows in zip(pictures[:, 0], boxes, strict=True):
        painted = torch.zeros_like(picture)
        for label, x1, y1, x2, y2 in rows[rows[:, 0] >= 0].int().tolist():
            assert bool((picture[y1:y2, x1:x2] == label + 1).all())
            painted[y1:y2, x1:x2] = label + 1
        assert torch.equal(painted, picture)


def test_a_mosaic_by_hand() -> None:
    x = torch.arange(1.0, 5.0).reshape(4, 1, 1, 1).expand(4, 1, 4, 4)
    mosaic = Mosaic(
        np.array([[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]), np.array([[1, 3], *[[4, 4]] * 3])
    )
    made = mosaic_pictures(x, mosaic)
    assert made[0, 0].tolist() == [[1, 1, 1, 2], [3, 3, 3, 4], [3, 3, 3, 4], [3, 3, 3, 4]]
    assert torch.equal(made[1:], x[1:])
    targets = torch.tensor([[[9.0, 0, 0, 4, 4]]]).repeat(4, 1, 1)
    found = mosaic_boxes(targets, mosaic, (4, 4))  # 3, 1, 9 and 3 of 16 pixels are left
    assert found[0].tolist() == [[-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0], [9, 0, 1, 3, 4], [-1, 0, 0, 0, 0]]
    assert found[1].tolist() == [[9, 0, 0, 4, 4], *[[-1, 0, 0, 0, 0]] * 3]


def test_boxes_that_do_not_count_are_cut_too() -> None:
    mosaic = Mosaic(np.zeros((1, 4), np.int64), np.array([[4, 2]]))
    found = mosaic_boxes(torch.tensor([[[-3.0, 0, 0, 4, 4]]]), mosaic, (4, 4))
    assert found[0, :2].tolist() == [[-3, 0, 0, 2, 4], [-3, 2, 0, 4, 4]]


def test_the_share_is_kept_and_every_picture_is_a_partner() -> None:
    mosaic = draw_mosaic(0.3, 0, 1, np.arange(2000), SIZE)
    made = (mosaic.meeting < SIZE).any(1)
    assert made.mean() == pytest.approx(0.3, abs=0.03)
    assert (mosaic.partner[:, 0] == np.arange(2000)).all()
    assert all(len(set(mosaic.partner[:, quarter].tolist())) == 2000 for quarter in range(4))
    share = mosaic.meeting[made] / SIZE
    assert 0.2 < share.min() < 0.3 < 0.7 < share.max() < 0.8
    assert not (draw_mosaic(0.0, 0, 1, np.arange(9), SIZE).meeting < SIZE).any()


def test_the_last_fifth_of_the_epochs_shows_whole_pictures() -> None:
    prepared = Preprocess(ImagePolicy(channels=1), SIZE, SIZE, "pad", (0.0,), (1.0,))
    augment = Augment(resolve(AugmentConfig(mosaic=1.0), "none"), prepared, seed=0, classes=2)
    shown = make_present("boxes", prepared, augment, epochs=10)
    assert isinstance(shown, Boxed)
    levels = torch.arange(4, dtype=torch.uint8) * 50
    images = levels.reshape(4, 1, 1, 1).expand(4, *SIZE, 1).contiguous()
    targets = torch.full((4, 1, 5), -1.0)
    for epoch in range(10):
        x, boxes = shown.changed(images, targets, np.arange(4), epoch)
        several = [len(picture.unique()) > 1 for picture in x]
        assert several == [epoch < 8] * 4
        assert boxes.shape[1] == (4 if epoch < 8 else 1)


def test_mosaic_is_for_boxes() -> None:
    with pytest.raises(ConfigError, match=r"augment\.mosaic has no effect on the task segment; it is for detect"):
        require_options(Config.build({"task": "segment", "augment.mosaic": 0.5}))
