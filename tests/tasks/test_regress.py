"""Numbers from images: the loss and its units, error bars, and the whole way from a table to a prediction."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import convlens as cl
from convlens.cli.main import app
from convlens.errors import ConfigError, DataError, ShapeError
from convlens.model import Model
from convlens.tasks.regress import Estimate, Number, Regress
from convlens.tasks.task import Seen

SEEN = Seen(np.zeros((1, 2, 2, 1), np.uint8), np.arange(1))

KNOWN = {"data": {"mean": [10.0, -1.0], "std": [2.0, 0.5], "median": [9.0, -1.0]}}
QUICK = {"epochs": 2, "size_px": 8, "network__options": {"width": 4}, "batch_size": 16, "preset": "none"}


def task(**changed: object) -> Regress:
    return Regress(("age", "weight"), json.loads(json.dumps(KNOWN)), **changed)  # type: ignore[arg-type]


def test_outputs_are_standard_deviations_from_the_training_mean() -> None:
    decoded = task().decode(torch.tensor([[0.0, 0.0], [1.0, -2.0]]))
    torch.testing.assert_close(decoded, torch.tensor([[10.0, -1.0], [12.0, -2.0]]))


def test_bounds_are_never_left() -> None:
    bounded = task()
    bounded.card["data"]["bounds"] = [0.0, 20.0]
    decoded = bounded.decode(torch.tensor([[-1e4, 0.0], [1e4, 0.0]]))
    torch.testing.assert_close(decoded, torch.tensor([[0.0, 10.0], [20.0, 10.0]]))


@pytest.mark.parametrize(("name", "wanted"), [("squared", 5.0), ("absolute", 2.0), ("huber", (0.5 + 2.5) / 2)])
def test_every_loss_counts_in_standard_deviations(name: str, wanted: float) -> None:
    targets = torch.tensor([[12.0, 0.5]])  # one deviation and three from the mean
    assert task(loss_name=name).loss(torch.zeros(1, 2), targets).item() == pytest.approx(wanted)


def test_the_meter_does_not_depend_on_batches_and_survives_a_checkpoint() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(10, 2), torch.randn(10, 2) * 3
    whole, first = task().meter(), task().meter()
    whole.update(outputs, targets)
    first.update(outputs[:3], targets[:3])
    second = task().meter()
    second.restore(first.state())
    second.update(outputs[3:], targets[3:])
    assert second.compute() == pytest.approx(whole.compute(), rel=1e-6)
    error = (task().decode(outputs) - targets).abs().mean().item()
    assert whole.compute()["mae"] == pytest.approx(error, rel=1e-5)


def test_error_bars_come_from_validation_and_go_with_every_answer() -> None:
    fitted, rng = task(), np.random.default_rng(0)
    outputs = np.zeros((50, 2), np.float32)
    targets = np.array([[10.0, -1.0]]) + rng.uniform(-1, 1, (50, 2)) * [4.0, 1.0]
    fitted.settle(outputs, targets, promise=None, level=0.95)
    bars = fitted.error_bars
    assert bars is not None
    assert 3.0 < bars[0].half_width <= 4.0
    (answer,) = fitted.answers(["a.png"], outputs[:1], SEEN, top=3)
    half = bars[0].half_width
    assert answer == Estimate(
        "a.png",
        (
            Number("age", 10.0, 10.0 - half, 10.0 + half),
            Number("weight", -1.0, -1.0 - bars[1].half_width, -1.0 + bars[1].half_width),
        ),
    )
    few = task()
    with pytest.raises(DataError, match=r"90 % of new images need 9 validation images; got 8\. Hold out more \(data\."):
        few.settle(outputs[:8], targets[:8], promise=None, level=0.95)
    with pytest.raises(DataError, match="95 % of new images need 19 validation images; got 18"):
        few.settle(outputs[:18], targets[:18], promise=0.95, level=0.95)
    assert few.error_bars is None
    few.settle(outputs[:9], targets[:9], promise=None, level=0.95)
    assert few.error_bars is not None


def test_the_headline_of_several_targets_has_no_unit() -> None:
    report = task().report(np.zeros((4, 2), np.float32), np.array([[10.0, -1], [12, 0], [9, -2], [7, 1]]))
    assert task().headline(report, "auto")["name"] == "skill"
    with pytest.raises(ConfigError, match="for classes"):
        task().headline(report, "accuracy")


def test_a_network_of_another_width_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"a number for each of age, weight; for an input of \(1, 1, 8, 8\) it gives"):
        task().require((1, 3), (1, 1, 8, 8))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey pictures whose level is the first number, and twice whose left half the second."""
    folder = tmp_path_factory.mktemp("numbers")
    rng, rows = np.random.default_rng(0), []
    for i in range(80):
        level, left = rng.uniform(0, 200, 2)
        pixels = rng.normal(level, 6, (8, 8)).clip(0, 255).astype(np.uint8)
        pixels[:, :4] = left
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append((f"{i}.png", f"{level / 10:.2f}", f"{2 * left:.1f}"))
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "level", "left"), *rows])
    return folder / "t.csv"


