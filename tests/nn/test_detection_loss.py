"""The loss of a detector: by hand, its gradients, and 50,000 boxes of every kind without a nan."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from convlens.errors import ShapeError
from convlens.nn.assign import assign
from convlens.nn.boxes import giou, iou
from convlens.nn.detection import decode_rows
from convlens.nn.detection_loss import detection_loss


def scene(images: int, predictions: int, objects: int, classes: int, size: float) -> tuple[Tensor, Tensor]:
    """Boxes of every kind, from a fraction of a pixel to more than the image, and images with few objects or none."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def boxes(count: int) -> Tensor:
        middle, half = size * uniform(images, count, 2), 0.5 * size * 10 ** (1 - 5 * uniform(images, count, 2))
        return torch.cat([middle - half, middle + half], 2)

    others = 10 * torch.randn(images, predictions, 4 + classes, generator=generator)
    outputs = torch.cat([boxes(predictions), others], 2)
    outputs[..., 6] = torch.tensor([8.0, 16.0, 32.0])[(3 * uniform(images, predictions)).long()]
    outputs[..., 4:6] = size * uniform(images, predictions, 2)
    labels = (classes * uniform(images, objects, 1)).floor()
    targets = torch.cat([labels, boxes(objects)], 2)
    targets[::5, :, 0] = -1  # empty images
    targets[1::5, 1:, 0] = -1  # a single object
    targets[2::5, :, 3:] = targets[2::5, :, 1:3] + 1  # one pixel
    targets[3::5, 0, 1:] = torch.tensor([0.0, 0.0, size, size])  # the whole image
    targets[4::5, 0, 3:] = targets[4::5, 0, 1:3]  # no area at all
    return outputs.requires_grad_(), targets


def one_cell(*logits: float, box: tuple[float, ...] = (0, 0, 8, 8)) -> Tensor:
    return torch.tensor([*box, 4.0, 4.0, 8.0, *logits]).reshape(1, 1, -1)


def test_by_hand() -> None:
    outputs = one_cell(0.5, 1.0, -2.0, box=(0, 0, 8, 8))
    targets = torch.tensor([[[1.0, 0, 0, 4, 16]]])
    shared, union, around = 32, 96, 128
    found = {name: term.item() for name, term in detection_loss(outputs, targets).items()}
    fit, p = shared / union, 1 / (1 + math.exp(-0.5))
    first, second = 1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(2.0))
    expected = {
        "box": 5 * (1 - (shared / union - (around - union) / around)),
        "objectness": -fit * math.log(p) - (1 - fit) * math.log(1 - p),
        "class": -math.log(1 - first) - math.log(second),
    }
    assert found == pytest.approx({**expected, "total": sum(expected.values())})
    weighted = detection_loss(outputs, targets, box_weight=1.0, objectness_weight=2.0, class_weight=3.0)
    assert [weighted[name].item() for name in expected] == pytest.approx(
        [expected["box"] / 5, 2 * expected["objectness"], 3 * expected["class"]]
    )


def test_sums_over_those_that_answer_divided_by_their_number() -> None:
    outputs, targets = scene(4, 60, 5, 3, 128.0)
    box = objectness = label = count = 0.0
    answers = assign(outputs.detach(), targets).tolist()
    for image, objects, known in zip(outputs.detach(), targets, answers, strict=True):
        for row, answer in zip(image, known, strict=True):
            fit = 0.0
            if answer >= 0:
                count += 1
                fit = iou(row[:4], objects[answer, 1:])
                box += 5 * (1 - giou(row[:4], objects[answer, 1:]))
                label += sum(softplus(-v if k == objects[answer, 0] else v) for k, v in enumerate(row[8:]))
            objectness += softplus(row[7]) - row[7] * fit
    found = detection_loss(outputs, targets)
    assert count > 4
    for name, expected in [("box", box), ("objectness", objectness), ("class", label)]:
        assert found[name].item() == pytest.approx(float(expected) / count, rel=1e-4)


