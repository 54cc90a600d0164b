"""compact: convlens's own default network, for images of 8 to 64 px a side.

Stages of two 3x3 convolutions, each with batch normalisation and ReLU. Every stage ends by halving the side, and the
next one has twice the channels, until three or four pixels remain; one more convolution reads those, and its mean goes
to one dense layer. This file knows nothing of training.
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
    """Stages of two convolutions, a last convolution, a global mean, and one dense layer.

    Shapes:
        (N, C, H, W) -> (N, K), for every H and W of at least `2 ** stages`
    """

    def __init__(self, in_channels: int, outputs: int, stages: int, width: int, dropout: float) -> None:
        super().__init__()
        parts, channels = OrderedDict[str, nn.Module](), in_channels
        for number in range(1, stages + 1):
            wide = width * 2 ** (number - 1)
            parts[f"stage{number}"] = nn.Sequential(
                conv_norm_act(channels, wide),
                conv_norm_act(wide, wide, pool=True),
            )
            channels = wide
        self.stages = nn.Sequential(parts)
        self.last = conv_norm_act(channels, 2 * channels)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(x)  # (N, 32, 14, 14), (N, 64, 7, 7), (N, 128, 3, 3) from 28 x 28
        x = self.last(x)  # (N, 256, 3, 3)
        x = self.mean(x).flatten(1)  # (N, 256)
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
        width: channels of the first stage; each further one has twice as many. The cost grows with its square.
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
