"""The composition root: a config becomes a run.

    source -> input -> network -> prepare (decode, health, split) -> plan -> train -> calibrate -> test once -> report

`train` begins, `resume` continues; both walk the same path, and the run directory says how far it got. Nothing is
computed here that a floor below could compute.
"""

from __future__ import annotations

import copy
import datetime
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convlens.config import DEFAULT, Config, by_leaf, read_toml
from convlens.data.health import Health, inspect
from convlens.data.image import ImagePolicy
from convlens.data.mask_targets import check_masks
from convlens.data.prepare import Prepared, Wanted, choose_input, make_preprocess, open_all, prepare
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Source
from convlens.data.store import scan
from convlens.data.targets import names_of_outputs
from convlens.errors import ConfigError, ConvlensError, DataError, RunError
from convlens.files import locked, sweep_aside, write_atomic
from convlens.model import Model
from convlens.model_file import versions
from convlens.models import backbone, catalog
from convlens.models.licence import restriction
from convlens.models.walk import walk
from convlens.run import Run
from convlens.summary import draw_contact_sheet, summarise
from convlens.tasks.catalog import require_options
from convlens.tasks.task import Seen
from convlens.training.callbacks import Callback, TensorBoard
from convlens.training.checkpoint import Checkpoints
from convlens.training.features import Features
from convlens.training.finder import RateCurve
from convlens.training.finder import find_rate as try_rates
from convlens.training.hardware import Hardware
from convlens.training.interrupt import Interrupted
from convlens.training.plan import make_engine, make_plan
from convlens.training.probe import MOST_IMAGES, code_probe, linear_probe
from convlens.training.transfer import frozen_by, require_weights

Progress = Callable[[str, int, int], None]
Ready = tuple[Config, Model, Prepared, Hardware]
ARRAYS = "arrays"
FOLD_ANSWERS = "test_outputs.npy"
PATHS = (("data", "source"), ("data", "valid"), ("data", "test"), ("data", "masks"), ("network", "weights"))
RESERVED = {"in_channels", "outputs", "size_px", "pretrained", "layers"}


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
    config, arrays = read_request(source, config, options)
    require_options(config)
    opened = open_all(config, arrays)
    run = Run.create(config)
    path = _Path(run, callbacks, progress)
    with locked(run.directory), run.resumable():
        run.write("run", {"config": config.to_json(), "versions": versions(), "argv": _argv()})
        try:
            ready = path.begin(config, opened)
        except ConvlensError:
            run.discard()
            raise
        return path.train(*ready)


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
    run = Run.open(directory)
    with locked(run.directory), run.resumable():
        if run.report_path.exists():
            raise RunError(f"{run.directory} is finished; its report is {run.report_path}. Nothing to resume.")
        sweep_aside(run.directory)
        run.events.cut(len(run.events))  # a last line cut short by a crash goes
        return _Path(run, callbacks, progress).go_on(source)


def find_rate(
    source: Any = None, *, config: Config | None = None, progress: Progress | None = None, **options: Any
) -> RateCurve:
    """Raise the learning rate step by step on a copy of the network and see where the loss falls fastest.

    Args:
        source, config, options: as for `train`; no run directory is made.
    """
    config, arrays = read_request(source, config, options)
    require_options(config)
    opened = open_all(config, arrays)
    config, model, wanted = build_network(config, opened)
    prepared = prepare(config, opened, make_preprocess(config, wanted), progress=_stage(progress, "decoding"))
    model.adopt(prepared)
    from_scratch = model.card["weights"]["origin"] == "random"
    config, hardware = make_plan(model.network, config, prepared, from_scratch=from_scratch)
    return try_rates(model.network, config, prepared, hardware)


def check(source: Any, *, progress: Progress | None = None, **options: Any) -> tuple[Source, Health]:
    """Look at the health of a data set without training: every file is decoded, nothing is kept or changed."""
    config = Config.build(by_leaf(options), {"data.source": str(source)} if isinstance(source, str | Path) else {})
    opened = open_all(config, None if isinstance(source, str | Path) else source)
    policy = ImagePolicy(max_pixels=config.data.max_pixels)
    facts = scan(opened, policy, threads=os.cpu_count() or 1, progress=_stage(progress, "decoding"))
    health = inspect(
        opened, facts, near_duplicates=config.data.near_duplicates, max_bad_fraction=config.data.max_bad_fraction
    )
    if opened.kind == "mask":
        wrong = check_masks(opened, facts, config.data.max_pixels)
        health = replace(health, findings=(*health.findings, *wrong))
    return opened, health


