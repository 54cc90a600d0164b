"""Killed at any moment, a run goes on as if nothing had happened; asked to stop, it saves and says how to go on."""

from __future__ import annotations

import contextlib
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
SLICE_S = 0.0005


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
    assert {path.name for path in run.directory.iterdir()} == small.FILES
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


def writing(directory: Path) -> bool:
    """While a checkpoint is half written."""
    return any((directory / "checkpoints").glob("*.writing"))


def trained(directory: Path) -> bool:
    path = directory / "history.jsonl"
    return path.exists() and path.read_text().count("\n") == EPOCHS


def wrote(name: str) -> Moment:
    return lambda directory: (directory / name).exists()


def kill_at(moments: list[tuple[Moment, float]], warm: Warm, folder: Path, dice: random.Random) -> None:
    """Start a run, kill it at each moment and resume it, and let it end.

    A moment can be over before it is seen: a quick machine writes the report while we look. The run is made slow enough
    for that not to happen (`crawl`), so that every kill lands.
    """
    directory = folder / "runs" / "a"
    for number, (moment, delay_s) in enumerate(moments, 1):
        begun = (directory / "run.json").exists()
        call = warm.start(folder, *(["resume", "runs/a", "--quiet"] if begun else words()))
        assert crawl(call, lambda moment=moment: moment(directory), dice.uniform(0.0, delay_s)), (
            f"kill {number}: too late"
        )
        call.send(signal.SIGKILL)
        assert call.wait() == -signal.SIGKILL, call.err
        assert call.err.count("convlens:") == 0
        assert not (directory / "report.html").exists()
    call = warm.run(folder, "resume", "runs/a")
    assert call.code == 0, call.err


def crawl(call: Call, reached: Callable[[], bool], delay_s: float) -> bool:
    """Let a command run in slices of milliseconds until something is so, and then for `delay_s`; leaves it standing.

    Returns:
        False if it ended before.
    """
    left_s = delay_s
    while not call.ended():
        call.send(signal.SIGSTOP)
        arrived = reached()
        if arrived and left_s <= 0:
            return not call.ended()
        call.send(signal.SIGCONT)
        time.sleep(SLICE_S)
        left_s -= SLICE_S if arrived else 0.0
    return False


