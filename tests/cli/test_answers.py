"""Answers that are pictures, printed and written: names never collide, nothing is written over, rows can be read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scenes
from convlens.cli.answers import Place, require_place, show_pictures, stem_of
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.errors import ConfigError
from convlens.report.overlay import heat, overlay
from convlens.tasks.pictures import Inspection, Picture
from convlens.tasks.segment import Segmentation

POLICY = ImagePolicy(channels=1)
SIZE = (6, 8)
GREY = np.random.default_rng(0).integers(0, 256, (*SIZE, 1), dtype=np.uint8)
MASK = np.repeat([[0, 0, 1, 1, 2, 2, 255, 0]], 6, axis=0).astype(np.uint8)
WARM = np.linspace(0, 1, 48, dtype=np.float32).reshape(SIZE)


def segmentation(name: str) -> Segmentation:
    return Segmentation(name, MASK, (("=ground", 0.5), ("disc", 0.25)), (("disc", 1),))


def shown(answers: list[Any], images: list[Any], capsys: Any, style: str = "json", **place: Any) -> tuple[int, str]:
    where = Place(**{"folder": None, "file": None, "policy": POLICY, **place})
    return show_pictures(zip(answers, images, strict=True), style, where), capsys.readouterr().out


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_mask_is_written_with_its_classes_and_laid_over_the_image(tmp_path: Path, capsys: Any) -> None:
    (image,) = scenes.files(tmp_path / "in", GREY[None]).iterdir()
    failed, told = shown([segmentation(str(image))], [image], capsys, folder=tmp_path / "out")
    assert failed == 0
    assert (pixels(tmp_path / "out" / "00.png") == MASK).all()
    assert (pixels(tmp_path / "out" / "00-overlay.png") == overlay(GREY, MASK)).all()
    (row,) = json.loads(told)
    assert row == {
        "image": str(image),
        "=ground, share": 0.5,
        "disc, share": 0.25,
        "disc, regions": 1,
        "written": str(tmp_path / "out" / "00.png"),
        "error": None,
    }


def test_a_picture_and_a_heat_map_are_written(tmp_path: Path, capsys: Any) -> None:
    (image,) = scenes.files(tmp_path / "in", GREY[None]).iterdir()
    shown([Picture("a/x.jpg", GREY)], [image], capsys, folder=tmp_path)
    assert (pixels(tmp_path / "x.png") == GREY[..., 0]).all()
    _, told = shown([Inspection("y.png", 0.125, True, WARM)], [image], capsys, folder=tmp_path, file=tmp_path / "h.png")
    assert (pixels(tmp_path / "y-heat.png") == heat(GREY, WARM)).all()
    assert (pixels(tmp_path / "h.png") == heat(GREY, WARM)).all(), "both places that were asked for"
    assert [json.loads(told)[0][key] for key in ("abnormal", "score")] == ["yes", 0.125]
    _, told = shown([Inspection("y.png", 0.125, None, WARM)], [image], capsys)
    assert "abnormal" not in json.loads(told)[0], "without a threshold nothing is said of it"
    assert "written" not in json.loads(told)[0]


@pytest.mark.parametrize("image", [GREY[..., 0], GREY.astype(np.float32) / 255, GREY])
def test_images_in_memory_are_drawn_on_as_files_are(image: np.ndarray, tmp_path: Path, capsys: Any) -> None:
    shown([segmentation("arrays#0")], [image], capsys, folder=tmp_path)
    assert (pixels(tmp_path / "arrays#0-overlay.png") == overlay(GREY, MASK)).all()


def test_a_large_jpeg_is_drawn_on_at_its_own_size(tmp_path: Path, capsys: Any) -> None:
    Image.fromarray(np.full((64, 80), 90, np.uint8)).save(tmp_path / "a.jpg")
    mask = np.zeros((64, 80), np.uint8)
    shown([Segmentation("a.jpg", mask)], [tmp_path / "a.jpg"], capsys, folder=tmp_path / "out")
    assert pixels(tmp_path / "out" / "a-overlay.png").shape == (64, 80, 3)


def test_images_of_one_name_have_files_of_their_own(tmp_path: Path, capsys: Any) -> None:
    images = [scenes.files(tmp_path / part, GREY[None] + i, "x.png") / "x.png" for i, part in enumerate("abc")]
    more = scenes.files(tmp_path / "d", GREY[None], "x-2.png") / "x-2.png"
    answers = [segmentation(str(image)) for image in (*images, more)]
    _, told = shown(answers, [*images, more], capsys, folder=tmp_path / "out")
    names = [Path(row["written"]).name for row in json.loads(told)]
    assert len(set(names)) == 4
    assert len(list((tmp_path / "out").iterdir())) == 8
    for name, image in zip(names, images, strict=False):
        drawn = pixels(tmp_path / "out" / name.replace(".png", "-overlay.png"))
        assert (drawn == overlay(pixels(image)[..., None], MASK)).all()


def test_a_name_is_taken_with_all_its_files() -> None:
    used: set[str] = set()
    assert [stem_of(name, ("", "-overlay"), used) for name in ("a.png", "a-overlay.png")] == ["a", "a-overlay-2"]
    used = set()
    assert [stem_of(name, ("", "-overlay"), used) for name in ("a-overlay.png", "a.png")] == ["a-overlay", "a-2"]


@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_what_could_not_be_read_has_a_row_with_the_reason(style: str, tmp_path: Path, capsys: Any) -> None:
    answers = [segmentation("a.png"), Segmentation("b.png", error="truncated [1]")]
    failed, told = shown(answers, [GREY, tmp_path / "b.png"], capsys, style, folder=tmp_path)
    assert failed == 1
    if style == "csv":
        head, first, second = csv.reader(io.StringIO(told))
        assert head == ["image", "'=ground, share", "disc, share", "disc, regions", "written", "error"]
        assert (first[1:4], first[-1]) == (["0.5", "0.25", "1"], "")
        assert second == ["b.png", "", "", "", "", "truncated [1]"]
    elif style == "json":
        assert json.loads(told)[1] == {"image": "b.png", "error": "truncated [1]"}
    else:
        assert "truncated [1]" in told
        assert "0.25" in told
    assert not (tmp_path / "b.png").exists()


def test_nothing_but_unreadable_images_is_a_table_too(capsys: Any) -> None:
    failed, told = shown([Segmentation("b.png", error="truncated")], [GREY], capsys, "table")
    assert failed == 1
    assert "truncated" in told


def test_places_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(encode_png(GREY))
    require_place("segment", tmp_path / "out", None, [image])
    require_place("anomaly", None, tmp_path / "h.png", [image])
    require_place("segment", tmp_path, None, [GREY])
    for task, out, heatmap, images, said in (
        (
            "segment",
            None,
            tmp_path / "h.png",
            [image],
            "--heatmap is for models of the task anomaly; this one is of segment",
        ),
        (
            "anomaly",
            None,
            tmp_path / "h.png",
            [image, GREY],
            "writes one file, and there are 2 images. Use --out FOLDER",
        ),
        ("anomaly", None, image, [image], "is the image itself and would be written over"),
        ("anomaly", tmp_path / "x" / "..", None, [image], "is where the images lie, and they would be written over"),
        ("denoise", image, None, [GREY], "is a file; expected a folder"),
        ("classify", tmp_path / "out", None, [image], "a model of the task classify answers with none"),
    ):
        with pytest.raises(ConfigError, match=said):
            require_place(task, out, heatmap, images)  # type: ignore[arg-type]
