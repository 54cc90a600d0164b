"""Boxes against hand-worked cases, and suppression against its definition in plain Python."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from convlens.errors import ConfigError, ShapeError
from convlens.nn.boxes import clip_boxes, giou, iou, pairwise_iou, suppress, to_cxcywh, to_xyxy

# a, b, shared, union, around
CASES = {
    "the same": ([1, 2, 4, 6], [1, 2, 4, 6], 12, 12, 12),
    "one inside the other": ([0, 0, 4, 4], [1, 1, 3, 2], 2, 16, 16),
    "a corner shared": ([0, 0, 2, 2], [1, 1, 3, 3], 1, 7, 9),
    "an edge touched": ([0, 0, 2, 2], [2, 0, 4, 2], 0, 8, 8),
    "side by side": ([0, 0, 1, 2], [3, 0, 5, 2], 0, 6, 10),
    "far away on both axes": ([0, 0, 1, 1], [2, 3, 4, 4], 0, 3, 16),
    "left of zero": ([-3, -1, -1, 1], [-2, -1, 0, 1], 2, 6, 6),
    "no area, inside": ([1, 1, 1, 1], [0, 0, 2, 2], 0, 4, 4),
}


def some_boxes(count: int, seed: int = 0, low: float = -50.0, high: float = 450.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    first = low + (high - low) * torch.rand(count, 2, generator=generator)
    sides = 100 * torch.rand(count, 2, generator=generator)
    return torch.cat([first, first + sides], 1)


@pytest.mark.parametrize("name", CASES)
def test_iou_and_giou_by_hand(name: str) -> None:
    a, b, shared, union, around = CASES[name]
    first, second = torch.tensor(a), torch.tensor(b)
    for one, other in [(first, second), (second, first), (first.half(), second.half())]:
        assert iou(one, other).item() == pytest.approx(shared / union)
        assert giou(one, other).item() == pytest.approx(shared / union - (around - union) / around)


def test_boxes_without_area_are_no_nan_and_neither_are_their_gradients() -> None:
    point = torch.tensor([[3.0, 3, 3, 3], [5, 5, 5, 9], [9, 9, 1, 1]], requires_grad=True)
    for measure in (iou, giou):
        value = measure(point, point)
        assert value.tolist() == [0, 0, 0]
        value.sum().backward()
        assert point.grad is not None
        assert bool(point.grad.isfinite().all())


def test_giou_pulls_boxes_together_where_iou_is_blind() -> None:
    far = torch.tensor([[20.0, 20, 30, 30]], requires_grad=True)
    giou(far, torch.tensor([[0.0, 0, 10, 10]])).sum().backward()
    assert far.grad is not None
    assert bool((far.grad[0, :2] < 0).all())  # moving the near corner back raises it
    near = torch.tensor([[20.0, 20, 30, 30]], requires_grad=True)
    iou(near, torch.tensor([[0.0, 0, 10, 10]])).sum().backward()
    assert near.grad is not None
    assert bool((near.grad == 0).all())


def test_pairwise_iou_is_iou_of_every_pair() -> None:
    a, b = some_boxes(7), some_boxes(5, seed=1)
    found = pairwise_iou(a, b)
    assert found.shape == (7, 5)
    for i in range(7):
        for j in range(5):
            assert found[i, j] == iou(a[i], b[j])
    assert pairwise_iou(a[:0], b).shape == (0, 5)


def test_the_two_forms_of_a_box_undo_each_other() -> None:
    assert to_cxcywh(torch.tensor([1.0, 2, 5, 10])).tolist() == [3, 6, 4, 8]
    assert to_xyxy(torch.tensor([3.0, 6, 4, 8])).tolist() == [1, 2, 5, 10]
    boxes = some_boxes(20).reshape(4, 5, 4)
    torch.testing.assert_close(to_xyxy(to_cxcywh(boxes)), boxes)


def test_clipping_cuts_each_side_at_its_own_edge() -> None:
    boxes = torch.tensor([[-5.0, -6, 70, 80], [10, 20, 30, 40], [90, -9, 95, -3]])
    assert clip_boxes(boxes, 48, 64).tolist() == [[0, 0, 64, 48], [10, 20, 30, 40], [64, 0, 64, 0]]


def plain_suppression(boxes: Tensor, scores: Tensor, classes: Tensor, threshold: float) -> list[int]:
    stay: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i].item()):
        rivals = [j for j in stay if classes[j] == classes[i]]
        if all(iou(boxes[i].double(), boxes[j].double()).item() <= threshold for j in rivals):
            stay.append(i)
    return stay


@pytest.mark.parametrize(("count", "classes", "threshold"), [(60, 1, 0.3), (60, 4, 0.5), (40, 3, 0.0), (40, 3, 1.0)])
def test_suppression_is_its_definition(count: int, classes: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(count)
    boxes = some_boxes(count, high=100.0)
    scores = torch.randperm(count, generator=generator) / count
    labels = torch.randint(classes, (count,), generator=generator)
    expected = plain_suppression(boxes, scores, labels, threshold)
    assert suppress(boxes, scores, labels, threshold).tolist() == expected
    assert threshold == 1 or 1 < len(expected) < count


def test_classes_leave_each_other_alone_left_of_zero_and_in_the_last_class() -> None:
    # torchvision moves class 1 by the largest coordinate and 1, here onto the other box
    boxes = torch.tensor([[-11.0, -11, -1, -1], [0, 0, 10, 10]])
    assert len(suppress(boxes, torch.tensor([0.9, 0.8]), torch.tensor([1, 0]), 0.5)) == 2
    # and class 999 by 600,399, where single precision would round the first two, of IoU 0.505, to nothing
    small = torch.tensor([[0.0, 0, 0.02, 0.01], [0, 0, 0.0101, 0.01], [0, 0, 600, 600]])
    scores, last = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([999, 999, 0])
    for threshold, stay in [(0.504, 2), (0.506, 3)]:
        assert len(suppress(small, scores, last, threshold)) == stay


def test_suppression_of_nothing_and_of_what_does_not_fit() -> None:
    none = torch.zeros(0)
    assert suppress(torch.zeros(0, 4), none, none, 0.5).tolist() == []
    with pytest.raises(ShapeError, match=r"a score and a class for each; got \(3, 4\), \(2,\) and \(3,\)"):
        suppress(torch.zeros(3, 4), torch.zeros(2), torch.zeros(3), 0.5)
    with pytest.raises(ConfigError, match=r"iou_threshold must be from 0 to 1, such as 0.5; got 50"):
        suppress(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1), 50)
    with pytest.raises(ShapeError, match=r"four numbers, x1, y1, x2, y2; got shapes \(3, 5\) and \(3, 4\)"):
        iou(torch.zeros(3, 5), torch.zeros(3, 4))


def test_without_torchvision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    with pytest.raises(ConfigError, match=r"torchvision library: pip install .convlens\[detect\]"):
        suppress(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1), 0.5)
