"""`convlens describe`: a table for a person, plain text for a file, JSON for a program, one line for a mistake."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from convlens.cli.describe import show
from convlens.cli.main import app
from convlens.explain.anatomy import describe


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["describe", *words])
    assert result.exit_code == code, result.output
    return result


def test_a_table_comes_out_plain_and_whole_when_nobody_watches() -> None:
    printed = run("lenet5", "--input", "1x28x28").stdout
    assert printed == f"{describe('lenet5', (1, 28, 28)).table()}\n"
    assert "\x1b" not in printed
    assert "(28 + 2*2 - 5)/1 + 1 = 28         156  117.6 k" in printed


def test_json_is_nothing_but_json() -> None:
    data = json.loads(run("mlp", "--json", "--outputs", "3").stdout)
    assert data == json.loads(json.dumps(describe("mlp", outputs=3).to_json()))


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_it_fits_its_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    anatomy = describe("resnet18")
    show(anatomy, as_json=False)
    text = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    assert text != terminal.getvalue()  # styled
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= width
    assert lines == [line.rstrip() for line in anatomy.table(width).splitlines()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lenet"], "convlens: There is no network 'lenet'. Did you mean 'lenet5'?"),
        (["lenet5", "--input", "32"], "convlens: lenet5 takes images of channels, height and width"),
        (["lenet5", "--input", "1x32xx"], "convlens: --input is the shape of one image, channels x height x width"),
        (
            ["lenet5", "--input", "1x8x8"],
            "convlens: lenet5 at 8 x 8 px: conv2: A window of 5 does not fit into 2",
        ),
        (["no.toml"], "convlens: "),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*words, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 1


def test_what_the_page_shows_is_what_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/describe.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.M | re.S)
    names: dict[str, object] = {}
    shown = 0
    for (language, code), (behind, output) in pairwise([*fences, ("", "")]):
        printed = ""
        if language == "python":
            exec(code, names)
            printed = capsys.readouterr().out
        elif language == "sh" and behind == "text":
            printed = run(*shlex.split(code)[2:]).stdout
        if behind == "text" and language != "text":
            assert " ".join(printed.split()) == " ".join(output.split()), code
            shown += 1
    assert shown == 6
