"""What a trained network is worth: rules from validation, the test looked at once and last, baselines beside both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convlens as cl
import rig
import scenes
import small
from convlens import experiment
from convlens.evaluation import evaluate, start_to_probe
from convlens.model import Model
from convlens.options import KINDS, EvaluateConfig
from convlens.run import Run
from convlens.tasks.catalog import OPTIONS_OF, TASKS


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty page instead of a report, which would take longest of all."""
    monkeypatch.setattr(experiment, "summarise", lambda run, *_: run.report_path.write_text(""))


def untrained(folder: Path, origin: str = "random", **options: Any) -> tuple[Any, ...]:
    """A run directory, and what is evaluated in it."""
    config, prepared = rig.prepared(folder, **options)
    model = Model(rig.network(), card={"weights": {"origin": origin}})
    model.adopt(prepared)
    return Run.create(config), config, model, prepared, rig.CPU


@pytest.mark.usefixtures("without_report")
def test_the_test_set_is_opened_once_after_everything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small.finished()
    assert run.evaluation["test_opened"] == 1
    assert run.read("test_opened") == {"times": 1}
    order: list[str] = []
    original = Model.outputs

    def outputs(self: Model, images: Any, rows: Any, **more: Any) -> Any:
        order.append(f"{len(rows)} images, opened {(tmp_path / 'a' / 'test_opened.json').exists()}")
        return original(self, images, rows, **more)

    monkeypatch.setattr(Model, "outputs", outputs)
    cl.train(small.shared_photos(), directory=str(tmp_path), name="a", **{**small.OPTIONS, "epochs": 1})
    valid, test = (run.evaluation[part]["n"] for part in ("valid", "test"))
    assert order == [f"{valid} images, opened False", f"{test} images, opened True"]


def test_without_held_out_images_there_is_a_model_and_no_score(tmp_path: Path) -> None:
    run = cl.train(
        small.shared_photos(),
        directory=str(tmp_path),
        **{**small.OPTIONS, "epochs": 1, "valid_fraction": 0.0, "test_fraction": 0.0},
    )
    assert {path.name for path in run.directory.iterdir()} == small.FILES - {"test_opened.json"}
    assert "headline" not in run.evaluation
    assert "metrics" not in run.model.card
    assert run.model.predict(sorted(small.shared_photos().rglob("*.png"))[0]).label  # type: ignore[union-attr]


@pytest.mark.usefixtures("without_report")
def test_a_promise_that_cannot_be_kept_does_not_cost_the_model(tmp_path: Path) -> None:
    run = cl.train(
        small.shared_photos(), directory=str(tmp_path), **{**small.OPTIONS, "epochs": 1, "abstain": 0.999999}
    )
    (warning,) = [event["message"] for event in run.events if event["kind"] == "warning"]
    assert warning.startswith("No confidence keeps the promise evaluate.abstain=0.999999")
    assert warning.endswith("it always answers.")
    assert "abstain" not in run.model.card
    assert run.report_path.exists()


@pytest.mark.parametrize("task", KINDS)
def test_a_promise_is_an_option_of_the_task(task: str) -> None:
    assert TASKS[task].promised in EvaluateConfig.model_fields
    owners = OPTIONS_OF[f"evaluate.{TASKS[task].promised}"]
    assert task in owners or getattr(EvaluateConfig(), TASKS[task].promised) is None


def test_a_promise_is_kept_with_the_option_it_is_called_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(experiment, "summarise", lambda run, *_: run.report_path.write_text(""))
    options = {**scenes.QUICK, **scenes.NETWORKS["anomaly"], "epochs": 1, "directory": str(tmp_path)}
    run = cl.train(scenes.folder("anomaly"), task="anomaly", false_alarms=0.25, valid_fraction=0.3, **options)
    assert run.model.card["alarm"]["promise"] == 0.25


def test_without_calibration_nothing_is_settled(tmp_path: Path) -> None:
    found, _ = evaluate(*untrained(tmp_path, calibrate=False))
    assert "uncalibrated" not in found["valid"]
    run, config, model, *rest = untrained(tmp_path)
    found, outputs = evaluate(run, config, model, *rest)
    assert "uncalibrated" in found["valid"]
    assert "calibration" in model.card
    assert outputs.shape == (found["test"]["n"], 3)
    assert found["headline"].items() >= {"part": "test", "name": "accuracy"}.items()
    assert list(found) == ["valid", "test_opened", "test", "seconds", "headline"]


def test_the_score_is_that_of_validation_where_there_is_no_test(tmp_path: Path) -> None:
    found, outputs = evaluate(*untrained(tmp_path, test_fraction=0.0))
    assert found["headline"]["part"] == "valid"
    assert "test_opened" not in found
    assert outputs.shape == (0, 3)


@pytest.mark.parametrize(
    ("origin", "options", "kept"),
    [
        ("random", {}, None),
        ("a file", {"linear_probe": False}, None),
        ("a file", {"cache_features": False}, "a copy"),
        ("a file", {"cache_features": True}, "itself"),
    ],
)
def test_the_start_is_kept_for_a_probe(tmp_path: Path, origin: str, options: dict[str, Any], kept: str | None) -> None:
    _, config, model, *_ = untrained(tmp_path, origin, **options)
    start = start_to_probe(config, model)
    assert {None: start is None, "a copy": start is not model.network, "itself": start is model.network}[kept]
    assert start is None or rig.same_weights(start, model.network)


def test_the_probe_is_of_the_start_and_stands_in_the_headline(tmp_path: Path) -> None:
    run, config, model, *rest = untrained(tmp_path, "a file", cache_features=False)
    start = start_to_probe(config, model)
    with_probe, _ = evaluate(run, config, model, *rest, start=start)
    probe = with_probe["linear_probe"]
    assert probe["test"]["accuracy"] == with_probe["headline"]["linear_probe"]
    for parameter in model.network.parameters():
        parameter.data.zero_()
    again, _ = evaluate(run, config, model, *rest, start=start)
    np.testing.assert_equal(again["linear_probe"], probe)
    assert again["test_opened"] == 2
