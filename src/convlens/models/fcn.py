"""FCN: VGG-16 with its dense layers read as convolutions, which then answer for every place and not once an image.

A dense layer on a 7x7 map is a convolution with a 7x7 kernel that fits at one place only. Given a larger image it fits
at more, and the network gives a map of answers, one for every 32 px. FCN-32s enlarges that map to the size of the
image; FCN-16s and FCN-8s first add answers read off the finer maps behind the fourth and the third pooling.

Source: Long, Shelhamer, Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", arXiv 1411.4038,
figure 3 and section 4.

Differs: the image is extended at the right and at the bottom to multiples of 32, fc6 is padded by 3, and the answer is
cut back (2015: 100 zeros around the image, and the answer cut out of what comes of it). The last step up, which is
fixed, is bilinear interpolation itself, and does not fade at the edges as a transposed convolution does. The three
train at once (2015: 16s starts from a trained 32s, and 8s from a trained 16s). `batch_norm` came after the paper.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from convlens.models.vgg import CONVOLUTIONS, stages, vgg16
from convlens.models.weights import Part
from convlens.nn.blocks import cut_to, pad_to_multiple, start_by_fan_out

COARSEST = 32  # px of the image in a cell of the map behind the fifth pooling
Final = Literal["fixed", "learned"]
Count = Annotated[int, Field(ge=1)]


class FCN(nn.Module):
    """VGG's convolutions, its first two dense layers as convolutions, and scores from coarse to fine.

    Args:
        stride: px of the image in a cell of the finest map that is scored: 32, 16 or 8.
        final: the last step up is `fixed`, or a transposed convolution that is `learned`.

    Shapes:
        (N, C, H, W) -> (N, K, H, W), for every H and W
    """

    def __init__(
        self,
        in_channels: int,
        outputs: int,
        stride: int,
        *,
        final: Final,
        dropout: float,
        batch_norm: bool,
        hidden: int,
        width: int,
    ) -> None:
        super().__init__()
        self.shape = in_channels, hidden, width, batch_norm
        self.features = stages(in_channels, width, CONVOLUTIONS[16], batch_norm)
        dense = OrderedDict[str, nn.Module](
            fc6=nn.Conv2d(8 * width, hidden, 7, padding=3),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(dropout),
            fc7=nn.Conv2d(hidden, hidden, 1),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(dropout),
        )
        self.dense = nn.Sequential(dense)
        head = OrderedDict[str, nn.Module](score_fc7=nn.Conv2d(hidden, outputs, 1))
        self.finer = {16: ("pool4",), 8: ("pool4", "pool3")}.get(stride, ())
        for name, channels in zip(self.finer, (8 * width, 4 * width), strict=False):
            head[f"up_to_{name}"] = bilinear(outputs, 2)
            head[f"score_{name}"] = nn.Conv2d(channels, outputs, 1)
        fixed = nn.Upsample(scale_factor=stride, mode="bilinear", align_corners=False)
        head["up"] = fixed if final == "fixed" else bilinear(outputs, stride)
        self.head = nn.ModuleDict(head)
        start_by_fan_out(self.features)
        for name, layer in (*dense.items(), *head.items()):
            if isinstance(layer, nn.Conv2d):
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
                if name in dense:
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                else:
                    nn.init.zeros_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        size, pools = x.shape[-2:], list[Tensor]()
        x = pad_to_multiple(x, COARSEST)
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)  # (N, 64, H/2, W/2), ..., (N, 512, H/32, W/32)
        maps = {f"pool{number}": pool for number, pool in enumerate(pools, 1)}
        y = self.head["score_fc7"](self.dense(x))  # (N, K, H/32, W/32)
        for name in self.finer:
            y = self.head[f"up_to_{name}"](y) + self.head[f"score_{name}"](maps[name])  # H/16, then H/8
        return cut_to(self.head["up"](y), size)  # (N, K, H, W)

    def get_classifier(self) -> nn.Module:
        """The scores and the way up, under the name timm gives to the question."""
        return self.head

    def classifier_part(self) -> Part:
        """What of it can start from the weights of VGG-16: all but the scores and the way up."""
        in_channels, hidden, width, batch_norm = self.shape
        with torch.device("meta"):
            whole = vgg16(in_channels, 1, COARSEST, batch_norm=batch_norm, hidden=hidden, width=width)
        names = {name: name for name in self.state_dict() if name.startswith("features.")}
        for mine, theirs in {"dense.fc6": "classifier.0", "dense.fc7": "classifier.3"}.items():
            names |= {f"{mine}.{leaf}": f"{theirs}.{leaf}" for leaf in ("weight", "bias")}
        return Part(names, {name: tuple(tensor.shape) for name, tensor in whole.state_dict().items()})


def bilinear(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as bilinear interpolation of each channel by itself; what comes is learned.

    Output cell j lies at (j + 1/2) / factor - 1/2 of the input's cells, and takes of each of the two next to it the
    share 1 - distance. Outside the map there are zeros, towards which the edges fade.

    Args:
        factor: an even number.

    Shapes:
        (N, channels, H, W) -> (N, channels, factor H, factor W)

    Example:
        >>> bilinear(1, 2)(torch.tensor([0.0, 4.0, 8.0, 12.0]).expand(1, 1, 4, 4))[0, 0, 3, 1:-1].tolist()
        [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]
    """
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    steps = torch.arange(2 * factor, dtype=layer.weight.dtype, device=layer.weight.device)
    line = 1 - (steps + 0.5 - factor).abs() / factor  # a triangle, such as 1/4 3/4 3/4 1/4
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight.diagonal().copy_((line[:, None] * line)[..., None])
    return layer


def of_stride(stride: int) -> Callable[..., FCN]:
    """The builder of one of the three: finest scores for every 32, 16 or 8 px.

    The builder's options:
        final: the last step up is `fixed`, as in the paper, or a transposed convolution that is `learned`.
        dropout: chance of zeroing each value of the two hidden maps, while training.
        batch_norm: normalise after every convolution of 3x3.
        hidden: channels of the two hidden maps.
        width: channels of the first stage.

    Example:
        >>> network = fcn8s(3, 21, 64, width=4, hidden=8)
        >>> network(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 21, 50, 70])
    """

    def build(
        in_channels: int,
        outputs: int,
        size_px: int | tuple[int, int],
        *,
        final: Final = "fixed",
        dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5,
        batch_norm: bool = False,
        hidden: Count = 4096,
        width: Count = 64,
    ) -> FCN:
        return FCN(
            in_channels,
            outputs,
            stride,
            final=final,
            dropout=dropout,
            batch_norm=batch_norm,
            hidden=hidden,
            width=width,
        )

    return build


fcn32s, fcn16s, fcn8s = (of_stride(stride) for stride in (32, 16, 8))
