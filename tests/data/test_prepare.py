"""Prepared data: counted, told apart, and stopped where it cannot be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rig
import scenes
from convlens.config import Config
from convlens.data.findings import Finding
from convlens.data.input import Wanted, choose_input, make_preprocess
from convlens.data.opening import open_all
from convlens.data.prepare import Prepared, channel_statistics, mean_picture, prepare, require_healthy
from convlens.data.record import Record, Source
from convlens.errors import DataError


def of(folder: Path, task: str, images: Any, **options: Any) -> Prepared:
    """The data of a task from arrays or a `Source`."""
    options = {"task": task, "run.directory": str(folder), **options}
    config = Config.build(options)
    source = open_all(config, images)
    config = choose_input(config, source, Wanted())
    return prepare(config, source, make_preprocess(config, Wanted()))


def test_a_run_knows_its_data_again(tmp_path: Path) -> None:
    _, prepared = rig.prepared(tmp_path)
    rows = prepared.table()
    assert [row["id"] for row in rows] == [f"arrays#{i}" for i in range(120)]
    assert {row["label"] for row in rows} == {"left", "right", "top"}
    assert len({row["content"] for row in rows}) == 120
    for part in ("train", "valid", "test"):
        assert sum(row["part"] == part for row in rows) == len(getattr(prepared.split, part)) > 0
        assert sum(prepared.counts(part).values()) == len(getattr(prepared.split, part))
        assert list(prepared.counts(part)) == ["left", "right", "top"]


def test_mean_and_deviation_are_those_of_the_training_images(tmp_path: Path) -> None:
    _, prepared = rig.prepared(tmp_path)
    levels = prepared.store.images[prepared.split.train] / 255
    assert prepared.preprocess.mean == pytest.approx(levels.mean((0, 1, 2)), abs=1e-6)
    assert prepared.preprocess.std == pytest.approx(levels.std((0, 1, 2)), abs=1e-6)


def test_the_statistics_of_many_images_are_those_of_some() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 7, 3), dtype=np.uint8)
    rows = np.arange(0, 50, 2)[::-1]
    mean, std = channel_statistics(images, rows, most=5)
    seen = images[0:50:10] / 255
    assert mean == pytest.approx(seen.mean((0, 1, 2)), abs=1e-6)
    assert std == pytest.approx(seen.std((0, 1, 2)), abs=1e-6)
    assert channel_statistics(np.zeros((2, 2, 2, 1), np.uint8), np.arange(2)) == ((0.0,), (0.001,)), "never divide by 0"
    assert (mean_picture(images, rows, most=5) == np.rint(images[0:50:10].mean(0))).all()
    assert mean_picture(np.zeros((1, 80, 40, 1), np.uint8), np.arange(1)).shape == (32, 32, 1)


def test_the_card_keeps_what_presenting_a_picture_takes(tmp_path: Path) -> None:
    images = scenes.scenes()[0]
    clean = of(tmp_path, "reconstruct", (images, None)).learned
    assert clean.keys() >= {"mean", "std", "mean_picture"}
    assert "noise" not in clean
    noisy = of(tmp_path, "denoise", (images, None), seed=3, **{"data.corruption": "gaussian:0.2"}).learned
    assert (noisy["noise"], noisy["noise_seed"]) == ("gaussian:0.2", 3)


KINDS = ["good"] * 40 + ["scratch"] * 8


def strange(splits: tuple[str | None, ...] = (None,) * 48) -> Source:
    images = scenes.scenes(48)[0]
    rows = enumerate(zip(KINDS, splits, strict=True))
    records = tuple(Record(f"#{i}", i, label, None, split) for i, (label, split) in rows)
    return Source("mine", records, images, kind="picture")


def test_only_what_is_normal_is_trained_on(tmp_path: Path) -> None:
    prepared = of(tmp_path, "anomaly", strange())
    for part in ("train", "valid"):
        assert prepared.counts(part)["scratch"] == 0 < prepared.counts(part)["good"]
    assert prepared.counts("test")["scratch"] == 8
    (told,) = [finding.message for finding in prepared.findings if finding.kind == "normal-alone"]
    assert told.startswith("Trained on 'good' alone: ")
    assert told.endswith(" joined the test.")


def test_what_the_source_puts_elsewhere_is_left_out_and_counted(tmp_path: Path) -> None:
    prepared = of(tmp_path, "anomaly", strange(("train",) * 44 + ("test",) * 4))
    assert prepared.counts("test")["scratch"] == 4
    (told,) = [finding.message for finding in prepared.findings if finding.kind == "normal-alone"]
    assert told.endswith(
        "0 images of other classes joined the test, 4 of the source's own training images are left out."
    )


def test_in_a_cross_validation_each_image_stays_in_its_own_fold(tmp_path: Path) -> None:
    folds = [of(tmp_path, "anomaly", strange(), **{"data.folds": 4, "data.fold": fold}) for fold in (1, 2, 3, 4)]
    tested = np.concatenate([fold.split.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(48))
    assert any("of the other folds are left out" in finding.message for finding in folds[0].findings)


def test_it_must_be_known_what_is_normal(tmp_path: Path) -> None:
    images = scenes.scenes(48)[0]
    with pytest.raises(DataError, match=r"which class of arrays is the normal one: a, b\. Name it with --normal NAME"):
        of(tmp_path, "anomaly", (images, ["a", "b"] * 24))
    assert of(tmp_path, "anomaly", (images, ["a", "b"] * 24), **{"data.normal": "b"}).answers.groups == ("b", "a")
    with pytest.raises(DataError, match="None of the training images is 'good'"):
        of(tmp_path, "anomaly", strange(("test",) * 40 + ("train",) * 8), **{"data.valid_fraction": 0.0})


def test_errors_stop_and_warnings_only_where_asked() -> None:
    note, warning, error = (Finding("x", severity, severity) for severity in ("note", "warning", "error"))  # type: ignore[arg-type]
    require_healthy((note, warning), strict=False)
    with pytest.raises(DataError, match=r"^warning$"):
        require_healthy((note, warning), strict=True)
    with pytest.raises(DataError, match=r"^warning\nerror$"):
        require_healthy((note, warning, error), strict=True)
