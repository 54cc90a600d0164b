"""compact: convlens's own default network, for images of 8 to 64 px a side.

A stem and stages of two 3x3 convolutions, each with batch normalisation and ReLU. Every part but the last ends by
halving the side, until three or four pixels remain; their mean goes to one dense layer. Most of the work is done on
small maps with many channels, where a processor is at its best. This file knows nothing of training.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from convlens.errors import ShapeError
from convlens.nn.blocks import conv_norm_act
from convlens.shapes import pair

FINAL_PX = 3.5  # halving stops nearest to here: 28 -> 14 -> 7 -> 3, 64 -> 32 -> 16 -> 8 -> 4
SMALLEST_PX = 4


class Compact(nn.Module):
    """A stem, stages of two convolutions, a global mean, and one dense layer.

    Shapes:
        (N, C, H, W) -> (N, K), for every H and W of at least `2 ** stages`
    """

    def __init__(self, in_channels: int, outputs: int, stages: int, width: int, dropout: float) -> None:
        super().__init__()
        self.stem = conv_norm_act(in_channels, width, pool=True)
        parts, channels = OrderedDict[str, nn.Module](), width
        for number in range(1, stages + 1):
            wide = 2 * number * width
            first, second = conv_norm_act(channels, wide), conv_norm_act(wide, wide, pool=number < stages)
            parts[f"stage{number}"] = nn.Sequential(first, second)
            channels = wide
        self.stages = nn.Sequential(parts)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 32, 14, 14) from 28 x 28
        x = self.stages(x)  # (N, 64, 7, 7), (N, 128, 3, 3), (N, 192, 3, 3)
        x = self.mean(x).flatten(1)  # (N, 192)
        return self.head(self.dropout(x))  # (N, K)


def compact(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    width: Annotated[int, Field(ge=1)] = 32,
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0,
) -> Compact:
    """Build the default network for images of one size; it then takes larger and somewhat smaller ones as well.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: side of the input, or height and width; the shorter one decides how often both are halved.
        width: channels of the stem; stage 1, 2, 3 have 2, 4, 6 times as many. The cost grows with its square.
        dropout: chance of zeroing each feature that the dense layer reads, while training.

    Example:
        >>> [len(compact(1, 10, size_px).stages) for size_px in (8, 16, 28, 64)]
        [1, 2, 3, 4]

    Raises:
        ShapeError: a side is shorter than 4 px.

    Source: Simonyan and Zisserman 2015, arXiv 1409.1556 (pairs of 3x3 convolutions); Ioffe and Szegedy 2015, arXiv
    1502.03167 (batch normalisation); Lin, Chen, Yan 2014, arXiv 1312.4400 (global mean in place of dense layers).
    """
    rows, columns = pair(size_px)
    shorter = min(rows, columns)
    if shorter < SMALLEST_PX:
        raise ShapeError(
            f"compact needs images of at least {SMALLEST_PX} x {SMALLEST_PX} px; got {rows} x {columns}. "
            f"Set data.size_px to {SMALLEST_PX} or more."
        )
    halvings = max(1, round(math.log2(shorter / FINAL_PX)))
    return Compact(in_channels, outputs, halvings, width, dropout)
