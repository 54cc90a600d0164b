"""Detection from end to end: a tiny run, its page, its model file, the command line around it."""

from __future__ import annotations

import csv
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import convlens as cl
import small
from convlens.cli.found import require_draw
from convlens.cli.main import app
from convlens.config import Config
from convlens.data.annotated import AnnotatedImage
from convlens.data.annotations import open_annotations, write_voc
from convlens.data.image import decode
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.data.shapes_set import make_shapes
from convlens.errors import ClassMismatch, ConfigError
from convlens.model import Model
from convlens.models import catalog
from convlens.run import Run
from convlens.tasks.detect import Detection
from convlens.training.interrupt import Interrupted

SIDE = 48
QUICK: dict[str, Any] = {
    "task": "detect",
    "epochs": 2,
    "batch_size": 8,
    "options": {"width": 4, "scales": 1, "fpn_width": 8},
    "layout": "contiguous",
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
}


@cache
def annotated() -> Path:
    """A folder of VOC annotations with a train, a validation and a test part."""
    images, boxes = make_shapes(48, SIDE, seed=1)
    folder, records = small.shared() / "drawn", []
    folder.mkdir()
    for i, (image, found) in enumerate(zip(images, boxes, strict=True)):
        path = folder / f"{i:02d}.png"
        path.write_bytes(encode_png(image[: SIDE - 8 * (i % 2)]))  # every second one is wider than high
        kept = tuple(box for box in found if box.y2 <= SIDE - 8 * (i % 2))
        part = "test" if i % 4 == 3 else "valid" if i % 4 == 2 else "train"
        records.append(AnnotatedImage(path.name, path, None, kept, part))
    write_voc(records, small.shared() / "voc")
    return small.shared() / "voc"


@cache
def finished() -> Run:
    options = {**QUICK, "epochs": 14, "rate": 0.03}
    return cl.train(annotated(), directory=str(small.shared() / "runs"), name="boxes", **options)


