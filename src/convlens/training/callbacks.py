"""Things that watch training and may stop it: called at each stage, in the order they were given.

A callback sees the engine and reads what it likes. `state` and `restore` let a resumed run continue as if it had never
stopped. Patterns and names follow the Keras callbacks that the lectures show.
"""

from __future__ import annotations

import math
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from convlens.training.engine import Engine


class Callback:
    """Does nothing at every stage; override what you need."""

    def on_train_begin(self, engine: Engine) -> None: ...
    def on_epoch_begin(self, engine: Engine) -> None: ...
    def on_batch_begin(self, engine: Engine) -> None: ...
    def on_batch_end(self, engine: Engine) -> None: ...
    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None: ...
    def on_train_end(self, engine: Engine) -> None: ...

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""


class EarlyStopping(Callback):
    """Stop when a figure has not improved for `patience` epochs.

    Args:
        patience: epochs without improvement before stopping.
        monitor: a column of the history.
        min_delta: a smaller change is no improvement.
        mode: `min`, `max`, or `auto` (max for accuracies and scores, min for losses).
    """

    def __init__(
        self, patience: int = 2, monitor: str = "val_loss", min_delta: float = 0.0, mode: str = "auto"
    ) -> None:
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta
        self.sign = direction(monitor, mode)
        self.best, self.stale = math.inf, 0

    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
        value = self.sign * read_column(row, self.monitor, "EarlyStopping")
        if value < self.best - self.min_delta:
            self.best, self.stale = value, 0
            return
        self.stale += 1
        if self.stale >= self.patience:
            engine.stop(f"{self.monitor} has not improved for {self.stale} epochs")

    def state(self) -> dict[str, Any]:
        return {"best": self.best if math.isfinite(self.best) else None, "stale": self.stale}

    def restore(self, state: dict[str, Any]) -> None:
        self.best = math.inf if state["best"] is None else state["best"]
        self.stale = state["stale"]


class ModelCheckpoint(Callback):
    """Save the model as a file after an epoch, its name filled in from the epoch (from 1) and the history row.

    Args:
        filepath: such as `model.{epoch:02d}-{val_loss:.2f}.safetensors`.
        save_best_only: only when `monitor` has improved.
    """

    def __init__(
        self, filepath: str | Path, monitor: str = "val_loss", save_best_only: bool = False, mode: str = "auto"
    ) -> None:
        self.filepath, self.monitor, self.save_best_only = str(filepath), monitor, save_best_only
        self.sign, self.best = direction(monitor, mode), math.inf

    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
        if self.save_best_only:
            value = self.sign * read_column(row, self.monitor, "ModelCheckpoint")
            if value >= self.best:
                return
            self.best = value
        for _, name, _, _ in string.Formatter().parse(self.filepath):
            if name:
                read_column(row, name, f"The file name '{self.filepath}'")
        engine.save_model(Path(self.filepath.format(**row)))

    def state(self) -> dict[str, Any]:
        return {"best": self.best if math.isfinite(self.best) else None}

    def restore(self, state: dict[str, Any]) -> None:
        self.best = math.inf if state["best"] is None else state["best"]


class TensorBoard(Callback):
    """Write every number of the history as TensorBoard events."""

    def __init__(self, log_dir: str | Path = "logs") -> None:
        self.log_dir = str(log_dir)

    def on_train_begin(self, engine: Engine) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError(
                "TensorBoard events need one more package: pip install 'convlens[tensorboard]'."
            ) from None
        self._writer = SummaryWriter(self.log_dir, purge_step=len(engine.history) + 1)

    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
        for name, value in row.items():
            values = value.items() if isinstance(value, dict) else [("", value)]
            for part, number in values:
                if name != "epoch" and isinstance(number, int | float):
                    self._writer.add_scalar(f"{name}/{part}" if part else name, number, row["epoch"])
        self._writer.flush()

    def on_train_end(self, engine: Engine) -> None:
        self._writer.close()


def direction(monitor: str, mode: str = "auto") -> int:
    """1 when smaller is better, -1 when larger is."""
    if mode not in ("auto", "min", "max"):
        raise ConfigError(f"mode must be auto, min or max; got '{mode}'.")
    if mode == "auto":
        return 1 if "loss" in monitor or "error" in monitor else -1
    return 1 if mode == "min" else -1


def read_column(row: dict[str, Any], name: str, who: str) -> float:
    """One figure of a history row.

    Raises:
        ConfigError: the row has no such figure.
    """
    if name not in row:
        hint = " There is no validation set, so nothing begins with val_." if name.startswith("val_") else ""
        raise ConfigError(f"{who} needs '{name}' in the history.{hint} {did_you_mean(name, row)}")
    return row[name]
