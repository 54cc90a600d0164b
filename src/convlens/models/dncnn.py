"""DnCNN: convolutions that say what the noise in a picture is, and take it away.

Noise is easier to tell than a picture: of a clean one nothing is to be removed, whatever it shows. So the layers learn
the noise alone, and the network answers with its input less that. Nothing halves the side, so any size fits. This file
knows nothing of kinds of noise.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from convlens.models.autoencoder import require_picture
from convlens.nn.blocks import conv_norm_act, start_by_fan_out

START = 1e-4  # standard deviation of the last layer's first weights


class DnCNN(nn.Module):
    """The input less the noise that `noise` finds in it.

    Shapes:
        (N, C, H, W) -> (N, C, H, W), for every H and W
    """

    def __init__(self, in_channels: int, depth: int, width: int) -> None:
        super().__init__()
        parts = OrderedDict[str, nn.Module](conv1=nn.Conv2d(in_channels, width, 3, padding=1), act1=nn.ReLU())
        for number in range(2, depth):
            parts[f"block{number}"] = conv_norm_act(width, width)
        parts["last"] = nn.Conv2d(width, in_channels, 3, padding=1)
        self.noise = nn.Sequential(parts)  # (N, C, H, W), width channels between

    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)


def dncnn(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    depth: Annotated[int, Field(ge=2)] = 9,
    width: Annotated[int, Field(ge=1)] = 64,
) -> DnCNN:
    """Build a denoiser for pictures of any size.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: the same number; the answer is a picture.
        size_px: not needed; every network of the catalog is asked with it.
        depth: convolutions, each of which lets an answer see one pixel further to every side. The paper takes 17 for
            a known level of noise and 20 for an unknown one.
        width: channels between the first convolution and the last.

    Example:
        >>> sum(parameter.numel() for parameter in dncnn(1, 1, 40, depth=17).parameters())
        556097

    Raises:
        ConfigError: outputs differs from in_channels.

    Source: Zhang, Zuo, Chen, Meng, Zhang 2017, "Beyond a Gaussian Denoiser", arXiv 1608.03981.
    Differs: half as deep unless asked; the last convolution starts so near to zero that the network begins by handing
    its input on. (At zero itself, no gradient would reach the layers below in the first step.)
    """
    require_picture("dncnn", in_channels, outputs)
    network = DnCNN(in_channels, depth, width)
    start_by_fan_out(network)
    nn.init.normal_(network.noise.get_submodule("last").get_parameter("weight"), 0.0, START)
    return network