def build_network(config: Config, source: Source) -> tuple[Config, Model, Wanted]:
    """The network for a source, with its starting weights, before any image is decoded."""
    if config.network.layers is not None and config.origins.get("network.name") == DEFAULT:
        config = config.choose("network.name", "layers", "network.layers is given")
    if config.origins.get("network.name") == DEFAULT and config.task in catalog.DEFAULTS:
        config = config.choose("network.name", catalog.DEFAULTS[config.task], f"the usual one for {config.task}")
    require_weights(config)
    name = config.network.name
    if reserved := RESERVED & config.network.options.keys():
        raise ConfigError(
            f"network.options cannot hold {', '.join(sorted(reserved))}: channels and size are data.channels and "
            f"data.size_px, the outputs follow from the classes, and layers is network.layers."
        )
    if name in catalog.NETWORKS and (reason := catalog.NETWORKS[name].teaching):
        raise ConfigError(f"{name} is here to be read and is not trained by convlens.train: {reason}. Choose yolo.")
    smallest_px = catalog.NETWORKS[name].smallest_px if name in catalog.NETWORKS else 1
    expected = catalog.expected_input(name, config.network.weights, config.network.pretrained)
    wanted = Wanted(smallest_px=smallest_px, **expected)
    config = choose_input(config, source, wanted)
    classes = names_of_outputs(source, config.data, int(config.data.channels))
    torch.random.default_generator.manual_seed(config.seed)
    options = dict(config.network.options)
    if config.network.layers is not None:
        options["layers"] = config.network.layers
    size = int(config.data.size_px)
    arguments = {"in_channels": int(config.data.channels), "outputs": len(classes), "size_px": (size, size)}
    network = catalog.build(name, **arguments, pretrained=config.network.pretrained, **options)
    card: dict[str, Any] = {"weights": {"origin": "random", "licence": None}}
    if config.network.pretrained:
        card["weights"] = backbone.published_weights(network)
    if config.network.weights:
        card["weights"] = catalog.load_weights(network, config.network.weights).to_json()
    if config.run.strict and (warning := restriction(card["weights"])):
        raise ConfigError(warning)
    frozen_by(network, config)
    architecture = {"name": name, **arguments, "size_px": [size, size], "options": options}
    return config, Model(network, config.task, classes, None, architecture, card), wanted


