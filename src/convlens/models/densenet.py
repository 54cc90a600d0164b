"""DenseNet: every layer reads what all layers before it have found.

Where a ResNet adds what a layer finds to its input, a DenseNet sets it beside it, so that nothing is overwritten. Each
layer adds few channels (the growth rate), since it can read all the others again. Between blocks a transition halves
the sides and keeps a share of the channels (the compression).

Source: Huang, Liu, van der Maaten, Weinberger 2016, "Densely Connected Convolutional Networks", arXiv 1608.06993,
table 1: DenseNet-121, the form with bottlenecks and compression.

Differs: nothing but that every size from 29 px on is taken. Layers bear torchvision's names, so that the published
weights load by name.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from convlens.nn.blocks import start_by_fan_out
from convlens.shapes import Window, pair, size_after

LAYERS = (6, 12, 24, 16)  # in each block
NARROW = 4  # channels of the 1x1 convolution, in growth rates
WINDOWS = {"conv0": Window(7, 2, 3), "pool0": Window(3, 2, 1)} | {f"transition{i}": Window(2, 2) for i in (1, 2, 3)}


class DenseLayer(nn.Module):
    """Finds a few new channels in all there are, and sets them beside those.

    Shapes:
        (N, in, H, W) -> (N, in + growth, H, W)
    """

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, NARROW * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(NARROW * growth)
        self.act2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(NARROW * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.act1(self.norm1(x)))  # (N, 4 growth, H, W)
        y = self.conv2(self.act2(self.norm2(y)))  # (N, growth, H, W)
        return torch.cat([x, y], 1)  # (N, in + growth, H, W)


def dense_block(in_channels: int, growth: int, count: int) -> nn.Sequential:
    """Dense layers in a row.

    Shapes:
        (N, in, H, W) -> (N, in + count * growth, H, W)
    """
    layers = {f"denselayer{i + 1}": DenseLayer(in_channels + i * growth, growth) for i in range(count)}
    return nn.Sequential(OrderedDict(layers))


def transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """Fewer channels, half the sides.

    Shapes:
        (N, in, H, W) -> (N, out, floor(H / 2), floor(W / 2))
    """
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            norm=nn.BatchNorm2d(in_channels),
            act=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


class DenseNet(nn.Sequential):
    """One convolution, four dense blocks with transitions between them, a mean, one dense layer.

    Shapes:
        (N, C, H, W) -> (N, K), for every H and W of at least 29
    """


def densenet121(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    growth_rate: Annotated[int, Field(ge=1)] = 32,
    compression: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5,
) -> DenseNet:
    """Build DenseNet-121.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: side of the input, or height and width.
        growth_rate: channels each layer adds; the first convolution has twice as many.
        compression: share of the channels that a transition keeps.

    Example:
        >>> sum(parameter.numel() for parameter in densenet121(3, 1000, 224).parameters())
        7978856

    Raises:
        ShapeError: a side is shorter than 29 px.
    """
    for side in pair(size_px):
        size_after(side, WINDOWS)
    channels = 2 * growth_rate
    parts = OrderedDict[str, nn.Module](
        conv0=nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False),  # (N, 64, 112, 112) from 224 x 224
        norm0=nn.BatchNorm2d(channels),
        act0=nn.ReLU(inplace=True),
        pool0=nn.MaxPool2d(3, stride=2, padding=1),  # (N, 64, 56, 56)
    )
    for number, count in enumerate(LAYERS, 1):
        if number > 1:
            kept = max(1, int(channels * compression))
            parts[f"transition{number - 1}"] = transition(channels, kept)  # (N, 128, 28, 28), 256, 14 x 14, 512, 7 x 7
            channels = kept
        parts[f"denseblock{number}"] = dense_block(channels, growth_rate, count)  # (N, 256, 56, 56), 512, 1024, 1024
        channels += count * growth_rate
    parts["norm5"] = nn.BatchNorm2d(channels)
    parts["act5"] = nn.ReLU(inplace=True)
    head = nn.Linear(channels, outputs)
    network = DenseNet(
        OrderedDict[str, nn.Module](
            features=nn.Sequential(parts),  # (N, 1024, 7, 7)
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),  # (N, 1024)
            classifier=head,  # (N, K)
        )
    )
    start_by_fan_out(network)
    nn.init.zeros_(head.bias)
    return network
