"""From a config with open ends to an engine ready to start: every choice made here is measured or reasoned, and said.

`make_plan` decides (mirror images, augmentation, training options, arithmetic); `make_engine` only builds what was
decided, so that a resumed run skips the deciding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.config import Config
from convlens.data.augment import Augment, changing, resolve
from convlens.data.batch import Batches
from convlens.data.noise import Noise
from convlens.data.prepare import Prepared
from convlens.data.present import Present, make_present
from convlens.data.symmetry import mirror_test
from convlens.errors import ConfigError
from convlens.models.walk import require_tensor
from convlens.options import Kind
from convlens.tasks.catalog import make
from convlens.tasks.task import Task
from convlens.training.callbacks import Callback
from convlens.training.checkpoint import Checkpoints
from convlens.training.defaults import Facts, complete
from convlens.training.engine import Engine
from convlens.training.features import FeatureBatches, compute_features, hindrance
from convlens.training.hardware import Hardware, choose, tune_allocator
from convlens.training.history import Events, History
from convlens.training.transfer import Transfer, idle_dropout, make_transfer, trains_head_alone

Progress = Callable[[int, int], None]
SMALL_PX = 64
PRESET_OF: dict[Kind, tuple[str, str]] = {
    "mask": ("scans", "masks follow; where up and down differ, say augment.flip=horizontal, augment.turn=false"),
    "picture": ("none", "the pictures are to be given back as they are"),
    "pair": ("objects", "noisy and clean pictures are moved alike"),
    "boxes": ("boxes", "boxes follow; where left and right differ, say augment.flip=none"),
}
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def make_plan(
    network: nn.Module, config: Config, prepared: Prepared, *, from_scratch: bool, progress: Progress | None = None
) -> tuple[Config, Hardware]:
    """Decide every open option, each with its reason; the network is timed but not changed.

    Args:
        progress: called with (pictures done, pictures in all) before and after a step is compiled to be timed.

    Raises:
        ConfigError: an option does not fit the others or the network, such as a batch of one image.
        ShapeError: in training the network gives no one tensor.
    """
    size = prepared.preprocess.size_px[0]
    head_alone = trains_head_alone(config)
    config = _choose_augmentation(config, prepared, head_alone)
    normalised = any(isinstance(module, NORMS) for module in network.modules())
    facts = Facts(len(prepared.split.train), size, from_scratch, normalised, head_alone)
    config = complete(config, facts)
    task = make_task(config, prepared)
    rows = np.sort(prepared.split.train)[: _largest_batch(config, prepared)]
    images = torch.from_numpy(np.ascontiguousarray(prepared.store.images[rows]))
    x, targets = present_of(config, prepared).changed(images, torch.from_numpy(prepared.targets[rows]), rows, 0)

    def loss(outputs: Tensor) -> Tensor:
        return task.loss(outputs.float(), targets[: len(outputs)].to(outputs.device))

    transfer = _transfer(network, config, prepared)
    trial = copy.deepcopy(network)
    transfer.begin(trial, int(config.train.epochs))
    config = _choose_features(config, hindrance(trial, transfer, config.augment, x))
    _require_training(trial, x[:2], config)
    config = _settle_compiling(config)
    tell = progress if progress and config.train.compile else lambda done, total: None
    tell(0, len(x))
    hardware = choose(trial, loss, x, config.train)
    tell(len(x), len(x))
    for option in ("device", "layout", "precision", "threads", "compile"):
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
    progress: Progress | None = None,
) -> Engine:
    """The engine for a config in which nothing is open any more.

    Args:
        progress: called with (pictures done, pictures in all) where the features of a frozen backbone are computed.
    """
    torch.set_num_threads(hardware.threads)
    tune_allocator()
    store, split, size = prepared.store, prepared.split, int(config.train.batch_size)
    events = Events() if events is None else events
    transfer, features = _transfer(network, config, prepared), None
    if transfer.only_head and (idle := idle_dropout(network)):
        events.add("layers", f"Only the head is trained, so dropout below it is off: {', '.join(idle)}.")
    if config.train.cache_features is True:
        features = compute_features(network, config, prepared, hardware, progress)
        events.add("features", f"{features}; the head is trained on them.", seconds=round(features.seconds, 3))

    if hardware.compile:
        events.add(
            "compiling", "The first step of each size of batch is built first: about a minute, less the next time."
        )

    def batches(rows: np.ndarray, batch_size: int, *, shuffle: bool) -> Batches:
        settings = {"batch_size": batch_size, "seed": config.seed, "shuffle": shuffle}
        if features is None:
            return Batches(store.images, prepared.targets, rows, **settings)
        views = features.views if shuffle else [features.plain]
        return FeatureBatches(views, prepared.targets, rows, **settings)

    return Engine(
        network=network if features is None else features.head,
        task=make_task(config, prepared),
        settings=config.train,
        hardware=hardware,
        present=features or present_of(config, prepared),
        train=batches(split.train, size, shuffle=True),
        valid=batches(split.valid, 2 * size, shuffle=False) if len(split.valid) else None,
        transfer=transfer if features is None else None,
        seed=config.seed,
        callbacks=callbacks,
        history=History() if history is None else history,
        events=events,
        checkpoints=checkpoints,
        save_model=save_model,
        name_of=lambda row: store.records[row].id,
    )


def make_task(config: Config, prepared: Prepared) -> Task:
    """The task with its loss settings."""
    settings: dict[str, Any] = {}
    if config.task == "classify":
        settings["label_smoothing"] = float(config.train.label_smoothing)
    elif config.train.loss != "auto":  # it is auto where nothing is trained
        settings["loss_name"] = config.train.loss
    if config.train.class_weights == "balanced":
        counts = prepared.learned.get("train_counts")
        if counts is None:
            raise ConfigError("train.class_weights=balanced is for the tasks classify and segment. Leave it out.")
        weights = sum(counts) / (len(counts) * np.maximum(counts, 1))
        settings["class_weights"] = torch.tensor(weights, dtype=torch.float32)
    return make(config.task, prepared.classes.names, {"data": prepared.learned}, **settings)


def present_of(config: Config, prepared: Prepared) -> Present:
    """How a run's batches are put before its network."""
    augment = Augment(config.augment, prepared.preprocess, seed=config.seed, classes=len(prepared.classes))
    noise = Noise.parse(config.data.corruption) if "noise" in prepared.told else None
    epochs = 0 if config.train.epochs == "auto" else int(config.train.epochs)
    kind = prepared.answers.kind
    return make_present(kind, prepared.preprocess, augment, noise=noise, seed=config.seed, epochs=epochs)


