"""Masks, pictures and anomalies, end to end: from a folder to a run, a page, a model file, answers and scores."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import convlens as cl
import small
from convlens.cli.main import app
from convlens.errors import ClassMismatch, ConfigError, ConvlensError, DataError, RunError, ShapeError
from convlens.metrics.pixel_tally import foreground_dice
from convlens.model import Model
from convlens.report.overlay import class_colour
from convlens.training.callbacks import Callback
from convlens.training.engine import Engine
from convlens.training.interrupt import Interrupted
from scenes import NETWORKS, classed, files, finished, folder, masked, scenes, train

TASKS = tuple(NETWORKS)
HEADLINES = {"segment": "foreground_dice", "reconstruct": "psnr", "denoise": "psnr", "anomaly": "auc"}
SECTIONS = {
    "segment": ("What it draws", "true mask", "missed: in the true mask alone", "Otsu threshold"),
    "reconstruct": ("What it gives back", "The code", "Between two codes", "mean picture"),
    "denoise": ("What it gives back", "with noise", "noisy input", "always have the same noise"),
    "anomaly": ("What it notices", "Kind by kind", "where it differs", "false alarms, of the normal images"),
}


@cache
def other(task: str) -> Path:
    """Images that no run was trained on."""
    root = small.shared() / "others"
    match task:
        case "segment":
            return masked(root / "masked", n=7, seed=8)
        case "anomaly":
            found = classed(root / "classed", n=9, bad=4)
            (found / "scratch").rename(found / "dent")
            return found
        case _:
            return files(root / "flat", scenes(7, seed=8)[0])


def command(*words: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


# a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_complete_and_its_page_shows_the_answers(task: str) -> None:
    run = finished(task)
    assert {path.name for path in run.directory.iterdir()} == small.FILES
    headline = run.evaluation["headline"]
    assert (headline["name"], headline["part"]) == (HEADLINES[task], "test")
    assert headline["value"]["value"] is not None
    assert headline["against"]["words"]
    rows = run.history.rows
    assert len(rows) == 2
    assert all(np.isfinite(row[name]) for row in rows for name in ("train_loss", "val_loss"))
    page = run.report_path.read_text(encoding="utf-8")
    for words in SECTIONS[task]:
        assert words in page
    assert "Class by class" not in page or task == "segment"
    assert "nan" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page).lower().split()


@pytest.mark.parametrize("task", TASKS)
def test_the_page_has_large_sharp_strips_with_words_over_each_picture(task: str) -> None:
    page = finished(task).report_path.read_text(encoding="utf-8")
    assert 'class="shots rows"' in page
    strips = re.findall(r'<figure><p class="heads"[^>]*>(.*?)</p>\s*<img class="(\w*)"', page)
    assert strips
    assert {style for _, style in strips} == {"pixels"}
    assert {heads.count("<span>") for heads, _ in strips} == {{"segment": 4, "reconstruct": 2}.get(task, 3)}


@pytest.mark.parametrize("task", TASKS)
def test_the_file_answers_as_the_model_that_was_trained(task: str) -> None:
    run = finished(task)
    loaded, images = Model.load(run.model_path), scenes(7, seed=8)[0]
    assert loaded.task == task
    first, second = run.model.predict(list(images)), loaded.predict(list(images))
    for one, again in zip(first, second, strict=True):
        for name in ("mask", "levels", "heat"):
            if hasattr(one, name):
                assert getattr(one, name).shape[:2] == (16, 16)
                np.testing.assert_allclose(getattr(one, name), getattr(again, name), atol=1e-4)
    alone = loaded.predict(images[3])
    for name in ("mask", "levels", "heat"):
        if hasattr(alone, name):
            np.testing.assert_allclose(getattr(alone, name), getattr(second[3], name), atol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_other_images_are_scored_with_what_the_file_remembers(task: str) -> None:
    model = Model.load(finished(task).model_path)
    report = model.evaluate(other(task))
    assert report["n"] == (13 if task == "anomaly" else 7)
    assert report["unreadable"] == []
    assert model.evaluate(other(task)) == report, "an evaluation shows the same noise every time"
    if task == "segment":
        images, masks = scenes(7, seed=8)
        answers = np.stack([answer.mask for answer in model.predict(list(images))])
        matrix = np.bincount((2 * masks + answers).ravel(), minlength=4).reshape(2, 2)
        assert report["foreground_dice"]["value"] == pytest.approx(float(np.nan_to_num(foreground_dice(matrix))))
        assert report["confusion"] == matrix.tolist()
    if task == "anomaly":
        assert report["groups"] == ["good", "dent"], "kinds that training did not have keep their names"
        assert {row["kind"] for row in report["alarm"]["by_kind"]} == {"good", "dent"}
    if task == "denoise":
        noisy = report["baselines"][0]
        assert (noisy["name"], report["noise"]) == ("noisy input", "gaussian:0.1")
        assert 20.0 < noisy["psnr"]["value"] < 21.5, "a deviation of 0.1 is 20 dB, and black cuts some of it off"
    told = command("evaluate", finished(task).model_path, other(task)).output
    assert "this network" in told
    assert json.loads(command("evaluate", finished(task).model_path, other(task), "--json").output)["n"] == report["n"]


class Stop(Callback):
    """Stops a run in the middle of its second epoch, as Ctrl-C would."""

    def on_batch_end(self, engine: Engine) -> None:
        if engine.state.epoch == 1 and engine.state.batch == 2:
            engine._interrupt.number = 2


@pytest.mark.parametrize("task", TASKS)
def test_a_resumed_run_ends_with_the_same_weights_bit_for_bit(task: str, tmp_path: Path) -> None:
    moving = {"flip": "horizontal", "rotate_deg": 10.0, "crop": 0.1, "checkpoint_seconds": 0.0}
    whole = train(task, folder(task), tmp_path, name="whole", **moving)
    with pytest.raises(Interrupted):
        train(task, folder(task), tmp_path, name="broken", callbacks=[Stop()], **moving)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    resumed = cl.resume(tmp_path / "broken")
    assert small.weights(resumed.model_path) == small.weights(whole.model_path)
    assert small.timeless(resumed.history.rows) == small.timeless(whole.history.rows)
    ends = [dict(run.evaluation) for run in (whole, resumed)]
    for end in ends:
        end.pop("seconds")
    assert ends[0] == ends[1]


def test_a_mask_that_was_drawn_anew_stops_a_resumed_run(tmp_path: Path) -> None:
    source = masked(tmp_path / "m")
    with pytest.raises(Interrupted):
        train("segment", source, tmp_path / "runs", name="broken", callbacks=[Stop()], checkpoint_seconds=0.0)
    files(source / "masks", 255 * scenes(seed=1)[1][:1])
    with pytest.raises(RunError, match=r"images/00\.png"):
        cl.resume(tmp_path / "runs" / "broken")


def test_images_that_are_left_out_are_said_in_an_evaluation(tmp_path: Path) -> None:
    source = masked(tmp_path / "m", n=4)
    (source / "masks" / "02.png").unlink()
    report = finished("segment").model.evaluate(source)
    assert report["n"] == 3
    assert report["noticed"] == ["1 of 4 images have no mask and are left out: images/02.png."]
    told = command("evaluate", finished("segment").model_path, source).output
    assert "have no mask and are left out: images/02.png" in told


# answers as files -------------------------------------------------------------------------------------------------


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_written_beside_each_other(task: str, tmp_path: Path) -> None:
    images = files(tmp_path / "photos", scenes(3, seed=8)[0])
    done = command("predict", finished(task).model_path, images, "--out", tmp_path / "out", "--format", "json")
    rows, suffixes = json.loads(done.output), {"segment": ("", "-overlay"), "anomaly": ("-heat",)}.get(task, ("",))
    wanted = {f"{number:02d}{suffix}.png" for number in range(3) for suffix in suffixes}
    assert {path.name for path in (tmp_path / "out").iterdir()} == wanted
    assert [row["image"] for row in rows] == [str(images / f"{number:02d}.png") for number in range(3)]
    assert all(Path(row["written"]).exists() and row["error"] is None for row in rows)
    for number, answer in enumerate(finished(task).model.predict(images)):
        shown = pixels(tmp_path / "out" / f"{number:02d}{suffixes[0]}.png")
        if task == "segment":
            assert (shown == answer.mask).all(), "the values of the file are the classes"
            painted = pixels(tmp_path / "out" / f"{number:02d}-overlay.png")
            original = np.repeat(pixels(images / f"{number:02d}.png")[..., None], 3, axis=2)
            assert (painted[answer.mask == 0] == original[answer.mask == 0]).all()
            assert rows[number]["foreground, regions"] == dict(answer.objects)["foreground"]
        elif task == "anomaly":
            assert shown.shape == (16, 16, 3)
            assert rows[number]["score"] == pytest.approx(answer.score)
            assert rows[number]["abnormal"] == ("yes" if answer.abnormal else "no")
        else:
            assert (shown == answer.levels[..., 0]).all()


def test_a_mask_file_is_coloured_as_the_page_is(tmp_path: Path) -> None:
    (image,) = files(tmp_path / "photos", scenes(1, seed=8)[0]).iterdir()
    command("predict", finished("segment").model_path, image, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "00.png") as picture:
        assert picture.mode == "P"
        assert tuple(picture.getpalette()[:6]) == (0, 0, 0, *class_colour(1))  # type: ignore[index]


def test_one_heat_map_has_a_file_of_its_own(tmp_path: Path) -> None:
    image = folder("anomaly") / "scratch" / "00.png"
    command("predict", finished("anomaly").model_path, image, "--heatmap", tmp_path / "h.png")
    assert pixels(tmp_path / "h.png").shape == (16, 16, 3)
    command("predict", finished("anomaly").model_path, image, "--heatmap", tmp_path / "i.png", "--out", tmp_path / "o")
    assert (pixels(tmp_path / "i.png") == pixels(tmp_path / "o" / "00-heat.png")).all()


def test_an_image_that_cannot_be_read_has_its_row_and_the_others_their_files(tmp_path: Path) -> None:
    images = files(tmp_path / "photos", scenes(2)[0])
    (images / "broken.png").write_bytes(b"no picture")
    done = command("predict", finished("denoise").model_path, images, "--out", tmp_path / "out", code=2)
    assert "1 of 3 images could not be read" in done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"00.png", "01.png"}


# other ways in ----------------------------------------------------------------------------------------------------


def test_arrays_in_memory(tmp_path: Path) -> None:
    images, masks = scenes(24, kinds=2)
    run = train("segment", (images, masks), tmp_path, epochs=1)
    assert run.evaluation["headline"]["name"] == "mean_dice"
    assert run.model.evaluate((images, masks))["classes"] == ["background", "class 1", "class 2"]
    assert "found as another class" in run.report_path.read_text(encoding="utf-8")
    plain = train("reconstruct", (images, None), tmp_path, epochs=1)
    assert plain.evaluation["headline"]["value"]["n"] > 0
    kinds = train("anomaly", (images, ["a", "b"] * 12), tmp_path, epochs=1, normal="b")
    assert kinds.model.card["data"]["groups"] == ["b", "a"]
    assert all(row["label"] != "a" or row["part"] == "test" for row in kinds.read("data")["records"])


def test_anomalies_from_a_folder_without_classes(tmp_path: Path) -> None:
    run = train("anomaly", folder("denoise"), tmp_path, epochs=1, valid_fraction=0.5)
    assert run.evaluation["headline"]["name"] == "false_alarms"
    assert run.evaluation["headline"]["against"]["value"] == {"value": 0.05}
    assert run.model.evaluate(other("anomaly"), normal="good")["abnormal"] == 4
    few = train("anomaly", folder("denoise"), tmp_path, epochs=1)
    said = " ".join(event["message"] for event in few.events if event["kind"] == "warning")
    assert "needs 19 normal validation images" in said
    assert "it gives scores, no alarms" in said
    page = few.report_path.read_text(encoding="utf-8")
    assert "There is no score. No image is known to be abnormal" in page
    assert "held back no images" not in page
    assert few.model.predict(scenes()[0][0]).abnormal is None


def test_classes_of_pictures_are_kept_and_shown(tmp_path: Path) -> None:
    run = train("reconstruct", folder("anomaly"), tmp_path, epochs=1)
    assert run.model.card["data"]["groups"] == ["good", "scratch"]
    assert "1 good, 2 scratch." in run.report_path.read_text(encoding="utf-8")


def test_windows_are_trained_on_and_whole_images_answered(tmp_path: Path) -> None:
    run = train("segment", folder("segment"), tmp_path, epochs=1, size_px=8)
    preprocess = run.model.preprocess
    assert (preprocess.size_px, preprocess.store_px) == ((8, 8), (16, 16))
    assert run.read("run")["config"]["augment"]["crop"] == 0.5
    answer = run.model.predict(scenes()[0][0])
    assert (answer.mask != 255).all(), "the whole image is answered"


def test_options_that_travel_hold_no_path_of_this_machine(tmp_path: Path) -> None:
    source = folder("segment")
    run = train("segment", source / "images", tmp_path, epochs=1, masks=str(source / "masks"))
    assert str(source.parent) not in json.dumps(run.model.card)
    assert run.model.evaluate(other("segment") / "images", masks=str(other("segment") / "masks"))["n"] == 7


def test_python_says_what_values_mean_as_the_command_line_does(tmp_path: Path) -> None:
    run = train("segment", folder("segment"), tmp_path, epochs=1, mask_values={"0": "sky", "255": "sun"})
    assert run.model.classes.names == ("sky", "sun")
    answer = run.model.predict(scenes()[0][0])
    assert [name for name, _ in answer.shares] == ["sky", "sun"]


def test_a_module_of_ones_own(tmp_path: Path) -> None:
    images, masks = scenes()
    model = Model(torch.nn.Conv2d(1, 2, 3, padding=1), task="segment")
    model.fit((images, masks), epochs=1, batch_size=8)
    path = model.save(tmp_path / "m.safetensors")
    again = Model.load(path, torch.nn.Conv2d(1, 2, 3, padding=1))
    assert (again.predict(images[0]).mask == model.predict(images[0]).mask).all()


# what cannot be done ----------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, str, dict[str, Any], type[ConvlensError], str]] = [
    (
        "segment",
        "segment",
        {"network": "compact", "options": {}},
        ShapeError,
        r"at each pixel; it gives .* Choose unet",
    ),
    ("reconstruct", "denoise", {"network": "compact", "options": {}}, ShapeError, "Choose autoencoder"),
    ("segment", "denoise", {}, ConfigError, "give --masks FOLDER"),
    ("segment", "segment", {"loss": "dicey"}, ConfigError, "Did you mean 'dice'"),
    ("denoise", "denoise", {"loss": "cross_entropy"}, ConfigError, "Choose from: absolute, huber, squared"),
    ("segment", "segment", {"mixup": 0.2}, ConfigError, "leave them out for segment"),
    ("segment", "segment", {"abstain": 0.9}, ConfigError, r"evaluate\.abstain has no effect on the task segment"),
    ("reconstruct", "denoise", {"corruption": "gaussian:0.2"}, ConfigError, "it is for denoise"),
    (
        "reconstruct",
        "denoise",
        {"store_px": 24},
        ConfigError,
        r"data\.store_px must equal data\.size_px; got 24 and 16",
    ),
    ("denoise", "denoise", {"corruption": "gausian:0.1"}, ConfigError, "Did you mean 'gaussian'"),
    ("denoise", "denoise", {"corruption": "gaussian:25"}, ConfigError, r"for 25 of 255 write gaussian:0\.098"),
    (
        "anomaly",
        "anomaly",
        {"normal": "goood"},
        DataError,
        r"none of the classes of classed: good, scratch\. Did you mean",
    ),
    ("anomaly", "denoise", {"normal": "good"}, DataError, "all its images count as normal"),
]


@pytest.mark.parametrize(("task", "source", "options", "kind", "said"), REFUSED)
def test_what_cannot_be_trained_is_said_and_leaves_nothing(
    task: str, source: str, options: dict[str, Any], kind: type[ConvlensError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=said):
        train(task, folder(source), tmp_path, **options)
    assert [path for path in tmp_path.iterdir() if path.name != ".store"] == []


def test_which_class_is_normal_must_be_known(tmp_path: Path) -> None:
    images = scenes(24)[0]
    with pytest.raises(
        DataError, match=r"not known which class of arrays is the normal one: a, b\. Name it with --normal"
    ):
        train("anomaly", (images, ["a", "b"] * 12), tmp_path)
    flat = train("anomaly", folder("denoise"), tmp_path, epochs=1)
    with pytest.raises(DataError, match="not known which class of arrays is the normal one"):
        flat.model.evaluate((images, ["a", "b"] * 12))


def test_masks_that_do_not_fit_are_named(tmp_path: Path) -> None:
    wrong = masked(tmp_path / "size", n=8)
    files(wrong / "masks", np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(
        DataError, match=r"images/00\.png: the mask is 8 x 8 pixels .*, its image 16 x 16: they must be equal"
    ):
        train("segment", wrong, tmp_path)
    odd, model = masked(tmp_path / "value", n=4), finished("segment").model
    files(odd / "masks", np.full((1, 16, 16), 7, np.uint8))
    with pytest.raises(DataError, match=r"values that have no class: 7; known are 0, 255"):
        model.evaluate(odd)
    with pytest.raises(ConfigError, match=r"data\.mask_values has no effect in Model\.evaluate"):
        model.evaluate(odd, mask_values={"0": "a", "7": "b"})


def test_answers_are_not_written_over_images(tmp_path: Path) -> None:
    images = files(tmp_path / "photos", scenes(2)[0])
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    model = finished("anomaly").model_path
    for words, said in (
        (("--out", images), "is where the images lie"),
        (("--heatmap", tmp_path / "h.png"), "--heatmap writes one file, and there are 2 images"),
        (("--out", images / "00.png"), "is a file; expected a folder"),
    ):
        assert said in command("predict", model, images, *words, code=2).output
    assert (
        "is the image itself"
        in command("predict", model, images / "00.png", "--heatmap", images / "00.png", code=2).output
    )
    words = ("--heatmap", tmp_path / "h.png")
    done = command("predict", finished("segment").model_path, images / "00.png", *words, code=2)
    assert "--heatmap is for models of the task anomaly" in done.output
    assert {path.name: path.read_bytes() for path in images.iterdir()} == before
    assert not (tmp_path / "h.png").exists()


def test_the_command_line_trains_every_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = folder("segment")
    common = ["--epochs", "1", "--size-px", "16", "--batch-size", "8", "--set", "train.threads=1"]
    common += ["--set", "train.layout=contiguous", "--set", "train.precision=float32"]
    tiny = ["--set", "network.options={width=4, depth=2}"]
    words = [source / "images", "--task", "segment", "--masks", source / "masks", *common, *tiny]
    assert "test foreground dice" in command("train", *words).output
    words = [folder("denoise"), "--task", "denoise", "--noise", "poisson:30", *common]
    assert "test psnr" in command("train", *words, "--set", "network.options={width=4, depth=3}").output
    words = [folder("anomaly"), "--task", "anomaly", "--normal", "good", "--code", "5", *common]
    assert "test auc" in command("train", *words, "--set", "network.options={width=4}").output


def test_classes_of_masks_are_those_of_training(tmp_path: Path) -> None:
    images, masks = scenes(24, kinds=2)
    with pytest.raises((ClassMismatch, DataError), match=r"no class: 2; known are 0, 1"):
        train("segment", (images, (masks > 0).astype(np.uint8)), tmp_path, epochs=1).model.evaluate((images, masks))
