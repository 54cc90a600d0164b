"""The composition root: a config becomes a run.

    request -> source -> network -> data (decoded, checked, split) -> plan -> training -> evaluation -> report

`train` walks all of it, `resume` the rest of it from where a run stands, and `find_rate` tries rates where training
would begin. Nothing is computed here that a floor below could compute: every arrow is a call, and the run directory
says how far a run got.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from convlens.config import Config
from convlens.data.input import learns_normalisation, make_preprocess
from convlens.data.opening import open_all
from convlens.data.prepare import Prepared, prepare
from convlens.data.preprocess import Preprocess
from convlens.data.record import Source
from convlens.errors import RunError
from convlens.evaluation import evaluate, start_to_probe
from convlens.files import locked, sweep_aside
from convlens.keeping import keep_decisions, keep_request, keep_result, provenance
from convlens.model import Model
from convlens.model_file import versions
from convlens.network import build_network
from convlens.request import ARRAYS, read_request
from convlens.run import Run
from convlens.summary import summarise
from convlens.tasks.catalog import require_options
from convlens.training.callbacks import Callback, TensorBoard, require_callbacks, require_columns
from convlens.training.checkpoint import Checkpoints
from convlens.training.engine import Engine
from convlens.training.features import Features
from convlens.training.finder import RateCurve
from convlens.training.finder import find_rate as try_rates
from convlens.training.hardware import Hardware
from convlens.training.interrupt import Interrupted
from convlens.training.plan import make_engine, make_plan, make_task

Progress = Callable[[str, int, int], None]


class Ready(NamedTuple):
    """All that training needs; nothing about it is open any more."""

    config: Config
    model: Model
    prepared: Prepared
    hardware: Hardware


# what a caller may ask for --------------------------------------------------------------------------------------------


def train(
    source: Any = None,
    *,
    config: Config | str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Train a network on images and keep everything in a run directory.

    Args:
        source: a folder, a table, idx files, a built-in name, or a pair of arrays (images, labels).
        config: a `Config`, or the path of a TOML file.
        callbacks: called at each stage of training.
        progress: called with (stage, done, all) while images are decoded.
        options: any option by its last name (`epochs=10`, `network="lenet5"`) or with two underscores
            (`train__epochs=10`).

    Example:
        run = convlens.train("photos/", network="timm:resnet18", epochs=10)
        print(run.evaluation["test"]["accuracy"], run.report_path)

    Raises:
        ConvlensError: with what was expected, what came and what to do.
    """
    callbacks = require_callbacks(callbacks)
    config, arrays = read_request(source, config, options)
    require_options(config)
    opened = open_all(config, arrays)
    run = Run.create(config)
    with locked(run.directory), run.resumable():
        with run.beginning():
            keep_request(run, config)
            ready = _begin(run, config, opened, callbacks, progress)
        return _train(run, ready, callbacks, progress)


def resume(
    directory: str | Path,
    *,
    source: Any = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
) -> Run:
    """Continue an interrupted run where its last checkpoint stands; the result is that of a run never interrupted.

    Args:
        source: the arrays again, where the run was started from arrays in memory.

    Raises:
        RunError: it is not a run, another process works on it, or its data has changed.
    """
    callbacks = require_callbacks(callbacks)
    run = Run.open(directory)
    with locked(run.directory), run.resumable():
        if run.report_path.exists():
            raise RunError(f"{run.directory} is finished; its report is {run.report_path}. Nothing to resume.")
        sweep_aside(run.directory)
        run.events.cut(len(run.events))  # a last line cut short by a crash goes
        stored = run.read("run")
        config = Config.from_json(stored["config"])
        if source is None and config.data.source == ARRAYS:
            raise RunError(
                f"{run.directory} was started from arrays in memory. Give them again: "
                f"convlens.resume({str(run.directory)!r}, source=(images, labels))."
            )
        opened = open_all(config, source)
        if "hardware" not in stored:  # it ended before all was decided
            return _train(run, _begin(run, config, opened, callbacks, progress), callbacks, progress)
        return _train(run, _take_up(run, config, opened, stored, progress), callbacks, progress, resumed=True)


def find_rate(
    source: Any = None, *, config: Config | None = None, progress: Progress | None = None, **options: Any
) -> RateCurve:
    """Raise the learning rate step by step on a copy of the network and see where the loss falls fastest.

    Args:
        source, config, options: as for `train`; no run directory is made.
    """
    config, arrays = read_request(source, config, options)
    require_options(config)
    ready = _make_ready(config, open_all(config, arrays), progress)
    return try_rates(ready.model.network, ready.config, ready.prepared, ready.hardware)


# the stages of a run --------------------------------------------------------------------------------------------------


