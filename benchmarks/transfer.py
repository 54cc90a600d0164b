"""A frozen backbone: its features computed once, against the backbone run in every epoch; and what fine-tuning gains.

    python benchmarks/transfer.py [--rounds 3] [--epochs 10] [--images 600] [--size-px 48]
    python benchmarks/transfer.py --data FOLDER --network timm:NAME --weights FILE --size-px 128 [--set option=value]
    python benchmarks/transfer.py --data FOLDER ... --table

Without `--data` the photographs are drawn, one shape in each, and the starting weights come from a short run on other
shapes. The two ways take turns, so that a slow minute hits both. Printed: seconds of training with validation, and of
the one pass before it; the ratio of each round; and both accuracies with intervals. With `--table`: from scratch,
frozen, fine-tuned and gradual, each with its seconds and the linear probe.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import convlens as cl
from convlens.config import parse_assignment
from convlens.run import Run

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


def train(asked: argparse.Namespace, source: Any, folder: str, **options: Any) -> tuple[Run, float]:
    """One run and the seconds its training took, the pass for its features included."""
    clock = Clock()
    given = dict(parse_assignment(text) for text in asked.set)
    given = {key.replace(".", "__"): value for key, value in given.items()}
    common = {"network": asked.network, "size_px": asked.size_px, "epochs": asked.epochs, "directory": folder}
    run = cl.train(source, callbacks=[clock], **{**common, **given, **options})
    passes = [event["seconds"] for event in run.events if event["kind"] == "features"]
    return run, clock.seconds + sum(passes)


def score(value: dict[str, Any]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def compare(asked: argparse.Namespace, source: Any, weights: str, folder: str) -> None:
    """The same training with and without the backbone in each epoch."""
    ways = {"once": {}, "each epoch": {"cache_features": False}}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    said: dict[str, str] = {}
    for _ in range(asked.rounds):
        for way, options in ways.items():
            settings = {"freeze": "backbone", "preset": "none", "linear_probe": False, **options}
            run, took = train(asked, source, folder, weights=weights, **settings)
            seconds[way].append(took)
            said[way] = f"{run.evaluation['headline']['part']} accuracy {score(run.evaluation['headline']['value'])}"
    for way in ways:
        print(f"  backbone run {way:11} {statistics.median(seconds[way]):8.2f} s   {said[way]}")
    ratios = [slow / fast for slow, fast in zip(seconds["each epoch"], seconds["once"], strict=True)]
    print(f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {asked.rounds} rounds")


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.data and not asked.weights:
        parser.error("--data needs --weights")
    with tempfile.TemporaryDirectory() as folder:
        source, weights = asked.data, asked.weights
        if not source:
            other = photographs(list(SHAPES[:4]), asked.images, asked.size_px, seed=1)
            first, _ = train(asked, other, folder, epochs=START_EPOCHS)
            weights = str(Path(first.model_path))
            source = photographs(list(SHAPES[4:]), asked.images, asked.size_px, seed=2)
        print(f"{asked.network} at {asked.size_px} px, {asked.epochs} epochs")
        (table if asked.table else compare)(asked, source, weights, folder)


if __name__ == "__main__":
    main()
