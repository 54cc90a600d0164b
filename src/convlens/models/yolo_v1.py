"""YOLO in its first form: a grid of 7 x 7 cells, and the cell that an object's middle falls into answers for it.

The teaching form: one dense layer says everything at once, and the loss has five terms that can be read one by one.
Each cell says B boxes, each with how sure it is of it, and one class for all of them:

    B times  x, y, w, h, confidence      x, y within the cell, w and h as square roots of shares of the image
    K times  chance of the class, if there is an object

Source: Redmon, Divvala, Girshick, Farhadi 2016, "You Only Look Once: Unified, Real-Time Object Detection", arXiv
1506.02640, sections 2 and 2.2; the convolutions are those of the smaller network, Fast YOLO.

Differs: any size of image, since the last map is averaged to the grid (448 px give 7 x 7 by themselves); no training on
ImageNet before. Of several objects in one cell only the first is learned, which the paper leaves open.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from convlens.errors import ShapeError
from convlens.nn.boxes import iou, to_cxcywh, to_xyxy
from convlens.nn.detection_loss import require_objects
from convlens.shapes import pair

SLOPE = 0.1  # of the leaky rectifier, equation (2)
MOST_HALVINGS = 6  # 448 -> 7
MOST_CHANNELS = 1024
SURE = 1e-4  # chances are kept this far from 0 and 1, where logits end


class YoloV1(nn.Module):
    """Convolutions with maxima between them, a dense layer, and a dense layer that says the whole grid.

    Shapes:
        (N, C, H, W) -> (N, S S B, 8 + K), as `nn/detection.py` lays them out: cells row by row, B boxes each

    Attributes:
        side: S, cells across and down.
        boxes: B, boxes of a cell.
        classes: K.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        halvings: int,
        width: int,
        side: int,
        boxes: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.side, self.boxes, self.classes = side, boxes, classes
        parts, channels = OrderedDict[str, nn.Module](), in_channels
        for number in range(1, halvings + 2):
            wide = min(width * 2 ** (number - 1), MOST_CHANNELS)
            parts[f"conv{number}"] = nn.Conv2d(channels, wide, 3, padding=1)
            parts[f"act{number}"] = nn.LeakyReLU(SLOPE, inplace=True)
            if number <= halvings:
                parts[f"pool{number}"] = nn.MaxPool2d(2)
            channels = wide
        self.convolutions = nn.Sequential(parts)
        self.to_grid = nn.AdaptiveAvgPool2d(side)
        self.dense = nn.Linear(channels * side * side, hidden)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, side * side * (5 * boxes + classes))
        for layer in [*self.convolutions, self.dense]:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return predictions_of(self.grid(x), self.boxes, (x.shape[2], x.shape[3]))

    def grid(self, x: Tensor) -> Tensor:
        """What the last layer says, and the loss reads: (N, C, H, W) -> (N, S, S, 5 B + K), float32."""
        x = self.to_grid(self.convolutions(x)).flatten(1)  # (N, 1024 * 7 * 7) from 448 x 448
        x = self.dropout(self.act(self.dense(x)))
        return self.head(x).float().unflatten(1, (self.side, self.side, -1))


def boxes_of(grid: Tensor, boxes: int) -> Tensor:
    """The boxes a grid says, in shares of the image: (N, S, S, 5 B + K) -> (N, S, S, B, 4), x1, y1, x2, y2."""
    side = grid.shape[1]
    said = grid[..., : 5 * boxes].unflatten(3, (boxes, 5))
    corner = torch.arange(side, device=grid.device, dtype=grid.dtype)
    x = (said[..., 0] + corner[:, None]) / side  # (N, S, S, B)
    y = (said[..., 1] + corner[:, None, None]) / side
    return to_xyxy(torch.stack([x, y, said[..., 2].square(), said[..., 3].square()], 4))


def predictions_of(grid: Tensor, boxes: int, image_px: tuple[int, int]) -> Tensor:
    """A grid in the form all detectors answer in: pixels for shares, logits for chances.

    Args:
        grid: of `YoloV1.grid`.
        boxes: B.
        image_px: height and width of the images. The stride of a cell that is not square is the mean of its sides.

    Shapes:
        (N, S, S, 5 B + K) -> (N, S S B, 8 + K)
    """
    n, side = grid.shape[:2]
    height, width = image_px
    edges = boxes_of(grid, boxes) * grid.new_tensor([width, height, width, height])
    middle = (torch.arange(side, device=grid.device, dtype=grid.dtype) + 0.5) / side
    cy, cx = torch.meshgrid(middle * height, middle * width, indexing="ij")
    cells = torch.stack([cx, cy, torch.full_like(cx, (height + width) / (2 * side))], 2)  # (S, S, 3)
    cells = cells[:, :, None].expand(n, -1, -1, boxes, -1)
    confidence = grid[..., 4 : 5 * boxes : 5].unsqueeze(4)  # (N, S, S, B, 1)
    classes = grid[..., 5 * boxes :].unsqueeze(3).expand(-1, -1, -1, boxes, -1)
    logits = torch.cat([confidence, classes], 4).clamp(SURE, 1 - SURE).logit()
    return torch.cat([edges, cells, logits], 4).flatten(1, 3)


