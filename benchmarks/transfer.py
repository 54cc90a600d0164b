"""A frozen backbone: its features computed once, against three ways of running it; and what fine-tuning gains.

    python benchmarks/transfer.py [--rounds 3] [--epochs 10] [--images 600] [--size-px 48]
    python benchmarks/transfer.py --data FOLDER --network timm:NAME --weights FILE --size-px 128 [--set option=value]
    python benchmarks/transfer.py --data FOLDER ... --table

    once        `convlens.train` with a frozen backbone, the pass for its features included
    each epoch  the same with `cache_features = false`
    by hand     the loop of the tutorials: eager, contiguous, float32, Adam, `requires_grad = False` below the head
    fastai      `Learner.fine_tune`: one epoch of the head, then all layers with lower rates below; where fastai cannot
                be imported, its recipe written out in torch. Which of the two it was is printed

All start from the same weights with the same fresh head, see the same images unchanged, in batches of one size, for as
many epochs, each followed by validation. Every measurement is a process of its own and the ways take turns, so that a
slow minute hits all of them. Images are decoded before the clock starts; the tutorial's and fastai's lie in memory as
float32. Without `--data` the photographs are drawn, one shape in each, and the starting weights come from a short run
on other shapes. Printed: seconds of training with validation (median, lowest, highest), the ratios of each round to
`once`, and accuracy on the held-out images with its interval. With `--table`: from scratch, frozen, fine-tuned and
gradual, each with its seconds and the linear probe.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import convlens as cl
from convlens.config import Config
from convlens.data.input import learns_normalisation, make_preprocess
from convlens.data.opening import open_all
from convlens.data.prepare import prepare
from convlens.metrics.interval import wilson
from convlens.models.depth import in_head
from convlens.network import build_network
from convlens.request import by_leaf, parse_assignment
from convlens.run import Run

OURS: dict[str, dict[str, Any]] = {"once": {}, "each epoch": {"cache_features": False}}
WAYS = (*OURS, "by hand", "fastai")
FROZEN = {"freeze": "backbone", "preset": "none", "linear_probe": False}
RATE, DECAY = 2e-3, 0.01  # of fastai
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
NETWORK = "compact"
START_EPOCHS = 8
SHAPES = ("disc", "square", "cross", "bars", "ring", "wedge", "dots", "frame")


class Clock(cl.Callback):
    """Seconds from the first step to the end of the last validation."""

    def on_train_begin(self, engine: Any) -> None:
        self.started = time.perf_counter()

    def on_train_end(self, engine: Any) -> None:
        self.seconds = time.perf_counter() - self.started


def draw(shape: str, side: int, dice: np.random.Generator) -> np.ndarray:
    """Where one shape lies in a picture, at a place and of a size of its own, (side, side) bool."""
    y, x = np.mgrid[:side, :side] / side
    y, x = y - dice.uniform(0.3, 0.7), x - dice.uniform(0.3, 0.7)
    size, far = dice.uniform(0.12, 0.25), np.maximum(abs(x), abs(y))
    round_, within = np.hypot(x, y), far < size
    return {
        "disc": round_ < size,
        "square": within,
        "cross": within & ((abs(x) < size / 4) | (abs(y) < size / 4)),
        "bars": within & (np.sin(6 * np.pi * x / size) > 0),
        "ring": (round_ < size) & (round_ > 0.6 * size),
        "wedge": within & (x > y),
        "dots": within & (np.sin(5 * np.pi * x / size) * np.sin(5 * np.pi * y / size) > 0.3),
        "frame": within & (far > 0.65 * size),
    }[shape]


def photographs(classes: list[str], images: int, side: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Coloured, noisy pictures (N, side, side, 3) uint8 of one shape each, and what it is called."""
    dice, made, labels = np.random.default_rng(seed), [], []
    for number in range(images):
        label = classes[number % len(classes)]
        ground, ink = dice.uniform(0, 160, 3), dice.uniform(90, 255, 3)
        picture = np.where(draw(label, side, dice)[:, :, None], ink, ground) + dice.normal(0, 25, (side, side, 3))
        made.append(picture.clip(0, 255).astype(np.uint8))
        labels.append(label)
    return np.stack(made), labels


def options_of(asked: argparse.Namespace, folder: str, **options: Any) -> dict[str, Any]:
    """What a run is asked for; `--set` overrules the benchmark, and a way overrules both."""
    given = dict(parse_assignment(text) for text in asked.set)
    common = {
        "network": asked.network,
        "size_px": asked.size_px,
        "epochs": asked.epochs,
        "batch_size": asked.batch_size,
        "directory": folder,
    }
    return {**common, **{key.replace(".", "__"): value for key, value in given.items()}, **options}


