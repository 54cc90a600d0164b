"""`convlens cross-validate`: what it prints, and that it goes on under the same name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import small
from convlens import experiment
from convlens.cli.main import app
from convlens.metrics import interval

SMALL = [
    "--epochs",
    "1",
    "--set",
    "train.threads=1",
    "--set",
    "train.layout=contiguous",
    "--set",
    "augment.preset=none",
]
SMALL += ["--set", "train.precision=float32", "--set", "network.options={width=4}", "--set", "train.batch_size=16"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "summarise", lambda run, *_: run.report_path.write_text(""))
    monkeypatch.setattr(interval, "WORK", 0)
    monkeypatch.setattr(interval, "FEWEST_DRAWS", 20)
    return tmp_path


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["cross-validate", str(small.shared_photos()), *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_it_prints_every_fold_and_goes_on_under_the_same_name(here: Path) -> None:
    first = run("--folds", "2", "--name", "a", *SMALL)
    heard = [line for line in first.stderr.splitlines() if line.startswith("fold")]
    assert heard == ["fold 1 of 2", "fold 2 of 2"]
    lines = first.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["fold 1", "fold 2", "all images"]
    assert "on 120 images, each tested once" in first.stdout
    assert "always answering " in first.stdout
    assert "over 2 folds: mean " in first.stdout
    assert (here / "runs/a/report.html").exists()
    again = run("--folds", "2", "--name", "a", "--json", *SMALL)
    assert again.stderr == ""
    printed = json.loads(again.stdout)
    assert printed["images"] == 120
    assert [row["run"] for row in printed["by_fold"]] == ["fold-1", "fold-2"]
    assert f"mean {printed['mean']:.3f}, spread {printed['spread']:.3f}" in first.stdout
    assert run("--folds", "2", "--name", "a", "--quiet", *SMALL).stdout == "runs/a/report.html\n"
    refused = run("--folds", "3", "--name", "a", *SMALL, code=2)
    assert "begun with folds = 2, now 3" in refused.stderr
