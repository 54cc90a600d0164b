"""Three deep stacks of one shape, to compare what a layer is made of: 3x3, depthwise-separable, or a 1x1 bottleneck.

Every layer of one has its counterpart in the others: the same maps in, the same maps out, another price. There are no
shortcuts, so that they also show how deep a network can get without them.

Source: He et al. 2015, arXiv 1512.03385 (plain stacks, and bottlenecks); Howard et al. 2017, arXiv 1704.04861
(depthwise-separable); Lin, Chen, Yan 2014, "Network In Network", arXiv 1312.4400 (1x1 convolutions).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from convlens.nn.blocks import conv_norm_act, start_by_fan_out
from convlens.nn.mobile import depthwise_separable

STAGES = 3
Depth = Annotated[int, Field(ge=1, le=100)]
Width = Annotated[int, Field(ge=4, multiple_of=4)]
Layer = Callable[[int, int, int], nn.Module]


class Stack(nn.Module):
    """A stem, three stages of equal layers, a global mean, and one dense layer.

    The first layer of the second and third stage halves the side and doubles the channels.

    Args:
        layer: makes one layer from its channels in, its channels out, and its stride.

    Shapes:
        (N, C, H, W) -> (N, K)
    """

    def __init__(self, in_channels: int, outputs: int, layer: Layer, depth: int, width: int) -> None:
        super().__init__()
        self.stem, channels = conv_norm_act(in_channels, width), width
        parts = OrderedDict[str, nn.Module]()
        for number in range(STAGES):
            wide, stride = width * 2**number, 2 if number else 1
            first = layer(channels, wide, stride)
            parts[f"stage{number + 1}"] = nn.Sequential(first, *(layer(wide, wide, 1) for _ in range(depth - 1)))
            channels = wide
        self.stages = nn.Sequential(parts)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, outputs)
        start_by_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 32, 32, 32) from 32 x 32
        x = self.stages(x)  # (N, 32, 32, 32), (N, 64, 16, 16), (N, 128, 8, 8)
        x = self.mean(x).flatten(1)  # (N, 128)
        return self.head(x)  # (N, K)


def plain_stack(
    in_channels: int, outputs: int, size_px: int | tuple[int, int], *, depth: Depth = 3, width: Width = 32
) -> Stack:
    """Build a stack of 3x3 convolutions: 9 C O weights each.

    With depth 6 and width 16 it is the plain 20-layer network that He et al. compare their ResNet-20 with.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: not used; images of any size pass.
        depth: layers in each of the three stages.
        width: channels of the first stage, doubled in each further one.

    Example:
        >>> sum(parameter.numel() for parameter in plain_stack(3, 10, 32).parameters())
        492010
    """
    return Stack(in_channels, outputs, _plain, depth, width)


def separable_stack(
    in_channels: int, outputs: int, size_px: int | tuple[int, int], *, depth: Depth = 3, width: Width = 32
) -> Stack:
    """Build the stack of depthwise-separable convolutions: 9 C + C O weights each; arguments as of `plain_stack`.

    Example:
        >>> sum(parameter.numel() for parameter in separable_stack(3, 10, 32).parameters())
        64170
    """
    return Stack(in_channels, outputs, depthwise_separable, depth, width)


def bottleneck_stack(
    in_channels: int, outputs: int, size_px: int | tuple[int, int], *, depth: Depth = 3, width: Width = 32
) -> Stack:
    """Build the stack of bottlenecks, 1x1 to a quarter of the channels, 3x3, 1x1 back; arguments as of `plain_stack`.

    Each has C O / 4 + 9 O^2 / 16 + O^2 / 4 weights.

    Example:
        >>> sum(parameter.numel() for parameter in bottleneck_stack(3, 10, 32).parameters())
        70218
    """
    return Stack(in_channels, outputs, _bottleneck, depth, width)


def _plain(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return conv_norm_act(in_channels, out_channels, 3, stride)


def _bottleneck(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    narrow = out_channels // 4
    return nn.Sequential(
        OrderedDict(
            reduce=conv_norm_act(in_channels, narrow, 1),
            conv=conv_norm_act(narrow, narrow, 3, stride),
            expand=conv_norm_act(narrow, out_channels, 1),
        )
    )
