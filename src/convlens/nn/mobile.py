"""The blocks of networks for small devices: depthwise-separable, inverted residual, squeeze-and-excitation.

What makes them one network is in `models/mobilenet.py` and `models/efficientnet.py`.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from convlens.nn.blocks import activation, conv_norm_act


def depthwise_separable(
    in_channels: int, out_channels: int, stride: int = 1, *, act: str = "relu", same: bool = False
) -> nn.Sequential:
    """A 3x3 filter for every channel by itself, then a 1x1 convolution that mixes the channels.

    It has 9 C + C O weights where an ordinary 3x3 convolution has 9 C O: about a ninth, for many channels.

    Shapes:
        (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))

    Example:
        >>> block = depthwise_separable(32, 64)
        >>> sum(weight.numel() for weight in block.parameters() if weight.ndim == 4), 9 * 32 * 64
        (2336, 18432)

    Source: Sifre 2014, "Rigid-Motion Scattering for Image Classification"; Howard et al. 2017, "MobileNets",
    arXiv 1704.04861.
    """
    return nn.Sequential(
        OrderedDict(
            depthwise=conv_norm_act(in_channels, in_channels, 3, stride, groups=in_channels, act=act, same=same),
            pointwise=conv_norm_act(in_channels, out_channels, 1, act=act),
        )
    )


class SqueezeExcite(nn.Module):
    """Weighs every channel by a number from 0 to 1 that depends on the means of all channels.

    Shapes:
        (N, C, H, W) -> (N, C, H, W)

    Source: Hu, Shen, Sun 2018, "Squeeze-and-Excitation Networks", arXiv 1709.01507.
    """

    def __init__(self, channels: int, squeezed: int, act: str = "relu") -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.act = activation(act, inplace=True)
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        weights = self.act(self.squeeze(self.mean(x)))  # (N, S, 1, 1)
        return x * self.gate(self.excite(weights))  # (N, C, 1, 1) for every pixel


class DropPath(nn.Module):
    """While training, leaves a path out for a random share of the images, and scales the others up in return.

    Shapes:
        (N, ...) -> (N, ...)

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv 1603.09382.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.share
        return x * kept / (1.0 - self.share)

    def extra_repr(self) -> str:
        return f"share={self.share:.3g}"


class InvertedResidual(nn.Module):
    """Widen with 1x1, filter every channel by itself, narrow with 1x1; the shortcut joins the narrow ends.

    Nothing non-linear follows the narrowing: a ReLU would lose what few channels cannot hold twice. With `squeezed`
    channels the filtered maps pass a squeeze-and-excitation, which makes it the MBConv of MnasNet and EfficientNet.

    Args:
        expand: how many times wider the inside is; at 1 there is no widening.
        squeezed: channels inside the squeeze-and-excitation; 0 for none.
        drop_path: share of the images for which training leaves all but the shortcut out.

    Shapes:
        (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)), with a shortcut if that is the shape that came

    Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv 1801.04381.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        expand: int = 6,
        squeezed: int = 0,
        act: str = "relu6",
        drop_path: float = 0.0,
        same: bool = False,
    ) -> None:
        super().__init__()
        wide, parts = in_channels * expand, OrderedDict[str, nn.Module]()
        if expand != 1:
            parts["expand"] = conv_norm_act(in_channels, wide, 1, act=act)
        parts["depthwise"] = conv_norm_act(wide, wide, kernel_size, stride, groups=wide, act=act, same=same)
        if squeezed:
            parts["squeeze"] = SqueezeExcite(wide, squeezed, act)
        parts["project"] = conv_norm_act(wide, out_channels, 1, act=None)
        self.path = nn.Sequential(parts)
        self.shortcut = stride == 1 and in_channels == out_channels
        self.drop = DropPath(drop_path) if self.shortcut and drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.path(x)) if self.shortcut else self.path(x)


def round_to_8(channels: float) -> int:
    """The multiple of 8 nearest to a scaled number of channels, at least 8 and never below nine tenths of it.

    Example:
        >>> [round_to_8(channels) for channels in (4, 24, 33.6, 35.2, 38.4, 11.2)]
        [8, 24, 32, 32, 40, 16]
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
