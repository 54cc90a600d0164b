"""MobileNet, versions 1 and 2: networks for a telephone, made of filters that each look at one channel.

Version 1 parts every 3x3 convolution into a filter for each channel and a 1x1 that mixes them. Version 2 puts the
filters into the wide middle of a residual block whose ends are narrow.

Source: Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv 1704.04861; Sandler, Howard, Zhu, Zhmoginov, Chen 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv 1801.04381.

Differs: version 1 has ReLU6, as in its authors' code (2017: ReLU), and its last depthwise convolution a stride of 1, as
the sizes of the paper's table 1 demand (it prints 2). Zeros lie alike on all sides, as in torchvision and timm;
`same=True` puts them as the authors' code does, for weights that come from TensorFlow.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from convlens.nn.blocks import conv_norm_act, start_by_fan_out
from convlens.nn.mobile import InvertedResidual, depthwise_separable, round_to_8

Width = Annotated[float, Field(gt=0.0, le=4.0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]

SEPARABLE = [  # channels and stride of every block of version 1
    *[(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)],
    *[(512, 1)] * 5,
    *[(1024, 2), (1024, 1)],
]
INVERTED = [  # version 2, table 2: expansion t, channels c, blocks n, stride s of the first of them
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


class MobileNet(nn.Module):
    """A stem, blocks, a global mean, and one dense layer: the frame that both versions share.

    Shapes:
        (N, C, H, W) -> (N, K)
    """

    def __init__(self, stem: nn.Module, blocks: nn.Module, last: nn.Module, head: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.last = last
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = head
        start_by_fan_out(self)
        nn.init.normal_(head.weight, 0.0, 0.01)
        nn.init.zeros_(head.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 32, 112, 112) from 224 x 224
        x = self.blocks(x)  # (N, 1024, 7, 7) in version 1, (N, 320, 7, 7) in version 2
        x = self.last(x)  # (N, 1280, 7, 7) in version 2
        x = self.mean(x).flatten(1)  # (N, 1024 or 1280)
        return self.head(self.dropout(x))  # (N, K)


def mobilenet_v1(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    width: Width = 1.0,
    dropout: Share = 0.0,
    same: bool = False,
) -> MobileNet:
    """Build MobileNet version 1; it takes images of any size.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: not used; 224 in the paper, which also shrinks it to 192, 160 and 128.
        width: multiplies the channels of all layers; 0.75, 0.5 and 0.25 in the paper. The cost falls with its square.
        dropout: chance of zeroing each feature that the dense layer reads, while training.
        same: place zeros as TensorFlow does.

    Example:
        >>> [sum(p.numel() for p in mobilenet_v1(3, 1000, 224, width=w).parameters()) for w in (1.0, 0.5)]
        [4231976, 1331592]
    """
    wide = round_to_8(32 * width)
    stem, blocks = conv_norm_act(in_channels, wide, stride=2, act="relu6", same=same), nn.Sequential()
    for channels, stride in SEPARABLE:
        narrow, wide = wide, round_to_8(channels * width)
        blocks.append(depthwise_separable(narrow, wide, stride, act="relu6", same=same))
    return MobileNet(stem, blocks, nn.Identity(), nn.Linear(wide, outputs), dropout)


def mobilenet_v2(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    width: Width = 1.0,
    dropout: Share = 0.2,
    same: bool = False,
) -> MobileNet:
    """Build MobileNet version 2; it takes images of any size.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: not used; 224 in the paper, and 96 to 192 in smaller ones.
        width: multiplies the channels of all layers, the last only above 1; 0.35 to 1.4 in the paper.
        dropout: chance of zeroing each feature that the dense layer reads, while training.
        same: place zeros as TensorFlow does.

    Example:
        >>> [sum(p.numel() for p in mobilenet_v2(3, 1000, 224, width=w).parameters()) for w in (1.0, 0.5)]
        [3504872, 1968680]
    """
    wide, last = round_to_8(32 * width), round_to_8(1280 * max(1.0, width))
    stem, blocks = conv_norm_act(in_channels, wide, stride=2, act="relu6", same=same), nn.Sequential()
    for expand, channels, count, first_stride in INVERTED:
        for number in range(count):
            narrow, wide, stride = wide, round_to_8(channels * width), first_stride if number == 0 else 1
            blocks.append(InvertedResidual(narrow, wide, stride=stride, expand=expand, same=same))
    return MobileNet(stem, blocks, conv_norm_act(wide, last, 1, act="relu6"), nn.Linear(last, outputs), dropout)
