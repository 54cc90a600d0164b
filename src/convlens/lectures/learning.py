"""The examples of learning: optimisers, callbacks, scores and regularisers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from convlens import reference
from convlens.lectures.descent import descend
from convlens.lectures.record import Example, Solve, Workings


def optimisers(example: Example, keep: Workings) -> Any:
    w, options = example.inputs["w"], example.parameters
    names = ("sgd", "momentum", "rmsprop", "adam")
    answer = {name: keep(descend(name, w, **options), name).tolist() for name in names}
    averaged = keep(descend("momentum", w, averaged=True, **options), "momentum, averaged")
    return {**answer, "momentum, averaged": averaged.tolist()}


def adam_as_printed(example: Example, keep: Workings) -> Any:
    """Adam, and what the slide's formulas give: as printed, and after the first repairs."""
    w, options = example.inputs["w"], example.parameters
    return {
        "adam": keep(descend("adam", w, **options)).tolist(),
        "with plus signs, without the last g": _slide(w, **options, sign=1, last_g=False),
        "with plus signs": _slide(w, **options, sign=1, last_g=True),
        "as printed": _slide(w, **options, sign=-1, last_g=True),
    }


def _slide(
    w: float, *, steps: int, rate: float, beta1: float, beta2: float, eps: float, sign: int, last_g: bool
) -> list[float]:
    """The formulas of deck 003, lines 170-176, on f(w) = w^2: `sign` is what stands before (1 - beta)."""
    v = s = 0.0
    weights = []
    for _ in range(steps):
        g = 2 * w
        v = beta1 * v + sign * (1 - beta1) * g
        s = beta2 * s + sign * (1 - beta2) * g * g
        root = math.sqrt(s + eps) if s + eps >= 0 else math.nan
        w -= rate * v / root * (g if last_g else 1)
        weights.append(w)
    return weights


class _Listener:
    """All that callbacks ask of an engine, without any training."""

    def __init__(self) -> None:
        self.reason, self.saved = "", list[str]()

    def stop(self, reason: str) -> None:
        self.reason = reason

    def save_model(self, path: Path) -> None:
        self.saved.append(path.name)


def callbacks(example: Example, keep: Workings) -> Any:
    """When training would stop, and what the files would be called, for given validation losses."""
    from convlens.training.callbacks import EarlyStopping, ModelCheckpoint

    engine: Any = _Listener()
    best: Any = _Listener()
    stopping = EarlyStopping(patience=example.parameters["patience"])
    saving, saving_best = ModelCheckpoint(example.parameters["filepath"]), ModelCheckpoint("{epoch}", "val_loss", True)
    epoch = 0
    for epoch, loss in enumerate(example.inputs["val_loss"], 1):
        row = {"epoch": epoch, "val_loss": loss}
        for callback, listener in ((saving, engine), (saving_best, best), (stopping, engine)):
            callback.on_epoch_end(listener, row)
        if engine.reason:
            break
    return {"stopped after epoch": epoch, "best epoch": int(best.saved[-1]), "files": engine.saved}


def scores(example: Example, keep: Workings) -> Any:
    """Scores of a table of counts; the second class is the positive one."""
    from convlens.metrics import confusion

    count = example.inputs
    matrix = np.array([[count["TN"], count["FP"]], [count["FN"], count["TP"]]])
    return {
        "accuracy": confusion.accuracy(matrix).item(),
        "precision": confusion.precisions(matrix)[1].item(),
        "recall": confusion.recalls(matrix)[1].item(),
        "f1": confusion.f1s(matrix)[1].item(),
    }


def regularisers(example: Example, keep: Workings) -> Any:
    w, x = example.inputs["w"], example.inputs["x"]
    strength, eps, rate = (example.parameters[name] for name in ("strength", "eps", "rate"))
    penalty = keep(reference.l2_penalty(w, strength))
    normalised = keep(reference.batch_norm(x, eps=eps))
    statistics = reference.batch_statistics(x)
    kept = keep(reference.dropout([1.0], rate, [True]))
    return {
        "penalty": penalty.value.item(),
        "gradient of the penalty": penalty.backward()["weight"].tolist(),
        "normalised": normalised.tolist(),
        "mean": statistics.mean.item(),
        "variance": statistics.variance.item(),
        "factor of a kept unit": kept.value.item(),
    }


OPERATIONS: dict[str, Solve] = {
    "optimisers": optimisers,
    "adam as printed": adam_as_printed,
    "callbacks": callbacks,
    "metrics": scores,
    "regularisers": regularisers,
}
