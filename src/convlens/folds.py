"""Cross-validation: every image is tested once, by a network that did not see it.

    source -> k parts -> k ordinary runs below one folder, each tested on its part -> their answers pooled -> one report

Each run is described by its own config (`data.folds`, `data.fold`) and can be resumed by itself. Asked again under the
same name, a cross-validation goes on with the folds that are left.

Source: Stone 1974, "Cross-Validatory Choice and Assessment of Statistical Predictions", doi
10.1111/j.2517-6161.1974.tb00994.x. The spread of the folds is shown as it is and not turned into an interval, for which
there is no unbiased way: Bengio, Grandvalet 2004, "No Unbiased Estimator of the Variance of K-Fold Cross-Validation".
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens.config import Config
from convlens.data.input import make_preprocess
from convlens.data.opening import open_all
from convlens.data.prepare import Prepared, divide, prepare
from convlens.data.split import Split
from convlens.errors import ConfigError, ConvlensError, RunError
from convlens.experiment import Progress, resume, train
from convlens.files import locked, sweep_aside, write_json
from convlens.keeping import FOLD_ANSWERS
from convlens.model import Model
from convlens.network import build_network
from convlens.request import read_request
from convlens.run import Run
from convlens.summary import summarise_folds
from convlens.tasks.catalog import require_options
from convlens.tasks.classify import Classify
from convlens.tasks.pictures import Anomaly
from convlens.tasks.regress import Regress
from convlens.tasks.task import Seen, Task
from convlens.training.callbacks import Callback, require_callbacks
from convlens.training.interrupt import Interrupted

RESULTS = "cross_validation"
OF_BASELINES = ("otsu_bright", "non_local_means")  # what validation chose for them; fold 1 speaks for all


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        directory: holds a run for each fold, `cross_validation.json` and `report.html`.
        runs: one for each fold, in order.
        results: what `cross_validation.json` holds: `folds`, `config`, `headline`, `mean` and `spread` (standard
            deviation) of the folds' scores, `by_fold`, `warnings`, and `report`, the task's report over all images.
    """

    directory: Path
    runs: Sequence[Run]
    results: dict[str, Any]

    @property
    def report(self) -> dict[str, Any]:
        """The task's report over the answers to all images."""
        return self.results["report"]

    @property
    def report_path(self) -> Path:
        """Where the page is."""
        return self.directory / "report.html"


def cross_validate(
    source: Any = None,
    folds: int = 5,
    *,
    config: Config | str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    begin: Callable[[int, int], None] | None = None,
    **options: Any,
) -> CrossValidation:
    """Train `folds` networks, each tested on images that none of its own training or validation images resembles.

    Groups and near-duplicates stay on one side, as in every split; the validation part of a fold, which chooses the
    epoch and calibrates, is taken from its training images. With a `name` that exists, it goes on where it stood.

    Args:
        source, config, options: as for `train`.
        callbacks: called in every fold; those that keep a state start afresh in each.
        progress: called with (stage, done, all) while images are decoded.
        begin: called with (fold, folds) before a fold that is not finished.

    Example:
        found = convlens.cross_validate("photos/", folds=5, epochs=10)
        print(found.report["accuracy"], found.results["spread"])

    Raises:
        ConfigError: options that belong to a single split.
        RunError: the name is taken by something else, or the data or the options have changed since it began.
        Interrupted: Ctrl-C or SIGTERM.
    """
    callbacks = require_callbacks(callbacks)
    asked, arrays = read_request(source, config, options)
    require_options(asked)
    if asked.data.folds is not None or asked.data.fold is not None:
        raise ConfigError("data.folds and data.fold are what a cross-validation sets itself; say how many with folds.")
    first = _of_fold(asked, folds, 1, Path(asked.run.directory))
    opened = open_all(first, arrays)
    chosen, model, wanted = build_network(first, opened)
    directory = _directory(asked, folds)
    try:
        with locked(directory):
            sweep_aside(directory)
            preprocess = make_preprocess(chosen, wanted)
            decoding = None if progress is None else lambda done, total: progress("decoding", done, total)
            prepared = prepare(chosen, opened, preprocess, folder=directory / ".store", progress=decoding)
            model.adopt(prepared)
            configs = [_of_fold(asked, folds, number, directory) for number in range(1, folds + 1)]
            records, answers = prepared.store.records, prepared.answers
            splits = [divide(one, records, answers, prepared.health) for one in configs]  # before hours of training
            runs = []
            for number, (one, split) in enumerate(zip(configs, splits, strict=True), 1):
                fresh = [copy.deepcopy(callback) if callback.state() else callback for callback in callbacks]
                say = None if begin is None else lambda number=number: begin(number, folds)
                runs.append(_run(one, replace(prepared, split=split), arrays, fresh, progress, say))
            return _pool(directory, asked, runs, splits, prepared)
    except Interrupted as interruption:
        again = f"Or go on with this and all other folds: the same command with --name {shlex.quote(directory.name)}"
        raise Interrupted(f"{interruption} {again}", interruption.number) from None
    except ConvlensError:
        if not any(directory.glob("fold-*")):  # nothing has happened yet
            (directory / f"{RESULTS}.json").unlink(missing_ok=True)
            Run.open(directory).discard()
        raise


