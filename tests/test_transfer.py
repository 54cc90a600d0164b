"""Runs that start from weights: what was taken over is told, a baseline stands by the result, kills change nothing."""

from __future__ import annotations

import json
import shutil
import signal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

import convlens as cl
import small
from convlens import artefact
from convlens.cli.main import app
from convlens.cli.show import show_run
from convlens.errors import ConfigError
from convlens.model import Model
from convlens.report.page import RunSummary
from convlens.run import Run
from convlens.training.callbacks import Callback
from convlens.training.engine import Engine
from convlens.training.interrupt import Interrupted

HEAD = ("head.weight", "head.bias")


@cache
def two_classes() -> Path:
    """Pictures with one class fewer than the starting weights know, so that the head is replaced."""
    folder = small.photos(small.shared() / "two")
    shutil.rmtree(folder / "top")
    return folder


def options(**more: Any) -> dict[str, Any]:
    return {**small.OPTIONS, "epochs": 3, "weights": str(small.finished().model_path), **more}


MODES: dict[str, dict[str, Any]] = {
    "frozen, features computed once": {"freeze": "backbone"},
    "frozen, the backbone run each time": {"freeze": "backbone", "preset": "digits"},
    "two views in turn": {"freeze": "backbone", "preset": "digits", "views": 2},
    "some layers": {"freeze": ["stages"]},
    "gradual": {"finetune": "gradual"},
    "all, rates by depth": {"depth_decay": 0.5},
}


def backbone(path: Path) -> dict[str, bytes]:
    return {name: value for name, value in small.weights(path).items() if name not in HEAD}


@cache
def frozen() -> Run:
    return cl.train(
        two_classes(), directory=str(small.shared() / "transfer"), name="frozen", **options(freeze="backbone")
    )


def messages(run: Run, kind: str) -> list[str]:
    return [event["message"] for event in run.events if event["kind"] == kind]


def test_a_frozen_run_keeps_the_backbone_and_learns_a_new_head() -> None:
    run, start = frozen(), small.finished()
    assert backbone(run.model_path) == backbone(start.model_path)
    model = Model.load(run.model_path)
    assert model.network.get_parameter("head.weight").shape[0] == 2
    assert run.evaluation["test"]["accuracy"]["value"] > 0.8
    assert {path.name for path in run.directory.iterdir()} == small.FILES
    picture = next((two_classes() / "left").iterdir())
    assert model.predict(picture).label == "left"


def test_what_became_of_the_weights_is_told_and_kept() -> None:
    run = frozen()
    (told,) = messages(run, "weights")
    assert "tensors from model.safetensors; left fresh: head.weight (2x" in told
    assert told.endswith("licence unknown")
    kept = Model.load(run.model_path).card["weights"]
    assert kept["origin"] == "model.safetensors"
    assert kept["matched"] == len(backbone(run.model_path))
    assert kept["other_shape"] == {"head.weight": [[3, 32], [2, 32]], "head.bias": [[3], [2]]}
    assert kept["missing"] == kept["unused"] == []


def test_the_features_and_the_reason_are_told() -> None:
    run = frozen()
    (told,) = messages(run, "features")
    assert "32 features of 64 images, computed once in" in told
    config = run.read("run")["config"]
    assert config["train"]["cache_features"] is True
    assert config["origins"]["train.cache_features"].startswith("chosen: the backbone is frozen")


def test_the_report_counts_the_time_the_features_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[RunSummary] = []
    monkeypatch.setattr("convlens.summary.write", lambda page, _: pages.append(page))
    run = cl.train(two_classes(), directory=str(tmp_path), **options(freeze="backbone", epochs=1))
    (page,), (told,) = pages, [event for event in run.events if event["kind"] == "features"]
    assert page.timing.parts["computing the features"] == told["seconds"]
    assert page.duration_s == pytest.approx(sum(page.timing.parts.values()), abs=2e-3)
    assert page.headline
    assert page.headline.probe == run.evaluation["headline"]["linear_probe"]


