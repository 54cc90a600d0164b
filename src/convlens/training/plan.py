"""From a config with open ends to an engine ready to start: every choice made here is measured or reasoned, and said.

`make_plan` decides (mirror images, augmentation, training options, arithmetic); `make_engine` only builds what was
decided, so that a resumed run skips the deciding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convlens.config import Config
from convlens.data.augment import Augment, resolve
from convlens.data.batch import Batches
from convlens.data.prepare import Prepared
from convlens.data.symmetry import mirror_test
from convlens.tasks.classify import Classify
from convlens.training.callbacks import Callback
from convlens.training.checkpoint import Checkpoints
from convlens.training.defaults import Facts, complete
from convlens.training.engine import Engine
from convlens.training.hardware import Hardware, choose, tune_allocator
from convlens.training.history import Events, History

SMALL_PX = 64
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def make_plan(network: nn.Module, config: Config, prepared: Prepared, *, from_scratch: bool) -> tuple[Config, Hardware]:
    """Decide every open option, each with its reason; the network is timed but not changed."""
    size = prepared.preprocess.size_px[0]
    config = _choose_augmentation(config, prepared)
    normalised = any(isinstance(module, NORMS) for module in network.modules())
    facts = Facts(len(prepared.split.train), size, from_scratch, normalised)
    config = complete(config, facts)
    task = make_task(config, prepared)
    rows = np.sort(prepared.split.train)[: int(config.train.batch_size)]
    x = prepared.preprocess.tensor(torch.from_numpy(np.ascontiguousarray(prepared.store.images[rows])))
    targets = torch.from_numpy(prepared.targets[rows])

    def loss(outputs: Tensor) -> Tensor:
        return task.loss(outputs.float(), targets[: len(outputs)].to(outputs.device))

    hardware = choose(network, loss, x, config.train)
    for option in ("device", "layout", "precision", "threads"):
        if config[f"train.{option}"] == "auto":
            config = config.choose(f"train.{option}", getattr(hardware, option), hardware.reason)
    return config, hardware


def make_engine(
    network: nn.Module,
    config: Config,
    prepared: Prepared,
    hardware: Hardware,
    *,
    callbacks: Sequence[Callback] = (),
    history: History | None = None,
    events: Events | None = None,
    checkpoints: Checkpoints | None = None,
    save_model: Callable[[Path], object] = lambda path: None,
) -> Engine:
    """The engine for a config in which nothing is open any more."""
    torch.set_num_threads(hardware.threads)
    tune_allocator()
    store, split, size = prepared.store, prepared.split, int(config.train.batch_size)

    def batches(rows: np.ndarray, batch_size: int, *, shuffle: bool) -> Batches:
        return Batches(store.images, prepared.targets, rows, batch_size=batch_size, seed=config.seed, shuffle=shuffle)

    return Engine(
        network=network,
        task=make_task(config, prepared),
        settings=config.train,
        hardware=hardware,
        preprocess=prepared.preprocess,
        augment=Augment(config.augment, prepared.preprocess, seed=config.seed, classes=len(prepared.classes)),
        train=batches(split.train, size, shuffle=True),
        valid=batches(split.valid, 2 * size, shuffle=False) if len(split.valid) else None,
        seed=config.seed,
        callbacks=callbacks,
        history=History() if history is None else history,
        events=Events() if events is None else events,
        checkpoints=checkpoints,
        save_model=save_model,
        name_of=lambda row: store.records[row].id,
    )


def make_task(config: Config, prepared: Prepared) -> Classify:
    """The task with its loss settings."""
    weights = None
    if config.train.class_weights == "balanced":
        counts = np.array(list(prepared.counts("train").values()))
        weights = torch.tensor(counts.sum() / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
    return Classify(prepared.classes.names, {}, float(config.train.label_smoothing), weights)


def _choose_augmentation(config: Config, prepared: Prepared) -> Config:
    preset, reason = str(config.augment.preset), "as asked"
    if preset == "auto":
        mirror = mirror_test(prepared.store.images, prepared.targets, prepared.split.train)
        size = prepared.preprocess.size_px[0]
        flips = not mirror.misleads if size > SMALL_PX else mirror.gain > 0  # photographs seldom have a handedness
        preset = "photos" if size > SMALL_PX else "objects" if flips else "digits"
        reason = f"inputs of {size} px; {mirror}"
        config = config.choose("augment.preset", preset, reason)
        if config.augment.flip == "auto" and not flips:
            config = config.choose("augment.flip", "none", str(mirror))
    for option, value in resolve(config.augment, preset).model_dump().items():
        if config[f"augment.{option}"] == "auto":
            config = config.choose(f"augment.{option}", value, f"preset {preset}")
    return config