def yolo_v1_loss(
    grid: Tensor,
    targets: Tensor,
    boxes: int,
    image_px: tuple[int, int],
    *,
    coord: float = 5.0,
    noobj: float = 0.5,
) -> dict[str, Tensor]:
    """Equation (3): five sums of squared errors, each with its weight, per image; and their total.

        middle     coord * sum (x - x^)^2 + (y - y^)^2                of the boxes that answer for an object
        sides      coord * sum (sqrt w - sqrt w^)^2 + (sqrt h - sqrt h^)^2    of the same
        object     sum (C - IoU)^2                                    of the same: be as sure as the box is good
        nothing    noobj * sum C^2                                    of all other boxes
        class      sum over classes (p - p^)^2                        of the cells an object falls into

    Of the B boxes of a cell with an object, the one of the highest IoU with it answers. Roots make an error of a few
    pixels matter more for a small object.

    Args:
        grid: of `YoloV1.grid`.
        targets: rows `class, x1, y1, x2, y2` in pixels of the network's input; those of class -1 only fill up.
        boxes: B.
        image_px: height and width of the images.
        coord, noobj: the paper's lambdas.

    Shapes:
        (N, S, S, 5 B + K), (N, M, 5) -> the five terms and `total`, each ()

    Raises:
        ShapeError: the targets do not fit the grid.

    Source: Redmon et al. 2016, arXiv 1506.02640, equation (3).
    """
    n, side, _, depth = grid.shape
    require_objects(targets, n, depth - 5 * boxes)
    height, width = image_px
    images, rows, columns, objects = first_in_cell(targets, side, image_px)  # the P cells an object falls into
    labels, edges = objects[:, 0].long(), objects[:, 1:]  # (P,), (P, 4)
    scale = grid.new_tensor([width, height, width, height])

    overlap = iou(boxes_of(grid.detach(), boxes)[images, rows, columns] * scale, edges.unsqueeze(1))  # (P, B)
    fit, best = overlap.max(1)  # of the box that answers
    said = grid[..., : 5 * boxes].unflatten(3, (boxes, 5))
    chosen = said[images, rows, columns, best]  # (P, 5)

    shares = to_cxcywh(edges) / scale
    middle = shares[:, :2] * side - torch.stack([columns, rows], 1)
    root = shares[:, 2:].clamp(min=0).sqrt()
    one_hot = torch.zeros(len(labels), depth - 5 * boxes, device=grid.device).scatter_(1, labels[:, None], 1.0)
    idle = torch.ones(n, side, side, boxes, device=grid.device)
    idle[images, rows, columns, best] = 0.0

    terms = {
        "middle": coord * (chosen[:, :2] - middle).square().sum() / n,
        "sides": coord * (chosen[:, 2:4] - root).square().sum() / n,
        "object": (chosen[:, 4] - fit).square().sum() / n,
        "nothing": noobj * (idle * said[..., 4].square()).sum() / n,
        "class": (grid[images, rows, columns, 5 * boxes :] - one_hot).square().sum() / n,
    }
    return {**terms, "total": torch.stack(list(terms.values())).sum()}


def first_in_cell(targets: Tensor, side: int, image_px: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The cells objects fall into, and the first object of each.

    Shapes:
        (N, M, 5) -> image, row and column of the cell (P,), and its object (P, 5)
    """
    height, width = image_px
    x = (targets[..., 1] + targets[..., 3]) / 2 / width
    y = (targets[..., 2] + targets[..., 4]) / 2 / height
    column, row = ((place * side).long().clamp(0, side - 1) for place in (x, y))
    cell = torch.where(targets[..., 0] >= 0, row * side + column, -1)  # (N, M)
    same = cell.unsqueeze(2) == cell.unsqueeze(1)  # (N, M, M)
    images, numbers = ((cell >= 0) & ~same.tril(-1).any(2)).nonzero(as_tuple=True)
    return images, row[images, numbers], column[images, numbers], targets[images, numbers].float()


def yolo_v1(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    width: Annotated[int, Field(ge=1)] = 16,
    side: Annotated[int, Field(ge=1)] = 7,
    boxes: Annotated[int, Field(ge=1)] = 2,
    hidden: Annotated[int, Field(ge=1)] = 256,
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5,
) -> YoloV1:
    """Build the network of the first paper, after its smaller form.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: K, the number of classes.
        size_px: side of the input, or height and width; the shorter one decides how often both are halved.
        width: channels of the first convolution; each further one has twice as many, up to 1,024.
        side: S, cells across and down.
        boxes: B, boxes a cell.
        hidden: units of the dense layer; 4,096 in the paper.
        dropout: behind it, while training.

    Example:
        >>> network = yolo_v1(3, 20, 64, width=4)
        >>> network.grid(torch.zeros(2, 3, 64, 64)).shape, network(torch.zeros(2, 3, 64, 64)).shape
        (torch.Size([2, 7, 7, 30]), torch.Size([2, 98, 28]))

    Raises:
        ShapeError: the image has fewer pixels a side than the grid has cells.
    """
    shorter = min(pair(size_px))
    if shorter < side:
        raise ShapeError(
            f"A grid of {side} x {side} cells needs images of at least {side} px a side; got {shorter}. Enlarge them, "
            "or set side lower."
        )
    halvings = min(MOST_HALVINGS, int(math.log2(shorter / side)))
    return YoloV1(in_channels, outputs, halvings, width, side, boxes, hidden, dropout)