@dataclass
class _Path:
    """The walk of one run, from its config to its report."""

    run: Run
    callbacks: Sequence[Callback] = ()
    progress: Progress | None = None

    def begin(self, config: Config, source: Source) -> Ready:
        """Prepare the data, decide what is open, and write all of it down."""
        started = time.perf_counter()
        config, model, wanted = build_network(config, source)
        learn = config.data.normalise == "data" or (config.data.normalise == "auto" and wanted.mean is None)
        progress = _stage(self.progress, "decoding")
        preprocess = make_preprocess(config, wanted)
        prepared = prepare(config, source, preprocess, learn_normalisation=learn, progress=progress)
        model.adopt(prepared)
        from_scratch = model.card["weights"]["origin"] == "random"
        config, hardware = make_plan(model.network, config, prepared, from_scratch=from_scratch)
        run = self.run
        run.write("data", {"fingerprint": prepared.store.fingerprint, "records": prepared.table()})
        run.write("health", [finding.to_json() for finding in prepared.findings])
        shape = (1, prepared.preprocess.policy.channels, *prepared.preprocess.size_px)
        layers = walk(model.network, shape)
        run.write("network", {"name": config.network.name, "layers": [asdict(row) for row in layers]})
        write_atomic(run.directory / "contact_sheet.png", draw_contact_sheet(config, prepared))
        run.events.cut(0)
        for option, value, origin in config.rows():
            if origin.startswith("chosen: "):
                run.events.add("choice", f"{option} = {value}: {origin.removeprefix('chosen: ')}")
        weights = model.card["weights"]
        if "summary" in weights:
            run.events.add("weights", f"{weights['summary']}; licence {weights['licence'] or 'unknown'}")
        if warning := restriction(weights):
            run.events.add("warning", warning)
        run.write(  # last: from here on a resumed run takes all of it as decided
            "run",
            {
                "config": config.to_json(),
                "hardware": hardware.to_json(),
                "preprocess": prepared.preprocess.to_json(),
                "weights": model.card["weights"],
                "fingerprint": prepared.store.fingerprint,
                "versions": versions(),
                "argv": _argv(),
                "created": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
                "preparing_s": round(time.perf_counter() - started, 3),
            },
        )
        return config, model, prepared, hardware

    def go_on(self, source: Any) -> Run:
        """Continue wherever the run stood: in the middle of preparing, of training, or of the evaluation."""
        run = self.run
        stored = run.read("run")
        config = Config.from_json(stored["config"])
        if source is None and config.data.source == ARRAYS:
            raise RunError(
                f"{run.directory} was started from arrays in memory. Give them again: "
                f"convlens.resume({str(run.directory)!r}, source=(images, labels))."
            )
        opened = open_all(config, source)
        if "hardware" not in stored:
            return self.train(*self.begin(config, opened))
        config, model, _ = build_network(config, opened)
        preprocess = Preprocess.from_json(stored["preprocess"])
        progress = _stage(self.progress, "decoding")
        prepared = prepare(config, opened, preprocess, learn_normalisation=False, progress=progress)
        run.require_same_data(prepared.table())
        model.adopt(prepared)
        if versions() != stored["versions"]:
            run.events.add("warning", f"The run began with {stored['versions']}; it goes on with {versions()}.")
        return self.train(config, model, prepared, Hardware(**stored["hardware"]), resumed=True)

    def train(self, config: Config, model: Model, prepared: Prepared, hardware: Hardware, resumed: bool = False) -> Run:
        """Train, evaluate, and write what is to be kept."""
        run = self.run
        callbacks = list(self.callbacks)
        if config.run.tensorboard:
            callbacks.append(TensorBoard(run.directory / "tensorboard"))
        tuned = model.card["weights"]["origin"] != "random" and config.task == "classify"
        probed = tuned and config.evaluate.linear_probe
        start = copy.deepcopy(model.network) if probed and not config.train.cache_features else model.network
        checkpoints = Checkpoints(run.directory / "checkpoints", run.events, config.train.checkpoint_seconds)
        engine = make_engine(
            model.network,
            config,
            prepared,
            hardware,
            callbacks=callbacks,
            save_model=model.save,
            history=run.history,
            events=run.events,
            checkpoints=checkpoints,
            progress=_stage(self.progress, "computing features"),
        )
        if resumed:
            snapshot = checkpoints.load()
            if snapshot:
                states = snapshot[1]["callbacks"]
                snapshot[1]["callbacks"] = _match_states(engine.callbacks, states, run.directory)
                engine.restore(snapshot)
            else:
                run.history.cut(0)
            run.events.add("resume", f"Continued at epoch {engine.state.epoch + 1}, step {engine.state.step}.")
        try:
            engine.fit()
        except Interrupted as interruption:
            saved = f"Not saved: {checkpoints.failed}." if checkpoints.failed else "Saved."
            raise Interrupted(f"{interruption} {saved}", interruption.number) from None
        model.history = run.history
        probe = None
        if probed:
            known = engine.present if isinstance(engine.present, Features) else None
            probe = partial(linear_probe, start, prepared, device=hardware.device, known=known)
        self._finish(config, model, prepared, engine.state.best_epoch, probe)
        if checkpoints.failed:
            run.events.add("warning", f"The last checkpoint could not be written: {checkpoints.failed}.")
        return run

    def _finish(
        self, config: Config, model: Model, prepared: Prepared, best_epoch: int, probe: Callable[..., Any] | None
    ) -> None:
        """Calibrate on validation, look at the test once, write model, evaluation and report."""
        run, split, store, targets = self.run, prepared.split, prepared.store, prepared.targets
        level = config.evaluate.level
        promise = config.evaluate.false_alarms if config.task == "anomaly" else config.evaluate.abstain
        model.card |= {
            "config": _portable(config),
            "data": {
                "source": Path(config.data.source).name,
                "fingerprint": store.fingerprint,
                **prepared.learned,
                "images": {part: len(getattr(split, part)) for part in ("train", "valid", "test")},
            },
            "best_epoch": best_epoch,
        }
        evaluation: dict[str, Any] = {"best_epoch": best_epoch}
        started = time.perf_counter()
        if len(split.valid):
            outputs, seen = model.outputs(store.images, split.valid, scored=True), Seen(store.images, split.valid)
            if config.evaluate.calibrate:
                try:
                    model.asks.settle(outputs, targets[split.valid], seen, promise=promise, level=level)
                except DataError as error:  # what was trained for hours is kept
                    without = "it gives scores, no alarms" if config.task == "anomaly" else "it always answers"
                    run.events.add("warning", f"{error} The model has no such rule: {without}.")
            found = model.asks.report(outputs, targets[split.valid], seen, level=level, seed=config.seed)
            evaluation["valid"] = found
        test_outputs = np.zeros((0, len(prepared.classes)), np.float32)
        if len(split.test):
            evaluation["test_opened"] = run.count_test_opening()
            test_outputs, seen = model.outputs(store.images, split.test, scored=True), Seen(store.images, split.test)
            found = model.asks.report(test_outputs, targets[split.test], seen, level=level, seed=config.seed)
            evaluation["test"] = found
        if probe:
            evaluation["linear_probe"] = probe(level=level, seed=config.seed)
        if config.task == "reconstruct" and len(prepared.answers.groups) > 1 and hasattr(model.network, "encode"):
            evaluation["code_classifier"] = _code_classifier(model, prepared, level=level, seed=config.seed)
        evaluation["seconds"] = round(time.perf_counter() - started, 3)
        part = "test" if "test" in evaluation else "valid"
        if part in evaluation and config.task == "detect":
            evaluation[part]["speed"] = model.speed(store.images)
        if part in evaluation:
            found = {"part": part, **model.asks.headline(evaluation[part], config.evaluate.headline)}
            if probe:
                found["linear_probe"] = evaluation["linear_probe"][part][found["name"]]
            evaluation["headline"] = model.card["metrics"] = found
        model.save(run.model_path)
        if config.data.folds:  # to be pooled with those of the other folds
            answers = io.BytesIO()
            np.save(answers, test_outputs, allow_pickle=False)
            write_atomic(run.directory / FOLD_ANSWERS, answers.getvalue())
        run.write("evaluation", evaluation)
        summarise(run, config, prepared, model, test_outputs)