def _of_fold(config: Config, folds: int, number: int, directory: Path) -> Config:
    reason = "cross-validation"
    choices = {"data.folds": folds, "data.fold": number, "run.directory": str(directory), "run.name": f"fold-{number}"}
    for option, value in choices.items():
        config = config.choose(option, value, reason)
    return config


def _directory(asked: Config, folds: int) -> Path:
    """A new folder, or one in which the same cross-validation has begun.

    Raises:
        RunError: there is something else of that name.
    """
    directory = Path(asked.run.directory) / asked.run.name if asked.run.name else None
    if directory is None or not directory.exists():
        made = Run.create(asked)
        made.write(RESULTS, {"folds": folds, "config": asked.to_json()})
        return made.directory
    if not (directory / f"{RESULTS}.json").exists():
        raise RunError(f"{directory} exists already and is no cross-validation. Choose another run.name.")
    stored = Run.open(directory).read(RESULTS)
    before = Config.from_json(stored["config"])
    changed = [] if stored["folds"] == folds else [f"folds = {stored['folds']}, now {folds}"]
    changed += [
        f"{option} = {before[option]}, now {value}"
        for option, value, _ in asked.rows()
        if before[option] != value and option != "run.directory"
    ]
    if changed:
        raise RunError(
            f"{directory} was begun with {'; '.join(changed)}. Ask for the same to go on with it, or choose another "
            f"run.name."
        )
    return directory


def _run(
    config: Config,
    prepared: Prepared,
    arrays: Any,
    callbacks: Sequence[Callback],
    progress: Progress | None,
    say: Callable[[], None] | None,
) -> Run:
    """The finished run of one fold: as it is, gone on with, or begun."""
    directory = Path(config.run.directory) / str(config.run.name)
    if (directory / "report.html").exists():
        run = Run.open(directory)
        run.require_same_data(prepared.table())
        return run
    if say:
        say()
    if directory.exists() and not (directory / "run.json").exists():
        Run.open(directory).discard()
    if directory.exists():
        return resume(directory, source=arrays, callbacks=callbacks, progress=progress)
    return train(arrays, config=config, callbacks=callbacks, progress=progress)


