"""A small network on small pictures: enough to see whether training is right, quick enough to do it often."""

from __future__ import annotations

import signal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens.config import Config
from convlens.data.input import Wanted, choose_input, make_preprocess
from convlens.data.opening import open_all
from convlens.data.prepare import Prepared, prepare
from convlens.request import by_leaf
from convlens.training.callbacks import Callback
from convlens.training.engine import Engine
from convlens.training.hardware import Hardware
from convlens.training.plan import make_engine, make_plan

CPU = Hardware(threads=1)
QUICK = {"epochs": 3, "batch_size": 16, "layout": "contiguous", "precision": "float32", "device": "cpu", "threads": 1}


class StopAt(Callback):
    """Send this process a signal after some batches, as a user or a scheduler would."""

    def __init__(self, batches: int, number: int = signal.SIGTERM) -> None:
        self.left, self.number = batches, number

    def on_batch_end(self, engine: Engine) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)


@cache
def pictures(n: int = 120, size_px: int = 10) -> tuple[np.ndarray, tuple[str, ...]]:
    """Noise with a bright half: left, right or top; every picture differs."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (n, size_px, size_px, 1), dtype=np.uint8)
    labels = [("left", "right", "top")[i % 3] for i in range(n)]
    half = size_px // 2
    for image, label in zip(images, labels, strict=True):
        where = {"left": np.s_[:, :half], "right": np.s_[:, half:], "top": np.s_[:half]}[label]
        image[where] += 120
    return images, tuple(labels)


def network(dropout: float = 0.2) -> nn.Module:
    """Convolution, norm, dropout, dense: everything that has a state or a random draw."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64, 3),
    )


def prepared(folder: Path, **options: Any) -> tuple[Config, Prepared]:
    """The config and the data of a small run."""
    config = Config.build(by_leaf({**QUICK, "directory": str(folder), **options}))
    images, labels = pictures()
    source = open_all(config, (images, labels))
    config = choose_input(config, source, Wanted())
    return config, prepare(config, source, make_preprocess(config, Wanted()))


def engine(folder: Path, net: nn.Module | None = None, **options: Any) -> Engine:
    """An engine on the small data; keyword arguments of `make_engine` are passed on."""
    passed = {k: options.pop(k) for k in ("callbacks", "checkpoints", "history", "events") if k in options}
    config, data = prepared(folder, **options)
    net = network() if net is None else net
    config, hardware = make_plan(net, config, data, from_scratch=True)
    return make_engine(net, config, data, hardware, **passed)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks are equal bit for bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
