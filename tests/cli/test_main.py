"""The command line: it parses, calls and prints; errors are one line, rows are complete, numbers can be read back."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import small
from convlens.cli import main as module
from convlens.cli.main import app
from convlens.cli.progress import Heartbeat
from convlens.config import Config, option_names
from convlens.data.classes import Classes
from convlens.data.pixels import encode_png
from convlens.model import Model
from convlens.models.catalog import NETWORKS
from convlens.run import Run
from convlens.training.engine import Engine

COMMANDS = (
    *("train", "resume", "evaluate", "predict", "check", "find-rate", "networks", "options"),
    *("cross-validate", "describe", "examples", "explain-op", "filter"),
)
SMALL = ["--set", "train.threads=1", "--set", "train.layout=contiguous", "--set", "train.precision=float32"]
SMALL += ["--set", "network.options={width=8}", "--set", "augment.preset=none", "--batch-size", "16"]


def run(*words: str | Path, code: int = 0) -> Result:
    """Call a command in this process and check how it ended."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def one_line(*words: str | Path, code: int = 2) -> str:
    """The sentence a failing command ends with."""
    *before, last = run(*words, code=code).stderr.splitlines()
    assert not [line for line in before if line.startswith("convlens:")]
    assert last.startswith("convlens: ")
    return last


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty page instead of a report, which would take longest of all."""
    monkeypatch.setattr("convlens.experiment.summarise", lambda run, *_: run.report_path.write_text(""))


@pytest.fixture
def model_file() -> str:
    return str(small.finished().model_path)


# what is there --------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_and_each_explains_itself() -> None:
    listed = run("--help").stdout
    assert run(code=2).stdout.strip() == listed.strip()
    for command in COMMANDS:
        assert f" {command} " in listed
        assert run(command, "--help").stdout.count("Usage:") == 1
    registered = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert registered == set(COMMANDS)


def test_version() -> None:
    import convlens

    assert run("--version").stdout == f"convlens {convlens.__version__}\n"


def test_neither_the_import_nor_help_nor_a_list_loads_anything_heavy() -> None:
    code = """
import sys
import convlens
loaded = set(sys.modules)
assert not loaded & {"torch", "numpy", "PIL", "pydantic", "typer", "rich"}, sorted(loaded)
sys.argv = ["convlens", "train", "--help"]
from convlens.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
heavy = set(sys.modules) & {"torch", "numpy", "PIL", "sklearn", "matplotlib", "pyarrow", "timm", "scipy"}
assert not heavy, heavy
sys.argv = ["convlens", "networks"]
try:
    main()
except SystemExit as end:
    assert end.code == 0
heavy = set(sys.modules) & {"torch", "PIL", "sklearn", "matplotlib", "timm"}
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--epochs" in done.stdout


def test_networks_and_options_are_listed_completely() -> None:
    table = run("networks").stdout
    rows = json.loads(run("networks", "--json").stdout)
    assert [row["name"] for row in rows] == list(NETWORKS)
    assert all(row["name"] in table and f"{row['parameters']:,}" in table for row in rows)
    listed = [line.split()[0] for line in run("options").stdout.splitlines()[1:]]
    assert listed == option_names()


# train and resume -----------------------------------------------------------------------------------------------------


def test_train_says_the_score_with_its_interval_and_where_everything_is(here: Path) -> None:
    result = run("train", small.shared_photos(), "--epochs", "2", "--name", "a", *SMALL)
    out, heard = result.stdout, result.stderr.splitlines()
    assert "test accuracy " in out
    assert " on 24 images" in out
    assert "always answering 'left': 0.333 [0." in out
    for name in ("model.safetensors", "report.html"):
        assert f"runs/a/{name}" in out
        assert (here / "runs" / "a" / name).exists()
    assert heard[0] == "decoding  120 of 120 images"
    assert [line.split()[1] for line in heard[1:]] == ["1/2", "2/2"]