def test_the_linear_probe_stands_beside_the_result_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    run = frozen()
    probe, found = run.evaluation["linear_probe"], run.evaluation["headline"]
    assert found["linear_probe"] == probe["test"]["accuracy"]
    assert probe["test"]["n"] == run.evaluation["test"]["n"]
    assert probe["test"]["accuracy"]["low"] < probe["test"]["accuracy"]["value"]
    assert Model.load(run.model_path).card["metrics"]["linear_probe"] == found["linear_probe"]
    page = run.report_path.read_text(encoding="utf-8")
    assert "A linear classifier on the features of the starting weights reaches" in page
    show_run(run, quiet=False, as_json=False)
    assert "  a linear classifier on the starting weights: " in capsys.readouterr().out
    show_run(run, quiet=False, as_json=True)
    assert json.loads(capsys.readouterr().out)["linear_probe"] == probe


@pytest.mark.usefixtures("without_report")
def test_the_probe_can_be_left_out_and_is_not_there_from_scratch(tmp_path: Path) -> None:
    run = cl.train(two_classes(), directory=str(tmp_path), **options(freeze="backbone", epochs=1, linear_probe=False))
    assert "linear_probe" not in run.evaluation
    assert "linear_probe" not in run.evaluation["headline"]
    assert "linear_probe" not in small.finished().evaluation