def _pool(
    directory: Path, asked: Config, runs: Sequence[Run], splits: Sequence[Split], prepared: Prepared
) -> CrossValidation:
    """One report over the answers of all folds, each under the rules that its own validation part gave it."""
    rows = np.concatenate([split.test for split in splits])
    order = np.argsort(rows)
    asks = [run.model.asks for run in runs]
    said = [
        _common(ask, _answers(run, split), prepared, split.test)
        for ask, run, split in zip(asks, runs, splits, strict=True)
    ]
    outputs, rows = np.concatenate(said)[order], rows[order]
    known = rows[prepared.targets[rows] <= 0] if asked.task == "anomaly" else rows
    nothing = np.zeros(0, np.int64)
    tested = replace(prepared, split=Split(known, nothing, nothing))
    card = _common_card(asks, [len(split.test) for split in splits], order, tested.learned)
    outputs = _encoded(outputs, card) if asked.task == "regress" else outputs
    model = Model(nn.Identity(), asked.task, prepared.classes, prepared.preprocess, None, card)
    tested = replace(prepared, split=Split(nothing, nothing, rows))
    seen = Seen(prepared.store.images, rows)
    report = model.asks.report(outputs, prepared.targets[rows], seen, level=asked.evaluate.level, seed=asked.seed)
    headline = model.asks.headline(report, asked.evaluate.headline)
    by_fold = [
        {
            "fold": number,
            "run": run.directory.name,
            "images": len(split.test),
            "best_epoch": run.evaluation["best_epoch"],
            "value": _score(run.evaluation, headline["name"]),
        }
        for number, (run, split) in enumerate(zip(runs, splits, strict=True), 1)
    ]
    scores = [row["value"]["value"] for row in by_fold if row["value"]["value"] is not None]
    found = {
        "folds": len(runs),
        "config": asked.to_json(),
        "fingerprint": prepared.store.fingerprint,
        "headline": headline,
        "mean": float(np.mean(scores)) if scores else None,
        "spread": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "by_fold": by_fold,
        "warnings": list(dict.fromkeys(_warnings(runs))),
        "report": report,
    }
    write_json(directory / f"{RESULTS}.json", found)
    summarise_folds(directory, runs, tested, model, outputs, found)
    return CrossValidation(directory, runs, found)


def _answers(run: Run, split: Split) -> np.ndarray:
    """What a fold's network said to its test images, as the task keeps it.

    Raises:
        RunError: the file is missing or is not of these images.
    """
    path = run.directory / FOLD_ANSWERS
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        raise RunError(f"{path} is missing or damaged. Delete {run.directory} to train this fold again.") from None
    if len(found) != len(split.test):
        raise RunError(
            f"{path} holds answers to {len(found):,} images; the fold has {len(split.test):,}. Delete {run.directory} "
            f"to train this fold again."
        )
    return found


def _common(asks: Task, outputs: np.ndarray, prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """A fold's outputs in a scale that all folds share: its own temperature, unit and alarm are taken out of them."""
    match asks:
        case Classify():
            return np.log(np.maximum(asks.probabilities(outputs), np.finfo(np.float64).tiny))
        case Regress():
            return asks.decode(torch.from_numpy(outputs.astype(np.float32))).numpy()
        case Anomaly() if asks.alarm is not None:  # so that the score is 1 where the alarm begins
            clean = asks.clean(Seen(prepared.store.images, rows))
            return clean + (outputs - clean) / max(asks.alarm.value, 1e-12) ** 0.5
        case _:
            return outputs


def _common_card(
    asks: Sequence[Task], counts: Sequence[int], order: np.ndarray, learned: dict[str, Any]
) -> dict[str, Any]:
    """What holds for the answers of all folds together.

    Args:
        counts: test images of each fold.
        order: of the images among the answers of all folds.
    """
    cards = [one.card for one in asks]
    card = {"data": {key: value for key, value in learned.items() if key != "bounds"}}
    card |= {key: cards[0][key] for key in OF_BASELINES if key in cards[0]}
    if any("threshold" in one for one in cards):
        each = [(one.get("threshold") or {"value": 0.5})["value"] for one in cards]
        card["threshold"] = {"value": np.repeat(each, counts)[order]}
    if all("alarm" in one for one in cards):
        card["alarm"] = {**cards[0]["alarm"], "value": 1.0}
    if all("score_threshold" in one for one in cards):
        middle = float(np.median([one["score_threshold"]["value"] for one in cards]))
        card["score_threshold"] = {**cards[0]["score_threshold"], "value": middle}
    return card


def _encoded(numbers: np.ndarray, card: dict[str, Any]) -> np.ndarray:
    """Numbers in the unit of the data as a network would give them that knew the mean and the deviation of all."""
    return (numbers - np.asarray(card["data"]["mean"])) / np.asarray(card["data"]["std"])


def _score(evaluation: dict[str, Any], name: str) -> dict[str, Any]:
    """The interval of one score on a fold's test; the folds may have chosen other headlines."""
    found = evaluation["headline"]
    return found["value"] if found["name"] == name else evaluation["test"][name]


def _warnings(runs: Sequence[Run]) -> list[str]:
    found = []
    for run in runs:
        found += [finding["message"] for finding in run.read("health") if finding["severity"] != "note"]
        found += [event["message"] for event in run.events if event["kind"] == "warning"]
    return found