@pytest.mark.usefixtures("without_report")
def test_layers_of_options_win_in_their_order_and_are_remembered(here: Path) -> None:
    (here / "run.toml").write_text("seed = 7\n[train]\nepochs = 9\nmomentum = 0.8\nrate = 0.5\n", encoding="utf-8")
    words = ["--config", "run.toml", "--epochs", "2", "--set", "train.rate=0.05", "--set", "run.name=x", "--json"]
    result = run("train", small.shared_photos(), *words, *SMALL)
    printed = json.loads(result.stdout)
    assert result.stderr == ""
    assert printed["run"] == "runs/x"
    assert printed["headline"]["name"] == "accuracy"
    assert 0 <= printed["test"]["accuracy"]["low"] <= printed["test"]["accuracy"]["value"] <= 1
    assert printed["warnings"] == []
    config = Config.from_json(Run.open("runs/x").read("run")["config"])
    told = {name: (config[name], config.origins[name]) for name in ("seed", "train.epochs", "train.rate")}
    assert told == {"seed": (7, "run.toml"), "train.epochs": (2, "command line"), "train.rate": (0.05, "--set")}
    assert (config.train.momentum, config.origins["train.momentum"]) == (0.8, "run.toml")
    assert config.origins["train.beta1"] == "default"


@pytest.mark.usefixtures("without_report")
def test_a_stopped_run_says_how_to_go_on_and_does_quietly(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Heartbeat, engine: Engine) -> None:
        if engine.state.step == 7:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Heartbeat, "on_batch_end", stop)
        words = ["--name", "my run", "--epochs", "6", "--set", "train.checkpoint_seconds=1e9"]
        line = one_line("train", small.shared_photos(), *words, *SMALL, code=130)
    assert line.endswith("Saved. Continue with: convlens resume 'runs/my run'")
    assert run("resume", "runs/my run", "--quiet").stdout == "runs/my run/report.html\n"
    assert "is finished" in one_line("resume", "runs/my run")
    ours, whole = Path("runs/my run/model.safetensors"), small.finished().model_path
    assert small.weights(ours) == small.weights(whole)


@pytest.mark.usefixtures("without_report")
def test_warnings_are_said_at_the_end(here: Path) -> None:
    photos = small.photos(here / "photos", 60)
    (photos / "left" / "notes.md").write_text("x")
    words = ["--epochs", "1", "--set", "evaluate.abstain=0.99999", *SMALL]
    out = run("train", photos, *words).stdout.splitlines()
    assert out[0].startswith("warning  1 ")
    assert "notes.md" in out[0]
    assert out[1].startswith("warning  No confidence keeps the promise")
    assert "notes.md" in one_line("train", photos, "--strict", *words)


# evaluate and check ---------------------------------------------------------------------------------------------------


def test_evaluate_prints_every_class_and_as_json_every_figure(model_file: str) -> None:
    out = run("evaluate", model_file, small.shared_photos()).stdout.splitlines()
    assert out[0].startswith("accuracy           ")
    assert [line.split()[:2] for line in out if line.startswith(small.CLASSES)] == [[c, "40"] for c in small.CLASSES]
    report = json.loads(run("evaluate", model_file, small.shared_photos(), "--json").stdout)
    assert report["n"] == 120
    assert report["accuracy"] == Model.load(model_file).evaluate(small.shared_photos())["accuracy"]


def test_evaluate_names_what_could_not_be_scored(model_file: str, here: Path) -> None:
    photos = small.photos(here / "photos", 12)
    (photos / "top" / "zz.png").write_bytes(b"")
    assert "not scored  top/zz.png: " in run("evaluate", model_file, photos).stdout
    (photos / "top").rename(photos / "bottom")
    line = one_line("evaluate", model_file, photos)
    assert "Training has: left, right, top." in line
    assert "has: bottom, left, right." in line


def test_check_looks_and_changes_nothing(here: Path) -> None:
    photos = small.photos(here / "photos", 30)
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    assert run("check", photos).stdout.startswith("photos: 30 images in 3 classes\n")
    for path in list(before)[:9]:
        path.write_bytes(b"no image")
    result = run("check", photos, code=1)
    assert "error  " in result.stdout
    (finding,) = [f for f in json.loads(run("check", photos, "--json", code=1).stdout) if f["kind"] == "unreadable"]
    assert len(finding["records"]) == 9
    assert {path.name for path in here.iterdir()} == {"photos"}


def test_check_reads_a_table_by_its_columns(here: Path) -> None:
    small.photos(here / "photos", 30)
    files = sorted(path.relative_to(here).as_posix() for path in (here / "photos").rglob("*.png"))
    rows = [f"{file},{file.split('/')[1]},{number % 4}" for number, file in enumerate(files)]
    (here / "t.csv").write_text("\n".join(["where,breed,colour", *rows]))
    assert "Say which with --label-column" in one_line("check", "t.csv")
    told = run("check", "t.csv", "--image-column", "where", "--label-column", "breed").stdout
    assert told.startswith("t: 30 images in 3 classes")


