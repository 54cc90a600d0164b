"""What a trained network is worth: its rules settled on validation, the test looked at once, baselines beside both.

Every score comes from the task (`Task.report`); this file decides only in which order the images are looked at. It
writes no file but the count of the looks at the test.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
from torch import nn

from convlens.config import Config
from convlens.data.prepare import Prepared
from convlens.errors import DataError
from convlens.model import Model
from convlens.run import Run
from convlens.tasks.task import Seen, Task
from convlens.training.features import Features
from convlens.training.hardware import Hardware
from convlens.training.history import Events
from convlens.training.probe import MOST_IMAGES, code_probe, linear_probe


def evaluate(
    run: Run,
    config: Config,
    model: Model,
    prepared: Prepared,
    hardware: Hardware,
    *,
    start: nn.Module | None = None,
    features: Features | None = None,
) -> tuple[dict[str, Any], np.ndarray]:
    """Settle on validation what answers need, in the model's card; then look at the test.

    Args:
        start: the network as it was before training; a linear classifier on what it sees is set beside the result.
        features: what a frozen backbone sees, computed already.

    Returns:
        the scores as `evaluation.json` holds them, and what the network said to the test images, as the task keeps it.
    """
    split, images, asks = prepared.split, prepared.store.images, model.asks
    asked: dict[str, Any] = {"level": config.evaluate.level, "seed": config.seed}
    evaluation: dict[str, Any] = {}
    started = time.perf_counter()
    if len(split.valid):
        outputs, targets = model.outputs(images, split.valid, scored=True), prepared.targets[split.valid]
        seen = Seen(images, split.valid)
        if config.evaluate.calibrate:
            _settle(asks, outputs, targets, seen, config, run.events)
        evaluation["valid"] = asks.report(outputs, targets, seen, **asked)
    test_outputs = np.zeros((0, len(prepared.classes)), np.float32)
    if len(split.test):
        evaluation["test_opened"] = run.count_test_opening()
        test_outputs, targets = model.outputs(images, split.test, scored=True), prepared.targets[split.test]
        evaluation["test"] = asks.report(test_outputs, targets, Seen(images, split.test), **asked)
    if start is not None:
        device = hardware.device
        evaluation["linear_probe"] = linear_probe(start, prepared, device=device, known=features, **asked)
    if config.task == "reconstruct" and len(prepared.answers.groups) > 1 and hasattr(model.network, "encode"):
        evaluation["code_classifier"] = _classify_codes(model, prepared, **asked)
    evaluation["seconds"] = round(time.perf_counter() - started, 3)
    part = "test" if "test" in evaluation else "valid"
    if part in evaluation:
        if config.task == "detect":
            evaluation[part]["speed"] = model.speed(images)
        headline = {"part": part, **asks.headline(evaluation[part], config.evaluate.headline)}
        if start is not None:
            headline["linear_probe"] = evaluation["linear_probe"][part][headline["name"]]
        evaluation["headline"] = headline
    return evaluation, test_outputs


def start_to_probe(config: Config, model: Model) -> nn.Module | None:
    """The network as it is before training, where a linear classifier on what it sees is to stand beside the result."""
    tuned = model.card["weights"]["origin"] != "random" and config.task == "classify"
    if not (tuned and config.evaluate.linear_probe):
        return None
    return model.network if config.train.cache_features else copy.deepcopy(model.network)  # a frozen one stays so


def _settle(asks: Task, outputs: np.ndarray, targets: np.ndarray, seen: Seen, config: Config, events: Events) -> None:
    """Let the task fit its rules; one that cannot be kept is a warning, for what was trained for hours is kept."""
    promise = config[f"evaluate.{asks.promised}"]
    try:
        asks.settle(outputs, targets, seen, promise=promise, level=config.evaluate.level)
    except DataError as error:
        events.add("warning", f"{error} The model has no such rule: {asks.unsettled}.")


def _classify_codes(model: Model, prepared: Prepared, *, level: float, seed: int) -> dict[str, Any]:
    """How far a linear classifier gets with the codes of labelled pictures."""
    codes, targets = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for part in ("train", "valid", "test"):
        rows = getattr(prepared.split, part)
        rows = rows[prepared.targets[rows] >= 0]
        if len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_IMAGES)).astype(np.int64)]
            codes[part], targets[part] = model.codes(prepared.store.images, rows), prepared.targets[rows]
    return code_probe(codes, targets, prepared.answers.groups, level=level, seed=seed)
