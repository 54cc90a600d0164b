"""Our detector against torchvision's: the same backbone weights, images, split and minutes of training.

    python benchmarks/detection.py --data FOLDER --weights FILE [--size-px 416] [--epochs 30] [--set option=value]
                                   [--peers ssdlite,retinanet]

    convlens     `convlens.train` with `yolo` on a MobileNetV2 of timm
    ssdlite      torchvision's SSD with its separable heads on the same MobileNetV2, as its ssdlite320 is built
    retinanet    torchvision's RetinaNet with a pyramid of 96 channels on the same MobileNetV2

Ours is trained first. The others get as many seconds as that took, validation included, and use all of them for
training: mini-batches of 8, AdamW with a peak rate of 1e-3, a warm-up over a tenth of the time and a cosine to zero at
its end. Images are decoded beforehand, by the same path, and normalised alike; the others are augmented as in
torchvision's own recipes: mirrored, for ssdlite also cropped so that a chosen overlap is kept, and brought to one size.
All are judged by the same metric, which equals that of pycocotools, on the same test images.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.transforms import v2

import convlens as cl
from convlens.config import Config
from convlens.data.box_targets import true_boxes
from convlens.data.opening import open_all
from convlens.data.prepare import Prepared, prepare
from convlens.metrics.detection import detection_report
from convlens.models.backbone import encoder
from convlens.models.weights import load_weights
from convlens.request import parse_assignment
from convlens.run import Run

BACKBONE, OPTIONS = "mobilenetv2_100", {"pad_type": "same"}
BATCH, RATE, DECAY, WARM_UP = 8, 1e-3, 0.02, 0.1
PYRAMID = 96
UNCHANGED = {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}  # they are normalised already


class Clock(cl.Callback):
    """Seconds from the first step to the end of the last validation."""

    def on_train_begin(self, engine: Any) -> None:
        self.started = time.perf_counter()

    def on_train_end(self, engine: Any) -> None:
        self.seconds = time.perf_counter() - self.started


class Maps(nn.Module):
    """The maps of the trained backbone by number, from fine to coarse."""

    def __init__(self, weights: str, size_px: int, reductions: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder(BACKBONE, 3, size_px=size_px, **OPTIONS)
        loaded = load_weights(self.encoder, weights)
        if loaded.missing:
            raise SystemExit(f"{weights} is not of {BACKBONE}: {', '.join(loaded.missing[:3])} is not in it.")
        self.used = [self.encoder.reductions.index(reduction) for reduction in reductions]
        self.channels = [self.encoder.channels[number] for number in self.used]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.encoder(x)
        return OrderedDict((str(number), maps[at]) for number, at in enumerate(self.used))


class WithExtras(nn.Module):
    """Two maps of the backbone and four more, each half as large as the one before, as ssdlite has them."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self.maps, before = maps, maps.channels[-1]
        layer = partial(Conv2dNormActivation, activation_layer=nn.ReLU6)
        self.extra = nn.ModuleList()
        for wide in (512, 256, 256, 128):
            half = wide // 2
            narrow, step = layer(before, half, 1), layer(half, half, 3, stride=2, groups=half)
            self.extra.append(nn.Sequential(narrow, step, layer(half, wide, 1)))
            before = wide
        self.channels = [*maps.channels, 512, 256, 256, 128]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.maps(x)
        for layer in self.extra:
            maps[str(len(maps))] = layer(next(reversed(maps.values())))
        return maps


class WithPyramid(nn.Module):
    """Maps of strides 8 to 128 with the same number of channels."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self.maps, self.out_channels = maps, PYRAMID
        self.pyramid = FeaturePyramidNetwork(maps.channels, PYRAMID, extra_blocks=LastLevelP6P7(PYRAMID, PYRAMID))

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return self.pyramid(self.maps(x))


def ssdlite(weights: str, size_px: int, classes: int) -> nn.Module:
    features = WithExtras(Maps(weights, size_px, (16, 32)))
    boxes = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead(features.channels, boxes.num_anchors_per_location(), classes, nn.BatchNorm2d)
    kept = {"score_thresh": 0.001, "nms_thresh": 0.55, "detections_per_img": 100, "topk_candidates": 300}
    return SSD(features, boxes, (size_px, size_px), classes, head=head, **kept, **UNCHANGED)


def retinanet(weights: str, size_px: int, classes: int) -> nn.Module:
    features = WithPyramid(Maps(weights, size_px, (8, 16, 32)))
    kept = {"score_thresh": 0.01, "detections_per_img": 100}
    return RetinaNet(features, classes, min_size=size_px, max_size=size_px, **kept, **UNCHANGED)


PEERS: dict[str, Callable[[str, int, int], nn.Module]] = {"ssdlite": ssdlite, "retinanet": retinanet}


# data and training of the others --------------------------------------------------------------------------------------


def batches(data: Prepared, crops: bool) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Training images without end, augmented; class 0 is torchvision's background."""
    side, dice = data.preprocess.size_px, np.random.default_rng(0)
    changes = [v2.RandomHorizontalFlip(), v2.Resize(side), v2.SanitizeBoundingBoxes(min_size=1)]
    change = v2.Compose([v2.RandomIoUCrop(), *changes] if crops else changes)
    while True:
        order = dice.permutation(data.split.train)
        for start in range(0, len(order) - BATCH + 1, BATCH):
            images, found = [], []
            for row in order[start : start + BATCH]:
                true = true_boxes(data.targets[row], len(data.classes))
                picture = tv_tensors.Image(torch.from_numpy(data.store.images[row]).permute(2, 0, 1))
                boxes = tv_tensors.BoundingBoxes(true.boxes[~true.ignore], format="XYXY", canvas_size=side)  # type: ignore[call-overload]
                labels = torch.from_numpy(true.labels[~true.ignore]) + 1
                picture, target = change(picture, {"boxes": boxes, "labels": labels})
                images.append(data.preprocess.tensor(picture.permute(1, 2, 0)[None])[0])
                found.append({"boxes": target["boxes"].as_subclass(Tensor).float(), "labels": target["labels"]})
            yield images, found