def test_empty_images_teach_objectness_alone() -> None:
    outputs = one_cell(0.5, 1.0).repeat(4, 3, 1).requires_grad_()
    for targets in (torch.full((4, 2, 5), -1.0), torch.zeros(4, 0, 5)):
        terms = detection_loss(outputs, targets)
        assert (terms["box"].item(), terms["class"].item()) == (0, 0)
        assert terms["objectness"].item() == pytest.approx(3 * math.log(1 + math.exp(0.5)))  # a mean over images
        [gradient] = torch.autograd.grad(terms["total"], outputs)
        assert gradient.abs().sum((0, 1)).nonzero().tolist() == [[7]]


def test_the_gradient_improves_box_objectness_and_class() -> None:
    outputs = one_cell(0.0, 0.0, 0.0, box=(0, 0, 8, 8)).requires_grad_()
    targets = torch.tensor([[[1.0, 2, 2, 6, 6]]])
    [gradient] = torch.autograd.grad(detection_loss(outputs, targets)["total"], outputs)
    slope = gradient.flatten().sign().tolist()
    assert slope == [-1, -1, 1, 1, 0, 0, 0, 1, 1, -1]  # shrink; IoU 1/4 wants less than 1/2; class 1 up, class 0 down
    better = (outputs - 0.1 * gradient).detach()
    assert detection_loss(better, targets)["total"] < detection_loss(outputs, targets)["total"]


def test_the_overlap_that_objectness_aims_at_is_not_made_smaller_to_please_it() -> None:
    outputs = one_cell(1.0, 0.0, box=(0, 0, 8, 8)).requires_grad_()
    terms = detection_loss(outputs, torch.tensor([[[0.0, 2, 2, 6, 6]]]))
    [gradient] = torch.autograd.grad(terms["objectness"], outputs)
    assert gradient.flatten().nonzero().tolist() == [[7]]


def test_a_perfect_answer_costs_nothing() -> None:
    outputs = one_cell(30.0, -30.0, 30.0, box=(1, 2, 7, 5))
    assert detection_loss(outputs, torch.tensor([[[1.0, 1, 2, 7, 5]]]))["total"].item() == pytest.approx(0, abs=1e-6)


def test_fifty_thousand_boxes_of_every_kind_without_a_nan() -> None:
    outputs, targets = scene(500, 100, 100, 3, 416.0)
    terms = detection_loss(outputs, targets)
    assert all(bool(term.isfinite()) for term in terms.values())
    terms["total"].backward()
    assert outputs.grad is not None
    assert bool(outputs.grad.isfinite().all())
    assert bool((outputs.grad[..., 4:7] == 0).all())
    rows = decode_rows(outputs, 0.01, 0.5)
    assert bool(rows.isfinite().all())
    assert bool((rows[..., 5] >= 0).any(1).all())


def test_predictions_in_half_precision_are_worked_out_in_single() -> None:
    outputs, targets = scene(2, 40, 3, 2, 64.0)
    terms = detection_loss(outputs.bfloat16(), targets)
    assert terms["total"].dtype == torch.float32
    torch.testing.assert_close(terms["total"], detection_loss(outputs.bfloat16().float(), targets)["total"])


def test_what_does_not_fit_is_refused() -> None:
    outputs = one_cell(0.0, 0.0, 0.0)
    with pytest.raises(ShapeError, match=r"\(N, A, 8 \+ K\).*got \(1, 8\)"):
        detection_loss(torch.zeros(1, 8), torch.zeros(1, 0, 5))
    with pytest.raises(ShapeError, match=r"\(N, M, 5\) for 1 images.*got \(2, 3, 5\)"):
        detection_loss(outputs, torch.zeros(2, 3, 5))
    with pytest.raises(ShapeError, match="of class 2, but the network knows 2, counted from 0"):
        detection_loss(outputs, torch.tensor([[[2.0, 0, 0, 4, 4]]]))
