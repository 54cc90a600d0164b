"""Which prediction answers for which object: the question every detector has to settle before it can learn.

The first YOLO let the one cell answer that holds the middle of the object (`models/yolo_v1.py`). Here several may, and
it is those that already do it best, so that the answer changes while the network learns. This file knows nothing of
losses.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from convlens.nn.boxes import iou
from convlens.nn.detection import BOX, CELL, CLASSES

NOBODY = -1
BOX_WEIGHT = 3.0  # of the box against the class
AT_ONCE = 32  # objects: their ways to all cells of an image then stay in a processor's cache
NEARNESS = 0.1  # of the way to the middle, in strides: decides where boxes are equally good, as at the start


@torch.no_grad()
def assign(outputs: Tensor, objects: Tensor, *, radius: float = 2.5, most: int = 10) -> Tensor:
    """For each prediction the object it answers for, or -1.

    A prediction may answer for an object of its image whose middle is less than `radius` strides from the middle of its
    cell, across and down. Its cost is what its class and its box would cost in the loss:

        cost = BCE(class) - 3 log IoU

    Each object takes the cheapest k predictions. k is the sum of its `most` best IoUs, rounded down, and at least 1: an
    object that many predictions fit well teaches many. A prediction that several take stays with the one it is cheapest
    for, so that among crowded objects one may be left without any. Of equals the first is taken.

    Args:
        outputs: predictions.
        objects: rows `class, x1, y1, x2, y2`; those of class -1 only fill up.
        radius: in strides of the cell, the same on all grids: large cells reach large objects.
        most: the largest k.

    Shapes:
        (N, A, 8 + K), (N, M, 5) -> (N, A), int64, the number of a row among the M of the image

    Example:
        >>> cells = torch.tensor([[4.0, 4, 8], [12, 4, 8], [60, 4, 8]])
        >>> boxes = torch.tensor([[0.0, 0, 8, 8], [6, 0, 18, 8], [56, 0, 64, 8]])
        >>> outputs = torch.cat([boxes, cells, torch.zeros(3, 2)], 1)
        >>> assign(outputs.unsqueeze(0), torch.tensor([[[-1.0, 0, 0, 0, 0], [0, 7, 0, 17, 8]]])).tolist()
        [[-1, 1, -1]]

    Source: SimOTA of Ge et al. 2021, "YOLOX", arXiv 2107.08430, section 2.1, after Ge et al. 2021, "OTA: Optimal
    Transport Assignment", arXiv 2103.14259.
    Differs: the radius alone says who may answer, with no bonus for lying inside the object, so that objects smaller
    than a cell are treated alike; the way to the middle costs a little, which breaks ties; a prediction is fought over
    only by objects that chose it.
    """
    answers, most_objects = torch.full(outputs.shape[:2], NOBODY, device=outputs.device), objects.shape[1]
    who, cell, away = _in_reach(outputs[..., CELL], objects, radius)  # (P,), few of all the N M A pairs
    if not len(who):
        return answers
    outputs, objects = outputs.flatten(0, 1), objects.flatten(0, 1)  # no pair reaches into another image

    overlap = iou(objects[who, 1:], outputs[cell, BOX])
    near = torch.zeros(len(outputs), dtype=torch.bool, device=cell.device).index_fill_(0, cell, True)
    denied = torch.zeros_like(outputs[:, 0]).masked_scatter_(near, F.softplus(outputs[near, CLASSES]).sum(1))
    class_cost = denied[cell] - outputs[cell, CLASSES.start + objects[who, 0].long()]  # BCE with the one-hot class
    cost = class_cost - BOX_WEIGHT * overlap.clamp(min=1e-8).log() + NEARNESS * away

    # a table with a row for each object that reaches any cell, those cells in order, and filled up behind them
    _, row, reached = who.unique_consecutive(return_inverse=True, return_counts=True)  # (P,), (R,)
    column = torch.arange(len(who), device=who.device) - (reached.cumsum(0) - reached)[row]
    size = len(reached), max(most, int(reached.max()))
    overlaps = overlap.new_zeros(size).index_put_((row, column), overlap)
    wanted = overlaps.topk(most).values.sum(1).long().clamp(min=1)  # (R,), the k of each object
    costs = cost.new_full(size, torch.inf).index_put_((row, column), cost)
    rank = costs.sort(stable=True).indices.argsort()
    taken = rank[row, column] < wanted[row]
    who, cell, cost = who[taken], cell[taken], cost[taken]

    price = cost.new_full((len(outputs),), torch.inf).scatter_reduce_(0, cell, cost, "amin")
    won = cost == price[cell]
    answers.view(-1).scatter_reduce_(0, cell[won], who[won] % most_objects, "amin", include_self=False)
    return answers


def _in_reach(cells: Tensor, objects: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of an object and a cell that reaches it, object by object, and the way between their middles.

    Shapes:
        (N, A, 3), (N, M, 5) -> (P,) of the N M objects, (P,) of the N A cells, (P,) in strides
    """
    found = []
    middles, is_real = (objects[..., 1:3] + objects[..., 3:]) / 2, objects[..., 0] >= 0
    for image in range(len(objects)):
        cx, cy, stride = cells[image].T.contiguous()  # (A,) each
        for rows in is_real[image].nonzero().squeeze(1).split(AT_ONCE):
            x, y = middles[image, rows].T.unsqueeze(2)  # (32, 1) each
            away = (cx - x).abs_()  # (32, A)
            away = away.maximum((cy - y).abs_()).div_(stride)
            who, cell = (away < radius).nonzero(as_tuple=True)
            found.append((rows[who] + image * objects.shape[1], cell + image * cells.shape[1], away[who, cell]))
    who, cell, away = (torch.cat(parts) for parts in zip(*found, strict=True))
    return who, cell, away
