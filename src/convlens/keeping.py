"""What a run keeps: at once what was asked, before the first step what was decided, after the last what came of it.

`run.py` says which files these are and reads them; here is what goes into them.
"""

from __future__ import annotations

import datetime
import io
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from convlens.config import Config
from convlens.data.prepare import Prepared
from convlens.files import write_atomic
from convlens.model import Model
from convlens.model_file import versions
from convlens.models.licence import restriction
from convlens.models.walk import walk
from convlens.run import Run
from convlens.summary import draw_contact_sheet
from convlens.training.hardware import Hardware

FOLD_ANSWERS = "test_outputs.npy"
PATHS = (
    *(("data", "source"), ("data", "valid"), ("data", "test"), ("data", "masks"), ("data", "clean")),
    *(("network", "weights"), ("run", "directory")),
)


def keep_request(run: Run, config: Config) -> None:
    """Write what was asked."""
    run.write("run", _request(config))


def keep_decisions(
    run: Run, config: Config, model: Model, prepared: Prepared, hardware: Hardware, *, started: float
) -> None:
    """Write the data, the network and every choice; with the last file a resumed run takes all of it as decided.

    Args:
        started: when preparing began, by `time.perf_counter`.
    """
    run.write("data", {"fingerprint": prepared.store.fingerprint, "records": prepared.table()})
    run.write("health", [finding.to_json() for finding in prepared.findings])
    preprocess = prepared.preprocess
    layers = walk(model.network, (1, preprocess.policy.channels, *preprocess.size_px))
    run.write("network", {"name": config.network.name, "layers": [asdict(row) for row in layers]})
    write_atomic(run.directory / "contact_sheet.png", draw_contact_sheet(config, prepared))
    _tell(run, config, model.card["weights"])
    run.write(
        "run",
        {
            **_request(config),
            "hardware": hardware.to_json(),
            "preprocess": preprocess.to_json(),
            "weights": model.card["weights"],
            "fingerprint": prepared.store.fingerprint,
            "created": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
            "preparing_s": round(time.perf_counter() - started, 3),
        },
    )


def keep_result(run: Run, config: Config, model: Model, evaluation: dict[str, Any], test_outputs: np.ndarray) -> None:
    """Write the model with its headline, and the scores.

    Args:
        test_outputs: kept where they are to be pooled with those of other folds.
    """
    if "headline" in evaluation:
        model.card["metrics"] = evaluation["headline"]
    model.save(run.model_path)
    if config.data.folds:
        answers = io.BytesIO()
        np.save(answers, test_outputs, allow_pickle=False)
        write_atomic(run.directory / FOLD_ANSWERS, answers.getvalue())
    run.write("evaluation", evaluation)


def provenance(config: Config, prepared: Prepared, best_epoch: int) -> dict[str, Any]:
    """Where a model comes from, for its card: the config, the data, the epoch."""
    split = prepared.split
    return {
        "config": _portable(config),
        "data": {
            "source": Path(config.data.source).name,
            "fingerprint": prepared.store.fingerprint,
            **prepared.learned,
            "images": {part: len(getattr(split, part)) for part in ("train", "valid", "test")},
        },
        "best_epoch": best_epoch,
    }


def _request(config: Config) -> dict[str, Any]:
    argv = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {"config": config.to_json(), "versions": versions(), "argv": argv}


def _tell(run: Run, config: Config, weights: dict[str, Any]) -> None:
    """Begin the list of events with every choice, and with what is to be known of the starting weights."""
    run.events.cut(0)
    for option, value, origin in config.rows():
        if origin.startswith("chosen: "):
            run.events.add("choice", f"{option} = {value}: {origin.removeprefix('chosen: ')}")
    if "summary" in weights:
        run.events.add("weights", f"{weights['summary']}; licence {weights['licence'] or 'unknown'}")
    if warning := restriction(weights):
        run.events.add("warning", warning)


def _portable(config: Config) -> dict[str, Any]:
    """The config as it travels with the model: files by their names, without the folders of this machine."""
    plain = config.to_json()
    for section, key in PATHS:
        if plain[section][key]:
            plain[section][key] = Path(plain[section][key]).name
    del plain["origins"]
    return plain
