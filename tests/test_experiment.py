"""From a folder of pictures to a run directory: all of it there, honest, and never taken up again on other data."""

from __future__ import annotations

import errno
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import convlens as cl
import rig
import small
from convlens import artefact, experiment
from convlens.config import Config
from convlens.data.sources import Record, Source
from convlens.errors import ArtefactError, ClassMismatch, ConfigError, DataError, RunError, ShapeError, TrainingError
from convlens.files import locked
from convlens.model import Model
from convlens.run import Run
from convlens.tasks.classify import Classify
from convlens.training.callbacks import Callback
from convlens.training.engine import Engine
from convlens.training.interrupt import Interrupted


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty page instead of a report, which would take longest of all."""
    monkeypatch.setattr(experiment, "summarise", lambda run, *_: run.report_path.write_text(""))


class StopAfter(Callback):
    """Ask training to stop, as Ctrl-C does, at a batch of an epoch."""

    def __init__(self, epoch: int, batch: int = 2, number: int = signal.SIGINT) -> None:
        self.epoch, self.batch, self.number = epoch, batch, number

    def on_batch_end(self, engine: Engine) -> None:
        if (engine.state.epoch, engine.state.batch) == (self.epoch, self.batch):
            signal.raise_signal(self.number)


def interrupted(folder: Path, source: Any = None, name: str = "cut short", **options: Any) -> Path:
    """A run stopped in its third epoch."""
    with pytest.raises(Interrupted, match=r"Saved\. Continue with: convlens resume"):
        cl.train(
            source or small.shared_photos(),
            directory=str(folder),
            name=name,
            callbacks=[StopAfter(2)],
            **{**small.OPTIONS, **options},
        )
    return folder / name


# what a run leaves ----------------------------------------------------------------------------------------------------


def test_every_file_of_a_run_is_there_and_readable() -> None:
    run = small.finished()
    assert names(run.directory) == small.FILES
    for path in run.directory.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in run.directory.glob("*.jsonl"):
        assert all(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    with Image.open(run.directory / "contact_sheet.png") as sheet:
        sheet.load()
        assert min(sheet.size) > 10
    checkpoints = sorted((run.directory / "checkpoints").iterdir())
    assert 1 <= len(checkpoints) <= 2
    for path in checkpoints:
        artefact.read(path, kind="checkpoint")
    page = run.report_path.read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert "finished" in page


def test_the_figures_of_a_run_agree_with_each_other() -> None:
    run = Run.open(small.finished().directory)
    assert run.history.column("epoch") == [1, 2, 3, 4, 5, 6]
    parts = [row["part"] for row in run.read("data")["records"]]
    assert len(parts) == 120
    evaluation = run.evaluation
    for part in ("valid", "test"):
        assert evaluation[part]["n"] == parts.count(part) > 0
        assert evaluation[part]["accuracy"]["low"] < evaluation[part]["accuracy"]["value"] <= 1
        assert "uncalibrated" in evaluation[part]
    assert evaluation["headline"]["part"] == "test"
    assert evaluation["best_epoch"] in run.history.column("epoch")
    assert evaluation["test"]["accuracy"]["value"] > 0.8
    layers = run.read("network")["layers"]
    assert sum(row["parameters"] for row in layers) == sum(p.numel() for p in run.model.network.parameters())
    assert run.read("health") == [] or all(finding["message"] for finding in run.read("health"))


def test_every_option_has_its_value_and_its_origin() -> None:
    run = small.finished()
    config = Config.from_json(run.read("run")["config"])
    origins = config.origins
    assert origins["train.epochs"] == origins["data.source"] == "argument"
    assert origins["train.beta1"] == "default"
    assert origins["train.rate"].startswith("chosen: ")
    assert origins["data.size_px"] == "chosen: the median side of the images is 10 px"
    assert config.train.rate != "auto"
    open_still = {name for name, value, _ in config.rows() if value == "auto"}
    assert not {name for name in open_still if name.startswith(("augment.", "train."))}
    said = [event["message"] for event in run.events if event["kind"] == "choice"]
    chosen = [f"{name} = {value}: {origin[8:]}" for name, value, origin in config.rows() if origin.startswith("chosen")]
    assert said == chosen


@pytest.mark.usefixtures("without_report")
def test_tensorboard_and_own_callbacks_are_told(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = cl.train(
        small.shared_photos(),
        directory=str(tmp_path),
        callbacks=[cl.ModelCheckpoint(tmp_path / "kept" / "{epoch}.safetensors")],
        **{**small.OPTIONS, "epochs": 2, "tensorboard": True},
    )
    assert names(run.directory) == small.FILES | {"tensorboard"}
    assert names(tmp_path / "kept") == {"1.safetensors", "2.safetensors"}
    assert Model.load(tmp_path / "kept" / "1.safetensors").classes == run.model.classes


# sources --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_report")
def test_validation_and_test_may_be_sources_of_their_own(tmp_path: Path) -> None:
    extra = small.photos(tmp_path / "extra", 30)
    for part in ("valid", "test"):
        shutil.copytree(extra, tmp_path / part)
        for number, path in enumerate(sorted((tmp_path / part).rglob("*.png"))):
            with Image.open(path) as opened:
                shade = opened.point(lambda level, by=1 + number + 5 * (part == "test"): min(level + by, 255))
            shade.save(path)
    run = cl.train(
        small.shared_photos(),
        directory=str(tmp_path / "runs"),
        valid=str(tmp_path / "valid"),
        test=str(tmp_path / "test"),
        near_duplicates=False,
        **{**small.OPTIONS, "epochs": 1},
    )
    rows = run.read("data")["records"]
    assert {part: sum(row["part"] == part for row in rows) for part in ("train", "valid", "test")} == {
        "train": 120,
        "valid": 30,
        "test": 30,
    }
    assert all(row["id"].startswith(f"{row['part']}:") == (row["part"] != "train") for row in rows)
    shutil.rmtree(tmp_path / "test" / "top")
    with pytest.raises(ClassMismatch, match=r"train: left, right, top\. test: left, right\."):
        cl.train(small.shared_photos(), test=str(tmp_path / "test"), directory=str(tmp_path / "runs"))


@pytest.mark.usefixtures("without_report")
def test_a_table_with_groups_keeps_each_on_one_side(tmp_path: Path) -> None:
    small.photos(tmp_path / "photos")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "photos").rglob("*.png"))
    animal = {file: f"animal {int(Path(file).stem) // 6}" for file in files}
    rows = [f"{file},{file.split('/')[1]},{animal[file]}" for file in files]
    (tmp_path / "labels.csv").write_text("\n".join(["file,breed,animal", *rows]))
    run = cl.train(
        tmp_path / "labels.csv",
        directory=str(tmp_path / "runs"),
        image_column="file",
        label_column="breed",
        group_column="animal",
        **{**small.OPTIONS, "epochs": 1},
    )
    parts: dict[str, set[str]] = {}
    for row in run.read("data")["records"]:
        parts.setdefault(animal[row["id"]], set()).add(row["part"])
    assert len(parts) == 20
    assert all(len(found) == 1 for found in parts.values())
    assert run.evaluation["test"]["n"] >= 12


@pytest.mark.usefixtures("without_report")
def test_arrays_in_memory_are_a_source_and_are_asked_for_again(tmp_path: Path) -> None:
    images, labels = rig.pictures()
    directory = interrupted(tmp_path, (images, labels))
    assert json.loads((directory / "run.json").read_text())["config"]["data"]["source"] == "arrays"
    with pytest.raises(RunError, match=r"started from arrays in memory. Give them again: convlens.resume\("):
        cl.resume(directory)
    with pytest.raises(RunError, match=r"1 change: arrays#0 has another content"):
        cl.resume(directory, source=(_inverted_first(images), labels))
    run = cl.resume(directory, source=(images, labels))
    assert run.evaluation["test"]["accuracy"]["value"] > 0.8
    whole = cl.train((images, labels), directory=str(tmp_path), **small.OPTIONS)
    assert small.weights(whole.model_path) == small.weights(run.model_path)


def _inverted_first(images: Any) -> Any:
    changed = images.copy()
    changed[0] = 255 - changed[0]
    return changed


@pytest.mark.usefixtures("without_report")
def test_a_source_object_is_a_source(tmp_path: Path) -> None:
    images, labels = rig.pictures(60)
    source = Source("mine", tuple(Record(f"mine#{i}", i, label) for i, label in enumerate(labels)), images)
    run = cl.train(source, directory=str(tmp_path), **{**small.OPTIONS, "epochs": 1})
    assert len(run.read("data")["records"]) == 60


# refusals, and what they leave behind ---------------------------------------------------------------------------------


def _one_class(folder: Path) -> None:
    shutil.rmtree(folder / "left")
    shutil.rmtree(folder / "right")


def _unreadable(folder: Path) -> None:
    for path in sorted(folder.rglob("*.png"))[:10]:
        path.write_bytes(b"no image")


REFUSED: dict[str, tuple[dict[str, Any], Callable[[Path], Any] | None, type[Exception], str]] = {
    "an unknown network": ({"network": "lenet6"}, None, ConfigError, "no network 'lenet6'. Did you mean 'lenet5'"),
    "an unknown option": ({"epoch": 3}, None, ConfigError, "no option 'epoch'"),
    "an image too small": ({"network": "lenet5", "size_px": 8, "options": {}}, None, ShapeError, "lenet5"),
    "an unknown device": ({"device": "quantum"}, None, ConfigError, "'quantum' cannot be used here"),
    "weights that are not there": ({"weights": "none.safetensors"}, None, ArtefactError, "none.safetensors"),
    "a single class": ({}, _one_class, DataError, "top"),
    "too many unreadable files": ({}, _unreadable, DataError, "10"),
    "nothing to train on": ({"valid_fraction": 0.5, "test_fraction": 0.5}, None, DataError, "leave some images"),
    "an unknown monitor": ({"monitor": "val_los"}, None, ConfigError, "Did you mean 'val_loss'"),
    "a callback's unknown monitor": (
        {"callbacks": [cl.EarlyStopping(monitor="val_los")]},
        None,
        ConfigError,
        "EarlyStopping needs 'val_los'.*Did you mean 'val_loss'.*Choose from: epoch, images_per_s, rate, ",
    ),
    "an unknown column in a file name": (
        {"callbacks": [cl.ModelCheckpoint("{foo}.safetensors")]},
        None,
        ConfigError,
        "ModelCheckpoint needs 'foo'",
    ),
    "no callback": ({"callbacks": [3]}, None, ConfigError, "inherit from convlens.Callback.*got 3"),
    "no list of callbacks": ({"callbacks": cl.EarlyStopping()}, None, ConfigError, "Put it in brackets"),
    "no number": ({"rate": float("inf")}, None, ConfigError, "train.rate does not accept inf"),
    "a name that leaves the folder": ({"name": "../a"}, None, ConfigError, r"run.name does not accept '\.\./a'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_said_and_leaves_no_directory(tmp_path: Path, case: str) -> None:
    options, change, kind, words = REFUSED[case]
    folder = small.photos(tmp_path / "photos")
    if change:
        change(folder)
    with pytest.raises(kind, match=words):
        cl.train(folder, directory=str(tmp_path / "runs"), **{**small.OPTIONS, **options})
    assert not (tmp_path / "runs").exists() or names(tmp_path / "runs") <= {".store"}


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder 'digit', and no built-in set.*Did you mean 'digits'"):
        cl.train("digit", directory=str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("without_report")
def test_strict_makes_a_warning_an_error(tmp_path: Path) -> None:
    folder = small.photos(tmp_path / "photos", 60)
    (folder / "left" / "notes.md").write_text("not an image")
    options = {**small.OPTIONS, "epochs": 1, "directory": str(tmp_path / "runs")}
    with pytest.raises(DataError, match=r"1 files do not have the name of an image.*notes\.md"):
        cl.train(folder, **options, strict=True)
    assert names(tmp_path / "runs") <= {".store"}
    run = cl.train(folder, **options)
    assert [finding["kind"] for finding in run.read("health") if finding["severity"] == "warning"] == [
        "not-an-image-name"
    ]


def test_a_run_directory_is_never_used_twice(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("precious")
    options = {**small.OPTIONS, "directory": str(tmp_path), "name": "mine"}
    with pytest.raises(RunError, match=r"mine exists already. Choose another run.name, or continue it"):
        cl.train(small.shared_photos(), **options)
    assert names(tmp_path / "mine") == {"precious.txt"}
    Run(tmp_path / "mine").discard()
    assert names(tmp_path / "mine") == {"precious.txt"}


def test_a_file_is_no_folder_for_runs(tmp_path: Path) -> None:
    (tmp_path / "fil").write_text("")
    with pytest.raises(RunError, match=r"run.directory expects a folder; .*fil is a file"):
        Run.create(Config.build({"run.directory": str(tmp_path / "fil")}))


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("stage", "error", "kind", "stays"),
    [
        ("keep_request", RuntimeError("a fault"), RuntimeError, False),
        ("keep_request", FULL, TrainingError, False),
        ("make_plan", RuntimeError("a fault"), RuntimeError, False),
        ("make_plan", FULL, TrainingError, True),
        ("keep_decisions", RuntimeError("a fault"), RuntimeError, False),
    ],
)
def test_a_run_that_cannot_begin_leaves_nothing_that_cannot_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception, kind: type[Exception], stays: bool
) -> None:
    def fail(run: Any, *_: Any, **__: Any) -> None:
        if stage == "keep_decisions":  # half of it has been written
            run.write("data", {})
            run.events.add("choice", "said already")
        raise error

    monkeypatch.setattr(experiment, stage, fail)
    with pytest.raises(kind, match="Continue with" if stays else "a fault|could not begin"):
        cl.train(small.shared_photos(), directory=str(tmp_path), name="a", **small.OPTIONS)
    assert (names(tmp_path / "a") >= {"run.json"}) if stays else not (tmp_path / "a").exists()


def test_a_stop_before_anything_is_kept_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "keep_request", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match=r"Stopped by signal 15\. Nothing had begun\."):
        cl.train(small.shared_photos(), directory=str(tmp_path), name="a", **small.OPTIONS)
    assert not (tmp_path / "a").exists()


def test_runs_are_numbered(tmp_path: Path) -> None:
    config = Config.build({"data.source": "/some where/my photos/", "run.directory": str(tmp_path)})
    made = [Run.create(config).directory.name for _ in range(2)]
    assert [name.split("-", 3)[3] for name in made] == ["my-photos-1", "my-photos-2"]


def test_a_directory_that_cannot_be_written_is_refused_at_once() -> None:
    with small.unwritable() as folder:
        with pytest.raises(RunError, match=f"run directory in {folder} cannot be made: Permission denied"):
            Run.create(Config.build({"run.directory": str(folder)}))
        with pytest.raises(RunError, match="cannot be written"):
            cl.resume(folder)


def test_a_directory_that_is_in_use_is_refused(tmp_path: Path) -> None:
    directory = interrupted(tmp_path)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with locked(directory), pytest.raises(RunError, match="Another process is working in"):
        cl.resume(directory)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


# resume ---------------------------------------------------------------------------------------------------------------


def test_an_interrupted_run_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    directory = interrupted(tmp_path, name="with space")
    with pytest.raises(RunError, match="has no model yet"):
        _ = Run.open(directory).model
    stopped = Run.open(directory).events.rows[-1]
    assert stopped["kind"] == "interrupt"
    run = cl.resume(directory)
    assert small.weights(run.model_path) == small.weights(small.finished().model_path)
    assert small.timeless(run.history) == small.timeless(small.finished().history)
    assert names(directory) == small.FILES
    ours, theirs = run.evaluation, small.finished().evaluation
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    (resumed,) = [event["message"] for event in run.events if event["kind"] == "resume"]
    assert resumed == "Continued at epoch 3, step 12."


def test_the_command_to_go_on_can_be_pasted(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as caught:
        cl.train(
            small.shared_photos(),
            directory=str(tmp_path),
            name="it's mine",
            callbacks=[StopAfter(0, number=signal.SIGTERM)],
            **small.OPTIONS,
        )
    import shlex

    words = shlex.split(str(caught.value).split("Continue with: ")[1])
    assert words == ["convlens", "resume", str(tmp_path / "it's mine")]
    assert caught.value.exit_code == 143


@pytest.mark.usefixtures("without_report")
def test_callbacks_with_a_state_have_to_come_back(tmp_path: Path) -> None:
    stopper = cl.EarlyStopping(patience=9, monitor="train_loss")
    options = {**small.OPTIONS, "patience": 8, "directory": str(tmp_path), "name": "a"}
    with pytest.raises(Interrupted):
        cl.train(small.shared_photos(), callbacks=[StopAfter(2), stopper], **options)
    with pytest.raises(ConfigError, match="inherit from convlens"):
        cl.resume(tmp_path / "a", callbacks=[stopper, 3])  # type: ignore[list-item]
    with pytest.raises(RunError, match=r"with 2 callbacks that keep a state; 1 are given now.*callbacks=\[\.\.\.\]"):
        cl.resume(tmp_path / "a", callbacks=[Callback()])
    again = cl.EarlyStopping(patience=9, monitor="train_loss")
    run = cl.resume(tmp_path / "a", callbacks=[Callback(), again, Callback()])
    assert again.best == min(run.history.column("train_loss"))


def test_a_finished_run_has_nothing_to_resume() -> None:
    with pytest.raises(RunError, match=r"is finished; its report is .*report\.html. Nothing to resume"):
        cl.resume(small.finished().directory)
    assert small.finished().read("test_opened") == {"times": 1}


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("stage", ["decoding", "deciding", "training begins", "evaluating", "reporting"])
def test_a_stop_at_any_stage_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def stop(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    options: dict[str, Any] = {"directory": str(tmp_path), "name": "a", **small.OPTIONS}
    with monkeypatch.context() as patch:
        if stage == "decoding":
            options["progress"] = stop
        elif stage == "deciding":
            write = Run.write
            patch.setattr(Run, "write", lambda *a: stop() if "hardware" in a[2] else write(*a))
        elif stage == "training begins":
            patch.setattr(experiment, "make_engine", stop)
        elif stage == "evaluating":
            patch.setattr(Classify, "report", stop)
        else:
            patch.setattr(experiment, "summarise", stop)
        with pytest.raises(Interrupted, match=r"Stopped by signal 15. Continue with: convlens resume") as caught:
            cl.train(small.shared_photos(), **options)
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    run = cl.resume(tmp_path / "a")
    assert names(run.directory) == small.FILES
    assert small.weights(run.model_path) == small.weights(small.finished().model_path)
    assert run.evaluation["test_opened"] == (2 if stage == "reporting" else 1)
    choices = [event["message"] for event in run.events if event["kind"] == "choice"]
    assert len(choices) == len(set(choices))


def _edit(folder: Path) -> None:
    with Image.open(folder / "left" / "000.png") as opened:
        opened.point(lambda level: 255 - level).save(folder / "left" / "000.png")


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "edited": (_edit, r"1 change: left/000\.png has another content\."),
    "added": (
        lambda f: Image.effect_noise((10, 10), 90).save(f / "left" / "new.png"),
        r"1 change: left/new\.png is new\.",
    ),
    "removed": (lambda f: (f / "top" / "002.png").unlink(), r"1 change: top/002\.png is gone\."),
    "relabelled": (
        lambda f: (f / "left" / "000.png").rename(f / "right" / "000.png"),
        r"2 changes: left/000\.png is gone; right/000\.png is new\.",
    ),
    "many": (
        lambda f: [path.unlink() for path in sorted((f / "left").iterdir())[:7]],
        r"7 changes: (left/\d+\.png is gone; ){5}\.\.\.\. Restore the data, or start a new run\.",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changed_data_is_refused_with_the_differences(tmp_path: Path, case: str) -> None:
    change, words = CHANGES[case]
    folder = small.photos(tmp_path / "photos")
    directory = interrupted(tmp_path, folder)
    before = {path: path.read_bytes() for path in (directory / "checkpoints").iterdir()}
    change(folder)
    with pytest.raises(RunError, match=words):
        cl.resume(directory)
    assert {path: path.read_bytes() for path in (directory / "checkpoints").iterdir()} == before
    assert not (directory / "model.safetensors").exists()


def test_another_label_or_part_is_a_change(tmp_path: Path) -> None:
    directory = interrupted(tmp_path)
    run = Run.open(directory)
    data = run.read("data")
    now = [dict(row) for row in data["records"]]
    now[3]["label"] = "elsewhere"
    with pytest.raises(RunError, match=r"1 change: .*png has another label"):
        run.require_same_data(now)
    now = [dict(row) for row in data["records"]]
    now[3]["part"] = "nowhere"
    with pytest.raises(RunError, match=r"1 change: .*png moved from (train|valid|test) to nowhere"):
        run.require_same_data(now)
    run.require_same_data(data["records"])


def test_what_is_not_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run directory"):
        cl.resume(tmp_path / "none")
    with pytest.raises(RunError, match=r"has no run.json: it is not a run"):
        cl.resume(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run.json is not JSON"):
        cl.resume(tmp_path)
    with pytest.raises(RunError, match="ended before that"):
        _ = Run.open(tmp_path).evaluation


def test_half_written_files_and_lines_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    directory = interrupted(tmp_path)
    (directory / "evaluation.json.999.writing").write_text("{")
    (directory / "checkpoints" / "step-00000099.safetensors.999.writing").write_text("half")
    for name in ("events", "history"):
        with (directory / f"{name}.jsonl").open("a") as file:
            file.write('{"kind": "warning", "mess')
    run = cl.resume(directory)
    assert names(directory) == small.FILES
    assert not list(directory.rglob("*.writing"))
    again = Run.open(directory)
    assert small.timeless(again.history) == small.timeless(small.finished().history)
    assert again.events.rows == run.events.rows


def test_damaged_checkpoints_are_never_replaced_by_fresh_weights(tmp_path: Path) -> None:
    directory = interrupted(tmp_path)
    for path in (directory / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    for _ in range(2):  # the second time they have been set aside already
        with pytest.raises(ArtefactError, match="never goes on from fresh weights unasked"):
            cl.resume(directory)
    assert not (directory / "model.safetensors").exists()


@pytest.mark.usefixtures("without_report")
def test_a_full_disk_at_the_very_end_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = artefact.write

    def full(path: Path, tensors: Any, card: Any, kind: str = "model") -> None:
        if kind == "model":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, tensors, card, kind)

    with monkeypatch.context() as patch:
        patch.setattr(artefact, "write", full)
        with pytest.raises(TrainingError, match=r"The disk is full; .*Make room. Continue with: convlens resume") as e:
            cl.train(small.shared_photos(), directory=str(tmp_path), name="a", **small.OPTIONS)
    assert e.value.exit_code == 1
    run = cl.resume(tmp_path / "a")
    assert small.weights(run.model_path) == small.weights(small.finished().model_path)


def test_a_stop_that_could_not_be_saved_does_not_say_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artefact, "write", full)
    with pytest.raises(Interrupted, match=r"Not saved: the disk is full\. Continue with"):
        cl.train(small.shared_photos(), directory=str(tmp_path), callbacks=[StopAfter(0)], **small.OPTIONS)


@pytest.mark.parametrize("normalise", ["half", "data"])
def test_rates_are_tried_on_the_input_that_training_sees(monkeypatch: pytest.MonkeyPatch, normalise: str) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(experiment, "try_rates", lambda *args: seen.append(args))
    cl.find_rate(small.shared_photos(), normalise=normalise, **small.OPTIONS)
    _, config, prepared, hardware = seen[0]
    assert (prepared.preprocess.mean == (0.5,)) == (normalise == "half")
    assert (config.train.rate != "auto", hardware.device) == (True, "cpu")
