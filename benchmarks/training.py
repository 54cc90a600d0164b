"""One training step, three ways, in one interleaved run: the tutorial's loop, a careful hand-written loop, and ours.

    python benchmarks/training.py [--networks lenet,mobilenet,resnet,unet] [--rounds 5] [--compile]

    tutorial   eager, contiguous, float32, torch.optim.SGD as in the PyTorch tutorials
    by hand    what our engine chose (layout, precision, fused update, allocator), the same batches, preprocessing and
               augmentation, written out in fifteen lines
    ours       the engine, with its defaults

Every measurement is a process of its own; the three take turns, so that a slow minute hits all of them. Images, and
the masks that U-Net learns by cross-entropy, are random and already decoded. Printed: images a second (median of the
rounds) and the ratios of each round's pairs (median, lowest, highest). With --compile the step by hand and ours run
compiled, as with train.compile=true; compiling itself is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

WAYS = ("tutorial", "by hand", "ours")


@dataclass(frozen=True)
class Case:
    name: str
    channels: int
    size_px: int
    batch: int
    steps: int
    reference: str
    outputs: int = 10
    task: str = "classify"

    @property
    def masks(self) -> bool:
        return self.task == "segment"

    def build(self):
        """The network, the same for every way."""
        import torch

        from convlens.models import catalog

        torch.manual_seed(0)
        size = (self.size_px, self.size_px)
        return catalog.build(self.name, in_channels=self.channels, outputs=self.outputs, size_px=size)


CASES = {
    "lenet": Case("lenet5", 1, 28, 128, 60, "LeNet-5 28 px"),
    "mobilenet": Case("timm:mobilenetv3_small_100", 3, 160, 32, 6, "MobileNetV3-small 160 px"),
    "resnet": Case("timm:resnet18", 3, 224, 32, 2, "ResNet-18 224 px"),
    "unet": Case("unet", 3, 128, 16, 2, "U-Net 128 px, width 32, 2 classes", outputs=2, task="segment"),
}


def tutorial(case: Case, compiling: bool) -> float:
    """The loop as the tutorials write it; data is ready in memory as float32."""
    import torch
    from torch.nn.functional import cross_entropy

    network = case.build()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(case.batch, case.channels, case.size_px, case.size_px)
    shape = (case.batch, case.size_px, case.size_px) if case.masks else (case.batch,)
    targets = torch.randint(0, case.outputs, shape)
    network.train()
    start = 0.0
    for step in range(case.steps + 2):
        if step == 2:
            start = time.perf_counter()
        optimiser.zero_grad()
        loss = cross_entropy(network(images), targets)
        loss.backward()
        optimiser.step()
        loss.item()
    return case.steps * case.batch / (time.perf_counter() - start)


def prepared(case: Case, compiling: bool):
    """A model, its config, hardware and data, from random images through the ordinary path."""
    import numpy as np

    from convlens.config import Config
    from convlens.data.input import Wanted, make_preprocess
    from convlens.data.opening import open_all
    from convlens.data.prepare import prepare
    from convlens.model import Model
    from convlens.training.plan import make_plan

    rng = np.random.default_rng(0)
    n = case.batch * (case.steps + 2)
    images = rng.integers(0, 256, (n, case.size_px, case.size_px, case.channels), dtype=np.uint8)
    targets = (
        rng.integers(0, case.outputs, images.shape[:3], dtype=np.uint8)
        if case.masks
        else [str(i % case.outputs) for i in range(n)]
    )
    loss = {"train.loss": "cross_entropy"} if case.masks else {}
    config = Config.build(
        {
            "task": case.task,
            "data": {
                "channels": case.channels,
                "size_px": case.size_px,
                "store_px": case.size_px,
                "valid_fraction": 0.0,
                "test_fraction": 0.0,
            },
            "train": {
                "epochs": 1,
                "batch_size": case.batch,
                "optimiser": "sgd",
                "rate": 0.01,
                "weight_decay": 0.0,
                "compile": compiling,
            },
            "augment": {"preset": "none"},
        },
        loss,
        origin="benchmark",
    )
    source = open_all(config, (images, targets))
    data = prepare(config, source, make_preprocess(config, Wanted()))
    model = Model(case.build(), case.task)
    model.adopt(data)
    config, hardware = make_plan(model.network, config, data, from_scratch=True)
    return model, config, data, hardware


def ours(case: Case, compiling: bool) -> float:
    """The engine itself, timed from the end of its second step to the end of its last."""
    from convlens.training.callbacks import Callback
    from convlens.training.plan import make_engine

    class Clock(Callback):
        def on_batch_end(self, engine) -> None:
            if engine.state.step == 2:
                self.start = time.perf_counter()
            self.end = time.perf_counter()

    clock = Clock()
    model, config, data, hardware = prepared(case, compiling)
    make_engine(model.network, config, data, hardware, callbacks=[clock]).fit()
    return case.steps * case.batch / (clock.end - clock.start)


def by_hand(case: Case, compiling: bool) -> float:
    """The same settings without the engine."""
    import torch
    from torch.nn.functional import cross_entropy

    from convlens.training.hardware import keep_depthwise_float32
    from convlens.training.plan import make_engine

    model, config, data, hardware = prepared(case, compiling)
    engine = make_engine(model.network, config, data, hardware)
    network, present, batches = engine.network, engine.present, engine.train
    program = hardware.program(network)
    optimiser = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True, fused=True)
    network.train()
    options: dict[str, Any] = {"ignore_index": 255} if case.masks else {"label_smoothing": 0.05}
    losses, start = [], 0.0
    with keep_depthwise_float32(network, hardware):
        for step, batch in enumerate(batches.epoch(0)):
            if step == 2:
                start = time.perf_counter()
            x, y = present.changed(batch.images, batch.targets, batch.samples, 0)
            x = x.contiguous(memory_format=hardware.memory_format)
            optimiser.zero_grad(set_to_none=True)
            with hardware.autocast():
                loss = cross_entropy(program(x).float(), y.long(), **options)
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
    return case.steps * case.batch / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="lenet,mobilenet,resnet,unet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        way, name = arguments.only
        step = {"tutorial": tutorial, "by hand": by_hand, "ours": ours}[way]
        print(json.dumps(step(CASES[name], arguments.compile)))
        return
    for name in arguments.networks.split(","):
        speeds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:
                command = [sys.executable, __file__, "--only", way, name, *["--compile"] * arguments.compile]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                speeds[way].append(json.loads(output.splitlines()[-1]))
        print(f"{CASES[name].reference}, batch {CASES[name].batch}, {arguments.rounds} rounds")
        for way in WAYS:
            print(f"  {way:10} {statistics.median(speeds[way]):9.1f} images/s")
        for other in ("tutorial", "by hand"):
            ratios = [a / b for a, b in zip(speeds["ours"], speeds[other], strict=True)]
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(f"  ours / {other}: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
