"""What every network of the catalog can be put to, by what it gives: small builds, the shape of an answer, a lesson."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.models import catalog
from convlens.models.catalog import NETWORKS
from convlens.models.yolo_v1 import YoloV1, yolo_v1_loss
from convlens.nn.boxes import iou
from convlens.nn.detection import decode
from convlens.nn.detection_loss import detection_loss

SMALL: dict[str, dict[str, Any]] = {  # options that keep a network's form and make it quick to sweep
    **{f"vgg{depth}": {"width": 8, "hidden": 32, "dropout": 0.0} for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": {"width": 4} for depth in (18, 34, 50, 20, 32, 44, 56)},
    "densenet121": {"growth_rate": 4},
    **{f"mobilenet_v{version}": {"width": 0.25} for version in (1, 2)},
    "unet": {"width": 4},
    **{f"fcn{stride}s": {"width": 8, "hidden": 32, "dropout": 0.0} for stride in (32, 16, 8)},
    "autoencoder": {"width": 8},
    "dense_autoencoder": {"hidden": [128, 64]},
    "dncnn": {"depth": 4, "width": 8},
    "yolo": {"width": 8, "fpn_width": 16},
    "yolo_v1": {"width": 4, "hidden": 64, "dropout": 0.0},
}
ZERO_HEAD = {"fcn32s", "fcn16s", "fcn8s"}  # the paper's: what is below them gets no gradient in the first step
RATE = dict.fromkeys(("unet", "autoencoder", "dense_autoencoder", "dncnn", "yolo"), 1e-2)  # where 1e-3 takes long
Judge = Callable[[Tensor], bool]


def build(name: str, size_px: int | tuple[int, int] = 32, in_channels: int = 3, outputs: int = 10) -> nn.Module:
    """A small network; `outputs` is what it is asked for, but for a picture, which has the channels of the input."""
    return catalog.build(name, **arguments(name, size_px, in_channels, outputs), **SMALL.get(name, {}))


def arguments(name: str, size_px: int | tuple[int, int], in_channels: int, outputs: int) -> dict[str, Any]:
    """What `catalog.build` is called with."""
    picture = NETWORKS[name].gives == "picture"
    return {"in_channels": in_channels, "outputs": in_channels if picture else outputs, "size_px": size_px}


def has_shape(name: str, answer: Tensor, x: Tensor, outputs: int) -> bool:
    """Whether an answer to some inputs is laid out as its task needs it."""
    gives, shape = NETWORKS[name].gives, tuple(answer.shape)
    if gives == "boxes":
        return shape[0] == len(x) and shape[1] > 0 and shape[2:] == (8 + outputs,) and answer.dtype == torch.float32
    size = tuple(x.shape[2:])
    return shape == {"numbers": (len(x), outputs), "pixels": (len(x), outputs, *size), "picture": tuple(x.shape)}[gives]


def error(name: str, network: nn.Module, x: Tensor, classes: int) -> Tensor:
    """A loss of what a network gives for any inputs, with some targets of its kind; its task's, or one much like it."""
    gives = NETWORKS[name].gives
    if gives == "boxes":
        return box_loss(network, x, boxes_in(x, classes))
    if gives == "picture":
        return F.mse_loss(network(x), x.flip(0))
    n, _, rows, columns = x.shape
    labels = torch.arange(n * rows * columns).view(n, rows, columns) // 5 % classes
    return F.cross_entropy(network(x), labels if gives == "pixels" else torch.arange(n) % classes)


def lesson(name: str, side: int = 32) -> tuple[Tensor, Callable[[nn.Module], Tensor], Judge]:
    """A few images to be learned by heart: the images, the loss, and what an answer must be like."""
    gives = NETWORKS[name].gives
    if gives == "numbers":
        x, labels = torch.randn(8, 3, side, side), torch.arange(8) % 4
        return x, lambda net: F.cross_entropy(net(x), labels), lambda y: bool((y.argmax(1) == labels).all())
    if gives == "pixels":  # a class for each quarter, so that a map of two cells a side can say it
        quarters = torch.stack([torch.arange(4).roll(turn) for turn in range(4)]).view(4, 2, 2)
        mask = quarters.repeat_interleave(32, 1).repeat_interleave(32, 2)
        x = torch.randn(4, 3, 64, 64)
        x[:, 0] += mask

        def settled(y: Tensor) -> bool:
            return float((y.argmax(1) == mask).float().mean()) > 0.9

        return x, lambda net: F.cross_entropy(net(x), mask), settled
    if gives == "picture":  # smooth pictures, which noise lies on
        clean = F.interpolate(torch.randn(8, 3, 4, 4), (side, side), mode="bilinear")
        x = clean + 0.5 * torch.randn_like(clean)
        return x, lambda net: F.mse_loss(net(x), clean), lambda y: float((y - clean).square().mean()) < 0.5 * 0.25
    x, targets = torch.randn(8, 3, side, side), boxes_in(torch.empty(8, 3, side, side), 4)

    def found(y: Tensor) -> bool:
        best = [one.boxes[:1] for one in decode(y.detach(), 0.05, 0.5)]
        pairs = zip(best, targets, strict=True)
        return all(len(box) and float(iou(box[0], target[0, 1:])) > 0.5 for box, target in pairs)

    return x, lambda net: box_loss(net, x, targets), found


def boxes_in(x: Tensor, classes: int) -> Tensor:
    """One object in every image, each in another place: (N, 1, 5)."""
    n, _, rows, columns = x.shape
    at = torch.arange(n) % 4
    left, top = at % 2 * columns / 2 + columns / 16, at // 2 * rows / 2 + rows / 16
    edges = torch.stack([left, top, left + 0.4 * columns, top + 0.4 * rows], 1)
    return torch.cat([(torch.arange(n) % classes)[:, None], edges], 1)[:, None].float()


def box_loss(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """A detector's loss; the first YOLO has its own."""
    if isinstance(network, YoloV1):
        return yolo_v1_loss(network.grid(x), targets, network.boxes, (x.shape[2], x.shape[3]))["total"]
    return detection_loss(network(x), targets)["total"]