def _transfer(network: nn.Module, config: Config, prepared: Prepared) -> Transfer:
    shape = (1, prepared.preprocess.policy.channels, *prepared.preprocess.size_px)
    return make_transfer(network, shape, config)


def _largest_batch(config: Config, prepared: Prepared) -> int:
    size, rows = int(config.train.batch_size), prepared.split.train
    return Batches(prepared.store.images, prepared.targets, rows, batch_size=size, seed=0, shuffle=True).largest


def _require_training(network: nn.Module, x: Tensor, config: Config) -> None:
    """Refuse a network that answers otherwise in training, and batches of one image that its norms cannot bear."""
    device = next(network.parameters()).device
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            output = copy.deepcopy(network).train()(x.to(device))
    except (ValueError, RuntimeError) as error:
        if "more than 1 value per channel" not in str(error):
            return  # training tells of it in its own words, such as where memory runs out
        raise ConfigError(
            f"Batch normalisation in this network needs two images or more in a batch; got 1, with train.batch_size="
            f"{config.train.batch_size}. Use a larger batch, and at least two training images."
        ) from None
    require_tensor(network, output)


def _settle_compiling(config: Config) -> Config:
    hindered = ""
    if config.train.finetune == "gradual":
        hindered = "with gradual fine-tuning every stage would be compiled anew"
    elif config.train.cache_features is True:
        hindered = "the head alone is trained, on features computed once"
    if hindered and config.train.compile == "auto":
        return config.choose("train.compile", False, hindered)
    if hindered and config.train.compile:
        raise ConfigError(f"train.compile=true is not possible: {hindered}.")
    return config


def _choose_features(config: Config, hindered: str) -> Config:
    if config.train.cache_features == "auto":
        reason = hindered or "the backbone is frozen, and its pictures return"
        return config.choose("train.cache_features", not hindered, reason)
    if config.train.cache_features and hindered:
        raise ConfigError(f"train.cache_features=true is not possible: {hindered}.")
    return config


def _choose_augmentation(config: Config, prepared: Prepared, head_alone: bool) -> Config:
    preset, reason = str(config.augment.preset), "as asked"
    if preset == "auto" and head_alone and config.augment.views is None and config.train.cache_features:
        preset, reason = "none", "only the head is trained, and the same pictures let its features be computed once"
        config = config.choose("augment.preset", preset, reason)
    if preset == "auto" and prepared.answers.kind in PRESET_OF:
        preset, reason = PRESET_OF[prepared.answers.kind]
        config = config.choose("augment.preset", preset, reason)
    if preset == "auto":
        mirror = mirror_test(prepared.store.images, prepared.answers.strata, prepared.split.train)
        size = prepared.preprocess.size_px[0]
        flips = not mirror.misleads if size > SMALL_PX else mirror.gain > 0  # photographs seldom have a handedness
        preset = "photos" if size > SMALL_PX else "objects" if flips else "digits"
        reason = f"inputs of {size} px; {mirror}"
        config = config.choose("augment.preset", preset, reason)
        if config.augment.flip == "auto" and not flips:
            config = config.choose("augment.flip", "none", str(mirror))
    stored, shown = prepared.preprocess.store_px[0], prepared.preprocess.size_px[0]
    if prepared.answers.kind in ("mask", "boxes") and stored > shown and config.augment.crop == "auto":
        share = round((stored - shown) / 2 / shown, 4)
        config = config.choose("augment.crop", share, f"windows of {shown} px anywhere in {stored} px")
    for option, value in resolve(config.augment, preset).model_dump().items():
        if config[f"augment.{option}"] == "auto":
            config = config.choose(f"augment.{option}", value, f"preset {preset}")
    if prepared.answers.kind != "class" and (config.augment.mixup or config.augment.cutmix):
        raise ConfigError(f"mixup and cutmix mix classes of whole images; leave them out for {config.task}.")
    if config.augment.views and config.augment.mosaic:
        raise ConfigError("augment.mosaic puts other pictures together in every epoch; leave augment.views out.")
    if config.augment.views and not changing(config.augment):
        raise ConfigError(
            f"augment.views={config.augment.views} has no effect: nothing in augment changes the pictures. "
            f"Leave it out, or choose a preset such as augment.preset=photos."
        )
    return config