def _code_classifier(model: Model, prepared: Prepared, *, level: float, seed: int) -> dict[str, Any]:
    """How far a linear classifier gets with the codes of labelled pictures."""
    codes, targets = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for part in ("train", "valid", "test"):
        rows = getattr(prepared.split, part)
        rows = rows[prepared.targets[rows] >= 0]
        if len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_IMAGES)).astype(np.int64)]
            codes[part], targets[part] = model.codes(prepared.store.images, rows), prepared.targets[rows]
    return code_probe(codes, targets, prepared.answers.groups, level=level, seed=seed)


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


def read_request(source: Any, config: Config | str | Path | None, options: dict[str, Any]) -> tuple[Config, Any]:
    """The config a caller asked for, and the source where it is not a name but arrays in memory.

    Raises:
        ConfigError: both a config and options, or an option that does not exist.
    """
    named = isinstance(source, str | Path)
    if not isinstance(config, Config):
        layer = read_toml(config) if config else {}
        asked = by_leaf(options) | ({"data.source": str(source)} if named else {})
        config = Config.build(layer, asked, origin=(str(config), "argument"))
    elif options:
        raise ConfigError("Give either a Config or options, not both.")
    elif named and str(source) != config.data.source:
        config = config.choose("data.source", str(source), "given beside the config")
    if source is None or named:
        return config, None
    return config.choose("data.source", ARRAYS, "given in memory"), source


def _portable(config: Config) -> dict[str, Any]:
    """The config as it travels with the model: files by their names, without the folders of this machine."""
    plain = config.to_json()
    for section, key in PATHS:
        if plain[section][key]:
            plain[section][key] = Path(plain[section][key]).name
    plain["run"]["directory"] = Path(config.run.directory).name
    del plain["origins"]
    return plain


def _argv() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)