def test_a_table_of_numbers_becomes_a_model_that_answers_with_them(table: Path, tmp_path: Path) -> None:
    options = {**QUICK, "epochs": 12, "task": "regress", "label_column": "level,left"}
    run = cl.train(str(table), directory=str(tmp_path), **options)
    assert run.evaluation["headline"]["name"] == "skill"
    assert run.evaluation["headline"]["value"]["low"] > 0.3, "clearly better than the medians"
    assert run.model.classes.names == ("level", "left")
    answer = run.model.predict(table.parent / "3.png")
    assert [number.name for number in answer.numbers] == ["level", "left"]
    again = run.model.evaluate(table, label_column="level,left")
    assert again["n"] == 80
    assert again["per_target"][0]["baseline"]["median"] == pytest.approx(run.model.card["data"]["median"][0])
    page = run.report_path.read_text(encoding="utf-8")
    assert "How close it comes" in page
    assert "On average level is off by" in page
    assert "Class by class" not in page
    told = CliRunner().invoke(app, ["predict", str(run.model_path), str(table.parent / "3.png"), "--format", "csv"])
    head, row = told.output.splitlines()
    assert head == "image,level,level_low,level_high,left,left_low,left_high,error"
    assert float(row.split(",")[1]) == pytest.approx(answer.numbers[0].value, rel=1e-4)
    shown = CliRunner().invoke(app, ["evaluate", str(run.model_path), str(table), "--label-column", "level,left"])
    assert "always the median" in shown.output


def test_too_few_validation_images_for_error_bars_are_a_warning(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    settings = {**QUICK, "epochs": 1, "valid_fraction": 0.2, "test_fraction": 0.2}
    run = cl.train((images, images.mean((1, 2))), task="regress", directory=str(tmp_path), **settings)
    warnings = [event["message"] for event in run.events if event["kind"] == "warning"]
    (said,) = [message for message in warnings if message.startswith("Error bars that hold for 90 %")]
    assert said.endswith("The model has no such rule: its numbers have no error bars.")
    assert "error_bars" not in run.model.card


def test_numbers_in_memory_and_in_a_module_of_ones_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    model = Model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1)), task="regress")
    model.fit((images, images.mean((1, 2)) / 7), epochs=2, batch_size=16)
    path = model.save(tmp_path / "m.safetensors")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1))
    read = Model.load(path, network)
    assert read.predict(images[0]).numbers == model.predict(images[0]).numbers


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["1.5", "two"] * 10, r"label 1: expected a number for the task regress; got 'two'"),
        ([[1.0, 2.0], [3.0]] * 10, r"needs the same number of values|one label per image"),
        ([3.5] * 20, r"All 20 images have the same number, 3.5"),
    ],
)
def test_what_is_no_number_is_said(labels: list[object], said: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    ragged = np.array([tuple(one) if isinstance(one, list) else one for one in labels], dtype=object)
    with pytest.raises(DataError, match=said):
        cl.train((images, ragged), task="regress", directory=str(tmp_path), **QUICK)


def test_bounds_that_the_data_leaves_are_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="says that every number lies between 0 and 1; those of t lie between"):
        cl.train(str(table), task="regress", label_column="level", bounds=(0.0, 1.0), directory=str(tmp_path), **QUICK)
