"""What a detector says: one tensor of predictions, and the boxes that are read off it.

Every detector here answers with predictions (N, A, 8 + K), float32. A prediction is a row of

    x1, y1, x2, y2      its box, in pixels of the network's input
    cx, cy, stride      the middle and the side of the cell it belongs to, in the same pixels
    objectness          logit: is there an object, and how well does the box fit it?
    K class logits      which class, if there is one

so that it tells where it comes from, and nobody else needs to know the grids of a network.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from convlens.errors import ConfigError, ShapeError
from convlens.nn.boxes import clip_boxes, require_share, suppress

BOX, CELL, OBJECTNESS, CLASSES = slice(0, 4), slice(4, 7), 7, slice(8, None)
NOTHING = -1  # class of a row that only fills up


class Detections(NamedTuple):
    """The objects found in one image, the most certain first.

    Attributes:
        boxes: (D, 4), x1, y1, x2, y2.
        scores: (D,), from 0 to 1.
        classes: (D,), int64.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


def require_predictions(outputs: Tensor) -> None:
    """Refuse what is not (N, A, 8 + K).

    Raises:
        ShapeError: it is not.
    """
    if outputs.ndim != 3 or outputs.shape[2] < 9:
        raise ShapeError(
            f"Expected predictions (N, A, 8 + K) of at least one class: box, cell, objectness, classes; got "
            f"{tuple(outputs.shape)}."
        )


def cell_scores(outputs: Tensor) -> Tensor:
    """The score of every class in every cell: the chance that there is an object, times that of the class.

    Shapes:
        (N, A, 8 + K) -> (N, A, K)

    Example:
        >>> cell_scores(torch.tensor([0.0, 0, 4, 4, 2, 2, 4, 0, 0, 9]).reshape(1, 1, 10)).round(decimals=2).tolist()
        [[[0.25, 0.5]]]

    Raises:
        ShapeError: the predictions have another shape.
    """
    require_predictions(outputs)
    return outputs[..., OBJECTNESS, None].sigmoid() * outputs[..., CLASSES].sigmoid()


@torch.no_grad()
def decode(
    outputs: Tensor,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    *,
    max_candidates: int = 1000,
    image_px: tuple[int, int] | None = None,
) -> list[Detections]:
    """The objects of each image: the predictions that are certain enough, one for each object.

    The score is the chance that there is an object, times the chance that it is of the likeliest class.

    Args:
        outputs: of a detector.
        score_threshold: only scores above it count.
        iou_threshold: of two boxes of one class that agree more than this, the better one stays.
        max_detections: for one image, at most; the best of them.
        max_candidates: only so many of the best predictions of an image are compared with each other.
        image_px: height and width to cut the boxes off at; None leaves them.

    Shapes:
        (N, A, 8 + K) -> N times (D, 4), (D,), (D,)

    Example:
        >>> sure = torch.tensor([0.0, 0, 4, 4, 2, 2, 4, 9, -9, 9])  # class 1 of two
        >>> [found] = decode(torch.stack([sure, sure, -sure]).unsqueeze(0))
        >>> found.boxes.tolist(), found.classes.tolist()
        ([[0.0, 0.0, 4.0, 4.0]], [1])

    Raises:
        ShapeError: the predictions have another shape.
        ConfigError: a threshold is not from 0 to 1, nothing may be found, or torchvision is not installed.
    """
    require_predictions(outputs)
    require_share("score_threshold", score_threshold)
    require_share("iou_threshold", iou_threshold)
    if min(max_detections, max_candidates) < 1:
        raise ConfigError(
            f"max_detections and max_candidates must be at least 1; got {max_detections} and {max_candidates}."
        )
    logits, classes = outputs[..., CLASSES].max(2)  # (N, A)
    scores = outputs[..., OBJECTNESS].sigmoid() * logits.sigmoid()
    found = []
    for box, score, label in zip(outputs[..., BOX], scores, classes, strict=True):
        best = score.topk(min(max_candidates, len(score))).indices
        best = best[score[best] > score_threshold]
        box = box[best] if image_px is None else clip_boxes(box[best], *image_px)
        stay = suppress(box, score[best], label[best], iou_threshold)[:max_detections]
        found.append(Detections(box[stay], score[best][stay], label[best][stay]))
    return found


def decode_rows(
    outputs: Tensor,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    *,
    max_candidates: int = 1000,
    image_px: tuple[int, int] | None = None,
) -> Tensor:
    """What `decode` finds, as one tensor that can be kept: rows `x1, y1, x2, y2, score, class`.

    Rows after the last detection of an image are 0, 0, 0, 0, 0, -1.

    Args:
        outputs, score_threshold, iou_threshold, max_detections, max_candidates, image_px: as for `decode`.

    Shapes:
        (N, A, 8 + K) -> (N, max_detections, 6)

    Raises:
        ShapeError, ConfigError: as `decode`.
    """
    rows = outputs.new_zeros((len(outputs), max_detections, 6), dtype=torch.float32)
    rows[..., 5] = NOTHING
    found = decode(
        outputs, score_threshold, iou_threshold, max_detections, max_candidates=max_candidates, image_px=image_px
    )
    for row, (boxes, scores, classes) in zip(rows, found, strict=True):
        row[: len(boxes)] = torch.cat([boxes, scores[:, None], classes[:, None]], 1)
    return rows