def test_find_rate_suggests_one(here: Path) -> None:
    words = ["find-rate", small.shared_photos(), "--set", "network.options={width=4}", "--set", "train.threads=1"]
    assert "Use it: --rate " in run(*words).stdout
    assert list(here.iterdir()) == []


# predict --------------------------------------------------------------------------------------------------------------


def test_as_many_rows_come_out_as_images_went_in(model_file: str, here: Path) -> None:
    photos = small.photos(here / "b", 6)
    Path("bad.png").write_bytes(b"no image")
    asked = ["bad.png", "b", "missing.png", "b/top/002.png"]
    expected = ["bad.png", *sorted(str(p.relative_to(here)) for p in photos.rglob("*.png")), *asked[2:]]
    result = run("predict", model_file, *asked, "--format", "csv", "--top", "2", code=2)
    assert result.stderr == "convlens: 2 of 9 images could not be read; their rows say why.\n"
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["image"] for row in rows] == expected
    assert [bool(row["error"]) for row in rows] == [name in ("bad.png", "missing.png") for name in expected]
    for row in rows:
        assert (row["answer"] == "") == bool(row["error"])
        if row["answer"]:
            assert row["answer"] == row["class_1"] == row["image"].split("/")[1]
            assert float(row["probability_1"]) >= float(row["probability_2"]) >= 0
    listed = json.loads(run("predict", model_file, *asked, "--format", "json", code=2).stdout)
    assert [row["name"] for row in listed] == expected
    assert [row["label"] for row in listed] == [row["answer"] or None for row in rows]
    table = run("predict", model_file, *asked, code=2).stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == expected


def test_predict_succeeds_when_all_can_be_read(model_file: str) -> None:
    path = small.shared_photos() / "left" / "000.png"
    assert run("predict", model_file, path).stdout.splitlines()[1].split()[1] == "left"


def test_no_more_classes_are_listed_than_there_are(model_file: str) -> None:
    path = small.shared_photos() / "left" / "000.png"
    head = run("predict", model_file, path, "--format", "csv", "--top", "99").stdout.splitlines()[0].split(",")
    assert [name for name in head if name.startswith("class_")] == ["class_1", "class_2", "class_3"]