def run(*words: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_a_run_leaves_everything() -> None:
    done = finished()
    assert {path.name for path in done.directory.iterdir()} == small.FILES
    assert done.read("network")["name"] == "yolo"
    config = Config.from_json(done.read("run")["config"])
    assert (config.augment.preset, config.augment.rotate_deg, config.data.fit) == ("boxes", 0.0, "pad")
    assert config.train.loss == "yolo"
    assert config.network.name == "yolo"
    assert all({"train_loss", "val_loss", "val_map50"} <= set(row) for row in done.history)
    assert "train_map50" not in done.history[0]
    assert done.history[-1]["val_loss"] < done.history[0]["val_loss"]
    test = done.evaluation["test"]
    assert done.evaluation["headline"]["name"] == "map50"
    assert done.evaluation["headline"]["value"] == test["map50"]
    assert test["n"] == 12
    assert test["names"] == ["disc", "square", "triangle"]
    plain, *others = test["speed"]["engines"]
    assert (plain["name"], plain["score_off"]) == ("torch, float32, contiguous", 0.0)
    assert [one["name"] for one in others] == ["torch, float32, channels last", "torch, bfloat16, channels last"]
    assert others[0]["score_off"] < 1e-4 < others[1]["score_off"] < 0.2
    assert all(one["images_per_s"] > 0 and one["n"] > 0 for one in test["speed"]["engines"])
    assert test["boxes"] == sum(row["support"] for row in test["per_class"]) > 10
    assert done.evaluation["valid"]["threshold"] == test["threshold"]


def test_the_page_shows_curves_tables_and_pictures() -> None:
    page = finished().report_path.read_text(encoding="utf-8")
    assert "mAP at IoU 0.5" in page
    assert "one box of the mean size in the middle" in page
    assert "What became of the true boxes" in page
    assert page.count("true boxes</span>") == 9
    side = SIDE - 4  # half of the images are 8 px lower
    assert f"images of {side} x {side} px" in page


def test_the_model_file_answers_in_pixels_of_the_image() -> None:
    model = Model.load(finished().model_path)
    assert model.card["score_threshold"]["n"] == 12
    assert sum(model.card["data"]["box_counts"]) > 20
    model.card["score_threshold"]["value"] = 0.0
    small_one = next(iter(sorted((annotated() / "JPEGImages").iterdir())))
    image = decode(small_one, ImagePolicy(channels=3)).pixels
    once = model.predict(small_one)
    twice = model.predict(image.repeat(2, 0).repeat(2, 1))
    assert isinstance(once, Detection)
    assert once.objects
    assert twice.size_px == (2 * image.shape[0], 2 * image.shape[1])
    for answer in (once, twice):
        height, width = answer.size_px or (0, 0)
        for one in answer.objects:
            assert one.label in ("disc", "square", "triangle")
            assert 0 <= one.x1 < one.x2 <= width
            assert 0 <= one.y1 < one.y2 <= height
    first, second = once.objects[0], twice.objects[0]
    assert (second.x1, second.y2) == pytest.approx((2 * first.x1, 2 * first.y2), abs=4)


def test_evaluating_the_file_gives_the_score_of_the_run() -> None:
    report = Model.load(finished().model_path).evaluate(annotated(), split="test")
    stored = finished().evaluation["test"]
    for name in ("n", "boxes", "map50", "map", "f1", "per_class", "errors", "baseline"):
        assert report[name] == stored[name], name


def test_other_classes_are_refused() -> None:
    images, boxes = np.zeros((1, 40, 40, 3), np.uint8), [[("cube", 0, 0, 9, 9)]]
    with pytest.raises(ClassMismatch, match="Unknown: cube"):
        Model.load(finished().model_path).evaluate((images, boxes))


def test_an_interrupted_run_ends_as_one_never_interrupted(tmp_path: Path) -> None:
    class Stop(cl.Callback):
        def on_batch_end(self, engine: Any) -> None:
            if engine.state.epoch == 1 and engine.state.batch == 2:
                engine._interrupt.number = 15

    options = {**QUICK, "directory": str(tmp_path), "name": "again", "checkpoint_seconds": 0.0}
    whole = cl.train(annotated(), **{**options, "name": "whole"})
    with pytest.raises(Interrupted):
        cl.train(annotated(), callbacks=[Stop()], **options)
    resumed = cl.resume(tmp_path / "again")
    assert small.timeless(resumed.history) == small.timeless(whole.history)
    assert small.weights(resumed.model_path) == small.weights(whole.model_path)


def test_fit_learns_boxes_in_memory() -> None:
    torch.manual_seed(0)
    images, boxes = make_shapes(16, 32, seed=2)
    network = catalog.build("yolo", in_channels=3, outputs=3, size_px=32, width=4, scales=1, fpn_width=8)
    model = Model(network, "detect", ["disc", "square", "triangle"])
    options = {key: value for key, value in QUICK.items() if key not in ("task", "options")}
    history = model.fit((images, boxes), **options)
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert isinstance(model.predict(images[0]), Detection)


def test_a_backbone_starts_from_a_classifiers_weights_at_the_size_of_the_images(tmp_path: Path) -> None:
    name, path = "timm:mobilenetv3_small_050", tmp_path / "classifier.safetensors"
    classifier = catalog.build(name, in_channels=3, outputs=5, size_px=32)
    save_file(classifier.state_dict(), path)
    path.with_suffix(".json").write_text(
        json.dumps({"input": "RGB/255, mean .5 std .5, 224 crop of 256", "licence": "MIT"})
    )
    options = {**QUICK, "epochs": 1, "options": {"backbone": name, "fpn_width": 8, "scales": 2}, "weights": str(path)}
    done = cl.train(annotated(), directory=str(tmp_path), name="tuned", **options)
    config = Config.from_json(done.read("run")["config"])
    assert (config.data.size_px, config.data.store_px) == (SIDE - 4, SIDE - 4)
    model = Model.load(done.model_path)
    assert model.card["weights"]["matched"] > 100
    assert set(model.card["weights"]["fresh"]) == {
        key for key in model.network.state_dict() if not key.startswith("backbone.") and "batches" not in key
    }


# the command line -----------------------------------------------------------------------------------------------------


def test_train_and_evaluate_from_the_command_line(tmp_path: Path) -> None:
    words = ["train", annotated(), "--task", "detect", "--format", "voc", "--epochs", "1", "--size-px", "32"]
    sets = ["train.threads=1", "train.layout=contiguous", "train.precision=float32", f'run.directory="{tmp_path}"']
    sets.append("network.options={width=4, scales=1, fpn_width=8}")
    result = run(*words, "--name", "cli", "--batch-size", "8", *[word for one in sets for word in ("--set", one)])
    assert "test map50" in result.stdout
    assert "one box of the mean size in the middle" in result.stdout
    shown = run("evaluate", tmp_path / "cli" / "model.safetensors", annotated(), "--split", "test", "--format", "voc")
    assert "mAP at IoU 0.5" in shown.stdout
    assert "from the stored image to its boxes" in " ".join(shown.stdout.split())
    assert "torch, bfloat16" in " ".join(shown.stdout.split())
    checked = run("check", annotated(), "--task", "detect")
    assert "48 images with" in checked.stdout
    assert "boxes of 3 classes" in checked.stdout
    wrong = run(*words[:5], "yolo", *words[6:], "--set", f'run.directory="{tmp_path}"', code=2)
    assert "convlens:" in wrong.stderr


def predict(*words: str | Path, code: int = 0) -> str:
    images = annotated() / "JPEGImages"
    result = run("predict", finished().model_path, images, *words, code=code)
    return result.stdout if code == 0 else result.stderr


def test_predictions_as_csv_are_annotations_again(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(text := predict("--format", "csv"))))
    assert len({row["image"] for row in rows}) == 48
    found = [row for row in rows if row["class"]]
    assert all(0 <= float(row["xmin"]) < float(row["xmax"]) <= float(row["width"]) for row in found)
    threshold = finished().evaluation["test"]["threshold"]
    assert all(float(row["score"]) >= threshold - 1e-6 for row in found)
    (tmp_path / "found.csv").write_text(text.replace(f"{annotated() / 'JPEGImages'}/", ""))
    for path in (annotated() / "JPEGImages").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    again = open_annotations(tmp_path, "csv")
    assert sum(len(record.boxes) for record in again.records) == len(found)


