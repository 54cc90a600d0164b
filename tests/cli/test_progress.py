"""What a person sees while they wait, on a terminal and where there is none."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

import rig
from convlens.cli import progress
from convlens.cli.progress import Bar, Heartbeat, clock, facts, watch


def test_a_bar_shows_epoch_loss_rate_and_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REDRAW_S", 0.0)
    screen = io.StringIO()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
    drawn: list[str] = []
    with Progress(*columns, console=Console(file=screen, width=100), auto_refresh=False) as bar:
        update = bar.update

        def note(*args: object, **fields: object) -> None:
            drawn.append(f"{fields['description']} {fields['facts']}")
            update(*args, **fields)  # type: ignore[arg-type]

        monkeypatch.setattr(bar, "update", note)
        made = rig.engine(tmp_path, epochs=2, callbacks=[Bar(bar)])
        made.fit()
        assert bar.tasks[0].completed == bar.tasks[0].total == 2 * len(made.train)
    assert drawn[-1].startswith("epoch 2/2 loss ")
    assert " rate " in drawn[-1]
    speeds = [float(line.split()[-2]) for line in drawn if line.endswith("images/s")]
    assert len(speeds) >= len(drawn) - 2
    assert all(1 < speed < 1e6 for speed in speeds)
    lines = [line for line in screen.getvalue().splitlines() if line.startswith("epoch   ")]
    assert [line.split()[1] for line in lines[:2]] == ["1/2", "2/2"]
    assert "accuracy " in lines[0]


def test_without_a_terminal_a_long_epoch_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.0)
    made = rig.engine(tmp_path, epochs=1, callbacks=[Heartbeat()])
    made.fit()
    heard = capsys.readouterr().err.splitlines()
    assert len(heard) == len(made.train) + 1
    assert heard[0].startswith(f"epoch 1/1  batch 1/{len(made.train)}, loss ")
    assert heard[-1].startswith("epoch 1/1  train ")
    assert heard[-1].endswith(" gone, 0:00 left")


def test_what_is_watched_suits_the_place(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with watch(quiet=True) as (callbacks, stage):
        assert (list(callbacks), stage) == ([], None)
    with watch(quiet=False) as (callbacks, stage):
        assert isinstance(callbacks[0], Heartbeat)
        assert stage is not None
        for done in (1, 2, 3):
            stage("decoding", done, 3)
    assert capsys.readouterr().err == "decoding  3 of 3 images\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with watch(quiet=False) as (callbacks, stage):
        assert isinstance(callbacks[0], Bar)
        assert stage is not None
        for done in (1, 3):
            stage("decoding", done, 3)


def test_words() -> None:
    assert [clock(seconds) for seconds in (0.4, 61, 3599.9)] == ["0:00", "1:01", "59:59"]
    assert facts({"train_loss": 1.0}) == "train 1.000"
    row = {"train_loss": 1.0, "val_loss": 0.5, "val_accuracy": 0.75}
    assert facts(row) == "train 1.000, valid 0.500, accuracy 0.7500"
