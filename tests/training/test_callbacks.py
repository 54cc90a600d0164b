"""Callbacks on the worked example of the lectures, their order, and their messages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from convlens.errors import ConfigError
from convlens.training.callbacks import EarlyStopping, ModelCheckpoint, TensorBoard, direction

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