def test_predictions_as_coco_and_json() -> None:
    listed = json.loads(predict("--format", "json"))
    coco = json.loads(predict("--format", "coco"))
    assert [image["file_name"] for image in coco["images"]] == [row["name"] for row in listed]
    assert [category["name"] for category in coco["categories"]] == ["disc", "square", "triangle"]
    objects = [(row["name"], one) for row in listed for one in row["objects"]]
    assert len(coco["annotations"]) == len(objects)
    names, categories = (
        {one["id"]: one[key] for one in coco[part]} for part, key in (("images", "file_name"), ("categories", "name"))
    )
    for entry, (image, one) in zip(coco["annotations"], objects, strict=True):
        x, y, width, height = entry["bbox"]
        assert (names[entry["image_id"]], categories[entry["category_id"]]) == (image, one["label"])
        assert [x, y, x + width, y + height] == pytest.approx([one["x1"], one["y1"], one["x2"], one["y2"]])
        assert entry["score"] == one["score"]


def test_boxes_are_drawn_on_the_images(tmp_path: Path) -> None:
    model = Model.load(finished().model_path)
    model.card["score_threshold"]["value"] = 0.0
    model.save(tmp_path / "all.safetensors")
    image = next(iter(sorted((annotated() / "JPEGImages").iterdir())))
    table = run("predict", tmp_path / "all.safetensors", image, "--draw", tmp_path / "out").stdout
    count = len(model.predict(image).objects)
    assert table.splitlines()[1].split()[1] == str(count)
    before, after = (decode(path, ImagePolicy(channels=3)).pixels for path in (image, tmp_path / "out" / image.name))
    assert before.shape == after.shape
    assert (before != after).any()


def test_what_could_not_be_read_has_a_row_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    for style in ("table", "csv", "json", "coco"):
        words = ("predict", finished().model_path, tmp_path / "bad.png", "--format", style)
        result = run(*words, code=2)
        assert "1 of 1 images could not be read" in result.stderr
        assert style == "coco" or "bad.png" in result.stdout


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    images = annotated() / "JPEGImages"
    assert "where the images lie" in predict("--draw", images, code=2)
    (tmp_path / "file").write_text("")
    assert "is a file" in predict("--draw", tmp_path / "file", code=2)
    assert "drawn with --draw FOLDER" in predict("--out", tmp_path / "out", code=2)
    with pytest.raises(ConfigError, match="--format coco is for models of the task detect; this one is of classify"):
        require_draw("classify", None, "coco", [])
    with pytest.raises(ConfigError, match="--draw is for models of the task detect"):
        require_draw("segment", tmp_path, "csv", [])
    with pytest.raises(ConfigError, match="yolo_v1 is here to be read"):
        cl.train(annotated(), **{**QUICK, "network": "yolo_v1", "options": {}, "directory": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"evaluate\.overlap has no effect on the task classify"):
        cl.train("digits", evaluate__overlap=0.3, directory=str(tmp_path))