def test_a_name_is_never_a_formula_in_a_spreadsheet(here: Path) -> None:
    trained = Model.load(small.finished().model_path)
    trained.classes = Classes(("=1+1", "@SUM(A1)", "-2"))
    trained.architecture = {**(trained.architecture or {})}
    trained.save("model.safetensors")
    shutil.copy(small.shared_photos() / "top" / "002.png", "=cmd|' calc'!A0.png")
    Path("+bad.png").write_bytes(b"")
    result = run("predict", "model.safetensors", "=cmd|' calc'!A0.png", "+bad.png", "--format", "csv", code=2)
    header, *rows = csv.reader(io.StringIO(result.stdout))
    assert len(rows) == 2
    assert rows[0][:3] == ["'=cmd|' calc'!A0.png", "'-2", "'-2"]
    assert {rows[0][4], rows[0][6]} == {"'=1+1", "'@SUM(A1)"}
    assert rows[1][:2] == ["'+bad.png", ""]
    assert not [cell for row in [header, *rows] for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_a_long_name_is_never_cut(model_file: str, here: Path) -> None:
    name = f"{'long-' * 40}.png"
    shutil.copy(small.shared_photos() / "top" / "002.png", name)
    assert name in "".join(line.split()[0] for line in run("predict", model_file, name).stdout.splitlines()[1:])


def test_a_folder_of_arrays_is_predicted_too(model_file: str, here: Path) -> None:
    images = np.stack([np.full((10, 10), level, np.uint8) for level in (10, 200)])
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (here / "set").mkdir()
    (here / "set" / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    rows = json.loads(run("predict", model_file, "set", "--format", "json").stdout)
    assert [row["name"] for row in rows] == ["set/train-images#0", "set/train-images#1"]
    Path("none").mkdir()
    assert "holds no images" in one_line("predict", model_file, "none")


# errors ---------------------------------------------------------------------------------------------------------------

ERRORS: dict[str, tuple[list[str], str]] = {
    "no source": (["train", "photo"], "There is no file or folder 'photo'"),
    "no network": (["train", "digits", "--network", "lenet"], "There is no network 'lenet'. Did you mean 'lenet5'?"),
    "no option": (["train", "--set", "train.epoch=3"], "--set: there is no option 'train.epoch'. Did you mean"),
    "no value": (["train", "--set", "train.epochs"], "--set expects option=value, such as train.epochs=20"),
    "a wrong value": (["train", "--epochs", "0"], "train.epochs does not accept 0"),
    "no finite value": (["train", "--set", "train.rate=inf"], "--set: train.rate does not accept inf"),
    "no plain name": (["train", "digits", "--name", "../a"], "run.name does not accept '../a'"),
    "no config": (["train", "--config", "none.toml"], "There is no config file none.toml"),
    "no run": (["resume", "runs/none"], "There is no run directory runs/none"),
    "no model": (["evaluate", "none.safetensors", "digits"], "Cannot open none.safetensors: No such file"),
    "a pickle": (["predict", "model.pt", "a.png"], "can run code and are never read here"),
    "no part": (["evaluate", "MODEL", "digits", "--split", "test"], "digits has no test part"),
    "a column without a table": (["check", "digits", "--label-column", "x"], "there is no table to find a column in"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_one_sentence_and_exit_code_2(case: str, here: Path, model_file: str) -> None:
    words, said = ERRORS[case]
    (here / "model.pt").write_bytes(b"\x80\x02}q\x00.")
    assert said in one_line(*[model_file if word == "MODEL" else word for word in words])
    assert {path.relative_to(here).as_posix() for path in here.rglob("*")} <= {"model.pt", "runs"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--epoch", "3"], "--epochs"),
        (["trian"], "Did you mean 'train'?"),
        (["train", "--epochs", "many"], "valid integer"),
        (["predict", "m.safetensors"], "images"),
        (["predict", "m.safetensors", "a.png", "--format", "xml"], "csv"),
        (["predict", "m.safetensors", "a.png", "--top", "0"], "1"),
    ],
)
def test_a_misspelt_call_is_explained(words: list[str], said: str) -> None:
    result = run(*words, code=2)
    assert said in result.stderr
    assert result.stdout == ""


def test_a_file_that_cannot_be_opened_is_one_sentence_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "secret.csv")

    monkeypatch.setattr("convlens.data.check.check", refuse)
    assert one_line("check", "digits", code=1) == "convlens: secret.csv: Permission denied"


def test_training_that_fails_is_one_sentence_and_exit_code_1(here: Path) -> None:
    line = one_line("train", small.shared_photos(), "--epochs", "1", "--rate", "1e30", "--name", "a", *SMALL, code=1)
    assert "The loss is not finite at epoch 1, batch " in line
    assert "Lower train.rate" in line
    assert not (here / "runs" / "a" / "model.safetensors").exists()


def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["--debug", "resume", "none"], ["resume", "none", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["convlens", *words])
        with pytest.raises(ValueError, match="There is no run directory none"):
            module.main()
    monkeypatch.setattr(sys, "argv", ["convlens", "resume", "none"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 2


def test_ctrl_c_before_there_is_a_run_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convlens.data.check.check", stop)
    assert one_line("check", "digits", code=130) == "convlens: stopped"


@pytest.mark.slow
def test_it_works_in_a_bare_environment_and_a_path_with_spaces_and_signs(tmp_path: Path) -> None:
    folder = tmp_path / "meine Bilder 📷 é"
    small.photos(folder / "Füße 1", 60)
    keep = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if key in os.environ}
    bare = {**keep, "LC_ALL": "C", "HOME": "/nonexistent", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", "from convlens.cli.main import main; main()"]
    words = ["train", str(folder / "Füße 1"), "--epochs", "2", "--name", "Läufe 1", *SMALL]
    done = subprocess.run([*command, *words], cwd=folder, env=bare, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    made = Run.open(folder / "runs" / "Läufe 1")
    assert made.model.classes == Classes(small.CLASSES)
    picture = folder / "Bild ü.png"
    picture.write_bytes(encode_png(np.zeros((10, 10, 1), np.uint8)))
    words = ["predict", str(made.model_path), str(picture), "--format", "csv"]
    done = subprocess.run([*command, *words], cwd=folder, env=bare, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert "Bild ü.png" in done.stdout.decode("utf-8")
