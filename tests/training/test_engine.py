"""The loop: it learns, it is the same whether interrupted or not, and it says what went wrong."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rig
from convlens.errors import ConfigError, TrainingError
from convlens.training.callbacks import Callback, EarlyStopping, direction
from convlens.training.checkpoint import Checkpoints
from convlens.training.engine import Engine
from convlens.training.history import Events
from convlens.training.interrupt import Interrupted

VARIANTS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimiser": "adamw", "rate": 0.01},
    "rmsprop with penalties": {"optimiser": "rmsprop", "rate": 0.003, "l1": 1e-4, "l2": 1e-3},
    "accumulated and clipped": {"accumulate": 2, "clip_norm": 0.5},
    "averaged": {"ema": 0.9},
    "mixed": {"mixup": 0.2, "cutmix": 0.5, "noise": 0.05, "erase": 0.3, "rotate_deg": 10.0},
    "watched": {"gradient_norms": True, "patience": 2, "class_weights": "balanced"},
}


def test_it_learns(tmp_path: Path) -> None:
    made = rig.engine(tmp_path, epochs=8)
    history = made.fit()
    assert len(history) == 8
    assert history[-1]["val_accuracy"] > 0.9
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["rate"] < history[2]["rate"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_twice_equals_uninterrupted(tmp_path: Path, variant: str) -> None:
    options = VARIANTS[variant]
    whole = rig.engine(tmp_path, **options)
    whole.fit()
    folder = tmp_path / "checkpoints"
    for batches in (2, 7):  # within the first epoch, then within a later one
        part = rig.engine(
            tmp_path, **options, callbacks=[rig.StopAt(batches)], checkpoints=Checkpoints(folder, Events(), 1e9)
        )
        _restore(part, folder)
        with pytest.raises(Interrupted) as caught:
            part.fit()
        assert caught.value.exit_code == 143
    last = rig.engine(tmp_path, **options, callbacks=[rig.StopAt(10**9)])
    _restore(last, folder)
    last.fit()
    assert rig.same_weights(whole.network, last.network)
    assert _timeless(whole.history[-1]) == _timeless(last.history[-1])


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if name not in ("seconds", "waiting_s", "validation_s", "images_per_s")
    }


def _restore(engine: Engine, folder: Path) -> None:
    snapshot = Checkpoints(folder, Events(), 1e9).load()
    if snapshot:
        engine.history.rows = [{}] * snapshot[1]["history"]
        engine.restore(snapshot)


def test_a_stop_during_validation_is_exact_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convlens.training import engine as module

    whole = rig.engine(tmp_path, ema=0.9)
    whole.fit()
    original = module.run_network

    def stopping(*args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        yield from original(*args)

    part = rig.engine(tmp_path, ema=0.9, checkpoints=Checkpoints(tmp_path / "c", Events(), 1e9))
    with monkeypatch.context() as patch:
        patch.setattr(module, "run_network", stopping)
        with pytest.raises(Interrupted) as caught:
            part.fit()
    assert caught.value.exit_code == 130
    last = rig.engine(tmp_path, ema=0.9)
    _restore(last, tmp_path / "c")
    last.fit()
    assert rig.same_weights(whole.network, last.network)


def test_the_best_weights_come_back(tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
            if row["epoch"] == 2:
                self.kept = {name: t.clone() for name, t in engine.best_weights.items()}  # type: ignore[union-attr]
                with torch.no_grad():
                    for p in engine.network.parameters():
                        p.mul_(-3)

    spoil = Spoil()
    made = rig.engine(tmp_path, epochs=3, restore_best=True, callbacks=[spoil])
    made.fit()
    assert made.state.best_epoch == 2
    assert all(torch.equal(t, spoil.kept[name]) for name, t in made.network.state_dict().items())


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    """Without batch norm and dropout two half batches give the gradient of the whole."""

    def plain() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(100, 3)).double()

    class InDouble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x.double())

    options = {"preset": "none", "epochs": 1, "ema": 0.0, "valid_fraction": 0.0, "test_fraction": 0.2}
    whole = rig.engine(tmp_path, InDouble(), batch_size=32, **options)
    parts = rig.engine(tmp_path, InDouble(), batch_size=16, accumulate=2, **options)
    assert parts.total_steps == whole.total_steps
    whole.fit()
    parts.fit()
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_not_finite_names_step_rate_and_images(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", Events(), 0.0)
    made = rig.engine(tmp_path, rate=1e30, schedule="constant", optimiser="sgd", checkpoints=checkpoints)
    with pytest.raises(TrainingError) as caught:
        made.fit()
    message = str(caught.value)
    assert "not finite at epoch 1, batch" in message
    assert "1e+30" in message
    assert "arrays#" in message or "#" in message
    assert checkpoints.load() is None or caught.value.exit_code == 1


def test_out_of_memory_says_what_to_do(tmp_path: Path) -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                torch.empty(10**15)
            return self.w + x.mean((1, 2, 3))[:, None]

    made = rig.engine(tmp_path, Hungry())
    with pytest.raises(TrainingError, match=r"Memory ran out at epoch 1, batch 1 with batches of 16 images.*Lower"):
        made.fit()


def test_without_validation_the_last_epoch_counts(tmp_path: Path) -> None:
    made = rig.engine(tmp_path, valid_fraction=0.0)
    history = made.fit()
    assert "val_loss" not in history[-1]
    assert made.state.best_epoch == 3
    assert made.best_weights is None


def test_early_stopping_ends_training_and_is_noted(tmp_path: Path) -> None:
    made = rig.engine(tmp_path, epochs=30, patience=1, min_delta=10.0)
    assert len(made.fit()) == 2
    assert "has not improved" in made.events[-1]["message"]


def test_callbacks_are_called_in_order(tmp_path: Path) -> None:
    calls: list[str] = []

    class Note(Callback):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                return lambda *_: calls.append(name)
            return super().__getattribute__(name)

    made = rig.engine(tmp_path, epochs=1, callbacks=[Note()])
    made.fit()
    batches = ["on_batch_begin", "on_batch_end"] * len(made.train)
    assert calls == ["on_train_begin", "on_epoch_begin", *batches, "on_epoch_end", "on_train_end"]


def test_an_unknown_monitor_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs 'val_los' in the history.*Did you mean 'val_loss'"):
        rig.engine(tmp_path, monitor="val_los").fit()


def test_what_is_wrong_with_callbacks_is_said_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes objects made from classes that inherit"):
        rig.engine(tmp_path, callbacks=[3])
    made = rig.engine(tmp_path, callbacks=[EarlyStopping(monitor="val_los")])
    with pytest.raises(ConfigError, match="Did you mean 'val_loss'"):
        made.fit()
    assert (made.state.step, len(made.history)) == (0, 0)


@pytest.mark.parametrize("monitor", ["epoch", "train_accuracy", "rate", "seconds", "validation_s", "images_per_s"])
def test_every_column_may_decide_the_best_epoch(tmp_path: Path, monitor: str) -> None:
    made = rig.engine(tmp_path, epochs=2, monitor=monitor, restore_best=True, ema=0.5)
    values = made.fit().column(monitor)
    assert made.state.best_epoch == 1 + values.index((min if direction(monitor) == 1 else max)(values))


def test_gradient_norms_are_per_parameter(tmp_path: Path) -> None:
    history = rig.engine(tmp_path, epochs=1, gradient_norms=True).fit()
    norms = history[0]["gradient_norms"]
    assert set(norms) == {"0.weight", "0.bias", "1.weight", "1.bias", "6.weight", "6.bias"}
    assert all(value >= 0 for value in norms.values())
    assert norms["6.weight"] > 0


def test_the_global_random_state_decides_nothing(tmp_path: Path) -> None:
    first, second = rig.engine(tmp_path), rig.engine(tmp_path)
    torch.manual_seed(1)
    first.fit()
    torch.manual_seed(2)
    torch.rand(5)
    second.fit()
    assert rig.same_weights(first.network, second.network)
