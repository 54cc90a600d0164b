"""Who answers for whom: by hand, against two plain forms, and where there is nothing or too much to answer for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import softplus

from convlens.nn import assign as module
from convlens.nn.assign import AT_ONCE, NOBODY
from convlens.nn.boxes import iou, pairwise_iou

SIZE = 64


def assign(outputs: Tensor, objects: Tensor, **options: Any) -> Tensor:
    """The answers of one image."""
    return module.assign(outputs.unsqueeze(0), objects.unsqueeze(0), **options)[0]


def grid(strides: tuple[int, ...] = (8, 16), classes: int = 2, size: tuple[int, int] = (SIZE, SIZE)) -> Tensor:
    """Untrained predictions: every box four strides wide around its cell, all logits 0."""
    rows = []
    for stride in strides:
        for y in range(size[0] // stride):
            for x in range(size[1] // stride):
                cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
                half = 2 * stride
                rows.append([cx - half, cy - half, cx + half, cy + half, cx, cy, stride, 0.0] + [0.0] * classes)
    return torch.tensor(rows)


def shaken(seed: int, **options: object) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    outputs = grid(**options)  # type: ignore[arg-type]
    outputs[:, :4] += 6 * torch.randn(outputs[:, :4].shape, generator=generator)
    outputs[:, 7:] += torch.randn(outputs[:, 7:].shape, generator=generator)
    return outputs


def some_objects(count: int, seed: int, classes: int = 2, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    middle = size * torch.rand(count, 2, generator=generator)
    half = 1 + 20 * torch.rand(count, 2, generator=generator)
    labels = torch.randint(classes, (count, 1), generator=generator).float()
    return torch.cat([labels, middle - half, middle + half], 1)


def plain_assign(outputs: Tensor, objects: Tensor, radius: float, most: int) -> list[int]:
    claims: dict[int, list[tuple[float, int]]] = {}
    for number, (label, x1, y1, x2, y2) in enumerate(objects.tolist()):
        if label < 0:
            continue
        costs, overlaps = [], []
        for index, row in enumerate(outputs.tolist()):
            cx, cy, stride = row[4:7]
            away = max(abs(cx - (x1 + x2) / 2), abs(cy - (y1 + y2) / 2)) / stride
            if away >= radius:
                continue
            overlap = iou(torch.tensor(row[:4]), torch.tensor([x1, y1, x2, y2])).item()
            chances = [1 / (1 + math.exp(-logit)) for logit in row[8:]]
            bce = -sum(math.log(p if k == label else 1 - p) for k, p in enumerate(chances))
            costs.append((bce - 3 * math.log(max(overlap, 1e-8)) + 0.1 * away, index))
            overlaps.append(overlap)
        k = max(1, int(sum(sorted(overlaps, reverse=True)[:most])))
        for cost, index in sorted(costs)[:k]:
            claims.setdefault(index, []).append((cost, number))
    return [min(claims[index])[1] if index in claims else NOBODY for index in range(len(outputs))]


def dense_assign(outputs: Tensor, objects: Tensor, radius: float = 2.5, most: int = 10) -> Tensor:
    """The definition as matrices of every object by every prediction: short, and slow where there are many of both."""
    rows = (objects[:, 0] >= 0).nonzero().squeeze(1)
    labels, boxes = objects[rows, 0].long(), objects[rows, 1:]
    middles, logits = (boxes[:, :2] + boxes[:, 2:]) / 2, outputs[:, 8:]
    away = (outputs[:, 4:6] - middles[:, None]).abs().amax(2) / outputs[:, 6]  # (M, A)
    reached = away < radius
    overlap = pairwise_iou(boxes, outputs[:, :4]) * reached
    cost = softplus(logits).sum(1) - logits.T[labels] - 3 * overlap.clamp(min=1e-8).log() + 0.1 * away
    cost = cost.masked_fill(~reached, torch.inf)
    wanted = overlap.topk(min(most, len(outputs))).values.sum(1).long().clamp(min=1)
    rank = cost.argsort(1).argsort(1)
    price, owner = cost.masked_fill(rank >= wanted[:, None], torch.inf).min(0)
    return rows[owner].where(price.isfinite(), NOBODY)


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    strides=st.sampled_from([(8,), (8, 16), (8, 16, 32), (32,)]),
    size=st.sampled_from([(64, 64), (96, 40), (32, 160)]),
    radius=st.sampled_from([0.6, 1.0, 2.5, 4.0]),
    most=st.sampled_from([1, 4, 10]),
)
def test_is_the_definition_in_matrices(
    seed: int, count: int, strides: tuple[int, ...], size: tuple[int, int], radius: float, most: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs, objects = shaken(seed, strides=strides, size=size, classes=3), some_objects(count, seed, 3, max(size))
    objects[torch.rand(count, generator=generator) < 0.2, 0] = -1  # fillers anywhere
    objects[0] = torch.tensor([1.0, 2, 2, 30, 20])
    outputs = outputs[torch.randperm(len(outputs), generator=generator)]  # no order of cells is relied on
    found = assign(outputs, objects, radius=radius, most=most)
    assert torch.equal(found, dense_assign(outputs, objects, radius, most))


def test_images_of_a_batch_do_not_meet() -> None:
    """Empty images, and images with few and with many objects, beside each other."""
    outputs = torch.stack([shaken(seed, classes=3) for seed in range(6)])
    objects = torch.stack([some_objects(3 * AT_ONCE, seed, 3) for seed in range(6)])
    for image, count in enumerate([0, 3, 3 * AT_ONCE, AT_ONCE, AT_ONCE + 1, 0]):
        objects[image, count:, 0] = -1
    found = module.assign(outputs, objects)
    alone = [
        dense_assign(*image) if image[1][0, 0] >= 0 else found.new_full((80,), NOBODY)
        for image in zip(outputs, objects, strict=True)
    ]
    assert torch.equal(found, torch.stack(alone))


@pytest.mark.parametrize("seed", range(4))
def test_is_its_definition(seed: int) -> None:
    outputs, objects = shaken(seed), some_objects(6, seed)
    objects[2, 0] = -1  # fills up, in the middle of the rows
    for radius, most in [(2.5, 10), (1.0, 3)]:
        found = assign(outputs, objects, radius=radius, most=most).tolist()
        assert found == plain_assign(outputs, objects, radius, most)
    assert 2 not in found
    assert len(set(found)) > 3


def test_the_cell_whose_box_fits_best_answers() -> None:
    outputs = grid()
    exact = torch.tensor([[1.0, 12, 4, 44, 36]])  # the box of the cell in row 2, column 3 of stride 8
    answers = assign(outputs, exact, most=1)
    assert (answers >= 0).nonzero().tolist() == [[2 * 8 + 3]]


def test_of_predictions_that_cost_the_same_the_first_answer() -> None:
    outputs = grid((8,))
    outputs[:, :4] = torch.tensor([0.0, 0, 40, 40])
    objects = torch.tensor([[0.0, 16, 16, 32, 32]])  # four cells are as near to its middle, all boxes are the same
    assert (assign(outputs, objects) == 0).nonzero().squeeze(1).tolist() == [18]  # ten overlaps of 0.16 give k = 1
    objects = torch.tensor([[0.0, 12, 12, 36, 36]])  # k = 3
    assert (assign(outputs, objects) == 0).nonzero().squeeze(1).tolist() == [18, 19, 26]


def test_of_objects_that_are_the_same_the_first_is_answered_for() -> None:
    box = [1.0, 12, 4, 44, 36]
    assert set(assign(shaken(3), torch.tensor([[-1.0, 0, 0, 0, 0], box, box])).tolist()) == {NOBODY, 1}


def test_an_object_takes_as_many_as_its_overlaps_add_up_to() -> None:
    outputs, box = grid((8,)), torch.tensor([12.0, 4, 44, 36])
    objects = torch.cat([torch.zeros(1), box]).unsqueeze(0)
    near = (outputs[:, 4:6] - 8 * torch.tensor([3.5, 2.5])).abs().amax(1) < 20
    expected = int(iou(outputs[near, :4], box).topk(10).values.sum())
    assert expected > 3
    assert int((assign(outputs, objects) == 0).sum()) == expected
    assert int((assign(outputs, objects, most=2) == 0).sum()) == int(iou(outputs[:, :4], box).topk(2).values.sum())


def test_the_class_decides_between_boxes_that_fit_alike() -> None:
    outputs = grid((8,))
    outputs[:, :4] = torch.tensor([12.0, 4, 44, 36])
    outputs[21, 9] = 3.0  # says class 1, a cell off the middle
    answers = assign(outputs, torch.tensor([[1.0, 12, 4, 44, 36]]), most=1)
    assert (answers >= 0).nonzero().tolist() == [[21]]


def test_what_two_objects_want_goes_to_the_one_it_fits_better() -> None:
    outputs = grid((8,))
    objects = torch.tensor([[0.0, 11, 4, 45, 36], [0, 12, 4, 44, 36]])
    assert assign(outputs, objects, most=1)[19].item() == 1
    assert assign(outputs, objects.flip(0), most=1)[19].item() == 0


@pytest.mark.parametrize("side", [1.0, 0.01, 0.0])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (31.5, 12.25), (63.0, 63.0)])
def test_the_smallest_object_is_answered_for_by_a_cell_beside_it(corner: tuple[float, float], side: float) -> None:
    outputs = grid((8, 16))
    x, y = corner
    answers = assign(outputs, torch.tensor([[0.0, x, y, x + side, y + side]]))
    [cell] = outputs[answers == 0]
    assert max(abs(cell[4] - x), abs(cell[5] - y)) <= cell[6] / 2 + 1


def test_an_object_as_large_as_the_image_and_larger() -> None:
    outputs = grid((8, 16, 32))
    for edge, stride in [(0.0, 16.0), (500.0, 32.0)]:  # untrained boxes are 64 and 128 px wide
        answers = assign(outputs, torch.tensor([[1.0, -edge, -edge, SIZE + edge, SIZE + edge]]))
        assert outputs[answers == 0][:, 6].unique().tolist() == [stride]


def test_nothing_to_answer_for() -> None:
    outputs = grid()
    for objects in (torch.zeros(0, 5), torch.full((3, 5), -1.0), torch.tensor([[0.0, 900, 900, 910, 910]])):
        answers = assign(outputs, objects)
        assert (answers.dtype, answers.tolist()) == (torch.int64, [NOBODY] * len(outputs))


def test_fillers_change_nothing_but_the_numbers_of_the_rows() -> None:
    outputs, objects = shaken(1), some_objects(5, 1)
    filled = torch.cat([torch.full((2, 5), -1.0), objects, torch.full((3, 5), -1.0)])
    alone = assign(outputs, objects)
    assert torch.equal(assign(outputs, filled), torch.where(alone >= 0, alone + 2, NOBODY))


def test_hundreds_of_objects_share_the_cells() -> None:
    outputs, objects = shaken(2), some_objects(400, 2)
    answers = assign(outputs, objects)
    taken = answers[answers >= 0]
    assert len(taken.unique()) > len(outputs) / 2  # 80 cells cannot answer for 400
    near = (outputs[:, 4:6] - (objects[answers, 1:3] + objects[answers, 3:5]) / 2).abs().amax(1) < 2.5 * outputs[:, 6]
    assert bool(near[answers >= 0].all())
