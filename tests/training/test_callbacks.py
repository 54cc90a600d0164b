"""Callbacks on the worked example of the lectures, their order, and their messages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from convlens.errors import ConfigError
from convlens.tasks.catalog import TASKS, make
from convlens.tasks.classify import Classify
from convlens.training.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    TensorBoard,
    direction,
    history_columns,
    require_callbacks,
    require_columns,
)

LOSSES = [1.0, 0.8, 0.85, 0.9, 0.7]


class FakeEngine:
    def __init__(self) -> None:
        self.stopped, self.saved, self.history = "", [], []

    def stop(self, reason: str) -> None:
        self.stopped = reason

    def save_model(self, path: Path) -> None:
        self.saved.append(str(path))


def run(callback: EarlyStopping | ModelCheckpoint, losses: list[float]) -> tuple[FakeEngine, int]:
    engine = FakeEngine()
    for epoch, loss in enumerate(losses, 1):
        callback.on_epoch_end(engine, {"epoch": epoch, "val_loss": loss})  # type: ignore[arg-type]
        if engine.stopped:
            return engine, epoch
    return engine, len(losses)


def test_early_stopping_ends_after_epoch_4() -> None:
    engine, epochs = run(EarlyStopping(patience=2), LOSSES)
    assert epochs == 4
    assert "val_loss has not improved for 2 epochs" in engine.stopped


def test_early_stopping_minds_the_smallest_change_and_the_direction() -> None:
    assert run(EarlyStopping(patience=2, min_delta=0.3), [1.0, 0.8, 0.75, 0.3])[1] == 3
    assert run(EarlyStopping(patience=2, mode="max"), [0.1, 0.2, 0.3, 0.4])[1] == 4
    assert (direction("val_loss"), direction("val_accuracy")) == (1, -1)
    assert (direction("val_mae"), direction("seconds"), direction("images_per_s")) == (1, 1, -1)


def test_early_stopping_goes_on_where_it_was() -> None:
    first = EarlyStopping(patience=2)
    run(first, LOSSES[:3])
    second = EarlyStopping(patience=2)
    second.restore(first.state())
    assert run(second, LOSSES[3:])[1] == 1


def test_model_checkpoint_fills_in_its_name() -> None:
    engine, _ = run(ModelCheckpoint("model.{epoch:02d}-{val_loss:.2f}.safetensors"), LOSSES[:4])
    assert engine.saved == [
        "model.01-1.00.safetensors",
        "model.02-0.80.safetensors",
        "model.03-0.85.safetensors",
        "model.04-0.90.safetensors",
    ]


def test_model_checkpoint_keeps_only_improvements() -> None:
    engine, _ = run(ModelCheckpoint("{epoch}.safetensors", save_best_only=True), LOSSES)
    assert engine.saved == ["1.safetensors", "2.safetensors", "5.safetensors"]


def test_a_missing_figure_is_named() -> None:
    engine = FakeEngine()
    row = {"epoch": 1, "train_loss": 1.0}
    with pytest.raises(ConfigError, match="There is no validation set"):
        EarlyStopping().on_epoch_end(engine, row)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"needs 'val_loss' in the history"):
        ModelCheckpoint("{epoch}-{val_loss}.safetensors").on_epoch_end(engine, row)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mode must be auto, min or max"):
        EarlyStopping(mode="least")


def test_a_column_that_is_no_number_is_not_chosen() -> None:
    row = {"epoch": 1, "val_loss": 1.0, "gradient_norms": {"conv.weight": 0.5}}
    with pytest.raises(ConfigError, match=r"needs 'gradient_norms' in the history\. Choose from: epoch, val_loss\."):
        EarlyStopping(monitor="gradient_norms", mode="min").on_epoch_end(FakeEngine(), row)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["m.{val_loss:03d}.safetensors", "ck.{", "}", "{}", "{0}", "{epoch.x}", "{epoch!x}"])
def test_a_file_name_that_cannot_be_filled_in_is_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigError, match=r"The file name '.*' cannot be filled in: .*Name columns of the history"):
        ModelCheckpoint(name)
    assert ModelCheckpoint("{epoch:02d}-{val_loss:.2f}.safetensors").names == ("epoch", "val_loss")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (EarlyStopping(), r"takes a list, such as \[EarlyStopping\(patience=2\)\]; got EarlyStopping\. Put it in"),
        (None, "takes a list.*; got None"),
        ([3], "objects made from classes that inherit from convlens.Callback.*; got 3"),
        ([EarlyStopping], "; got the class EarlyStopping"),
    ],
)
def test_what_is_no_list_of_callbacks_is_refused(given: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        require_callbacks(given)
    stopper = EarlyStopping()
    assert require_callbacks(one for one in (stopper,)) == [stopper]


def test_what_the_history_will_not_have_is_known_before_it_begins() -> None:
    task: Any = Classify(("a", "b"))

    def check(*callbacks: Callback, monitor: str = "val_loss", validated: bool = True) -> None:
        require_columns(task, monitor, callbacks, validated=validated)

    check(EarlyStopping(monitor="images_per_s"), ModelCheckpoint("{epoch}-{val_accuracy}", save_best_only=True))
    check(monitor="anything", validated=False)  # without validation the last epoch is the best
    with pytest.raises(ConfigError, match=r"train.monitor needs 'x' in the history\. Choose from: epoch, .*val_loss"):
        check(monitor="x")
    with pytest.raises(ConfigError, match=r"EarlyStopping needs 'val_los' in the history\. Did you mean 'val_loss'"):
        check(EarlyStopping(monitor="val_los"))
    with pytest.raises(ConfigError, match=r"EarlyStopping needs 'val_loss' in the history\. There is no validation"):
        check(EarlyStopping(), validated=False)
    with pytest.raises(ConfigError, match="ModelCheckpoint needs 'foo'"):
        check(ModelCheckpoint("{foo}"))
    with pytest.raises(ConfigError, match="ModelCheckpoint needs 'foo'"):
        check(ModelCheckpoint("{epoch}", monitor="foo", save_best_only=True))


def test_a_callback_may_add_a_column_for_those_after_it() -> None:
    class Add(Callback):
        def on_epoch_end(self, engine: Any, row: dict[str, Any]) -> None:
            row["mine"] = 1.0

    task: Any = Classify(("a", "b"))
    require_columns(task, "val_loss", [Add(), EarlyStopping(monitor="mine")], validated=True)
    with pytest.raises(ConfigError, match="needs 'mine'"):
        require_columns(task, "val_loss", [EarlyStopping(monitor="mine"), Add()], validated=True)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_its_columns_before_it_has_seen_anything(name: str) -> None:
    task = make(name, ("background", "b"), {})
    columns = history_columns(task, validated=True)
    assert {"epoch", "train_loss", "val_loss", f"val_{task.figure}", "rate", "seconds"} <= set(columns)
    assert not any(column.startswith("val_") for column in history_columns(task, validated=False))


def test_tensorboard_writes_what_tensorboard_reads(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    callback, engine = TensorBoard(tmp_path), SimpleNamespace(history=[])
    callback.on_train_begin(engine)  # type: ignore[arg-type]
    for epoch, loss in enumerate(LOSSES, 1):
        row = {"epoch": epoch, "val_loss": loss, "gradient_norms": {"conv.weight": 0.5}}
        callback.on_epoch_end(engine, row)  # type: ignore[arg-type]
    callback.on_train_end(engine)  # type: ignore[arg-type]
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [round(e.value, 3) for e in events.Scalars("val_loss")] == LOSSES
    assert [e.step for e in events.Scalars("val_loss")] == [1, 2, 3, 4, 5]
    assert len(events.Scalars("gradient_norms/conv.weight")) == 5
