"""Boxes: how far two of them agree, their other form, and which of many on one object stays.

A box is `x1, y1, x2, y2` in pixels, x to the right and y down, as edges and not as indices: 0, 0, 2, 1 covers two
pixels. A box whose sides have no length has no area, and agrees with nothing, not even itself. Boxes know nothing of
networks. Half precision is worked out in single.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convlens.errors import ConfigError, ShapeError

TINY = 1e-7  # px²; what has less area counts as nothing, so that no quotient is nan


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of the boxes of `a` and `b`, one by one: 1 where they are the same, 0 where they part.

    Shapes:
        (..., 4), (..., 4) -> (...), broadcast as usual

    Example:
        >>> iou(torch.tensor([0, 0, 2, 2]), torch.tensor([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2]])).tolist()
        [1.0, 0.3333333432674408, 0.0]

    Raises:
        ShapeError: the last axis is not 4.
    """
    shared, union = _shared_and_union(a, b)
    return shared / union.clamp(min=TINY)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of `a` with every box of `b`.

    Shapes:
        (A, 4), (B, 4) -> (A, B)

    Example:
        >>> pairwise_iou(torch.tensor([[0, 0, 2, 2], [0, 0, 4, 2]]), torch.tensor([[0, 0, 2, 1]])).tolist()
        [[0.5], [0.25]]

    Raises:
        ShapeError: the last axis is not 4.
    """
    return iou(a.unsqueeze(-2), b.unsqueeze(-3))


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, less the share of the smallest box around both that neither covers: from -1 to 1.

    Boxes that part have a plain IoU of 0 however far they are; this one still says in which direction to go.

    Shapes:
        (..., 4), (..., 4) -> (...), broadcast as usual

    Example:
        >>> giou(torch.tensor([0, 0, 1, 1]), torch.tensor([[0, 0, 1, 1], [3, 0, 4, 1]])).tolist()  # 0 - 2 / 4
        [1.0, -0.5]

    Raises:
        ShapeError: the last axis is not 4.

    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", arXiv 1902.09630, algorithm 1.
    """
    (shared, union), around = _shared_and_union(a, b), _around(a, b)
    return shared / union.clamp(min=TINY) - (around - union) / around.clamp(min=TINY)


def to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Middle and sides of boxes given by their edges.

    Shapes:
        (..., 4) -> (..., 4)

    Example:
        >>> to_cxcywh(torch.tensor([0.0, 2.0, 4.0, 8.0])).tolist()
        [2.0, 5.0, 4.0, 6.0]
    """
    first, last = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat([(first + last) / 2, last - first], -1)


def to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Edges of boxes given by their middle and sides; undoes `to_cxcywh`.

    Shapes:
        (..., 4) -> (..., 4)

    Example:
        >>> to_xyxy(torch.tensor([2.0, 5.0, 4.0, 6.0])).tolist()
        [0.0, 2.0, 4.0, 8.0]
    """
    middle, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return torch.cat([middle - half, middle + half], -1)


def clip_boxes(boxes: Tensor, height_px: float, width_px: float) -> Tensor:
    """Boxes cut off at the edges of their image; one that lies wholly outside loses its area.

    Shapes:
        (..., 4) -> (..., 4)

    Example:
        >>> clip_boxes(torch.tensor([-1.0, 2.0, 5.0, 9.0]), 8, 4).tolist()
        [0.0, 2.0, 4.0, 8.0]
    """
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width_px, height_px, width_px, height_px]))


def suppress(boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes stay where several answer for one object: the best, and those that agree little with any that stays.

    From the highest score down, a box stays unless one of its class that stays already has an IoU with it above the
    threshold. Boxes of different classes leave each other alone.

    Shapes:
        (B, 4), (B,), (B,) -> (D,), the indices of those that stay, the best first

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5], [0, 0, 4, 4]])
        >>> suppress(boxes, torch.tensor([0.7, 0.9, 0.5]), torch.tensor([0, 0, 1]), 0.5).tolist()
        [1, 2]

    Raises:
        ShapeError: boxes, scores and classes are not equally many.
        ConfigError: the threshold is not from 0 to 1, or torchvision is not installed.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not scores.shape == classes.shape == boxes.shape[:1]:
        raise ShapeError(
            f"Expected boxes (B, 4), and a score and a class for each; got {tuple(boxes.shape)}, {tuple(scores.shape)} "
            f"and {tuple(classes.shape)}."
        )
    require_share("iou_threshold", iou_threshold)
    try:
        from torchvision.ops import batched_nms
    except ImportError:
        raise ConfigError("Detection needs the torchvision library: pip install 'convlens[detect]'.") from None
    if not len(boxes):
        return torch.zeros(0, dtype=torch.long, device=boxes.device)
    # batched_nms keeps classes apart by moving each by a multiple of the largest coordinate: that wants coordinates of
    # at least 0, and in single precision the move would round the boxes of the last classes
    exact = boxes.float() if boxes.device.type == "mps" else boxes.double()
    return batched_nms(exact - exact.min(), scores.to(exact.dtype), classes.long(), iou_threshold)


def require_share(name: str, value: float) -> None:
    """Refuse what is not a number from 0 to 1.

    Raises:
        ConfigError: it is not.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be from 0 to 1, such as 0.5; got {value}.")


def _shared_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if not a.shape[-1:] == b.shape[-1:] == (4,):
        raise ShapeError(f"A box has four numbers, x1, y1, x2, y2; got shapes {tuple(a.shape)} and {tuple(b.shape)}.")
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _sides(a), _sides(b)
    shared = _area(ax1.maximum(bx1), ay1.maximum(by1), ax2.minimum(bx2), ay2.minimum(by2))
    return shared, _area(ax1, ay1, ax2, ay2) + _area(bx1, by1, bx2, by2) - shared


def _around(a: Tensor, b: Tensor) -> Tensor:
    """Area of the smallest box around both."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _sides(a), _sides(b)
    return _area(ax1.minimum(bx1), ay1.minimum(by1), ax2.maximum(bx2), ay2.maximum(by2))


def _area(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)


def _sides(boxes: Tensor) -> Tensor:
    """x1, y1, x2, y2, each in one piece: many pairs of them are worked out twice as fast."""
    exact = boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()
    return exact.movedim(-1, 0).contiguous()
