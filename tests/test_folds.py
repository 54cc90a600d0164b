"""Cross-validation: each image tested once by a network that did not see it, and a fold that was killed goes on."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convlens as cl
import rig
import small
from convlens import experiment, folds
from convlens.config import Config
from convlens.data.health import leaks
from convlens.data.record import Record
from convlens.data.split import fold_split
from convlens.errors import ConfigError, DataError, RunError
from convlens.folds import CrossValidation, cross_validate
from convlens.metrics import interval
from convlens.run import Run
from convlens.training.callbacks import Callback
from convlens.training.engine import Engine
from convlens.training.interrupt import Interrupted

OPTIONS: dict[str, Any] = {**rig.QUICK, "epochs": 1, "options": {"width": 4}, "preset": "none"}
PARTS = ("train", "valid", "test")


def hasten(patch: pytest.MonkeyPatch) -> None:
    """Intervals of few draws, and an empty page for each fold; that of all together is drawn."""
    patch.setattr(experiment, "summarise", lambda run, *_: run.report_path.write_text(""))
    patch.setattr(interval, "WORK", 0)
    patch.setattr(interval, "FEWEST_DRAWS", 20)


@pytest.fixture(autouse=True)
def hastened(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


def validated(folder: Path, source: Any = None, k: int = 3, **options: Any) -> CrossValidation:
    source = rig.pictures(60) if source is None else source
    return cross_validate(source, k, directory=str(folder), **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossValidation]:
    """Three folds of noisy pictures of two classes, which one epoch does not tell apart without mistakes."""
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch)
        yield validated(tmp_path_factory.mktemp("folds"), two_classes(), name="a")


def two_classes() -> tuple[np.ndarray, list[str]]:
    """Pictures whose brightness only hints at the class, twice as many of one as of the other."""
    rng = np.random.default_rng(0)
    labels = ["dark", "bright", "dark"] * 32
    images = rng.integers(0, 200, (96, 8, 8, 1), dtype=np.uint8)
    images[np.array(labels) == "bright"] += 12
    return images, labels


def parts_of(run: Run) -> dict[str, str]:
    return {row["id"]: row["part"] for row in run.read("data")["records"]}


def ids_tested(found: CrossValidation) -> list[str]:
    """The ids of the tested images, each of which must be in one test and in the training of all other folds."""
    tables = [parts_of(run) for run in found.runs]
    for identity in tables[0]:
        parts = [table[identity] for table in tables]
        assert parts.count("test") == 1, identity
        assert set(parts) <= set(PARTS)
    return [identity for table in tables for identity, part in table.items() if part == "test"]


# how images are divided -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_each_record_is_tested_once_and_what_belongs_together_is_on_one_side(data: st.DataObject) -> None:
    n, k, seed = data.draw(st.integers(30, 60)), data.draw(st.integers(2, 5)), data.draw(st.integers(0, 3))
    groups = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=n, max_size=n))
    twins = ((0, 1, 2), (5, 20))
    records = [
        Record(f"{i:03}", i, "ab"[i % 2], None if group is None else f"g{group}") for i, group in enumerate(groups)
    ]
    labels = [str(record.label) for record in records]
    common = {"duplicate_groups": twins, "k": k, "valid_fraction": 0.2, "seed": seed}
    splits = [fold_split(records, labels, fold=fold, **common) for fold in range(1, k + 1)]
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(n))
    for split in splits:
        everything = np.concatenate([split.train, split.valid, split.test])
        assert sorted(everything) == list(range(n))
        assert leaks(split, twins, records) == ()
        assert len(split.train)
    again = fold_split(records, labels, fold=1, **common)
    assert all((getattr(again, part) == getattr(splits[0], part)).all() for part in PARTS)


def test_validation_is_its_share_of_the_other_folds_and_classes_are_even() -> None:
    records = [Record(f"{i:03}", i, "aab"[i % 3]) for i in range(150)]
    labels = [str(record.label) for record in records]
    split = fold_split(records, labels, duplicate_groups=(), k=5, fold=2, valid_fraction=0.1, seed=0)
    assert [len(getattr(split, part)) for part in PARTS] == [108, 12, 30]
    for part in PARTS:
        rows = getattr(split, part)
        assert sum(labels[row] == "b" for row in rows) == len(rows) // 3
    other = fold_split(records, labels, duplicate_groups=(), k=5, fold=2, valid_fraction=0.1, seed=1)
    assert set(split.test) != set(other.test)


def test_a_test_set_of_the_source_takes_no_part() -> None:
    splits = ["train"] * 30 + ["valid"] * 6 + ["test"] * 9
    records = [Record(f"{i:03}", i, "ab"[i % 2], None, split) for i, split in enumerate(splits)]
    labels = [str(record.label) for record in records]
    found = [
        fold_split(records, labels, duplicate_groups=(), k=3, fold=fold, valid_fraction=0.2, seed=0)
        for fold in (1, 2, 3)
    ]
    assert sorted(np.concatenate([split.test for split in found])) == list(range(36))
    for split in found:
        assert max(split.train.max(), split.valid.max()) < 36
        assert "9 images, takes no part" in split.findings[-1].message


# a whole cross-validation ---------------------------------------------------------------------------------------------


def test_each_image_is_tested_once(classified: CrossValidation) -> None:
    assert len(ids_tested(classified)) == 96 == classified.report["n"]
    assert [row["images"] for row in classified.results["by_fold"]] == [32, 32, 32]
    assert all(list(parts_of(run).values()).count("valid") >= 8 for run in classified.runs)


def test_the_score_over_all_images_is_that_of_the_answers_the_folds_gave(classified: CrossValidation) -> None:
    """Each under its own threshold."""
    reports = [run.evaluation["test"] for run in classified.runs]
    confusion = sum(np.array(report["confusion"]) for report in reports)
    assert classified.report["confusion"] == confusion.tolist()
    losses = [report["log_loss"]["value"] for report in reports]
    assert classified.report["log_loss"]["value"] == pytest.approx(np.mean(losses))
    thresholds = [report["threshold"] for report in reports]
    assert len(set(thresholds)) > 1, "otherwise this test shows nothing"
    assert classified.report["threshold"] == pytest.approx(np.mean(thresholds))
    assert classified.report["accuracy"]["value"] < 1


def test_the_folds_scores_and_their_spread_are_told(classified: CrossValidation) -> None:
    results = json.loads((classified.directory / "cross_validation.json").read_text(encoding="utf-8"))
    assert results == json.loads(json.dumps(classified.results))
    name = results["headline"]["name"]
    scores = [run.evaluation["test"][name]["value"] for run in classified.runs]
    assert [row["value"]["value"] for row in results["by_fold"]] == scores
    assert results["mean"] == pytest.approx(np.mean(scores))
    assert results["spread"] == pytest.approx(np.std(scores, ddof=1))
    assert [row["run"] for row in results["by_fold"]] == ["fold-1", "fold-2", "fold-3"]
    page = classified.report_path.read_text(encoding="utf-8")
    for words in ("Fold by fold", "fold 3", "all images", "Each image was tested once", "Class by class", "confusion"):
        assert words in page


def test_a_fold_is_an_ordinary_run_with_its_own_config(classified: CrossValidation) -> None:
    for number, run in enumerate(classified.runs, 1):
        config = Config.from_json(run.read("run")["config"])
        assert (config.data.folds, config.data.fold) == (3, number)
        assert config.origins["data.fold"] == "chosen: cross-validation"
        assert run.directory == classified.directory / f"fold-{number}"
        assert run.read("test_opened") == {"times": 1}
        assert run.model.card["data"]["images"]["test"] == 32


def test_masks_are_pooled_with_pictures_of_the_best_and_the_worst(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (24, 16, 16, 1), dtype=np.uint8)
    masks = np.zeros((24, 16, 16), np.uint8)
    for i in range(24):
        masks[i, i % 8 : i % 8 + 6, 3:10] = 1
    images[masks == 1] += 120
    options = {"task": "segment", "options": {"width": 2, "depth": 1}, "batch_size": 8}
    found = validated(tmp_path, (images, masks), near_duplicates=False, **options)
    assert len(ids_tested(found)) == 24 == found.report["n"]
    assert found.results["headline"]["name"] == "foreground_dice"
    assert found.results["headline"]["against"]["words"] == "Otsu threshold"
    reports = [run.evaluation["test"] for run in found.runs]
    pixels = [report["pixel_accuracy"]["value"] for report in reports]
    assert found.report["pixel_accuracy"]["value"] == pytest.approx(np.mean(pixels))
    page = found.report_path.read_text(encoding="utf-8")
    assert "Fold by fold" in page
    assert page.count("where they differ") > 1


def test_numbers_are_pooled_in_their_unit(tmp_path: Path) -> None:
    images, _ = rig.pictures(60)
    numbers = images.mean((1, 2, 3)) * 7 + 1000
    found = validated(tmp_path, (images, numbers), 2, task="regress", bounds=(1000.0, 3000.0))
    errors = [run.evaluation["test"]["per_target"][0]["mae"]["value"] for run in found.runs]
    assert found.report["per_target"][0]["mae"]["value"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert found.results["headline"]["name"] == "mae"
    assert found.results["mean"] == pytest.approx(np.mean(errors))


def test_what_is_not_normal_is_tested_in_its_own_fold_and_trains_none(tmp_path: Path) -> None:
    images, labels = rig.pictures(90)
    kinds = ["normal" if label != "top" else "top" for label in labels]
    options = {"task": "anomaly", "options": {"width": 2, "code": 2}, "valid_fraction": 0.5}
    found = validated(tmp_path, (images, kinds), 2, false_alarms=0.2, **options)
    tables = [parts_of(run) for run in found.runs]
    for i, kind in enumerate(kinds):
        parts = [table[f"arrays#{i}"] for table in tables]
        assert parts.count("test") == 1
        assert kind == "normal" or set(parts) == {"test", "none"}
    assert (found.report["normal"], found.report["abnormal"]) == (60, 30)
    alarms = [run.evaluation["test"]["alarm"]["detection"]["value"] for run in found.runs]
    assert found.report["alarm"]["detection"]["value"] == pytest.approx(np.mean(alarms))
    assert found.report["alarm"]["threshold"]["value"] == 1.0


# breaking off and going on --------------------------------------------------------------------------------------------


class StopInFold(Callback):
    """Ask training to stop, as Ctrl-C does, in the second epoch of a fold."""

    def __init__(self, fold: int) -> None:
        self.fold, self.begun = fold, 0

    def on_train_begin(self, engine: Engine) -> None:
        self.begun += 1

    def on_batch_end(self, engine: Engine) -> None:
        if self.begun == self.fold and (engine.state.epoch, engine.state.batch) == (1, 1):
            signal.raise_signal(signal.SIGINT)


def test_a_fold_that_was_killed_goes_on_and_a_finished_one_is_left_alone(tmp_path: Path) -> None:
    options = {"k": 3, "name": "a b", "epochs": 2}
    with pytest.raises(Interrupted, match=r"convlens resume '.*fold-2'.* the same command with --name 'a b'") as caught:
        validated(tmp_path / "cut", callbacks=[StopInFold(2)], **options)
    assert caught.value.exit_code == 130
    folder = tmp_path / "cut" / "a b"
    assert not (folder / "fold-3").exists()
    assert not (folder / "report.html").exists()
    done = (folder / "fold-1" / "model.safetensors").stat().st_mtime_ns
    begun: list[tuple[int, int]] = []
    found = validated(tmp_path / "cut", begin=lambda fold, of: begun.append((fold, of)), **options)
    assert begun == [(2, 3), (3, 3)]
    assert (folder / "fold-1" / "model.safetensors").stat().st_mtime_ns == done
    assert [event["kind"] for event in found.runs[1].events].count("resume") == 1
    whole = validated(tmp_path / "whole", **options)
    assert found.report == whole.report
    for ours, theirs in zip(found.runs, whole.runs, strict=True):
        assert small.weights(ours.model_path) == small.weights(theirs.model_path)


def test_asked_again_when_all_is_done_it_trains_nothing(
    classified: CrossValidation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "train", None)
    monkeypatch.setattr(folds, "resume", None)
    again = validated(classified.directory.parent, two_classes(), name="a")
    assert again.report == classified.report


def test_a_fold_that_ended_before_it_began_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Run:
        raise Interrupted("stopped", signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(folds, "train", interrupted)
        with pytest.raises(Interrupted, match="stopped Or go on"):
            validated(tmp_path, k=2, name="a")
    (tmp_path / "a" / "fold-1").mkdir()
    (tmp_path / "a" / "fold-1" / "lock").touch()
    assert len(ids_tested(validated(tmp_path, k=2, name="a"))) == 60


def test_callbacks_with_a_state_start_afresh_in_each_fold(tmp_path: Path) -> None:
    stopper = cl.EarlyStopping(patience=1, monitor="train_loss", min_delta=100.0)
    found = validated(tmp_path, k=2, epochs=4, callbacks=[stopper])
    assert [len(run.history) for run in found.runs] == [2, 2]
    assert stopper.stale == 0


# what is refused ------------------------------------------------------------------------------------------------------


def test_other_options_other_data_or_another_name_are_refused(classified: CrossValidation) -> None:
    parent, (images, labels) = classified.directory.parent, two_classes()
    with pytest.raises(RunError, match=r"begun with train\.epochs = 1, now 2\. Ask for the same"):
        validated(parent, (images, labels), name="a", epochs=2)
    with pytest.raises(RunError, match=r"begun with folds = 3, now 4"):
        validated(parent, (images, labels), 4, name="a")
    changed = images.copy()
    changed[3] += 1
    with pytest.raises(RunError, match=r"The data has changed since .*arrays#3 has another content"):
        validated(parent, (changed, labels), name="a")
    (parent / "other").mkdir()
    with pytest.raises(RunError, match="exists already and is no cross-validation"):
        validated(parent, (images, labels), name="other")
    assert classified.report_path.exists()


def test_a_split_of_ones_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"leave out data\.valid, data\.test and data\.test_fraction"):
        validated(tmp_path, test_fraction=0.3)
    with pytest.raises(ConfigError, match="say how many with folds"):
        validated(tmp_path, data__folds=3)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_divided_is_found_before_training_and_leaves_nothing(tmp_path: Path) -> None:
    images = rig.pictures(20)[0].copy()
    images[18] = images[19]
    labels = ["a"] * 18 + ["b"] * 2  # equal pictures stay together, and so in one fold nothing of b is left to learn
    with pytest.raises(DataError, match="The training part has no image of 1 class: b"):
        validated(tmp_path, (images, labels), name="a")
    assert list(tmp_path.iterdir()) == []


def test_answers_that_are_missing_or_too_few_are_not_pooled(classified: CrossValidation, tmp_path: Path) -> None:
    run = Run.open(classified.runs[0].directory)
    split = fold_split([Record("a", 0, "x"), Record("b", 1, "y")], [0, 1], duplicate_groups=(), k=2, fold=1,
                        valid_fraction=0.0, seed=0)  # fmt: skip
    with pytest.raises(RunError, match=r"holds answers to 32 images; the fold has 1"):
        folds._answers(run, split)
    with pytest.raises(RunError, match=r"is missing or damaged"):
        folds._answers(Run(tmp_path), split)
