"""Killed at any moment, a run goes on as if nothing had happened; asked to stop, it saves and says how to go on."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import small
from convlens.run import Run
from test_experiment import FILES
from warm import Call, Warm

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and forks")

EPOCHS, STEPS = 8, 80
OPTIONS = {
    "train.epochs": EPOCHS,
    "train.batch_size": 8,
    "train.threads": 1,
    "train.layout": "contiguous",
    "train.precision": "float32",
    "train.checkpoint_seconds": 0.05,
    "network.options": "{width=8, dropout=0.1}",
    "augment.preset": "digits",
    "run.name": "a",
}
Moment = Callable[[Path], bool]


def words(**changed: object) -> list[str]:
    """The command `train` with the options of these tests."""
    options = {**OPTIONS, **{key.replace("__", "."): value for key, value in changed.items()}}
    sets = [word for option, value in options.items() for word in ("--set", f"{option}={value}")]
    return ["train", str(small.shared_photos()), *sets]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    server = Warm()
    yield server
    server.close()


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    call = warm.run(folder, *words())
    assert call.code == 0, call.err
    return Run.open(folder / "runs" / "a")


def require_same(run: Run, whole: Run) -> None:
    """Weights bit for bit, history and evaluation figure by figure, and nothing left lying about."""
    assert small.weights(run.model_path) == small.weights(whole.model_path)
    assert small.timeless(run.history) == small.timeless(whole.history)
    ours, theirs = run.evaluation, whole.evaluation
    assert {**ours, "seconds": 0, "test_opened": 1} == {**theirs, "seconds": 0}
    assert {path.name for path in run.directory.iterdir()} == FILES
    assert not [path for path in run.directory.parent.rglob("*") if path.name.endswith((".writing", ".damaged"))]
    assert len(list((run.directory / "checkpoints").iterdir())) <= 2


# the moments at which a process is killed -----------------------------------------------------------------------------


def preparing(directory: Path) -> bool:
    return (directory / "run.json").exists()


def after_step(step: int) -> Moment:
    """When a checkpoint of this step, or a later one, is there."""

    def reached(directory: Path) -> bool:
        names = [path.stem for path in (directory / "checkpoints").glob("step-*.safetensors")]
        return bool(names) and int(max(names).removeprefix("step-")) >= step

    return reached


def trained(directory: Path) -> bool:
    path = directory / "history.jsonl"
    return path.exists() and path.read_text().count("\n") == EPOCHS


def wrote(name: str) -> Moment:
    return lambda directory: (directory / name).exists()


def kill_at(moments: list[tuple[Moment, float]], warm: Warm, folder: Path, dice: random.Random) -> int:
    """Start a run, kill it at each moment and resume it, to its end; returns how often it was really killed."""
    directory, kills = folder / "runs" / "a", 0
    for moment, delay_s in moments:
        begun = (directory / "run.json").exists()
        call = warm.start(folder, *(["resume", "runs/a", "--quiet"] if begun else words()))
        if call.until(lambda moment=moment: moment(directory)):
            time.sleep(dice.uniform(0.0, delay_s))
            call.send(signal.SIGKILL)
        assert call.wait() == -signal.SIGKILL, call.err
        kills += 1
        assert call.err.count("convlens:") == 0
        assert not (directory / "report.html").exists()
    call = warm.run(folder, "resume", "runs/a")
    assert call.code == 0, call.err
    return kills


def test_a_run_killed_in_every_stage_ends_like_the_one_that_was_not(warm: Warm, whole: Run, tmp_path: Path) -> None:
    moments = [
        (preparing, 0.05),
        (after_step(3), 0.02),
        (after_step(STEPS // 2), 0.05),
        (wrote("test_opened.json"), 0.0),
    ]
    assert kill_at(moments, warm, tmp_path, random.Random(0)) == 4
    run = Run.open(tmp_path / "runs" / "a")
    require_same(run, whole)
    assert run.evaluation["test_opened"] == 2


@pytest.mark.slow
def test_twenty_kills_change_nothing(warm: Warm, whole: Run, tmp_path: Path) -> None:
    dice = random.Random()
    seed = dice.randrange(10**6)
    print(f"seed {seed}")  # shown when the test fails
    dice = random.Random(seed)
    steps = sorted(dice.sample(range(1, STEPS - 10), 13))
    moments = [
        *[(preparing, 0.4)] * 3,
        *[(after_step(step), 0.1) for step in steps],
        (trained, 0.2),
        (wrote("test_opened.json"), 0.1),
        (wrote("model.safetensors"), 0.01),
        (wrote("evaluation.json"), 0.3),
    ]
    assert kill_at(moments, warm, tmp_path, dice) == 20
    require_same(Run.open(tmp_path / "runs" / "a"), whole)


# asked to stop --------------------------------------------------------------------------------------------------------


def command_to_go_on(call: Call) -> list[str]:
    """What the last line tells the user to type, without `convlens`."""
    line = call.err.splitlines()[-1]
    assert line.startswith("convlens: Stopped by signal")
    assert "Traceback" not in call.err
    program, *rest = shlex.split(line.split("Continue with: ")[1])
    assert program == "convlens"
    return rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_says_how_to_go_on(warm: Warm, whole: Run, tmp_path: Path, number: int) -> None:
    call = warm.start(tmp_path, *words(train__checkpoint_seconds=1e9, run__name="'with space'"))
    directory = tmp_path / "runs" / "with space"
    assert call.until(lambda: (directory / "history.jsonl").exists())
    call.send(number)
    assert call.wait() == 128 + number
    assert ". Saved. Continue with" in call.err
    stopped = Run.open(directory)
    assert 1 <= len(stopped.history) < EPOCHS
    (checkpoint,) = (directory / "checkpoints").iterdir()
    told = next(event["message"] for event in stopped.events if event["kind"] == "interrupt")
    assert int(checkpoint.stem.removeprefix("step-")) == int(told.rstrip(".").split("step ")[1])
    done = warm.run(tmp_path, *command_to_go_on(call))
    assert done.code == 0, done.err
    require_same(Run.open(directory), whole)


def test_a_second_signal_ends_at_once(warm: Warm, tmp_path: Path) -> None:
    """One update of a whole epoch of digits, so that the first signal has to wait."""
    options = {"train__accumulate": 10_000, "train__batch_size": 16, "network__options": "{width=32}"}
    command = words(**options, train__checkpoint_seconds=1e9)
    command[1] = "digits"
    call = warm.start(tmp_path, *command)
    directory = tmp_path / "runs" / "a"
    assert call.until(lambda: "hardware" in _read(directory / "run.json"))
    time.sleep(0.3)  # into the epoch
    call.send(signal.SIGTERM)
    time.sleep(0.1)
    if call.ended():
        pytest.skip("this machine does an epoch in a tenth of a second")
    call.send(signal.SIGTERM)
    assert call.wait() == 128 + signal.SIGTERM
    assert "Saved" not in call.err
    assert not list((directory / "checkpoints").iterdir())


def _read(path: Path) -> dict[str, object]:
    return json.loads(path.read_text()) if path.exists() else {}


# a full disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A folder on a disk of so many kilobytes; a second call changes its size."""
    mount, disk = shutil.which("mount"), tmp_path / "runs"
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only the superuser can mount a small disk")
    disk.mkdir()

    def of(kilobytes: int) -> Path:
        again = "remount," if os.path.ismount(disk) else ""
        options = ["-t", "tmpfs", "-o", f"{again}size={kilobytes}k", "tmpfs", str(disk)]
        if subprocess.run([mount, *options], check=False, capture_output=True).returncode:
            pytest.skip("this machine does not let tests mount a small disk")
        return disk

    yield of
    if os.path.ismount(disk):
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("room", ["for one checkpoint and the model", "for one checkpoint"])
def test_a_full_disk_costs_nothing_that_was_there(
    warm: Warm, whole: Run, tiny_disk: Callable[[int], Path], room: str
) -> None:
    checkpoint = max(path.stat().st_size for path in (whole.directory / "checkpoints").iterdir())
    small_files = sum(p.stat().st_size + 8192 for p in whole.directory.iterdir() if p.suffix in (".json", ".jsonl"))
    model = whole.model_path.stat().st_size
    assert checkpoint > 2 * model
    report = whole.report_path.stat().st_size + 50_000
    needed = checkpoint + small_files + (model + report if room.endswith("model") else model // 3)
    disk = tiny_disk(needed // 1024)
    call = warm.run(disk.parent, *words())
    directory = disk / "a"
    run = Run.open(directory)
    said = [event["message"] for event in run.events if event["kind"] == "warning"]
    assert said
    assert all("was not written: the disk is full. Older ones are kept." in message for message in said)
    assert len(run.history) == EPOCHS
    if room.endswith("model"):
        assert call.code == 0, call.err
        assert "warning  Checkpoint at step" in call.out
    else:
        assert call.code == 1
        assert not (directory / "model.safetensors").exists()
        line = call.err.splitlines()[-1]
        assert line == (
            "convlens: The disk is full; what runs/a holds already is whole. Make room. "
            "Continue with: convlens resume runs/a"
        )
        assert len(list((directory / "checkpoints").iterdir())) == 1
        tiny_disk(16 * 1024)
        done = warm.run(disk.parent, "resume", "runs/a")
        assert done.code == 0, done.err
    require_same(Run.open(directory), whole)
