"""The blocks of residual networks: F(x) + x, and the ways to bring x to the shape of F(x).

What makes them one network is in `models/resnet.py`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import pad

from convlens.errors import ShapeError

Shortcut = Literal["project", "pad", "none"]


class Residual(nn.Module):
    """Two 3x3 convolutions, and a shortcut that carries their input past them: y = relu(F(x) + x).

    The layers have torchvision's names, so that published weights load by name.

    Args:
        in_channels: of x.
        channels: of F(x).
        stride: of the first convolution.
        shortcut: how x is brought to the shape of F(x), see `shortcut_of`.

    Shapes:
        (N, in, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride))

    Example:
        >>> [name for name, _ in Residual(8, 16, stride=2).named_children()]
        ['conv1', 'bn1', 'act1', 'conv2', 'bn2', 'downsample', 'act2']

    Source: He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, figure 5, left.
    """

    expansion = 1  # channels that leave the block, in multiples of `channels`

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: Shortcut = "project") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut_of(shortcut, in_channels, channels, stride)
        self.act2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))  # (N, channels, H / stride, W / stride)
        y = self.bn2(self.conv2(y))
        return self.act2(y if self.downsample is None else y + self.downsample(x))

    def start_as_shortcut(self) -> None:
        """Set F to zero: the block begins by passing its shortcut on."""
        nn.init.zeros_(self.bn2.weight)


class Bottleneck(nn.Module):
    """A residual block whose 3x3 convolution works on few channels: 1x1 down, 3x3, 1x1 up to four times as many.

    The layers have torchvision's names, so that published weights load by name.

    Args:
        in_channels: of x.
        channels: of the 3x3 convolution; F(x) has four times as many.
        stride: of the 3x3 convolution.
        shortcut: how x is brought to the shape of F(x), see `shortcut_of`.

    Shapes:
        (N, in, H, W) -> (N, 4 channels, ceil(H / stride), ceil(W / stride))

    Example:
        >>> [sum(p.numel() for p in block.parameters()) for block in (Bottleneck(256, 64), Residual(256, 256))]
        [70400, 1180672]

    Source: He, Zhang, Ren, Sun 2015, arXiv 1512.03385, figure 5, right.

    Differs: the stride is that of the 3x3 convolution, as in torchvision (2015: of the first 1x1, which then never sees
    three pixels out of four).
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: Shortcut = "project") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = shortcut_of(shortcut, in_channels, 4 * channels, stride)
        self.act3 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))  # (N, channels, H, W)
        y = self.act2(self.bn2(self.conv2(y)))  # (N, channels, H / stride, W / stride)
        y = self.bn3(self.conv3(y))  # (N, 4 channels, H / stride, W / stride)
        return self.act3(y if self.downsample is None else y + self.downsample(x))

    def start_as_shortcut(self) -> None:
        """Set F to zero: the block begins by passing its shortcut on."""
        nn.init.zeros_(self.bn3.weight)


class PadChannels(nn.Module):
    """Every `stride`-th pixel, and zeros as the channels that are lacking: a change of shape without parameters.

    Shapes:
        (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))

    Example:
        >>> import torch
        >>> PadChannels(1, 3, stride=2)(torch.arange(9.0).reshape(1, 1, 3, 3))[0, :, 0].tolist()
        [[0.0, 0.0], [0.0, 2.0], [0.0, 0.0]]

    Raises:
        ShapeError: there are fewer channels after it than before.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        lacking = out_channels - in_channels
        if lacking < 0:
            raise ShapeError(
                f"Zeros can only add channels; got {in_channels} in and {out_channels} out. Use shortcut='project'."
            )
        self.before, self.after, self.stride = lacking // 2, lacking - lacking // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"before={self.before}, after={self.after}, stride={self.stride}"


def shortcut_of(kind: Shortcut, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The way past a block: x itself where the shapes agree, and else as asked.

    Args:
        kind: `project`, a 1x1 convolution with a norm (the paper's option B); `pad`, zeros as new channels (option A);
            `none`, no way past at all, as in a plain stack.
        in_channels, out_channels, stride: of the block.

    Example:
        >>> shortcut_of("pad", 16, 32, stride=2)
        PadChannels(before=8, after=8, stride=2)
        >>> shortcut_of("project", 16, 16, stride=1)
        Identity()
    """
    if kind == "none":
        return None
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind == "pad":
        return PadChannels(in_channels, out_channels, stride)
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))
