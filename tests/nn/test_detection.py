"""Reading boxes off predictions: scores, thresholds, limits, and the form that is kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from convlens.errors import ConfigError, ShapeError
from convlens.nn.detection import decode, decode_rows


def predictions(*rows: tuple[list[float], float, list[float]]) -> Tensor:
    """One image, from boxes, chances of an object and chances of the classes."""
    made = [
        torch.cat([torch.tensor(box), torch.zeros(3), torch.tensor([chance, *classes]).logit()])
        for box, chance, classes in rows
    ]
    return torch.stack(made).unsqueeze(0)


def random_predictions(images: int, count: int, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    outputs = 3 * torch.randn(images, count, 8 + classes, generator=generator)
    outputs[..., :2] = 400 * torch.rand(images, count, 2, generator=generator) - 20
    outputs[..., 2:4] = outputs[..., :2] + 80 * torch.rand(images, count, 2, generator=generator)
    return outputs


def test_a_score_is_the_chance_of_an_object_times_that_of_its_class() -> None:
    outputs = predictions(([0, 0, 4, 4], 0.5, [0.1, 0.8, 0.2]), ([50, 50, 60, 60], 0.9, [0.6, 0.3, 0.1]))
    [found] = decode(outputs, 0.3)
    assert found.classes.tolist() == [0, 1]  # 0.54 before 0.40
    assert found.scores.tolist() == pytest.approx([0.54, 0.4])
    assert found.boxes.tolist() == [[50, 50, 60, 60], [0, 0, 4, 4]]
    assert decode(outputs, 0.45)[0].classes.tolist() == [0]
    assert decode(outputs, 0.6)[0].boxes.shape == (0, 4)


def test_one_box_stays_for_one_object_of_one_class() -> None:
    box, near = [0.0, 0, 10, 10], [0.0, 0, 10, 9]
    outputs = predictions((near, 0.7, [0.9, 0.1]), (box, 0.9, [0.9, 0.1]), (box, 0.6, [0.1, 0.9]))
    [found] = decode(outputs)
    assert (found.boxes.tolist(), found.classes.tolist()) == ([box, box], [0, 1])
    assert len(decode(outputs, iou_threshold=0.95)[0].boxes) == 3


def test_the_best_are_kept_where_there_are_too_many() -> None:
    outputs = random_predictions(2, 500, 3)
    everything = decode(outputs, 0.0, max_detections=500)
    few = decode(outputs, 0.0, max_detections=7)
    for one, other in zip(everything, few, strict=True):
        assert len(one.boxes) > 20
        assert bool((one.scores.diff() <= 0).all())
        for whole, part in zip(one, other, strict=True):
            assert torch.equal(whole[:7], part)
    [narrow, _] = decode(outputs, 0.0, max_candidates=5)
    assert len(narrow.scores) <= 5
    assert narrow.scores[0] == everything[0].scores[0]


def test_boxes_are_cut_at_the_image_where_asked() -> None:
    outputs = predictions(([-3, -4, 50, 60], 0.9, [0.9]))
    assert decode(outputs)[0].boxes.tolist() == [[-3, -4, 50, 60]]
    assert decode(outputs, image_px=(20, 30))[0].boxes.tolist() == [[0, 0, 30, 20]]


def test_rows_hold_the_same_and_are_filled_up() -> None:
    outputs = random_predictions(3, 200, 4)
    outputs[1, :, 7] = -20.0  # nothing in the second image
    rows = decode_rows(outputs, 0.3, 0.4, 50)
    assert (rows.shape, rows.dtype) == ((3, 50, 6), torch.float32)
    assert rows[1].unique(dim=0).tolist() == [[0, 0, 0, 0, 0, -1]]
    for row, (boxes, scores, classes) in zip(rows, decode(outputs, 0.3, 0.4, 50), strict=True):
        real = row[row[:, 5] >= 0]
        assert torch.equal(real, torch.cat([boxes, scores[:, None], classes[:, None]], 1))
        assert torch.equal(real, row[: len(real)])


def test_decoding_takes_no_gradient_and_changes_nothing() -> None:
    outputs = random_predictions(1, 50, 2).requires_grad_()
    before = outputs.detach().clone()
    assert not decode_rows(outputs, 0.1).requires_grad
    assert torch.equal(outputs, before)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(N, A, 8 \+ K\) of at least one class.*got \(2, 8, 8\)"):
        decode(torch.zeros(2, 8, 8))
    outputs = random_predictions(1, 5, 2)
    with pytest.raises(ConfigError, match="score_threshold must be from 0 to 1"):
        decode(outputs, score_threshold=-0.1)
    with pytest.raises(ConfigError, match="iou_threshold must be from 0 to 1"):
        decode(outputs, iou_threshold=float("nan"))
    with pytest.raises(ConfigError, match="at least 1; got 0 and 1000"):
        decode(outputs, max_detections=0)
