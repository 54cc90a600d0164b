"""Autoencoders: networks that answer with their own input, through a code of a few numbers.

What reaches the code must be what images of the training set have in common, so an image unlike them comes back
changed. One is made of convolutions, the other of dense layers. Pictures go in and come out normalised; nothing at the
end squeezes them into a range. This file knows nothing of losses or of what is done with the difference.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from convlens.errors import ConfigError, ShapeError
from convlens.nn.blocks import conv_norm_act
from convlens.nn.layers import CutEnd
from convlens.shapes import Pair, conv_size, pair

FINAL_PX = 3.5  # halving stops nearest to here: 28 -> 14 -> 7 -> 4, 64 -> 32 -> 16 -> 8 -> 4
SMALLEST_PX = 4

Count = Annotated[int, Field(ge=1)]


class Autoencoder(nn.Module):
    """An encoder from pictures to codes, and a decoder back; both made for pictures of one shape.

    Args:
        encoder: (N, C, H, W) -> (N, code).
        decoder: (N, code) -> (N, C, H, W); its last part with weights is called `last`.
        shape: C, H, W.

    Shapes:
        (N, C, H, W) -> (N, C, H, W)

    Raises:
        ShapeError: a picture has another shape than the network was made for.
    """

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.shape = encoder, decoder, shape

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        """The codes of pictures.

        Shapes:
            (N, C, H, W) -> (N, code)
        """
        if tuple(x.shape[1:]) != self.shape:  # 27 px would be halved to the map of 28, and come back larger
            raise ShapeError(
                f"This autoencoder takes (N, {', '.join(map(str, self.shape))}); got {tuple(x.shape)}. "
                "Resize the images, or build a network for their size."
            )
        return self.encoder(x)

    def decode(self, code: Tensor) -> Tensor:
        """The pictures of codes, whether these come from `encode` or not.

        Shapes:
            (N, code) -> (N, C, H, W)
        """
        return self.decoder(code)

    def get_classifier(self) -> nn.Module:
        """The layer that gives the answer, under the name timm has for it; the last dense layer is not it."""
        return self.decoder.get_submodule("last")


def autoencoder(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    code: Count = 32,
    width: Count = 32,
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0,
) -> Autoencoder:
    """Build an autoencoder of convolutions that halve the side and double the channels, and of the same steps back.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: the same number; the answer is a picture.
        size_px: side of the input, or height and width; the shorter one decides how often both are halved.
        code: numbers a picture is told in.
        width: channels of the first stage; each further one has twice as many.
        dropout: chance of zeroing each number of the code, while training.

    Example:
        >>> import torch
        >>> network = autoencoder(1, 1, (28, 33), code=8)
        >>> codes = network.encode(torch.zeros(2, 1, 28, 33))
        >>> codes.shape, network.decode(codes).shape
        (torch.Size([2, 8]), torch.Size([2, 1, 28, 33]))

    Raises:
        ConfigError: outputs differs from in_channels.
        ShapeError: a side is shorter than 4 px.

    Source: Masci, Meier, Ciresan, Schmidhuber 2011, "Stacked Convolutional Auto-Encoders for Hierarchical Feature
    Extraction", doi 10.1007/978-3-642-21735-7_7.
    Differs: strides in place of pooling, batch normalisation and rectifiers (Radford, Metz, Chintala 2016, arXiv
    1511.06434), a dense code, and all layers are trained at once.
    """
    require_picture("autoencoder", in_channels, outputs)
    rows, columns = pair(size_px)
    if min(rows, columns) < SMALLEST_PX:
        raise ShapeError(
            f"autoencoder needs images of at least {SMALLEST_PX} x {SMALLEST_PX} px; got {rows} x {columns}. "
            f"Set data.size_px to {SMALLEST_PX} or more."
        )
    sizes = [(rows, columns)]
    for _ in range(max(1, round(math.log2(min(sizes[0]) / FINAL_PX)))):
        sizes.append(_halved(sizes[-1]))
    channels = [in_channels, *(width * 2**stage for stage in range(len(sizes) - 1))]
    stages, units = range(1, len(sizes)), channels[-1] * sizes[-1][0] * sizes[-1][1]

    encoder = OrderedDict[str, nn.Module]()
    for i in stages:
        encoder[f"down{i}"] = conv_norm_act(channels[i - 1], channels[i], stride=2)
    encoder["flatten"] = nn.Flatten()  # (N, 128 * 4 * 4) from 28 x 28
    encoder["code"] = nn.Linear(units, code)
    encoder["drop"] = nn.Dropout(dropout)

    decoder = OrderedDict[str, nn.Module](
        dense=nn.Linear(code, units, bias=False),
        unflatten=nn.Unflatten(1, (channels[-1], *sizes[-1])),  # (N, 128, 4, 4)
        norm=nn.BatchNorm2d(channels[-1]),
        act=nn.ReLU(inplace=True),
    )
    for i in reversed(stages):
        decoder[f"up{i}"] = _up(channels[i], max(1, channels[i] // 2), sizes[i - 1])
    decoder["last"] = nn.Conv2d(max(1, width // 2), in_channels, 3, padding=1)  # (N, 1, 28, 28)
    return Autoencoder(nn.Sequential(encoder), nn.Sequential(decoder), (in_channels, *sizes[0]))


def dense_autoencoder(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    code: Count = 32,
    hidden: tuple[Count, ...] = (512, 256),
) -> Autoencoder:
    """Build an autoencoder of dense layers alone: what a convolutional one has to beat.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: the same number; the answer is a picture.
        size_px: side of the input, or height and width.
        code: numbers a picture is told in.
        hidden: units of each layer between the pixels and the code, and in reverse back to the pixels; none at all
            can do no better than as many principal components.

    Example:
        >>> [child for child, _ in dense_autoencoder(1, 1, 28, hidden=(500, 100)).encoder.named_children()]
        ['flatten', 'hidden1', 'hidden2', 'code']

    Raises:
        ConfigError: outputs differs from in_channels.

    Source: Hinton, Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks", Science 313,
    doi 10.1126/science.1127647.
    Differs: rectifiers and batch normalisation in place of logistic units whose weights were found layer by layer.
    """
    require_picture("dense_autoencoder", in_channels, outputs)
    shape = (in_channels, *pair(size_px))
    units = (math.prod(shape), *hidden)

    encoder = OrderedDict[str, nn.Module](flatten=nn.Flatten())
    for i in range(1, len(units)):
        encoder[f"hidden{i}"] = _dense_norm_act(units[i - 1], units[i])
    encoder["code"] = nn.Linear(units[-1], code)

    decoder, known = OrderedDict[str, nn.Module](), code
    for i in range(len(hidden), 0, -1):
        decoder[f"hidden{i}"] = _dense_norm_act(known, units[i])
        known = units[i]
    decoder["last"] = nn.Linear(known, units[0])
    decoder["unflatten"] = nn.Unflatten(1, shape)
    return Autoencoder(nn.Sequential(encoder), nn.Sequential(decoder), shape)


def require_picture(name: str, in_channels: int, outputs: int) -> None:
    """Check that a network whose answer is a picture is asked for one.

    Raises:
        ConfigError: it is asked for other channels than it is given.
    """
    if outputs != in_channels:
        raise ConfigError(
            f"{name} answers with a picture: outputs must equal in_channels, {in_channels}; got {outputs}. "
            "Use it to reconstruct or denoise; to classify, take another network, such as compact."
        )


def _halved(size: Pair) -> Pair:
    rows, columns = (conv_size(side, 3, stride=2, padding=1) for side in size)
    return rows, columns


def _up(in_channels: int, out_channels: int, size: Pair) -> nn.Sequential:
    """Twice the side, less the last row or column where the size is odd; a stride of 2 gave both the same half.

    Every pixel is told by four cells below it, so that none stands out (Odena, Dumoulin, Olah 2016, doi
    10.23915/distill.00003).

    Shapes:
        (N, in, ceil(H / 2), ceil(W / 2)) -> (N, out, H, W)
    """
    odd = tuple(side % 2 for side in size)
    parts = OrderedDict[str, nn.Module](conv=nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=False))
    if any(odd):
        parts["cut"] = CutEnd(odd)
    parts["norm"], parts["act"] = nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def _dense_norm_act(inputs: int, units: int) -> nn.Sequential:
    parts = OrderedDict[str, nn.Module](
        dense=nn.Linear(inputs, units, bias=False), norm=nn.BatchNorm1d(units), act=nn.ReLU(inplace=True)
    )
    return nn.Sequential(parts)
