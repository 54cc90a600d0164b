"""What a person sees while they wait: a bar on a terminal, one plain line now and then where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from convlens.training.callbacks import Callback

if TYPE_CHECKING:
    from convlens.training.engine import Engine

HEARTBEAT_S = 30.0
REDRAW_S = 0.2

Watch = tuple[Sequence[Callback], Callable[[str, int, int], None] | None]


@contextmanager
def watch(*, quiet: bool) -> Iterator[Watch]:
    """Callbacks and a progress function that suit where the output goes; all of it goes to standard error."""
    if quiet:
        yield (), None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield (Bar(bar),), _bar_stage(bar)
    else:
        yield (Heartbeat(),), _line_stage()


def pulse(answers: Iterable[tuple[Any, Any]], count: Callable[[], int], *, quiet: bool) -> Iterator[tuple[Any, Any]]:
    """Pass on the answers of a video, let printed rows out as they come, and say now and then how far it is.

    Args:
        count: how many were found so far; several may be found together.
        quiet: say nothing.
    """
    started = said = time.monotonic()
    redrawn = sys.stderr.isatty()
    for answer, image in answers:
        yield answer, image
        sys.stdout.flush()
        now = time.monotonic()
        if not quiet and now - said >= (REDRAW_S if redrawn else HEARTBEAT_S):
            said = now
            line = f"{answer.name}  {count() / (now - started):.1f} a second"
            print(f"\r{line}\033[K" if redrawn else line, end="" if redrawn else "\n", file=sys.stderr, flush=True)
    if redrawn and not quiet:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def facts(row: dict[str, Any]) -> str:
    """The figures of an epoch in one line."""
    words = [f"train {row['train_loss']:.3f}"]
    if "val_loss" in row:
        words.append(f"valid {row['val_loss']:.3f}")
    if "val_accuracy" in row:
        words.append(f"accuracy {row['val_accuracy']:.4f}")
    return ", ".join(words)


def notes(engine: Engine) -> list[str]:
    """What became of the starting weights, whether features are computed once, and why the first step takes long."""
    kinds = ("weights", "features", "compiling")
    latest = {event["kind"]: event["message"] for event in engine.events if event["kind"] in kinds}
    return [f"{kind}  {message}" for kind, message in latest.items()]


def clock(seconds: float) -> str:
    """Seconds as m:ss."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


class Bar(Callback):
    """One line that is redrawn: epoch, loss, rate, time left; finished epochs stay above it."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.drawn = bar, 0.0

    def on_train_begin(self, engine: Engine) -> None:
        for note in notes(engine):
            self.bar.console.print(note, highlight=False, markup=False)
        self.task = self.bar.add_task("training", total=engine.epochs * len(engine.train), facts="")

    def on_batch_end(self, engine: Engine) -> None:
        now = time.monotonic()
        if now - self.drawn >= REDRAW_S:
            self.drawn = now
            state = engine.state
            speed = f"  {engine.speed:.0f} images/s" if state.epoch_seconds else ""
            self.bar.update(
                self.task,
                completed=state.epoch * len(engine.train) + state.batch,
                description=f"epoch {state.epoch + 1}/{engine.epochs}",
                facts=f"loss {engine.recent_loss:.3f}  rate {engine.present_rate:.2g}{speed}",
            )

    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
        self.bar.console.print(f"epoch {row['epoch']:>3}/{engine.epochs}  {facts(row)}", highlight=False)


class Heartbeat(Callback):
    """A plain line after an epoch, or half a minute into a long one."""

    def __init__(self) -> None:
        self.started = self.said = time.monotonic()

    def on_train_begin(self, engine: Engine) -> None:
        self.started = self.said = time.monotonic()
        self.first_step = engine.state.epoch * len(engine.train) + engine.state.batch
        for note in notes(engine):
            print(note, file=sys.stderr, flush=True)

    def on_batch_end(self, engine: Engine) -> None:
        if time.monotonic() - self.said >= HEARTBEAT_S:
            part = f"batch {engine.state.batch}/{len(engine.train)}"
            self._say(engine, f"{part}, loss {engine.recent_loss:.3f}")

    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
        self._say(engine, facts(row))

    def _say(self, engine: Engine, words: str) -> None:
        self.said = time.monotonic()
        done = engine.state.epoch * len(engine.train) + engine.state.batch
        spent = self.said - self.started
        left = spent / max(done - self.first_step, 1) * (engine.epochs * len(engine.train) - done)
        line = f"epoch {engine.state.epoch + 1}/{engine.epochs}  {words}  rate {engine.present_rate:.2g}"
        print(f"{line}  {clock(spent)} gone, {clock(left)} left", file=sys.stderr, flush=True)


def _bar_stage(bar: Any) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def show(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=total, facts="")
        bar.update(tasks[stage], completed=done, facts=f"{done:,} of {total:,} images")
        if done == total:
            bar.remove_task(tasks[stage])

    return show


def _line_stage() -> Callable[[str, int, int], None]:
    said = {"": 0.0}

    def show(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done in (0, total) or now - said.setdefault(stage, now) >= HEARTBEAT_S:
            said[stage] = now
            print(f"{stage}  {done:,} of {total:,} images", file=sys.stderr, flush=True)

    return show