@pytest.mark.usefixtures("without_report")
def test_the_probe_reads_the_starting_weights_not_the_trained_ones(tmp_path: Path) -> None:
    trained = cl.train(two_classes(), directory=str(tmp_path), **options(rate=0.05, optimiser="sgd"))
    assert backbone(trained.model_path) != backbone(small.finished().model_path)
    ours, theirs = trained.evaluation["linear_probe"], frozen().evaluation["linear_probe"]
    for part in ("valid", "test"):
        assert ours[part]["accuracy"] == theirs[part]["accuracy"]
        assert ours[part]["log_loss"]["value"] == pytest.approx(theirs[part]["log_loss"]["value"], rel=1e-3)


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty page instead of a report, which would take longest of all."""
    monkeypatch.setattr("convlens.experiment.summarise", lambda run, *_: run.report_path.write_text(""))


class StopAfter(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_batch_end(self, engine: Engine) -> None:
        if (engine.state.epoch, engine.state.batch) == (self.epoch, 2):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("mode", MODES)
def test_a_stopped_run_ends_like_the_one_that_was_not(tmp_path: Path, mode: str) -> None:
    given = {**options(directory=str(tmp_path)), **MODES[mode]}
    whole = cl.train(two_classes(), name="whole", **given)
    with pytest.raises(Interrupted):
        cl.train(two_classes(), name="cut", callbacks=[StopAfter(1)], **given)
    run = cl.resume(tmp_path / "cut")
    assert small.weights(run.model_path) == small.weights(whole.model_path)
    assert small.timeless(run.history) == small.timeless(whole.history)
    assert {**run.evaluation, "seconds": 0} == {**whole.evaluation, "seconds": 0}
    assert {path.name for path in run.directory.iterdir()} == small.FILES
    kept = backbone(small.finished().model_path)
    moved = {name for name, value in backbone(run.model_path).items() if value != kept[name]}
    if "freeze" in given:
        assert not [name for name in moved if given["freeze"] == "backbone" or name.startswith("stages.")]
    assert bool(moved) == (given.get("freeze") != "backbone")


# what is refused and what is warned of --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"freeze": "backbone", "weights": None}, "network.freeze=backbone builds on trained weights, and there are"),
        ({"finetune": "gradual", "weights": None}, "train.finetune=gradual builds on trained weights"),
        ({"freeze": "stage"}, r"network.freeze: compact has no layer 'stage' with parameters\. Did you mean 'stages'"),
        ({"freeze": "backbone", "finetune": "gradual"}, "Give one of them"),
        ({"freeze": "backbone", "views": 2}, "augment.views=2 has no effect"),
        ({"cache_features": True}, "train.cache_features=true is not possible: layers below the head are trained"),
        ({"finetune": "slowly"}, "train.finetune does not accept 'slowly'"),
        ({"depth_decay": 1.5}, "train.depth_decay does not accept 1.5"),
        ({"freeze": 3}, "network.freeze does not accept 3"),
    ],
)
def test_what_makes_no_sense_is_said_and_leaves_no_directory(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        cl.train(two_classes(), directory=str(tmp_path / "runs"), **{**options(), **given})
    folder = tmp_path / "runs"
    assert not folder.exists() or {path.name for path in folder.iterdir()} <= {".store"}


def test_a_name_that_is_no_layer_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    stages: list[str] = []
    given = options(freeze="stage", directory=str(tmp_path))
    with pytest.raises(ConfigError, match="has no layer 'stage'"):
        cl.train(two_classes(), progress=lambda stage, *_: stages.append(stage), **given)
    assert stages == []


@pytest.mark.usefixtures("without_report")
def test_weights_that_are_not_for_sale_are_warned_of(tmp_path: Path) -> None:
    tensors, _ = artefact.read(small.finished().model_path)
    path = tmp_path / "start.safetensors"
    save_file(tensors, path, {"licence": "cc-by-nc-4.0"})
    given = options(weights=str(path), freeze="backbone", epochs=1, directory=str(tmp_path / "runs"))
    run = cl.train(two_classes(), **given)
    (warning,) = messages(run, "warning")
    assert warning.startswith("The starting weights start.safetensors have the licence cc-by-nc-4.0, which does not")
    assert Model.load(run.model_path).card["weights"]["licence"] == "cc-by-nc-4.0"
    assert messages(run, "weights")[0].endswith("licence cc-by-nc-4.0")
    with pytest.raises(ConfigError, match="does not allow commercial use"):
        cl.train(two_classes(), strict=True, **given)
    heir = cl.train(two_classes(), **{**given, "weights": str(run.model_path)})
    assert messages(heir, "warning"), "it is inherited"


# elsewhere ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_report")
def test_the_command_line_says_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", str(two_classes()), "--weights", str(small.finished().model_path), "--epochs", "2"]
    words += [part for key in ("threads=1", "layout=contiguous") for part in ("--set", f"train.{key}")]
    words += ["--set", "network.options={width=8}", "--name"]
    result = CliRunner().invoke(app, [*words, "a", "--freeze", "backbone"])
    assert result.exit_code == 0, result.output
    assert Run.open("runs/a").read("run")["config"]["network"]["freeze"] == "backbone"
    assert "weights  " in result.stderr
    assert "features  32 features of 64 images, computed once" in result.stderr
    assert "a linear classifier on the starting weights: " in result.stdout
    result = CliRunner().invoke(app, [*words, "b", "--freeze", "stages", "--freeze", "last", "--finetune", "gradual"])
    assert result.exit_code == 0, result.output
    config = Run.open("runs/b").read("run")["config"]
    assert (config["network"]["freeze"], config["train"]["finetune"]) == (["stages", "last"], "gradual")
    assert config["origins"]["train.finetune"] == "command line"


def test_a_model_of_ones_own_trains_its_head_on_features_too(tmp_path: Path) -> None:
    model = Model.load(small.finished().model_path)
    before = small.weights(small.finished().model_path)
    model.fit(small.shared_photos(), finetune="head", epochs=2, batch_size=16, directory=str(tmp_path))
    model.save(tmp_path / "a.safetensors")
    after = small.weights(tmp_path / "a.safetensors")
    assert {name for name in after if after[name] != before[name]} == set(HEAD)
    assert all(parameter.requires_grad for parameter in model.network.parameters())