def train(asked: argparse.Namespace, source: Any, folder: str, **options: Any) -> tuple[Run, float]:
    """One run and the seconds its training took, the pass for its features included."""
    clock = Clock()
    run = cl.train(source, callbacks=[clock], **options_of(asked, folder, **options))
    passes = [event["seconds"] for event in run.events if event["kind"] == "features"]
    return run, clock.seconds + sum(passes)


def score(value: dict[str, Any]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


# The other ways -------------------------------------------------------------------------------------------------------


@dataclass
class Shared:
    """What every way starts from, and the part that scores it."""

    network: nn.Module
    train: TensorDataset
    valid: TensorDataset
    test: TensorDataset
    part: str
    device: torch.device


def share(asked: argparse.Namespace, source: Any, folder: str) -> Shared:
    """The network and the images of `once`, by the same path, as float32 in memory."""
    torch.manual_seed(0)
    named = isinstance(source, str)
    options = by_leaf(options_of(asked, folder, weights=asked.weights, **FROZEN))
    config = Config.build(options, {"data.source": source} if named else {}, origin="benchmark")
    opened = open_all(config, None if named else source)
    config, model, wanted = build_network(config, opened)
    learn = learns_normalisation(config, wanted)
    prepared = prepare(config, opened, make_preprocess(config, wanted), learn_normalisation=learn)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def part(rows: np.ndarray) -> TensorDataset:
        x = prepared.preprocess.tensor(torch.from_numpy(prepared.store.images[rows])).contiguous()
        return TensorDataset(x, torch.from_numpy(prepared.targets[rows]))

    split = prepared.split
    scored = "test" if len(split.test) else "valid"
    seen, held_out, last = (part(rows) for rows in (split.train, split.valid, getattr(split, scored)))
    return Shared(model.network.to(device), seen, held_out, last, scored, device)


def by_hand(asked: argparse.Namespace, shared: Shared) -> tuple[float, str]:
    """The loop of the tutorials, batch norms in training mode as they leave them."""
    network, heads = shared.network, in_head(shared.network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad = name in heads
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    batches, held_out = DataLoader(shared.train, asked.batch_size, shuffle=True), DataLoader(shared.valid, 64)
    start = time.perf_counter()
    for _ in range(asked.epochs):
        network.train()
        for x, y in batches:
            optimiser.zero_grad()
            loss = cross_entropy(network(x.to(shared.device)), y.to(shared.device))
            loss.backward()
            optimiser.step()
            loss.item()
        right(network, held_out, shared.device)
    return time.perf_counter() - start, "torch"


def fastai(asked: argparse.Namespace, shared: Shared) -> tuple[float, str]:
    """Fastai itself where it can be imported, else its recipe."""
    try:
        import fastai
        from fastai.vision.all import CrossEntropyLossFlat, DataLoaders, Learner, accuracy
    except Exception as error:  # whatever a library for another torch stumbles over
        return written_out(asked, shared), f"its recipe written out in torch ({error!r})"
    heads = in_head(shared.network)

    def parts(network: nn.Module) -> list[list[nn.Parameter]]:
        return [[p for name, p in network.named_parameters() if (name in heads) == high] for high in (False, True)]

    loaders = DataLoaders.from_dsets(
        shared.train, shared.valid, bs=asked.batch_size, num_workers=0, device=shared.device
    )
    learner = Learner(loaders, shared.network, CrossEntropyLossFlat(), splitter=parts, metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        start = time.perf_counter()
        learner.fine_tune(asked.epochs - 1, RATE)
        return time.perf_counter() - start, f"fastai {fastai.__version__}"


def written_out(asked: argparse.Namespace, shared: Shared) -> float:
    """What `Learner.fine_tune` does: AdamW, two cycles, norms always trained, no decay on norms and biases."""
    network, heads = shared.network, in_head(shared.network)
    norms = {id(p) for module in network.modules() if isinstance(module, NORMS) for p in module.parameters()}
    batches, held_out = DataLoader(shared.train, asked.batch_size, shuffle=True), DataLoader(shared.valid, 64)
    start = time.perf_counter()
    for epochs, low, high, rise, div, frozen in (
        (1, RATE / 10, RATE, 0.99, 25.0, True),
        (asked.epochs - 1, RATE / 200, RATE / 2, 0.3, 5.0, False),
    ):
        groups, rates = [], []
        for of_head in (False, True):
            part = [p for name, p in network.named_parameters() if (name in heads) == of_head]
            for parameter in part:
                parameter.requires_grad = of_head or not frozen or id(parameter) in norms
            for plain in (False, True):
                kept = [p for p in part if (p.ndim == 1) == plain]
                groups.append({"params": kept, "weight_decay": 0.0 if plain else DECAY})
                rates.append(high if of_head else low)
        optimiser = torch.optim.AdamW(groups, high, (0.95, 0.99), 1e-5)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            rates,
            total_steps=epochs * len(batches),
            pct_start=rise,
            div_factor=div,
            final_div_factor=1e5 / div,
            base_momentum=0.85,
            max_momentum=0.95,
        )
        for _ in range(epochs):
            network.train()
            for x, y in batches:
                optimiser.zero_grad()
                cross_entropy(network(x.to(shared.device)), y.to(shared.device)).backward()
                optimiser.step()
                cycle.step()
            right(network, held_out, shared.device)
    return time.perf_counter() - start


@torch.no_grad()
def right(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> int:
    """How many images get their class."""
    network.eval()
    return sum(int((network(x.to(device)).argmax(1) == y.to(device)).sum()) for x, y in batches)


# The comparison -------------------------------------------------------------------------------------------------------


def measure(way: str, asked: argparse.Namespace, source: Any, folder: str) -> dict[str, Any]:
    """One way once: its seconds, its accuracy, and what it was done with."""
    if way in OURS:
        run, seconds = train(asked, source, folder, weights=asked.weights, **FROZEN, **OURS[way])
        part = run.evaluation["headline"]["part"]
        found = run.evaluation[part]["accuracy"]
        return {"seconds": seconds, "part": part, "accuracy": found, "with": f"convlens {cl.__version__}"}
    shared = share(asked, source, folder)
    seconds, told = {"by hand": by_hand, "fastai": fastai}[way](asked, shared)
    found = wilson(right(shared.network, DataLoader(shared.test, 64), shared.device), len(shared.test)).to_json()
    return {"seconds": seconds, "part": shared.part, "accuracy": found, "with": told}


def compare(asked: argparse.Namespace, weights: str) -> None:
    """All ways in turn."""
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(asked.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--weights", weights, "--only", way]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            rows[way].append(json.loads(output.splitlines()[-1]))
    base = [row["seconds"] for row in rows["once"]]
    for way, found in rows.items():
        seconds, last = [row["seconds"] for row in found], found[-1]
        line = f"  {way:10} {statistics.median(seconds):8.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
        ratios = [slow / fast for slow, fast in zip(seconds, base, strict=True)]
        line += f"  {statistics.median(ratios):6.2f} times once ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{line}  {last['part']} accuracy {score(last['accuracy'])} n {last['accuracy']['n']}  {last['with']}")
    print(f"  rounds: {asked.rounds}; accuracies are those of the last")


def table(asked: argparse.Namespace, source: Any, weights: str, folder: str) -> None:
    """What each way of using the weights reaches."""
    ways: dict[str, dict[str, Any]] = {
        "from scratch": {"weights": None},
        "frozen": {"freeze": "backbone"},
        "fine-tuned": {},
        "gradual": {"finetune": "gradual"},
    }
    for way, options in ways.items():
        run, took = train(asked, source, folder, **{"weights": weights, **options})
        headline = run.evaluation["headline"]
        probe = f"linear probe {score(headline['linear_probe'])}" if "linear_probe" in headline else ""
        print(f"  {way:13} {score(headline['value'])}  n {headline['value']['n']}  {took:7.1f} s  {probe}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder per class, instead of drawn photographs")
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--weights", help="starting weights; needed with --data")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size-px", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.data and not asked.weights:
        parser.error("--data needs --weights")
    if asked.epochs < 2:
        parser.error("--epochs must be at least 2: fastai's recipe has two phases")
    if any(text.startswith(("train.epochs", "train.batch_size", "data.size_px")) for text in asked.set):
        parser.error("epochs, batch size and size are those of every way: --epochs, --batch-size, --size-px")
    with tempfile.TemporaryDirectory() as folder:
        source = asked.data or photographs(list(SHAPES[4:]), asked.images, asked.size_px, seed=2)
        if asked.only:
            print(json.dumps(measure(asked.only, asked, source, folder)))
            return
        weights = asked.weights
        if not weights:
            other = photographs(list(SHAPES[:4]), asked.images, asked.size_px, seed=1)
            first, _ = train(asked, other, folder, epochs=START_EPOCHS)
            weights = str(Path(first.model_path))
        print(f"{asked.network} at {asked.size_px} px, {asked.epochs} epochs, batches of {asked.batch_size}")
        if asked.table:
            table(asked, source, weights, folder)
        else:
            compare(asked, weights)


if __name__ == "__main__":
    main()
