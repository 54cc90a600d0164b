"""Things that watch training and may stop it: called at each stage, in the order they were given.

A callback sees the engine and reads what it likes. `state` and `restore` let a resumed run continue as if it had never
stopped. Patterns and names follow the Keras callbacks that the lectures show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from convlens.tasks.task import Task
    from convlens.training.engine import Engine

SMALLER_IS_BETTER = ("loss", "error", "mae", "seconds", "waiting_s", "validation_s")


class Callback:
    """Does nothing at every stage; override what you need."""

    def on_train_begin(self, engine: Engine) -> None: ...
    def on_epoch_begin(self, engine: Engine) -> None: ...
    def on_batch_begin(self, engine: Engine) -> None: ...
    def on_batch_end(self, engine: Engine) -> None: ...
    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None: ...
    def on_train_end(self, engine: Engine) -> None: ...

    def reads(self) -> Sequence[str]:
        """The columns of the history it needs; that they will be there is checked before the first step."""
        return ()

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
        mode: `min`, `max`, or `auto` (max for accuracies and scores, min for losses, errors and times).
    """

    def __init__(
        self, patience: int = 2, monitor: str = "val_loss", min_delta: float = 0.0, mode: str = "auto"
    ) -> None:
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta
        self.sign = direction(monitor, mode)
        self.best, self.stale = math.inf, 0

    def reads(self) -> Sequence[str]:
        return (self.monitor,)

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

    Raises:
        ConfigError: the name cannot be filled in from numbers.
    """

    def __init__(
        self, filepath: str | Path, monitor: str = "val_loss", save_best_only: bool = False, mode: str = "auto"
    ) -> None:
        self.filepath, self.monitor, self.save_best_only = str(filepath), monitor, save_best_only
        self.sign, self.best = direction(monitor, mode), math.inf
        self.names = _names_in(self.filepath)

    def reads(self) -> Sequence[str]:
        return (*self.names, self.monitor) if self.save_best_only else self.names

    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
        if self.save_best_only:
            value = self.sign * read_column(row, self.monitor, "ModelCheckpoint")
            if value >= self.best:
                return
            self.best = value
        for name in self.names:
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
        return 1 if any(word in monitor for word in SMALLER_IS_BETTER) else -1
    return 1 if mode == "min" else -1


def read_column(row: dict[str, Any], name: str, who: str) -> float:
    """One figure of a history row.

    Raises:
        ConfigError: the row has no such figure.
    """
    figures = sorted(column for column, value in row.items() if not isinstance(value, dict))
    if name in figures:
        return row[name]
    unvalidated = name.startswith("val_") and not any(column.startswith("val_") for column in figures)
    hint = " There is no validation set, so nothing begins with val_." if unvalidated else ""
    ways = dict.fromkeys([did_you_mean(name, figures), f"Choose from: {', '.join(figures)}."])
    raise ConfigError(f"{who} needs '{name}' in the history.{hint} {' '.join(ways)}")


def require_callbacks(callbacks: Any) -> list[Callback]:
    """The callbacks as a list.

    Raises:
        ConfigError: it is no list, or something in it is no callback.
    """
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise ConfigError(
            f"callbacks takes a list, such as [EarlyStopping(patience=2)]; got {_named(callbacks)}. Put it in brackets."
        )
    found = list(callbacks)
    for callback in found:
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"callbacks takes objects made from classes that inherit from convlens.Callback, such as "
                f"EarlyStopping(patience=2); got {_named(callback)}. Leave it out, or let its class inherit."
            )
    return found


def require_columns(task: Task, monitor: str, callbacks: Sequence[Callback], *, validated: bool) -> None:
    """Check before the first step that the history will have what `train.monitor` and the callbacks read from it.

    Args:
        validated: there is a validation set; without one `train.monitor` is not used.

    Raises:
        ConfigError: it will not; lists what it will have.
    """
    row = dict.fromkeys(history_columns(task, validated=validated), 0.0)
    if validated:
        read_column(row, monitor, "train.monitor")
    for callback in callbacks:
        for name in callback.reads():
            read_column(row, name, type(callback).__name__)
        if type(callback).on_epoch_end.__module__ != __name__:
            return  # one of the user's own may add columns for those that follow


def history_columns(task: Task, *, validated: bool) -> list[str]:
    """The columns of the history that hold one number, known before the first step."""
    figures = task.meter().compute()
    columns = ["epoch", *(f"train_{name}" for name in figures)]
    if validated:
        columns += [f"val_{name}" for name in dict.fromkeys([*figures, task.figure])]
    return [*columns, "rate", "seconds", "waiting_s", "validation_s", "images_per_s"]


class _Filled(dict[str, float]):
    """Fills in a name with plausible numbers and remembers which were asked for."""

    def __missing__(self, name: str) -> float:
        self[name] = 1 if name == "epoch" else 0.5
        return self[name]


def _names_in(filepath: str) -> tuple[str, ...]:
    filled = _Filled()
    try:
        filepath.format_map(filled)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"The file name '{filepath}' cannot be filled in: {error}. Name columns of the history in braces, such as "
            f"'model.{{epoch:02d}}-{{val_loss:.2f}}.safetensors'; only epoch is a whole number."
        ) from None
    return tuple(filled)


def _named(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return type(value).__name__ if isinstance(value, Callback) else f"{value!r:.60}"
