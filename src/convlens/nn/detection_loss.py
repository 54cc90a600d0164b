"""The loss of a one-stage detector: where the object is, whether there is one, and of which class.

It reads predictions (N, A, 8 + K) as `nn/detection.py` lays them out, and knows nothing of the network they come from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import ShapeError
from convlens.nn.assign import NOBODY, assign
from convlens.nn.boxes import giou, iou
from convlens.nn.detection import BOX, CLASSES, OBJECTNESS, require_predictions


def detection_loss(
    outputs: Tensor,
    targets: Tensor,
    *,
    box_weight: float = 5.0,
    objectness_weight: float = 1.0,
    class_weight: float = 1.0,
    radius: float = 2.5,
    most: int = 10,
) -> dict[str, Tensor]:
    """The three terms, each with its weight, and their sum.

    Over the predictions that answer for an object (`assign`), `box` adds up 1 - GIoU and `class` the binary
    cross-entropy of every class. `objectness` adds up the binary cross-entropy over all predictions: those that answer
    for nothing should say 0, the others the IoU of their box, so that the score says how well a box fits. All three are
    divided by the number of predictions that answer for an object, or by the number of images where that is larger.

    Args:
        outputs: of a detector.
        targets: rows `class, x1, y1, x2, y2` in pixels of the network's input; those of class -1 only fill up.
        box_weight, objectness_weight, class_weight: of the terms; the box's is YOLOX's.
        radius, most: as for `assign`.

    Shapes:
        (N, A, 8 + K), (N, M, 5) -> `box`, `objectness`, `class` and `total`, each ()

    Example:
        >>> prediction = torch.tensor([0.0, 0, 8, 8, 4, 4, 8, 0, 0]).reshape(1, 1, 9)
        >>> terms = detection_loss(prediction, torch.tensor([[[0.0, 0, 0, 8, 4]]]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}  # 5 (1 - 1/2), log 2, log 2
        {'box': 2.5, 'objectness': 0.6931, 'class': 0.6931, 'total': 3.8863}

    Raises:
        ShapeError: the shapes do not fit each other, or a class is not one of the network's.

    Source: Rezatofighi et al. 2019, arXiv 1902.09630 (the box); Redmon et al. 2016, "You Only Look Once", arXiv
    1506.02640 (the IoU as confidence); Redmon and Farhadi 2018, "YOLOv3", arXiv 1804.02767 (classes by themselves).
    """
    _check(outputs, targets)
    outputs, targets = outputs.float(), targets.float()
    answers = assign(outputs.detach(), targets, radius=radius, most=most)  # (N, A)
    images, predictions = (answers != NOBODY).nonzero(as_tuple=True)  # the P that answer for an object
    chosen = outputs[images, predictions]  # (P, 8 + K)
    objects = targets[images, answers[images, predictions]]  # (P, 5)
    labels, boxes = objects[:, 0].long(), objects[:, 1:]

    fit = torch.zeros_like(outputs[..., OBJECTNESS])  # (N, A)
    fit[images, predictions] = iou(chosen[:, BOX].detach(), boxes)
    one_hot = torch.zeros_like(chosen[:, CLASSES]).scatter_(1, labels.unsqueeze(1), 1.0)
    count = max(len(images), len(outputs))  # a batch of empty images would weigh as much as thousands of objects
    terms = {
        "box": box_weight * (1 - giou(chosen[:, BOX], boxes)).sum() / count,
        "objectness": objectness_weight * _cross_entropy(outputs[..., OBJECTNESS], fit) / count,
        "class": class_weight * _cross_entropy(chosen[:, CLASSES], one_hot) / count,
    }
    return {**terms, "total": terms["box"] + terms["objectness"] + terms["class"]}


def _cross_entropy(logits: Tensor, chances: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, chances, reduction="sum")


def _check(outputs: Tensor, targets: Tensor) -> None:
    require_predictions(outputs)
    require_objects(targets, len(outputs), outputs.shape[2] - 8)


def require_objects(targets: Tensor, images: int, classes: int) -> None:
    """Refuse objects that are not (N, M, 5), or of a class the network does not know.

    Raises:
        ShapeError: they are so.
    """
    if targets.ndim != 3 or targets.shape[0] != images or targets.shape[2] != 5:
        raise ShapeError(
            f"Expected objects (N, M, 5) for {images} images, rows of class, x1, y1, x2, y2; got "
            f"{tuple(targets.shape)}."
        )
    if targets.shape[1] and (highest := int(targets[..., 0].max())) >= classes:
        raise ShapeError(f"An object is of class {highest}, but the network knows {classes}, counted from 0.")