def test_a_run_killed_in_every_stage_ends_like_the_one_that_was_not(warm: Warm, whole: Run, tmp_path: Path) -> None:
    moments = [
        (preparing, 0.05),
        (after_step(3), 0.02),
        (after_step(STEPS // 2), 0.05),
        (wrote("test_opened.json"), 0.0),
    ]
    kill_at(moments, warm, tmp_path, random.Random(0))
    run = Run.open(tmp_path / "runs" / "a")
    require_same(run, whole)
    assert run.evaluation["test_opened"] == 2


@pytest.mark.slow
def test_twenty_kills_change_nothing(warm: Warm, whole: Run, tmp_path: Path) -> None:
    dice = random.Random()
    seed = dice.randrange(10**6)
    print(f"seed {seed}")  # shown when the test fails
    dice = random.Random(seed)
    steps = sorted(dice.sample(range(1, STEPS - 25), 10))
    moments = [
        *[(preparing, 0.1)] * 3,
        *[moment for step in steps[:3] for moment in ((after_step(step), 0.02), (writing, 0.0))],
        *[(after_step(step), 0.02) for step in steps[3:]],
        (trained, 0.02),
        (wrote("test_opened.json"), 0.0),
        (wrote("model.safetensors"), 0.0),
        (wrote("evaluation.json"), 0.0),
    ]
    assert len(moments) == 20
    kill_at(moments, warm, tmp_path, dice)
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
    options = {"train__accumulate": 10_000, "train__batch_size": 16, "network__options": "{width=64}"}
    command = words(**options, data__size_px=32, train__checkpoint_seconds=1e9)  # an update takes many seconds
    command[1] = "digits"
    call = warm.start(tmp_path, *command)
    directory = tmp_path / "runs" / "a"
    assert call.until(lambda: "hardware" in _read(directory / "run.json"))
    time.sleep(0.3)  # into the epoch
    call.send(signal.SIGTERM)
    time.sleep(0.1)
    if call.ended():
        pytest.skip("this machine does an epoch in a tenth of a second")
    while not call.ended():  # of two that come before the first is seen, the system keeps one
        call.send(signal.SIGTERM)
        time.sleep(0.1)
    assert call.wait() == 128 + signal.SIGTERM
    assert "Saved" not in call.err
    assert not list((directory / "checkpoints").iterdir())


def _read(path: Path) -> dict[str, object]:
    return json.loads(path.read_text()) if path.exists() else {}


# a full disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder `runs` on a disk of its own, of 24 MB."""
    mount, folder = shutil.which("mount"), tmp_path / "runs"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or mount is None or subprocess.run([mount, *options], check=False).returncode:
        pytest.skip("only the superuser can mount a small disk, and not on every machine")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(call: Call, disk: Path, leave: int = 0) -> Path:
    """While the command stands still between two writes, fill its disk but for some bytes; returns the ballast."""
    ballast = disk / "ballast"
    call.send(signal.SIGSTOP)
    while list(disk.rglob("*.writing")):
        call.send(signal.SIGCONT)
        time.sleep(0.001)
        call.send(signal.SIGSTOP)
    with ballast.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - leave)
    call.send(signal.SIGCONT)
    return ballast


def warnings(run: Run) -> list[str]:
    return [event["message"] for event in run.events if event["kind"] == "warning"]


WIDE = "{width=32, dropout=0.1}"  # so that a checkpoint is larger than all that is left of a run


@pytest.mark.slow
def test_a_disk_with_room_for_the_result_alone_is_enough(warm: Warm, disk: Path, tmp_path: Path) -> None:
    command = words(network__options=WIDE, train__checkpoint_seconds=1e-6)  # one after every step, so that two are kept
    (tmp_path / "other").mkdir()
    assert warm.run(tmp_path / "other", *command).code == 0
    whole = Run.open(tmp_path / "other" / "runs" / "a")
    files = [path for path in whole.directory.iterdir() if path.is_file()]
    call = warm.start(tmp_path, *command)
    assert call.until(lambda: after_step(5)(disk / "a"))
    call.send(signal.SIGSTOP)
    kept = {path.name: path.read_bytes() for path in (disk / "a" / "checkpoints").glob("step-*.safetensors")}
    ballast = fill(call, disk, leave=sum(path.stat().st_size + 8192 for path in files))
    assert call.wait() == 0, call.err
    run = Run.open(disk / "a")
    first, last = warnings(run)
    assert first.startswith("Checkpoint at step ")
    assert first.endswith("was not written: the disk is full. Older ones are kept.")
    assert last == "The last checkpoint could not be written: the disk is full."
    assert f"warning  {first}\nwarning  {last}\n" in call.out
    left = {path.name: path.read_bytes() for path in (disk / "a" / "checkpoints").iterdir()}
    assert len(left) == 2
    assert kept.items() & left.items()
    ballast.unlink()
    require_same(run, whole)


@pytest.mark.slow
def test_a_full_disk_loses_nothing_and_can_be_resumed(warm: Warm, whole: Run, disk: Path, tmp_path: Path) -> None:
    call = warm.start(tmp_path, *words())
    assert call.until(lambda: after_step(5)(disk / "a"))
    ballast = fill(call, disk)
    assert call.wait() == 1
    heard = call.err.splitlines()
    assert [line for line in heard if line.startswith(f"epoch {EPOCHS}/{EPOCHS}")]  # training went on to its end
    assert heard[-1] == (
        "convlens: The disk is full; what runs/a holds already is whole. Make room. "
        "Continue with: convlens resume runs/a"
    )
    assert "Traceback" not in call.err
    assert not (disk / "a" / "model.safetensors").exists()
    ballast.unlink()
    done = warm.run(tmp_path, "resume", "runs/a")
    assert done.code == 0, done.err
    require_same(Run.open(disk / "a"), whole)


@pytest.mark.slow
def test_a_disk_that_was_full_for_a_while_leaves_no_gap(warm: Warm, whole: Run, disk: Path, tmp_path: Path) -> None:
    call = warm.start(tmp_path, *words())
    assert call.until(lambda: after_step(15)(disk / "a"))
    ballast = fill(call, disk)
    newest = max(path.name for path in (disk / "a" / "checkpoints").glob("step-*.safetensors"))
    time.sleep(0.15)
    call.send(signal.SIGSTOP)
    ballast.unlink()
    call.send(signal.SIGCONT)
    assert call.wait() == 0, call.err
    run = Run.open(disk / "a")
    first, again = warnings(run)
    assert first.endswith("was not written: the disk is full. Older ones are kept.")
    assert again.startswith("Checkpoints are written again since step ")
    assert max(path.name for path in (disk / "a" / "checkpoints").iterdir()) > newest
    require_same(run, whole)
