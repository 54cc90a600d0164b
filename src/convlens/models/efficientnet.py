"""EfficientNet: one small network, and one number that makes it deeper, wider and finer in a fixed proportion.

Its block is the inverted residual of MobileNetV2 with squeeze-and-excitation, called MBConv.

Source: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv 1905.11946.

Differs: zeros lie alike on all sides and norms add 1e-5 to the variance, as in torchvision (2019: TensorFlow's `same`
and 1e-3). B0 to B3 follow from the paper's coefficients, rounded to tenths; the larger ones its authors chose by hand,
and they are not here.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from convlens.nn.blocks import conv_norm_act, start_by_fan_out
from convlens.nn.mobile import InvertedResidual, round_to_8

Share = Annotated[float, Field(ge=0.0, lt=1.0)]

DEPTH, WIDTH, RESOLUTION = 1.2, 1.1, 1.15  # alpha, beta, gamma: a phi larger by 1 costs about twice as much
STAGES = [  # of B0, table 1: expansion, kernel, stride of the first block, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
]


class Scale(NamedTuple):
    """How many times deeper, wider and finer than B0."""

    depth: float
    width: float
    resolution: float


def compound(phi: float) -> Scale:
    """The three factors of one compound coefficient.

    Example:
        >>> [compound(phi)[:2] for phi in (0, 0.5, 1, 2)]  # B0, B1, B2, B3
        [(1.0, 1.0), (1.1, 1.0), (1.2, 1.1), (1.4, 1.2)]
        >>> [round(224 * compound(phi).resolution) for phi in (0, 0.5, 1, 2)]  # published: 224, 240, 260, 300
        [224, 240, 258, 296]
    """
    return Scale(round(DEPTH**phi, 1), round(WIDTH**phi, 1), RESOLUTION**phi)


class EfficientNet(nn.Module):
    """A stem, seven stages of MBConv blocks, a last 1x1 convolution, a global mean, and one dense layer.

    Shapes:
        (N, C, H, W) -> (N, K)
    """

    def __init__(self, in_channels: int, outputs: int, scale: Scale, dropout: float, drop_path: float) -> None:
        super().__init__()
        counts = [math.ceil(blocks * scale.depth) for *_, blocks in STAGES]
        wide, done = round_to_8(32 * scale.width), 0
        self.stem = conv_norm_act(in_channels, wide, stride=2, act="silu")
        self.stages = nn.Sequential()
        for (expand, kernel_size, first_stride, channels, _), count in zip(STAGES, counts, strict=True):
            stage = nn.Sequential()
            for number in range(count):
                narrow, wide = wide, round_to_8(channels * scale.width)
                stage.append(
                    InvertedResidual(
                        narrow,
                        wide,
                        kernel_size,
                        stride=first_stride if number == 0 else 1,
                        expand=expand,
                        squeezed=narrow // 4,
                        act="silu",
                        drop_path=drop_path * done / sum(counts),  # the deeper, the more often
                    )
                )
                done += 1
            self.stages.append(stage)
        self.last = conv_norm_act(wide, 4 * wide, 1, act="silu")
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * wide, outputs)
        start_by_fan_out(self)
        nn.init.uniform_(self.head.weight, -(outputs**-0.5), outputs**-0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 32, 112, 112) from 224 x 224, in B0
        x = self.stages(x)  # (N, 16, 112, 112), 24 at 56, 40 at 28, 80 and 112 at 14, 192 and 320 at 7
        x = self.last(x)  # (N, 1280, 7, 7)
        x = self.mean(x).flatten(1)  # (N, 1280)
        return self.head(self.dropout(x))  # (N, K)


def efficientnet_b0(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    dropout: Share = 0.2,
    drop_path: Share = 0.2,
) -> EfficientNet:
    """Build EfficientNet-B0, which the others are scaled up from; it takes images of any size.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: not used; published with 224.
        dropout: chance of zeroing each feature that the dense layer reads, while training.
        drop_path: share of the images that skip the last block while training; earlier blocks are skipped less.

    Example:
        >>> sum(parameter.numel() for parameter in efficientnet_b0(3, 1000, 224).parameters())
        5288548
    """
    return EfficientNet(in_channels, outputs, compound(0), dropout, drop_path)


def efficientnet_b1(
    in_channels: int, outputs: int, size_px: int | tuple[int, int], *, dropout: Share = 0.2, drop_path: Share = 0.2
) -> EfficientNet:
    """Build EfficientNet-B1, published with 240 px; arguments as of `efficientnet_b0`."""
    return EfficientNet(in_channels, outputs, compound(0.5), dropout, drop_path)


def efficientnet_b2(
    in_channels: int, outputs: int, size_px: int | tuple[int, int], *, dropout: Share = 0.3, drop_path: Share = 0.2
) -> EfficientNet:
    """Build EfficientNet-B2, published with 260 px; arguments as of `efficientnet_b0`."""
    return EfficientNet(in_channels, outputs, compound(1), dropout, drop_path)


def efficientnet_b3(
    in_channels: int, outputs: int, size_px: int | tuple[int, int], *, dropout: Share = 0.3, drop_path: Share = 0.2
) -> EfficientNet:
    """Build EfficientNet-B3, published with 300 px; arguments as of `efficientnet_b0`."""
    return EfficientNet(in_channels, outputs, compound(2), dropout, drop_path)
