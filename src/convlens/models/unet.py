"""U-Net: an answer for every pixel, from an encoder that shrinks the image and a decoder that brings it back to size.

On the way down a map sees more of the image and knows less of where; on the way up it is enlarged, and beside it is
laid the map of that size from the way down, which still knows where. These skips carry the edges and the fine detail.

    1 --------------------- skip ---------------------> 1 -> 1x1 convolution
      2 ------------------- skip -------------------> 2
        4 ----------------- skip -----------------> 4
          8 --------------- skip ---------------> 8
            16 ---------------------------------^

It has convolutions only, and so takes every size. The encoder can be any network of timm that gives its feature maps.

Source: Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv
1505.04597, figure 1. `residual` is the way of Zhang et al. 2016, "Beyond a Gaussian Denoiser", arXiv 1608.03981.

Differs: convolutions are padded, so that the answer has the size of the image (2015: no padding, the answer is 184 px
smaller); batch normalisation (2015: none); 32 channels in the first level (2015: 64).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from convlens.errors import ConfigError, ShapeError
from convlens.models import backbone
from convlens.models.weights import Part
from convlens.nn.blocks import conv_norm_act, cut_to, pad_to_multiple
from convlens.shapes import pair

TIMM, TIMM_MULTIPLE = "timm:", 32  # what networks for photographs shrink to one pixel
DEPTH = 4


class Contracting(nn.Module):
    """The way down: levels of two 3x3 convolutions; each further one halves the sides and doubles the channels.

    Attributes:
        channels: of each map.
        reductions: sides of the input in sides of each map.

    Shapes:
        (N, C, H, W) -> a list of (N, width * 2^i, H / 2^i, W / 2^i), i from 0 to depth
    """

    def __init__(self, in_channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.channels = [width * 2**level for level in range(depth + 1)]
        self.reductions = [2**level for level in range(depth + 1)]
        self.levels = nn.ModuleList()
        for level, channels in enumerate(self.channels):
            parts = OrderedDict[str, nn.Module]()
            if level:
                parts["pool"] = nn.MaxPool2d(2)
            parts["conv1"] = conv_norm_act(in_channels, channels)
            parts["conv2"] = conv_norm_act(channels, channels)
            self.levels.append(nn.Sequential(parts))
            in_channels = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return maps


class Up(nn.Module):
    """One step of the way up: twice the size by a transposed convolution, the skip beside it, two convolutions.

    Shapes:
        (N, in, H, W) and, where there is a skip, (N, skip, 2 H, 2 W) -> (N, out, 2 H, 2 W)
    """

    def __init__(self, in_channels: int, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, channels, 2, stride=2)
        self.conv1 = conv_norm_act(skip_channels + channels, channels)
        self.conv2 = conv_norm_act(channels, channels)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        x = self.up(x)  # (N, out, 2 H, 2 W)
        if skip is not None:
            x = torch.cat((skip, x), dim=1)  # (N, skip + out, 2 H, 2 W)
        return self.conv2(self.conv1(x))


class UNet(nn.Module):
    """An encoder, a decoder that takes its maps from coarse to fine, and a 1x1 convolution.

    The image is extended at the right and at the bottom to what the encoder can halve, by repeating its last pixels,
    and the answer is cut back.

    Args:
        encoder: gives a list of maps from fine to coarse, and says their `channels` and `reductions`.
        width: channels of the decoder at full size; at half the size twice as many, and so on.
        multiple: the encoder takes sides that are multiples of it.

    Shapes:
        (N, C, H, W) -> (N, K, H, W), for every H and W
    """

    def __init__(
        self,
        encoder: Contracting | backbone.Encoder,
        outputs: int,
        width: int,
        *,
        multiple: int,
        skips: bool = True,
        residual: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.multiple, self.residual = encoder, multiple, residual
        self.dropout = nn.Dropout(dropout)  # at the end of the way down, as in the paper
        self.ups, self.skipped = nn.ModuleList(), list[int | None]()
        channels, reduction = encoder.channels[-1], encoder.reductions[-1]
        while reduction > 1:
            reduction //= 2
            at = encoder.reductions.index(reduction) if skips and reduction in encoder.reductions else None
            self.ups.append(Up(channels, 0 if at is None else encoder.channels[at], width * reduction))
            self.skipped.append(at)
            channels = width * reduction
        self.head = nn.Conv2d(channels, outputs, 1)
        self._start()

    def forward(self, x: Tensor) -> Tensor:
        maps = self._maps(pad_to_multiple(x, self.multiple))  # (N, 32, H, W), (N, 64, H/2, W/2), ...
        y = self.dropout(maps[-1])  # (N, 512, H/16, W/16)
        for up, at in zip(self.ups, self.skipped, strict=True):
            y = up(y, None if at is None else maps[at])  # (N, 256, H/8, W/8), ..., (N, 32, H, W)
        y = cut_to(self.head(y), x.shape[-2:])  # (N, K, H, W)
        return x + y if self.residual else y

    def get_classifier(self) -> nn.Module:
        """The head, under the name timm gives to the question."""
        return self.head

    def classifier_part(self) -> Part | None:
        """What of it can start from the weights of a classifier: an encoder of timm."""
        if not isinstance(self.encoder, backbone.Encoder):
            return None
        part = self.encoder.classifier_part()
        return Part({f"encoder.{mine}": theirs for mine, theirs in part.names.items()}, part.shapes)

    def _maps(self, x: Tensor) -> list[Tensor]:
        maps = self.encoder(x)
        for found, reduction in zip(maps, self.encoder.reductions, strict=True):
            wanted = [side // reduction for side in x.shape[-2:]]
            if list(found.shape[-2:]) != wanted:
                raise ShapeError(
                    f"The encoder gives a map of {found.shape[-2]} x {found.shape[-1]} where 1/{reduction} of "
                    f"{x.shape[-2]} x {x.shape[-1]} was expected, {wanted[0]} x {wanted[1]}, and a skip cannot be "
                    "laid beside the decoder's. Use another encoder, one that pads its convolutions."
                )
        return maps

    @torch.no_grad()
    def _start(self) -> None:
        """The paper's weights for all that is ours; no rectifier follows a transposed convolution, which gets less.

        The head is no exception: near zero it would learn to answer the most frequent class, and long stay there.
        """
        theirs = set(self.encoder.modules()) if isinstance(self.encoder, backbone.Encoder) else set()
        for layer in self.modules():
            if layer not in theirs and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # at stride 2 an output of a transposed 2x2 convolution reads one place
                reads = layer.in_channels * (1 if layer.transposed else math.prod(layer.kernel_size))
                nn.init.normal_(layer.weight, std=((1 if layer.transposed else 2) / reads) ** 0.5)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if self.residual:
            nn.init.zeros_(self.head.weight)


def unet(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    width: Annotated[int, Field(ge=1)] = 32,
    depth: Annotated[int, Field(ge=1, le=8)] = DEPTH,
    skips: bool = True,
    residual: bool = False,
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0,
    encoder: str | None = None,
    encoder_options: dict[str, Any] | None = None,
) -> UNet:
    """Build a U-Net; it takes images of every size.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: channels of the answer: one per class, or those of a picture.
        size_px: only for encoders made for one size, such as vision transformers.
        width: channels at full size; each halving doubles them, in the decoder also where the encoder is another's.
        depth: how often the sides are halved.
        skips: False leaves them out, and with them what makes it a U-Net: to compare.
        residual: answer x + net(x) with net(x) = 0 at the start, for denoising: only the change must be learned.
        dropout: chance of zeroing each value of the coarsest map, while training.
        encoder: `timm:NAME` in place of the own way down; it may start from a classifier's weights.
        encoder_options: of timm's builder, such as `{"pad_type": "same"}`.

    Example:
        >>> network = unet(1, 2, 64, width=4, depth=2)
        >>> network(torch.rand(1, 1, 33, 40)).shape
        torch.Size([1, 2, 33, 40])

    Raises:
        ConfigError: an option has no effect beside another, or timm knows no such network or option.
    """
    if residual and outputs != in_channels:
        raise ConfigError(
            f"residual=true answers x + net(x), which needs as many outputs as channels of the image; got {outputs} "
            f"outputs and {in_channels} channels. Leave residual out."
        )
    options = {"skips": skips, "residual": residual, "dropout": dropout}
    if encoder is None:
        if encoder_options:
            raise ConfigError("encoder_options have no effect without encoder=timm:NAME. Leave them out, or name one.")
        own = Contracting(in_channels, width, depth)
        return UNet(own, outputs, width, multiple=2**depth, **options)
    if not encoder.startswith(TIMM):
        raise ConfigError(f"encoder is the name of a network of timm, such as timm:resnet18; got '{encoder}'.")
    if depth != DEPTH:
        raise ConfigError(
            f"depth={depth} has no effect beside encoder={encoder}, which has its own. Leave it out, or choose feature "
            "maps by encoder_options, such as out_indices = [0, 1, 2]."
        )
    rows, columns = (-(-side // TIMM_MULTIPLE) * TIMM_MULTIPLE for side in pair(size_px))
    theirs = backbone.encoder(
        encoder.removeprefix(TIMM), in_channels, size_px=(rows, columns), **(encoder_options or {})
    )
    if odd := [
        reduction for reduction in theirs.reductions if reduction & (reduction - 1) or reduction > TIMM_MULTIPLE
    ]:
        raise ConfigError(
            f"{encoder} gives a map of 1/{odd[0]} of the image; a U-Net goes back up by doubling, from 1/2, 1/4, 1/8, "
            "1/16 or 1/32. Use another encoder, or leave this map out by encoder_options' out_indices."
        )
    return UNet(theirs, outputs, width, multiple=TIMM_MULTIPLE, **options)