def _make_ready(config: Config, source: Source, progress: Progress | None) -> Ready:
    """Build the network, prepare the data, and decide what is open."""
    config, model, wanted = build_network(config, source)
    prepared = prepare(
        config,
        source,
        make_preprocess(config, wanted),
        learn_normalisation=learns_normalisation(config, wanted),
        progress=_stage(progress, "decoding"),
    )
    model.adopt(prepared)
    from_scratch = model.card["weights"]["origin"] == "random"
    compiling = _stage(progress, "compiling a step")
    config, hardware = make_plan(model.network, config, prepared, from_scratch=from_scratch, progress=compiling)
    return Ready(config, model, prepared, hardware)


def _begin(run: Run, config: Config, source: Source, callbacks: Sequence[Callback], progress: Progress | None) -> Ready:
    started = time.perf_counter()
    ready = _make_ready(config, source, progress)
    task, validated = make_task(ready.config, ready.prepared), len(ready.prepared.split.valid) > 0
    require_columns(task, config.train.monitor, callbacks, validated=validated)
    keep_decisions(run, *ready, started=started)
    return ready


def _take_up(run: Run, config: Config, source: Source, stored: dict[str, Any], progress: Progress | None) -> Ready:
    """What was ready when the run began: the same decisions, and the same data or an error."""
    config, model, _ = build_network(config, source)
    preprocess, decoding = Preprocess.from_json(stored["preprocess"]), _stage(progress, "decoding")
    prepared = prepare(config, source, preprocess, learn_normalisation=False, progress=decoding)
    run.require_same_data(prepared.table())
    model.adopt(prepared)
    if versions() != stored["versions"]:
        run.events.add("warning", f"The run began with {stored['versions']}; it goes on with {versions()}.")
    return Ready(config, model, prepared, Hardware(**stored["hardware"]))


def _train(
    run: Run, ready: Ready, callbacks: Sequence[Callback], progress: Progress | None, *, resumed: bool = False
) -> Run:
    """Train, or go on training; then evaluate, and write what is to be kept."""
    config, model, prepared, hardware = ready
    boards = [TensorBoard(run.directory / "tensorboard")] if config.run.tensorboard else []
    start = start_to_probe(config, model)
    checkpoints = Checkpoints(run.directory / "checkpoints", run.events, config.train.checkpoint_seconds)
    engine = make_engine(
        model.network,
        config,
        prepared,
        hardware,
        callbacks=[*callbacks, *boards],
        save_model=model.save,
        history=run.history,
        events=run.events,
        checkpoints=checkpoints,
        progress=_stage(progress, "computing features"),
    )
    if resumed:
        _restore(engine, checkpoints, run)
    try:
        engine.fit()
    except Interrupted as interruption:
        saved = f"Not saved: {checkpoints.failed}." if checkpoints.failed else "Saved."
        raise Interrupted(f"{interruption} {saved}", interruption.number) from None
    model.history = run.history
    _finish(run, ready, engine, start)
    if checkpoints.failed:
        run.events.add("warning", f"The last checkpoint could not be written: {checkpoints.failed}.")
    return run


def _restore(engine: Engine, checkpoints: Checkpoints, run: Run) -> None:
    """Put the engine where the last checkpoint stands, or at the beginning where there is none."""
    snapshot = checkpoints.load()
    if snapshot:
        tensors, card = snapshot
        states = _match_states(engine.callbacks, card["callbacks"], run.directory)
        engine.restore((tensors, {**card, "callbacks": states}))
    else:
        run.history.cut(0)
    run.events.add("resume", f"Continued at epoch {engine.state.epoch + 1}, step {engine.state.step}.")


def _match_states(
    callbacks: Sequence[Callback], states: Sequence[dict[str, Any]], directory: Path
) -> list[dict[str, Any]]:
    """The state each callback had, in order; those without a state, such as a progress bar, may come and go.

    Raises:
        RunError: a callback with a state is missing, or new.
    """
    kept = [state for state in states if state]
    heirs = [callback for callback in callbacks if callback.state()]
    if len(kept) != len(heirs):
        raise RunError(
            f"{directory} was trained with {len(kept)} callbacks that keep a state; {len(heirs)} are given now. "
            f"Give the same, in the same order: convlens.resume({str(directory)!r}, callbacks=[...])."
        )
    following = iter(kept)
    return [next(following) if callback.state() else {} for callback in callbacks]


def _finish(run: Run, ready: Ready, engine: Engine, start: nn.Module | None) -> None:
    """Calibrate on validation, look at the test once, write model, scores and report."""
    config, model, prepared, _ = ready
    best_epoch, features = engine.state.best_epoch, engine.present if isinstance(engine.present, Features) else None
    model.card |= provenance(config, prepared, best_epoch)
    scores, test_outputs = evaluate(run, *ready, start=start, features=features)
    keep_result(run, config, model, {"best_epoch": best_epoch, **scores}, test_outputs)
    summarise(run, config, prepared, model, test_outputs)


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)
