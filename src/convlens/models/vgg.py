"""VGG: many small convolutions in place of few large ones.

Two 3x3 convolutions see 5x5 pixels and three see 7x7, with fewer weights and a ReLU after each. Five stages of them,
each ended by a pooling that halves the sides, then three dense layers, which hold nine tenths of the weights.

Source: Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv 1409.1556, table 1: columns A, B, D and E.

Differs: any size from 32 px on, as in torchvision: the last map is averaged, or repeated, to 7x7 (2014: cut to 224 px,
where it is 7x7 already). All depths start from weights by He et al. 2015, arXiv 1502.01852 (2014: the deeper ones from
a trained VGG-11). `batch_norm` came after the paper. Layers bear torchvision's names, so that the published weights
load by name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import nn

from convlens.nn.blocks import start_by_fan_out
from convlens.shapes import Window, pair, size_after

CONVOLUTIONS = {  # in each stage
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
Count = Annotated[int, Field(ge=1)]


class VGG(nn.Sequential):
    """Five stages of 3x3 convolutions, and three dense layers.

    Shapes:
        (N, C, H, W) -> (N, K), for every H and W of at least 32
    """


def stages(in_channels: int, width: int, counts: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    """The convolutions, with 1, 2, 4, 8 and 8 times the width as channels, and a pooling after each stage.

    Shapes:
        (N, in, H, W) -> (N, 8 width, floor(H / 32), floor(W / 32))
    """
    layers: list[nn.Module] = []
    for count, times in zip(counts, (1, 2, 4, 8, 8), strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(in_channels, width * times, 3, padding=1)]
            layers += [nn.BatchNorm2d(width * times)] if batch_norm else []
            layers += [nn.ReLU(inplace=True)]
            in_channels = width * times
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def of_depth(depth: int) -> Callable[..., VGG]:
    """The builder of one depth: 11, 13, 16 or 19 layers with weights.

    The builder's options:
        batch_norm: normalise after every convolution.
        dropout: chance of zeroing each unit of the two hidden dense layers, while training.
        hidden: units of each of the two.
        width: channels of the first stage.

    Example:
        >>> sum(parameter.numel() for parameter in vgg11(3, 10, 32, width=8, hidden=16).parameters())
        195194

    The builder raises:
        ShapeError: a side is shorter than 32 px.
    """

    def build(
        in_channels: int,
        outputs: int,
        size_px: int | tuple[int, int],
        *,
        batch_norm: bool = False,
        dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5,
        hidden: Count = 4096,
        width: Count = 64,
    ) -> VGG:
        for side in pair(size_px):
            size_after(side, {f"the pooling of stage {stage}": Window(2, 2) for stage in range(1, 6)})
        head = nn.Linear(hidden, outputs)  # (N, K)
        classifier = nn.Sequential(
            nn.Linear(8 * width * 7 * 7, hidden),  # (N, 4096) from 25,088 values
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),  # (N, 4096)
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            head,
        )
        parts = OrderedDict[str, nn.Module](
            features=stages(in_channels, width, CONVOLUTIONS[depth], batch_norm),  # (N, 512, 7, 7) from 224 x 224
            avgpool=nn.AdaptiveAvgPool2d(7),
            flatten=nn.Flatten(),  # (N, 25088)
            classifier=classifier,
        )
        network = VGG(parts)
        start_by_fan_out(network)
        for layer in classifier:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.normal_(head.weight, std=0.01)  # no class is preferred at the start
        return network

    return build


vgg11, vgg13, vgg16, vgg19 = (of_depth(depth) for depth in CONVOLUTIONS)
