"""ResNet: blocks that learn what to add to their input, so that a network may be deep.

A plain stack of 56 layers ends up worse than one of 20, even on the images it is trained on: its further layers would
only have to hand on what they are given, and do not learn even that. A residual block hands its input on by itself,

    y = relu(F(x) + x)

and its convolutions F learn only the difference. On the way back the gradient takes the same shortcut past them.

There are two forms. The one for photographs (224 px) has four stages of 64 to 512 channels, the one for small pictures
(32 px) three of 16 to 64, and shortcuts without parameters. From stage to stage sides halve and channels double.

Source: He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, table 1 and
section 4.2.

Differs: the stride of a bottleneck is that of its 3x3 convolution (see `Bottleneck`). Layers bear torchvision's names,
so that the published weights load by name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Annotated

from pydantic import Field
from torch import nn

from convlens.errors import ConfigError
from convlens.nn.blocks import start_by_fan_out
from convlens.nn.residual import Bottleneck, Residual, Shortcut

Block = type[Residual] | type[Bottleneck]
Width = Annotated[int, Field(ge=1)]


class ResNet(nn.Sequential):
    """One convolution, stages of residual blocks, the mean of what they leave of the image, one dense layer.

    Shapes:
        (N, C, H, W) -> (N, K), for every H and W
    """


def stage_of(
    block: Block, shortcut: Shortcut, in_channels: int, channels: int, count: int, stride: int = 1
) -> nn.Sequential:
    """Blocks in a row; the first one changes the size and the channels.

    Shapes:
        (N, in, H, W) -> (N, channels * block.expansion, ceil(H / stride), ceil(W / stride))
    """
    first = block(in_channels, channels, stride, shortcut)
    others = [block(channels * block.expansion, channels, 1, shortcut) for _ in range(count - 1)]
    return nn.Sequential(first, *others)


def for_photographs(block: Block, counts: tuple[int, int, int, int]) -> Callable[..., ResNet]:
    """The builder of one column of the paper's table 1.

    Args:
        block: two 3x3 convolutions, or a bottleneck between two 1x1.
        counts: blocks in each of the four stages.

    The builder's options:
        shortcut: where the shape changes, `project` x by a 1x1 convolution or `pad` it with zeros; `none` leaves every
            shortcut out, and with them all that makes it a ResNet.
        zero_init: every block begins as its shortcut alone, F = 0 (Goyal et al. 2017, arXiv 1706.02677).
        width: channels of the first stage.

    Example:
        >>> sum(parameter.numel() for parameter in resnet18(3, 1000, 224).parameters())
        11689512
    """

    def build(
        in_channels: int,
        outputs: int,
        size_px: int | tuple[int, int],
        *,
        shortcut: Shortcut = "project",
        zero_init: bool = False,
        width: Width = 64,
    ) -> ResNet:
        stage, wide = partial(stage_of, block, shortcut), width * block.expansion
        parts = OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),  # (N, 64, 112, 112) from 224 x 224
            bn1=nn.BatchNorm2d(width),
            act1=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool2d(3, stride=2, padding=1),  # (N, 64, 56, 56)
            layer1=stage(width, width, counts[0]),  # (N, 64, 56, 56); after bottlenecks four times the channels
            layer2=stage(wide, 2 * width, counts[1], stride=2),  # (N, 128, 28, 28)
            layer3=stage(2 * wide, 4 * width, counts[2], stride=2),  # (N, 256, 14, 14)
            layer4=stage(4 * wide, 8 * width, counts[3], stride=2),  # (N, 512, 7, 7)
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),  # (N, 512)
            fc=nn.Linear(8 * wide, outputs),  # (N, K)
        )
        return _initialised(ResNet(parts), shortcut, zero_init)

    return build


def for_small_pictures(depth: int) -> Callable[..., ResNet]:
    """The builder of the form for CIFAR: 6n + 2 layers, of which 2n convolutions are in each of three stages.

    Its options are those of `for_photographs`; shortcuts are padded, and the first stage has 16 channels.

    Example:
        >>> sum(parameter.numel() for parameter in for_small_pictures(20)(3, 10, 32).parameters())
        269722

    Raises:
        ConfigError: there is no n for this depth.
    """
    count = (depth - 2) // 6
    if count < 1 or depth != 6 * count + 2:
        raise ConfigError(f"A ResNet for small pictures has 6n + 2 layers: 8, 14, 20 and so on; got {depth}.")

    def build(
        in_channels: int,
        outputs: int,
        size_px: int | tuple[int, int],
        *,
        shortcut: Shortcut = "pad",
        zero_init: bool = False,
        width: Width = 16,
    ) -> ResNet:
        stage = partial(stage_of, Residual, shortcut)
        parts = OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(in_channels, width, 3, padding=1, bias=False),  # (N, 16, 32, 32) from 32 x 32
            bn1=nn.BatchNorm2d(width),
            act1=nn.ReLU(inplace=True),
            layer1=stage(width, width, count),  # (N, 16, 32, 32)
            layer2=stage(width, 2 * width, count, stride=2),  # (N, 32, 16, 16)
            layer3=stage(2 * width, 4 * width, count, stride=2),  # (N, 64, 8, 8)
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),  # (N, 64)
            fc=nn.Linear(4 * width, outputs),  # (N, K)
        )
        return _initialised(ResNet(parts), shortcut, zero_init)

    return build


def _initialised(network: ResNet, shortcut: Shortcut, zero_init: bool) -> ResNet:
    if zero_init and shortcut == "none":
        raise ConfigError("zero_init needs shortcuts: with shortcut=none and F = 0, every block would answer 0.")
    start_by_fan_out(network)
    for block in network.modules():
        if zero_init and isinstance(block, Residual | Bottleneck):
            block.start_as_shortcut()
    return network


resnet18 = for_photographs(Residual, (2, 2, 2, 2))
resnet34 = for_photographs(Residual, (3, 4, 6, 3))
resnet50 = for_photographs(Bottleneck, (3, 4, 6, 3))
resnet20, resnet32, resnet44, resnet56 = (for_small_pictures(depth) for depth in (20, 32, 44, 56))
