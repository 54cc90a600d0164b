"""YOLO in its first form: the grid by hand, equation (3) as a plain loop, and whether it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from convlens.errors import ShapeError
from convlens.models.yolo_v1 import predictions_of, yolo_v1, yolo_v1_loss
from convlens.nn.boxes import iou
from convlens.nn.detection import Detections, decode

TINY: dict[str, Any] = {"width": 4, "hidden": 32, "dropout": 0.0}
TERMS = ["middle", "sides", "object", "nothing", "class"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def some_targets(images: int, count: int, classes: int, height: int, width: int) -> Tensor:
    middle = torch.rand(images, count, 2) * torch.tensor([width, height])
    half = 1 + 10 * torch.rand(images, count, 2)
    labels = torch.randint(classes, (images, count, 1)).float()
    return torch.cat([labels, middle - half, middle + half], 2)


def plain_box(said: list[float], row: int, column: int, side: int, height: int, width: int) -> Tensor:
    x, y = (said[0] + column) / side * width, (said[1] + row) / side * height
    w, h = said[2] ** 2 * width, said[3] ** 2 * height
    return torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def plain_loss(grid: Tensor, targets: Tensor, boxes: int, height: int, width: int) -> dict[str, float]:
    terms, side = dict.fromkeys(TERMS, 0.0), grid.shape[1]
    for image, objects in zip(grid.tolist(), targets, strict=True):
        taken: dict[tuple[int, int], Tensor] = {}
        for one in objects:
            x, y = float(one[1] + one[3]) / 2 / width * side, float(one[2] + one[4]) / 2 / height * side
            cell = min(side - 1, max(0, int(y))), min(side - 1, max(0, int(x)))
            if one[0] >= 0 and cell not in taken:
                taken[cell] = one
        for row in range(side):
            for column in range(side):
                said = [image[row][column][5 * b : 5 * b + 5] for b in range(boxes)]
                classes, answering = image[row][column][5 * boxes :], -1
                if (row, column) in taken:
                    label, x1, y1, x2, y2 = taken[row, column].tolist()
                    fits = [iou(plain_box(b, row, column, side, height, width), taken[row, column][1:]) for b in said]
                    answering = max(range(boxes), key=lambda b: fits[b])
                    x, y, root_w, root_h, sure = said[answering]
                    terms["middle"] += 5 * (x - ((x1 + x2) / 2 / width * side - column)) ** 2
                    terms["middle"] += 5 * (y - ((y1 + y2) / 2 / height * side - row)) ** 2
                    terms["sides"] += 5 * (root_w - math.sqrt((x2 - x1) / width)) ** 2
                    terms["sides"] += 5 * (root_h - math.sqrt((y2 - y1) / height)) ** 2
                    terms["object"] += (sure - float(fits[answering])) ** 2
                    terms["class"] += sum((p - (k == label)) ** 2 for k, p in enumerate(classes))
                terms["nothing"] += sum(0.5 * b[4] ** 2 for number, b in enumerate(said) if number != answering)
    return {name: value / len(grid) for name, value in terms.items()}


@pytest.mark.parametrize(("side", "boxes"), [(7, 2), (3, 1), (4, 3)])
def test_the_loss_is_equation_3(side: int, boxes: int) -> None:
    grid = 0.5 * torch.randn(5, side, side, 5 * boxes + 4)
    targets = some_targets(5, 6, 4, 40, 60)
    targets[1] = -1.0  # an empty image
    targets[2, 3:, 0] = -1
    targets[3, 1, 1:] = targets[3, 0, 1:]  # two objects in one cell
    found = yolo_v1_loss(grid, targets, boxes, (40, 60))
    expected = plain_loss(grid, targets, boxes, 40, 60)
    assert {name: found[name].item() for name in TERMS} == pytest.approx(expected, rel=1e-4)
    assert found["total"].item() == pytest.approx(sum(expected.values()), rel=1e-4)
    halved = yolo_v1_loss(grid, targets, boxes, (40, 60), coord=2.5, noobj=1.0)
    for name, factor in zip(TERMS, (0.5, 0.5, 1.0, 2.0, 1.0), strict=True):
        assert halved[name].item() == pytest.approx(factor * expected[name], rel=1e-4)


def test_a_prediction_by_hand() -> None:
    grid = torch.zeros(1, 2, 2, 12)
    grid[0, 1, 0] = torch.tensor([0.5, 0.25, 0.5, 1.0, 0.9, 0, 0, 0, 0, 2.0, 0.3, 0.6])
    outputs = predictions_of(grid, 2, (40, 80))
    assert outputs.shape == (1, 8, 10)
    box, cell, logits = outputs[0, 4].split([4, 3, 3])  # row 1, column 0, first box
    assert box.tolist() == [10, 5, 30, 45]  # middle (20, 25), a quarter of 80 wide, all of 40 high
    assert cell.tolist() == [20, 30, 30]
    assert logits.sigmoid().tolist() == pytest.approx([0.9, 0.3, 0.6])
    assert outputs[0, 5, 7].sigmoid().item() == pytest.approx(1 - 1e-4)  # sure beyond 1
    assert outputs[0, 1, 7].sigmoid().item() == pytest.approx(1e-4)
    [found] = decode(outputs[:, :5], 0.5)
    assert (found.boxes.tolist(), found.classes.tolist()) == ([[10, 5, 30, 45]], [1])


@pytest.mark.parametrize("size", [(7, 7), (16, 20), (33, 60), (64, 64)])
def test_answers_in_the_form_of_all_detectors(size: tuple[int, int]) -> None:
    network = yolo_v1(2, 3, size, **TINY).eval()
    x = torch.rand(2, 2, *size)
    assert network.grid(x).shape == (2, 7, 7, 13)
    outputs = network(x)
    assert (outputs.shape, outputs.dtype) == ((2, 98, 11), torch.float32)
    height, width = size
    cells = [[(c + 0.5) * width / 7, (r + 0.5) * height / 7, (height + width) / 14] for r in range(7) for c in range(7)]
    torch.testing.assert_close(outputs[0, ::2, 4:7], torch.tensor(cells))
    torch.testing.assert_close(network(x[1:]), outputs[1:], rtol=1e-4, atol=1e-4)


def test_448_px_come_to_the_grid_by_themselves() -> None:
    network = yolo_v1(3, 20, 448, width=2, hidden=4)
    with torch.no_grad():
        x = network.convolutions(torch.zeros(1, 3, 448, 448))
    assert x.shape == (1, 128, 7, 7)
    assert torch.equal(network.to_grid(x), x)
    assert sum(isinstance(layer, torch.nn.MaxPool2d) for layer in network.convolutions) == 6


def test_every_parameter_receives_a_gradient_and_dropout_acts_in_training_only() -> None:
    network, x = yolo_v1(3, 3, 32, width=4, hidden=64, dropout=0.5), torch.rand(8, 3, 32, 32)
    assert not torch.equal(network(x), network(x))
    yolo_v1_loss(network.grid(x), some_targets(8, 3, 3, 32, 32), 2, (32, 32))["total"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name
    network.eval()
    assert torch.equal(network(x), network(x))


def test_boxes_of_every_kind_without_a_nan() -> None:
    grid = (3 * torch.randn(100, 7, 7, 13)).requires_grad_()
    targets = some_targets(100, 40, 3, 64, 64)
    targets[::4] = -1.0
    targets[1::4, :, 3:] = targets[1::4, :, 1:3]  # no area
    targets[2::4, :, 3:] = targets[2::4, :, 1:3] + 1
    targets[3::4, :, 1:] = torch.tensor([0.0, 0, 64, 64])
    terms = yolo_v1_loss(grid, targets, 2, (64, 64))
    terms["total"].backward()
    assert all(bool(term.isfinite()) for term in terms.values())
    assert grid.grad is not None
    assert bool(grid.grad.isfinite().all())
    for nothing in (torch.zeros(100, 0, 5), torch.full((100, 2, 5), -1.0)):
        empty = yolo_v1_loss(grid, nothing, 2, (64, 64))
        assert [name for name in TERMS if empty[name] != 0] == ["nothing"]


def test_learns_one_batch_by_heart_and_gives_its_boxes_back() -> None:
    network, x = yolo_v1(1, 2, 32, width=4, hidden=64, dropout=0.0), torch.randn(4, 1, 32, 32)
    targets = torch.tensor([[0.0, 2, 3, 16, 19], [1, 15, 12, 30, 31]]).repeat(4, 1, 1)
    targets[..., 1:] += torch.randint(-2, 2, (4, 2, 1))
    targets[0, 1] = -1.0
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for step in range(1, 301):
        optimiser.zero_grad()
        yolo_v1_loss(network.grid(x), targets, 2, (32, 32))["total"].backward()
        optimiser.step()
        if step % 20 == 0 and all(map(given_back, decode(network(x), 0.3), targets)):
            return
    pytest.fail("it does not learn 4 images in 300 steps")


def given_back(found: Detections, objects: Tensor) -> bool:
    objects, order = objects[objects[:, 0] >= 0], found.classes.argsort()
    same = found.classes[order].tolist() == objects[:, 0].tolist()
    return same and bool((iou(found.boxes[order], objects[:, 1:]) > 0.8).all())


def test_too_small_an_image_and_an_unknown_class_are_refused() -> None:
    with pytest.raises(ShapeError, match="7 x 7 cells needs images of at least 7 px a side; got 6"):
        yolo_v1(1, 2, (20, 6))
    with pytest.raises(ShapeError, match="of class 3, but the network knows 3"):
        yolo_v1_loss(torch.zeros(1, 7, 7, 13), torch.tensor([[[3.0, 0, 0, 4, 4]]]), 2, (32, 32))
