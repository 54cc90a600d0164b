"""yolo: convlens's own one-stage detector, small enough to be trained on a processor.

    backbone   feature maps of 1/8, 1/16 and 1/32 of the image's sides: residual blocks, or any encoder of timm
    pyramid    every map also learns what the coarser ones have seen
    head       two towers, one for the class and one for the box, shared by all maps

Every pixel of a map is a cell: a square of the image, `stride` px a side, with one prediction. It may answer for any
object whose middle is near (`nn/assign.py`). There are no anchor boxes: the box starts in the middle of its cell, four
strides a side, as RetinaNet's anchors are, and the head says how to move and to stretch it:

    middle = middle of the cell + stride * (tx, ty)
    sides  = 4 stride * exp(tw, th)

Source: Redmon et al. 2016, "You Only Look Once", arXiv 1506.02640; Redmon and Farhadi 2018, "YOLOv3", arXiv 1804.02767
(residual backbone, several scales); Lin et al. 2017, "Feature Pyramid Networks", arXiv 1612.03144; Lin et al. 2017,
"Focal Loss", arXiv 1708.02002 (shared towers, the prior 0.01); Tian et al. 2019, "FCOS", arXiv 1904.01355 (one
prediction a cell, a learned scale for each map); Ge et al. 2021, "YOLOX", arXiv 2107.08430 (class and box decoupled).

Differs: far narrower; the pyramid and the towers are of depthwise-separable convolutions, which take less time on a
processor. FCOS measures four distances from the cell to the edges of the box, which therefore has to hold the middle of
its cell: an object smaller than a cell mostly does not, so the middle and the sides are predicted instead, as in YOLO.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import ConfigError
from convlens.models.backbone import Encoder
from convlens.models.backbone import encoder as timm_encoder
from convlens.models.weights import Part
from convlens.nn.blocks import conv_norm_act, start_by_fan_out
from convlens.nn.mobile import depthwise_separable

STRIDES = (8, 16, 32)
PRIOR = 0.01  # chance of an object, and of each class, before anything is learned
START_STRIDES = 4.0  # sides of an untrained box
MOST_STRETCH = 8.0  # exp(8) is 2,981: no box is infinite, whatever the head says
TIMM = "timm:"


class DarkBlock(nn.Module):
    """1x1 to half of the channels, 3x3 back, and the shortcut past both: y = x + F(x).

    Shapes:
        (N, C, H, W) -> (N, C, H, W)

    Source: Redmon and Farhadi 2018, arXiv 1804.02767, table 1; ReLU for its leaky form, which takes longer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.path = nn.Sequential(conv_norm_act(channels, half, 1), conv_norm_act(half, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)


class DarkEncoder(nn.Module):
    """Convolutions of stride 2, each followed by residual blocks: sides halve and channels double from stage to stage.

    Shapes:
        (N, C, H, W) -> (N, 2 w, H/8, W/8), (N, 4 w, H/16, W/16), (N, 8 w, H/32, W/32), the first `scales` of them
    """

    def __init__(self, in_channels: int, width: int, scales: int) -> None:
        super().__init__()
        self.stem = conv_norm_act(in_channels, max(1, width // 2), stride=2)
        stages, channels = OrderedDict[str, nn.Module](), max(1, width // 2)
        for number, blocks in enumerate((1, 2, 2, 1)[: 1 + scales]):
            wide = width * 2**number
            down = conv_norm_act(channels, wide, stride=2)
            stages[f"stage{number + 1}"] = nn.Sequential(down, *[DarkBlock(wide) for _ in range(blocks)])
            channels = wide
        self.stages = nn.Sequential(stages)
        self.channels = [width * 2**number for number in range(1, 1 + scales)]
        self.reductions: list[int] = list(STRIDES[:scales])

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []  # (N, w/2, H/2, W/2)
        for stage in self.stages:
            x = stage(x)  # (N, w, H/4, W/4), (N, 2 w, H/8, W/8), ...
            maps.append(x)
        return maps[1:]


class Pyramid(nn.Module):
    """Brings all maps to the same number of channels, and adds to each what the next coarser one holds.

    Shapes:
        from (N, C_i, H_i, W_i) to (N, width, H_i, W_i) for each map i

    Source: Lin et al. 2017, arXiv 1612.03144, figure 3.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_norm_act(count, width, 1, act=None) for count in channels)
        self.smooth = nn.ModuleList(depthwise_separable(width, width) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for finer in range(len(maps) - 2, -1, -1):
            rows, columns = maps[finer].shape[2:]
            coarse = F.interpolate(maps[finer + 1], scale_factor=2.0, mode="nearest")
            maps[finer] = maps[finer] + coarse[:, :, :rows, :columns]
        return [smooth(x) for smooth, x in zip(self.smooth, maps, strict=True)]


class Head(nn.Module):
    """What each cell says: how to move and stretch its box, whether there is an object, and its class.

    Groups of channels are normalised, not batches: one norm serves maps whose statistics differ.

    Shapes:
        (N, width, H, W) -> (N, H W, 4), (N, H W, 1 + K), float32 whatever the precision before it

    Attributes:
        stretch: one learned factor for each map, since the head is shared.
    """

    def __init__(self, width: int, classes: int, maps: int) -> None:
        super().__init__()
        self.stretch = nn.Parameter(torch.ones(maps))
        self.box_tower, self.class_tower = tower(width), tower(width)
        self.box = nn.Conv2d(width, 4, 1)
        self.objectness = nn.Conv2d(width, 1, 1)
        self.classes = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        about_box, about_class = self.box_tower(x), self.class_tower(x)
        if x.is_meta or not torch.is_autocast_enabled(x.device.type):  # "meta" is no type autocast knows
            return self.say(about_box, about_class)
        with torch.autocast(x.device.type, enabled=False):  # eight bits cannot say where a box of 600 px ends
            return self.say(about_box.float(), about_class.float())

    def say(self, about_box: Tensor, about_class: Tensor) -> tuple[Tensor, Tensor]:
        """The three answers from the ends of the towers."""
        moves = self.box(about_box).flatten(2).transpose(1, 2)  # (N, H W, 4)
        logits = torch.cat([self.objectness(about_box), self.classes(about_class)], 1)
        return moves, logits.flatten(2).transpose(1, 2)  # (N, H W, 1 + K)


class Yolo(nn.Module):
    """Backbone, pyramid and head; the predictions of all cells of all maps, as `nn/detection.py` lays them out.

    Images whose sides are no multiples of the largest stride are padded with zeros at the right and at the bottom;
    cells that lie wholly in there are dropped before the pyramid. A map so has ceil(H / stride) x ceil(W / stride).

    Shapes:
        (N, C, H, W) -> (N, A, 8 + K), for every H and W; the finest map first, each row by row

    Attributes:
        strides: of the maps, in px.
    """

    def __init__(self, encoder: DarkEncoder | Encoder, strides: Sequence[int], fpn_width: int, classes: int) -> None:
        super().__init__()
        self.backbone, self.strides = encoder, tuple(strides)
        self.used = [encoder.reductions.index(stride) for stride in self.strides]
        self.pyramid = Pyramid([encoder.channels[i] for i in self.used], fpn_width)
        self.head = Head(fpn_width, classes, len(self.strides))
        start_by_fan_out(self.pyramid)
        start_by_fan_out(self.head)
        for layer in (self.head.box, self.head.objectness, self.head.classes):
            nn.init.normal_(layer.weight, 0.0, 0.01)
        for layer in (self.head.objectness, self.head.classes):
            nn.init.constant_(layer.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        maps = self.pyramid(self.features(x))
        parts = zip(maps, self.strides, self.head.stretch, strict=True)
        return torch.cat([self.predict(*part) for part in parts], 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps of the backbone that the pyramid reads, without the cells that lie wholly outside the image."""
        rows, columns = x.shape[2:]
        largest = self.strides[-1]
        if rows % largest or columns % largest:
            x = F.pad(x, (0, -columns % largest, 0, -rows % largest))
        maps, kept = self.backbone(x), []
        for number, stride in zip(self.used, self.strides, strict=True):
            kept.append(maps[number][:, :, : -(-rows // stride), : -(-columns // stride)])
        return kept

    def predict(self, x: Tensor, stride: int, stretch: Tensor) -> Tensor:
        """The predictions of one map: (N, fpn_width, H, W) -> (N, H W, 8 + K)."""
        moves, logits = self.head(x)
        moves = moves * stretch.float()
        cells = cells_of(x.shape[2], x.shape[3], stride, x.device).expand(len(x), -1, -1)  # (N, H W, 3)
        middle = cells[..., :2] + stride * moves[..., :2]
        half = 0.5 * START_STRIDES * stride * moves[..., 2:].clamp(-MOST_STRETCH, MOST_STRETCH).exp()
        return torch.cat([middle - half, middle + half, cells, logits], 2)

    def classifier_part(self) -> Part | None:
        """What of it can start from the weights of a classifier: a backbone of timm."""
        if not isinstance(self.backbone, Encoder):
            return None
        part = self.backbone.classifier_part()
        return Part({f"backbone.{mine}": theirs for mine, theirs in part.names.items()}, part.shapes)

    def get_classifier(self) -> list[nn.Module]:
        """What starts afresh where the backbone comes trained."""
        return [self.pyramid, self.head]


def tower(width: int) -> nn.Sequential:
    """Two depthwise-separable convolutions, each normalised in groups of 8 channels.

    Shapes:
        (N, width, H, W) -> (N, width, H, W)
    """
    parts = OrderedDict[str, nn.Module]()
    for number in (1, 2):
        parts[f"depthwise{number}"] = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        parts[f"pointwise{number}"] = nn.Conv2d(width, width, 1, bias=False)
        parts[f"norm{number}"] = nn.GroupNorm(width // 8, width)
        parts[f"act{number}"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def cells_of(rows: int, columns: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Middle and side of the cells of a map, row by row.

    Shapes:
        -> (rows columns, 3)

    Example:
        >>> cells_of(1, 2, 8).tolist()
        [[4.0, 4.0, 8.0], [12.0, 4.0, 8.0]]
    """
    across = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride
    down = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride
    cy, cx = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([cx, cy, torch.full_like(cx, stride)], 2).flatten(0, 1)


def yolo(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    width: Annotated[int, Field(ge=2)] = 32,
    scales: Annotated[int, Field(ge=1, le=3)] = 3,
    backbone: str | None = None,
    backbone_options: dict[str, Any] | None = None,
    fpn_width: Annotated[int, Field(ge=8, multiple_of=8)] = 96,
) -> Yolo:
    """Build the detector; it takes images of every size.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: K, the number of classes.
        size_px: side of the input, or height and width; used by backbones made for one size only.
        width: channels of the own backbone at a quarter of the sides; the cost grows with its square.
        scales: how many of the strides 8, 16 and 32 answer, the finest first. Images up to about 128 px do with 1 or 2.
        backbone: `timm:NAME` in place of the own one, which then has no width.
        backbone_options: of timm's network.
        fpn_width: channels of the pyramid and the head, a multiple of 8.

    Example:
        >>> network = yolo(3, 20, 64, width=8, fpn_width=16)
        >>> network.strides, network(torch.zeros(2, 3, 64, 96)).shape  # 8 * 12 + 4 * 6 + 2 * 3 cells
        ((8, 16, 32), torch.Size([2, 126, 28]))

    Raises:
        ConfigError: the backbone is none of timm's or gives no maps of these strides, or options are given without it.
    """
    strides = STRIDES[:scales]
    if backbone is None:
        if backbone_options:
            raise ConfigError(
                f"backbone_options have no effect on the own backbone; got {backbone_options}. Set backbone=timm:NAME, "
                "or leave them out."
            )
        own = DarkEncoder(in_channels, width, scales)
        start_by_fan_out(own)
        return Yolo(own, strides, fpn_width, outputs)
    if not backbone.startswith(TIMM):
        raise ConfigError(f"backbone must be timm:NAME, such as timm:resnet18, or be left out; got '{backbone}'.")
    given, name = dict(backbone_options or {}), backbone.removeprefix(TIMM)
    with torch.device("meta"):  # to see which maps there are, before any is built
        known = timm_encoder(name, in_channels, size_px=size_px, **given)
    lacking = [stride for stride in strides if stride not in known.reductions]
    if lacking:
        raise ConfigError(
            f"{backbone} gives feature maps of strides {', '.join(map(str, known.reductions))}, not of "
            f"{', '.join(map(str, lacking))}. Choose another backbone, or fewer scales."
        )
    info: Any = known.body.feature_info
    numbers = {reduction: at for at, reduction in enumerate(info.reduction())}  # the last of each
    given.setdefault("out_indices", [numbers[stride] for stride in strides])
    return Yolo(timm_encoder(name, in_channels, size_px=size_px, **given), strides, fpn_width, outputs)