def train(network: nn.Module, data: Prepared, seconds: float, crops: bool) -> int:
    """Train for some seconds; returns how many images were seen."""
    plain = [p for p in network.parameters() if p.ndim == 1]
    others = [p for p in network.parameters() if p.ndim > 1]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": others, "weight_decay": DECAY}]
    optimiser, seen = torch.optim.AdamW(groups, RATE), 0
    network.train()
    started = time.perf_counter()
    for images, targets in batches(data, crops):
        gone = (time.perf_counter() - started) / seconds
        if gone >= 1:
            return seen
        share = gone / WARM_UP if gone < WARM_UP else (1 + math.cos(math.pi * (gone - WARM_UP) / (1 - WARM_UP))) / 2
        for group in optimiser.param_groups:
            group["lr"] = RATE * max(share, 1e-3)
        optimiser.zero_grad()
        torch.stack(list(network(images, targets).values())).sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        seen += len(images)
    return seen


@torch.inference_mode()
def detect(network: nn.Module, data: Prepared, rows: np.ndarray) -> np.ndarray:
    """The best detections of each image, (N, 100, 6), as `Detect` keeps them."""
    network.eval()
    kept = np.full((len(rows), 100, 6), -1.0)
    for number, row in enumerate(rows):
        image = data.preprocess.tensor(torch.from_numpy(data.store.images[row][None]))
        (found,) = network(list(image))
        columns = [found["boxes"].numpy(), found["scores"].numpy()[:, None], found["labels"].numpy()[:, None] - 1]
        answers = np.concatenate(columns, 1)
        kept[number, : len(answers)] = answers[:100]
    return kept


# the comparison -------------------------------------------------------------------------------------------------------


def ours(asked: argparse.Namespace, folder: str) -> tuple[Run, Prepared, float]:
    given = {key.replace(".", "__"): value for key, value in map(parse_assignment, asked.set)}
    options = {"backbone": f"timm:{BACKBONE}", "backbone_options": OPTIONS}
    clock = Clock()
    run = cl.train(
        asked.data,
        task="detect",
        network="yolo",
        network__options=options,
        weights=asked.weights,
        size_px=asked.size_px,
        epochs=asked.epochs,
        directory=folder,
        callbacks=[clock],
        **given,
    )
    config = Config.from_json(run.read("run")["config"])
    data = prepare(config, open_all(config), run.model.preprocess, classes=run.model.classes, learn_normalisation=False)
    return run, data, clock.seconds


def told(name: str, report: dict[str, Any], seconds: float, seen: int) -> str:
    score, strict = report["map50"], report["map"]
    line = f"  {name:10} mAP@0.5 {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
    line += f"  mAP {strict['value']:.3f}  n {report['n']}  {seconds:.0f} s  {seen:,} images seen"
    return line + "".join(f"  {found['name']} {found['ap50']['value']:.3f}" for found in report["per_class"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of images with boxes")
    parser.add_argument("--weights", required=True, help=f"of timm's {BACKBONE}")
    parser.add_argument("--size-px", type=int, default=416)
    parser.add_argument("--epochs", type=int, default=30, help="of ours; the others get the time it took")
    parser.add_argument("--peers", default="ssdlite,retinanet")
    parser.add_argument("--seconds", type=float, help="for the others, without training ours for long: use --epochs 1")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, data, seconds = ours(asked, folder)
        rows = data.split.test
        print(told("convlens", run.evaluation["test"], seconds, len(data.split.train) * len(run.history)), flush=True)
        for name in filter(None, asked.peers.split(",")):
            torch.manual_seed(0)
            network = PEERS[name](asked.weights, asked.size_px, len(data.classes) + 1)
            seen = train(network, data, asked.seconds or seconds, crops=name == "ssdlite")
            tally = run.model.asks.tally(detect(network, data, rows), data.targets[rows], data.preprocess.size_px)
            report = detection_report(tally, data.classes.names, threshold=0.5)
            print(told(name, report, asked.seconds or seconds, seen), flush=True)


if __name__ == "__main__":
    main()
