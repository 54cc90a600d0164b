"""What a run keeps: request and decisions whole, of this machine's folders nothing, of the answers what folds need."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import rig
from convlens import artefact
from convlens.config import Config
from convlens.data.prepare import Prepared
from convlens.keeping import FOLD_ANSWERS, keep_decisions, keep_request, keep_result, provenance
from convlens.model import Model
from convlens.run import Run
from convlens.training.hardware import Hardware
from convlens.training.plan import make_plan

ANSWERS = np.arange(6, dtype=np.float32).reshape(2, 3)


Ready = tuple[Config, Model, Prepared, Hardware]


def begun(folder: Path) -> tuple[Run, Ready]:
    """A run, and the decisions that it has kept."""
    config, prepared = rig.prepared(folder)
    run, model = Run.create(config), Model(rig.network(), card={"weights": {"origin": "random", "licence": None}})
    model.adopt(prepared)
    keep_request(run, config)
    assert "hardware" not in run.read("run"), "a resumed run would take this as decided"
    config, hardware = make_plan(model.network, config, prepared, from_scratch=True)
    ready = config.choose("seed", 7, "it is a test"), model, prepared, hardware
    keep_decisions(run, *ready, started=0.0)
    return run, ready


def test_what_was_decided_can_be_read_back(tmp_path: Path) -> None:
    run, (config, model, _, hardware) = begun(tmp_path)
    stored = run.read("run")
    assert Config.from_json(stored["config"]) == config
    assert stored["preprocess"] == model.preprocess.to_json()  # type: ignore[union-attr]
    assert Hardware(**stored["hardware"]) == hardware
    assert stored["fingerprint"] == run.read("data")["fingerprint"]
    assert stored["preparing_s"] > 0
    assert {"created", "versions", "weights", "argv"} <= stored.keys()
    assert len(run.read("data")["records"]) == 120
    parameters = sum(row["parameters"] for row in run.read("network")["layers"])
    assert parameters == sum(p.numel() for p in model.network.parameters())


def test_every_choice_is_an_event_and_told_once(tmp_path: Path) -> None:
    run, (config, model, prepared, hardware) = begun(tmp_path)
    said = [event["message"] for event in run.events if event["kind"] == "choice"]
    assert "seed = 7: it is a test" in said
    assert said == [f"{name} = {value}: {o[8:]}" for name, value, o in config.rows() if o.startswith("chosen: ")]
    model.card["weights"] = {"origin": "a", "licence": None, "summary": "9 of 9 tensors from a"}
    keep_decisions(run, config, model, prepared, hardware, started=0.0)
    events = [(event["kind"], event["message"]) for event in run.events]
    assert ("weights", "9 of 9 tensors from a; licence unknown") in events
    assert len(events) == len(set(events)), "what an interrupted beginning told is told anew, not twice"


def test_a_model_says_where_it_comes_from_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    _, prepared = rig.prepared(tmp_path)
    options = {f"data.{name}": str(tmp_path / name) for name in ("source", "valid", "test", "masks", "clean")}
    options |= {"network.weights": str(tmp_path / "w.pt"), "run.directory": str(tmp_path / "runs")}
    found = provenance(Config.build(options), prepared, 5)
    assert str(tmp_path) not in json.dumps(found)
    assert found["config"]["data"]["clean"] == "clean"
    assert found["config"]["run"]["directory"] == "runs"
    assert "origins" not in found["config"]
    assert found["data"]["source"] == "source"
    assert found["data"]["images"] == {part: len(getattr(prepared.split, part)) for part in ("train", "valid", "test")}
    assert found["data"]["train_counts"] == prepared.learned["train_counts"]
    assert found["best_epoch"] == 5


@pytest.mark.parametrize("folds", [None, 3])
def test_answers_are_kept_where_they_are_to_be_pooled(tmp_path: Path, folds: int | None) -> None:
    run, (config, model, *_) = begun(tmp_path)
    config = config.choose("data.folds", folds, "it is a test")
    keep_result(run, config, model, {"headline": {"name": "accuracy"}}, ANSWERS)
    _, card = artefact.read(run.model_path)
    assert card["metrics"] == run.evaluation["headline"] == {"name": "accuracy"}
    path = run.directory / FOLD_ANSWERS
    assert path.exists() == (folds is not None)
    if folds:
        np.testing.assert_equal(np.load(path), ANSWERS)


def test_without_a_score_there_is_none_in_the_card(tmp_path: Path) -> None:
    run, (config, model, *_) = begun(tmp_path)
    keep_result(run, config, model, {"seconds": 0.1}, ANSWERS[:0])
    _, card = artefact.read(run.model_path)
    assert "metrics" not in card
    assert run.evaluation == {"seconds": 0.1}
