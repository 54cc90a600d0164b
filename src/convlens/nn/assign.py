"""Which prediction answers for which object: the question every detector has to settle before it can learn.

The first YOLO let the one cell answer that holds the middle of the object (`models/yolo_v1.py`). Here several may, and
it is those that already do it best, so that the answer changes while the network learns. This file knows nothing of
losses.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from convlens.nn.boxes import pairwise_iou
from convlens.nn.detection import BOX, CELL, CLASSES

NOBODY = -1
BOX_WEIGHT = 3.0  # of the box against the class
NEARNESS = 0.1  # of the way to the middle, in strides: decides where boxes are equally good, as at the start


@torch.no_grad()
def assign(outputs: Tensor, objects: Tensor, *, radius: float = 2.5, most: int = 10) -> Tensor:
    """For each prediction of an image the object it answers for, or -1.

    A prediction may answer for an object whose middle is less than `radius` strides from the middle of its cell, across
    and down. Its cost is what its class and its box would cost in the loss:

        cost = BCE(class) - 3 log IoU

    Each object takes the cheapest k predictions. k is the sum of its `most` best IoUs, rounded down, and at least 1: an
    object that many predictions fit well teaches many. A prediction that several take stays with the one it is cheapest
    for, so that among crowded objects one may be left without any.

    Args:
        outputs: predictions of one image.
        objects: rows `class, x1, y1, x2, y2`; those of class -1 only fill up.
        radius: in strides of the cell, the same on all grids: large cells reach large objects.
        most: the largest k.

    Shapes:
        (A, 8 + K), (M, 5) -> (A,), int64, indices of rows of `objects`

    Example:
        >>> cells = torch.tensor([[4.0, 4, 8], [12, 4, 8], [60, 4, 8]])
        >>> boxes = torch.tensor([[0.0, 0, 8, 8], [6, 0, 18, 8], [56, 0, 64, 8]])
        >>> outputs = torch.cat([boxes, cells, torch.zeros(3, 2)], 1)
        >>> assign(outputs, torch.tensor([[-1.0, 0, 0, 0, 0], [0, 7, 0, 17, 8]])).tolist()
        [-1, 1, -1]

    Source: SimOTA of Ge et al. 2021, "YOLOX", arXiv 2107.08430, section 2.1, after Ge et al. 2021, "OTA: Optimal
    Transport Assignment", arXiv 2103.14259.
    Differs: the radius alone says who may answer, with no bonus for lying inside the object, so that objects smaller
    than a cell are treated alike; the way to the middle costs a little, which breaks ties; a prediction is fought over
    only by objects that chose it.
    """
    answers = torch.full((len(outputs),), NOBODY, device=outputs.device)
    rows = (objects[:, 0] >= 0).nonzero().squeeze(1)
    labels, boxes = objects[rows, 0].long(), objects[rows, 1:]
    cx, cy, stride = outputs[:, CELL].T.contiguous()
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = (cx - middles[:, :1]).abs().maximum((cy - middles[:, 1:]).abs()) / stride  # (M, A)
    reached = away < radius
    cells = reached.any(0).nonzero().squeeze(1)  # the C that any object reaches, mostly few
    if not len(cells):
        return answers
    reached, away, near = reached[:, cells], away[:, cells], outputs[cells]

    overlap = pairwise_iou(boxes, near[:, BOX]) * reached  # (M, C)
    logits = near[:, CLASSES]
    class_cost = F.softplus(logits).sum(1) - logits.T[labels]  # BCE of the logits with the one-hot class
    cost = class_cost - BOX_WEIGHT * overlap.clamp(min=1e-8).log() + NEARNESS * away
    cost = cost.masked_fill(~reached, torch.inf)

    most = min(most, len(cells))
    wanted = overlap.topk(most).values.sum(1).long().clamp(min=1)  # (M,), the k of each object
    cheapest = cost.topk(most, largest=False, sorted=True)  # (M, most)
    taken = torch.arange(most, device=cells.device) < wanted.unsqueeze(1)
    claims = torch.full_like(cost, torch.inf).scatter_(
        1, cheapest.indices, cheapest.values.masked_fill(~taken, torch.inf)
    )
    price, owner = claims.min(0)  # (C,)
    answers[cells] = rows[owner].where(price.isfinite(), NOBODY)
    return answers
