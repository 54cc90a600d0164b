"""GoogLeNet, the first Inception network: every module looks at the same maps through four windows at once.

A 1x1 convolution in front of the larger kernels first mixes the channels down to a few, which makes them affordable.

Source: Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2015, "Going Deeper with
Convolutions", arXiv 1409.4842, table 1.

Differs: batch normalisation in place of the two local response normalisations, and of the biases, unless
`variant="paper"`. Poolings pad as TensorFlow does, so that images of any size pass; even sizes give what rounding up
gives in Caffe. `variant="torchvision"` is the network of the weights torchvision publishes, which has two slips of its
origin: 3x3 where the paper has 5x5, and 2x2 in the last pooling.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from convlens.nn.blocks import conv_norm_act, dense_act
from convlens.nn.layers import SamePad2d

Variant = Literal["batch_norm", "paper", "torchvision"]

WIDTHS = {  # channels of: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """Four paths side by side, 1x1, 3x3, 5x5 and a maximum of 3x3; their channels are stacked.

    Args:
        widths: channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection, in the order of the table.
        kernel5: side of the largest kernel.
        batch_norm: without it the convolutions have biases.

    Shapes:
        (N, in, H, W) -> (N, 1x1 + 3x3 + 5x5 + projection, H, W)

    Example:
        >>> module = Inception(192, WIDTHS["3a"], batch_norm=False)
        >>> module.out_channels, sum(parameter.numel() for parameter in module.parameters())
        (256, 163696)
    """

    def __init__(self, in_channels: int, widths: Sequence[int], *, kernel5: int = 5, batch_norm: bool = True) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = widths
        self.out_channels = one + three + five + pooled
        reduced3, conv3 = _conv(in_channels, reduce3, 1, batch_norm), _conv(reduce3, three, 3, batch_norm)
        reduced5, conv5 = _conv(in_channels, reduce5, 1, batch_norm), _conv(reduce5, five, kernel5, batch_norm)
        pool, project = nn.MaxPool2d(3, stride=1, padding=1), _conv(in_channels, pooled, 1, batch_norm)
        self.path1 = _conv(in_channels, one, 1, batch_norm)
        self.path3 = nn.Sequential(OrderedDict(reduce=reduced3, conv=conv3))
        self.path5 = nn.Sequential(OrderedDict(reduce=reduced5, conv=conv5))
        self.path_pool = nn.Sequential(OrderedDict(pool=pool, project=project))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.path1(x), self.path3(x), self.path5(x), self.path_pool(x)], 1)


class Auxiliary(nn.Module):
    """A small classifier on maps half way up, which gave the lower layers a gradient before there were norms.

    Shapes:
        (N, C, H, W) -> (N, K)
    """

    def __init__(self, in_channels: int, outputs: int, batch_norm: bool) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.conv = _conv(in_channels, 128, 1, batch_norm)
        self.dense = dense_act(4 * 4 * 128, 1024, dropout=0.7)
        self.head = nn.Linear(1024, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x))  # (N, 128, 4, 4)
        return self.head(self.dense(x.flatten(1)))  # (N, K)


class GoogLeNet(nn.Module):
    """A stem of three convolutions, nine Inception modules, a global mean, and one dense layer.

    Args:
        auxiliary: two more classifiers, on 4a and 4d. While training the network then answers with three sets of
            logits, for a loop of your own; the paper adds their losses up with weights 1, 0.3 and 0.3.

    Shapes:
        (N, C, H, W) -> (N, K); with `auxiliary`, while training, three times (N, K)
    """

    def __init__(
        self, in_channels: int, outputs: int, variant: Variant, dropout: float, *, auxiliary: bool = False
    ) -> None:
        super().__init__()
        norm, slips = variant != "paper", variant == "torchvision"
        self.conv1 = _conv(in_channels, 64, 7, norm, stride=2)
        self.pool1 = _pool(3)
        self.lrn1 = nn.Identity() if norm else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.reduce2 = _conv(64, 64, 1, norm)
        self.conv2 = _conv(64, 192, 3, norm)
        self.lrn2 = nn.Identity() if norm else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.pool2 = _pool(3)
        self.inception, channels = nn.ModuleDict(), 192
        for name, widths in WIDTHS.items():
            module = Inception(channels, widths, kernel5=3 if slips else 5, batch_norm=norm)
            self.inception[name], channels = module, module.out_channels
        self.pool3 = _pool(3)
        self.pool4 = _pool(2 if slips else 3)
        self.auxiliary1 = Auxiliary(512, outputs, norm) if auxiliary else None
        self.auxiliary2 = Auxiliary(528, outputs, norm) if auxiliary else None
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, outputs)
        _start(self, norm)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        inception = self.inception
        x = self.lrn1(self.pool1(self.conv1(x)))  # (N, 64, 56, 56) from 224 x 224
        x = self.pool2(self.lrn2(self.conv2(self.reduce2(x))))  # (N, 192, 28, 28)
        x = inception["3b"](inception["3a"](x))  # (N, 480, 28, 28)
        low = inception["4a"](self.pool3(x))  # (N, 512, 14, 14)
        high = inception["4d"](inception["4c"](inception["4b"](low)))  # (N, 528, 14, 14)
        x = self.pool4(inception["4e"](high))  # (N, 832, 7, 7)
        x = inception["5b"](inception["5a"](x))  # (N, 1024, 7, 7)
        x = self.mean(x).flatten(1)  # (N, 1024)
        logits = self.head(self.dropout(x))  # (N, K)
        if self.auxiliary1 is None or self.auxiliary2 is None or not self.training:
            return logits
        return logits, self.auxiliary1(low), self.auxiliary2(high)


def googlenet(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    variant: Variant = "batch_norm",
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.4,
) -> GoogLeNet:
    """Build GoogLeNet, without its auxiliary classifiers; it takes images of any size.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: not used; 224 in the paper, and from 32 on the last modules see more than one pixel.
        variant: `batch_norm`; `paper`, without it; `torchvision`, for the weights published there, which expect a mean
            and standard deviation of 0.5.
        dropout: chance of zeroing each feature that the dense layer reads, while training.

    Example:
        >>> [sum(p.numel() for p in googlenet(3, 1000, 224, variant=v).parameters()) for v in ("paper", "torchvision")]
        [6998552, 6624904]
    """
    return GoogLeNet(in_channels, outputs, variant, dropout)


def _conv(in_channels: int, out_channels: int, kernel_size: int, batch_norm: bool, stride: int = 1) -> nn.Sequential:
    if batch_norm:
        return conv_norm_act(in_channels, out_channels, kernel_size, stride, eps=1e-3)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
    return nn.Sequential(OrderedDict(conv=conv, act=nn.ReLU(inplace=True)))


def _pool(kernel_size: int) -> nn.Sequential:
    # zeros around it are as good as nothing: what is pooled has passed a ReLU
    return nn.Sequential(OrderedDict(pad=SamePad2d(kernel_size, 2), max=nn.MaxPool2d(kernel_size, 2)))


def _start(network: nn.Module, batch_norm: bool) -> None:
    """As torchvision with norms, which make the scale irrelevant; without, as in Caffe's definition of the network."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and batch_norm:
            nn.init.trunc_normal_(layer.weight, std=0.01, a=-2.0, b=2.0)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.2 if isinstance(layer, nn.Conv2d) else 0.0)
