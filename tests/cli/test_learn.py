"""The commands to learn with, each of their paths; what cannot be done is one sentence and exit code 2."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from convlens.cli.main import app
from convlens.lectures import examples
from convlens.reference import KERNELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/examples.md").read_text(encoding="utf-8")


def run(*words: str | Path, code: int = 0) -> Result:
    """Call a command in this process and check how it ended."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def one_line(*words: str | Path) -> str:
    """The sentence a command that cannot be done ends with."""
    result = run(*words, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("convlens: ")
    return line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photo and a matrix, to work in."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save("photo.jpg")
    Path("matrix.csv").write_text("1,2,3,0\n4,5,6,0\n7,8,9,1\n", encoding="utf-8")
    return tmp_path


# examples -------------------------------------------------------------------------------------------------------------


def test_all_examples_are_listed_with_their_verdict() -> None:
    lines = run("examples").stdout.splitlines()
    assert lines[0].split() == ["example", "what", "it", "is", "printed", "computed", "verdict"]
    assert [line.split()[0] for line in lines[1:78]] == [example.id for example in examples.load()]
    assert "slide is wrong: [3, 3]" in lines[1]
    assert lines[-1].startswith("77 of 77 come out right; 19 slides are wrong, and named;")


def test_check_says_the_sum_only() -> None:
    (line,) = run("examples", "--check").stdout.splitlines()
    assert line.startswith("77 of 77")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One example whose right value is wrong."""
    first, *others = examples.load()
    wrong = (replace(first, right=[[0]]), *others)
    monkeypatch.setattr(examples, "load", lambda: wrong)


@pytest.mark.usefixtures("planted")
def test_one_that_fails_is_named_and_the_exit_code_is_1() -> None:
    failed, told = run("examples", "--check", code=1).stdout.splitlines()
    assert failed.startswith("000-conv-6x6-stride1  FAILS: the result: computed 4 x 4, right 1 x 1.")
    assert told.startswith("76 of 77")
    assert "FAILS" in run("examples").stdout
    assert json.loads(run("examples", "--check", "--json", code=1).stdout)[0]["verdict"] == "FAILS"
    run("examples", "000-conv-6x6-stride1", "--check", code=1)
    run("examples", "000-conv-6x6-stride2", "--check")


def test_examples_as_json() -> None:
    rows = json.loads(run("examples", "--json").stdout)
    assert len(rows) == 77
    one = json.loads(run("examples", "003-avgpool-4x4", "--json").stdout)
    assert one == next(row for row in rows if row["id"] == "003-avgpool-4x4")
    assert (one["wrong"], one["computed"]["average"][0][0]) == ([["average", 0, 0]], 36.5)


def test_an_unknown_example() -> None:
    assert one_line("examples", "000-conv-6x6-stride3").endswith("Did you mean '000-conv-6x6-stride2'?")
    assert one_line("explain-op", "conv2d", "--example", "zzz").endswith("'convlens examples' lists all 77.")


# explain-op -----------------------------------------------------------------------------------------------------------


def test_an_example_step_by_step() -> None:
    told = run("explain-op", "conv2d", "--example", "002-conv-4x4-2x2-stride1").stdout
    assert re.findall(r"^  .* = (-?\d+)$", told, re.M) == ["4", "1", "6", "5", "8", "7", "5", "3", "3"]
    assert "  2 3  *   1  0  =   2  0\n  7 8      1 -1      7 -8\n  2 + 0 + 7 - 8 = 1\n" in told


@pytest.mark.parametrize(
    ("operation", "example"),
    [
        ("conv2d", "002-kernel-table"),
        ("conv_transpose2d", "001-D-transposed-conv"),
        ("depthwise_conv2d", "001-D-depthwise-separable-values"),
        ("conv3d", "001-D-conv-rgb-sum-over-channels"),
        ("max_pool2d", "000-pool-5x5-to-3x3-partial"),
        ("avg_pool2d", "003-avgpool-4x4"),
        ("dense", "003-dense-output"),
        ("softmax", "003-softmax"),
        ("batch_norm", "003-D-regularisers"),
        ("flatten", "003-flatten-3x3"),
        ("prelu", "000-D-relu-leaky-prelu"),
        ("adam", "003-adam"),
        ("conv2d_backward", "004-conv-backprop"),
    ],
)
def test_every_kind_of_operation_of_an_example(operation: str, example: str) -> None:
    assert f"{operation}" in run("explain-op", operation, "--example", example).stdout
    found = json.loads(run("explain-op", operation, "--example", example, "--json").stdout)
    assert {result["operation"] for result in found} == {operation}
    assert all(trace["terms"] for result in found for trace in result["traces"])


def test_one_number() -> None:
    told = run("explain-op", "conv2d", "--example", "000-conv-6x6-stride1", "--out", "3,3").stdout
    assert told.endswith("sum of 9 products = 11\n  result[3, 3] = 11\n")
    told = run("explain-op", "conv2d_backward", "--example", "004-conv-backprop", "--out", "2,2").stdout
    assert re.findall(r"dL/d\w gives", told) == ["dL/dX gives"], "the others have no number there"
    found = json.loads(run("explain-op", "max_pool2d", "--input", "1 2;3 4", "--out", "0,0", "--json").stdout)
    assert [trace["out"] for trace in found[0]["traces"]] == [[0, 0]]


@pytest.mark.usefixtures("here")
def test_matrices_that_are_typed_or_in_a_file() -> None:
    typed = run("explain-op", "conv2d", "--input", "1 2 3 0; 4 5 6 0; 7 8 9 1", "--kernel", "1 0; 0 -1").stdout
    Path("kernel.txt").write_text("1 0\n0 -1\n", encoding="utf-8")
    assert run("explain-op", "conv2d", "--input", "matrix.csv", "--kernel", "kernel.txt").stdout == typed
    assert typed.startswith("conv2d gives\n  -4 -4  3\n")
    words = ["--stride", "2", "--padding", "1", "--dilation", "1", "--bias", "5", "--set", "padding_mode=replicate"]
    told = run("explain-op", "conv2d", "--input", "matrix.csv", "--kernel", "sharpen", *words).stdout
    assert "x[2i + a - 1, 2j + b - 1] + bias, replicate beyond the edge" in told
    told = run("explain-op", "max_pool2d", "--input", "matrix.csv", "--window", "2", "--partial").stdout
    assert told.startswith("max_pool2d gives\n  5 6\n  8 9\n")
    told = run("explain-op", "squared_error", "--input", "1 2", "--target", "0 0").stdout
    assert "result = 2.5" in told
    words = ["--input", "1 2;3 4", "--kernel", "1 0;0 1", "--gradient", "1"]
    assert "dL/dX gives\n  1 0\n  0 1\n" in run("explain-op", "conv2d_backward", *words).stdout


def test_the_operations_are_listed() -> None:
    told = run("explain-op").stdout
    for name in ("conv2d", "avg_pool2d", "softmax", "batch_norm", "cross_entropy", "adamw", "separable_conv2d"):
        assert re.search(rf"^{name} ", told, re.M)


IMAGE = ("--input", "1 2;3 4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("conv", *IMAGE), "There is no operation 'conv'. Did you mean 'conv1d' or 'conv2d' or 'conv3d'?"),
        (("conv2d", "--input", "1 2;3", "--kernel", "1"), "input must have rows of equal length; row 1 has 2"),
        (("conv2d", *IMAGE, "--kernel", "1 0;1"), "kernel must have rows of equal length"),
        (("conv2d", *IMAGE, "--kernel", "no.csv"), "There is no file 'no.csv'."),
        (("conv2d", *IMAGE, "--kernel", "sharpn"), "There is no kernel 'sharpn'. Did you mean 'sharpen'?"),
        (("conv2d", *IMAGE), "conv2d needs --kernel"),
        (("conv2d", *IMAGE, "--kernel", "1 1 1"), "A window of 3 does not fit into 2"),
        (("conv2d", *IMAGE, "--kernel", "1", "--stride", "0"), "stride must be a whole number of at least 1"),
        (("conv2d", *IMAGE, "--kernel", "1", "--window", "2"), "conv2d has no option 'window'."),
        (("relu", *IMAGE, "--set", "slope"), "--set takes OPTION=VALUE, such as slope=0.1; got 'slope'."),
        (("relu", *IMAGE, "--out", "x"), "--out takes whole numbers from 0, such as 0,1; got 'x'."),
        (("relu", *IMAGE, "--out", "2,0"), "out must be an index into the result of shape (2, 2); got (2, 0)."),
        (("softmax", "--example", "003-adam"), "The example '003-adam' has no softmax. It has adam."),
        (("adam", "--example", "003-adam", "--set", "rate=1"), "numbers of its own, so --rate has no effect."),
        (("conv2d", "--example", "000-conv-6x6-stride1", *IMAGE), "numbers of its own, so --input has no effect."),
    ],
)
def test_what_cannot_be_explained(words: tuple[str, ...], said: str) -> None:
    assert said in one_line("explain-op", *words)


# filter ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_kernel_on_a_picture() -> None:
    result = run("filter", "photo.jpg", "--kernel", "sharpen", "--out", "sharp.png")
    assert result.stdout == "sharp.png\n"
    clamped, kept = result.stderr.strip().split("; ")
    assert re.fullmatch(r"Clamped to be shown: [\d,]+ numbers below 0 and [\d,]+ above 255 of 1,800", clamped)
    assert kept == "--signed FILE.npy would keep them."
    result = run("filter", "photo.jpg", "--kernel", "identity", "--out", "same.png")
    assert result.stderr == ""
    with Image.open("photo.jpg") as before, Image.open("same.png") as after:
        assert np.array_equal(np.array(before), np.array(after))


@pytest.mark.usefixtures("here")
def test_the_numbers_as_they_are() -> None:
    words = ["--on", "luminance", "--border", "zeros", "--out", "o.png", "--signed", "s.npy"]
    found = json.loads(run("filter", "photo.jpg", "--kernel", "-1 0 1", *words, "--json").stdout)
    kept = np.load("s.npy")
    assert kept.shape == (20, 30)
    assert found["least"] == kept.min() < 0
    assert (found["below"], found["above"]) == ((np.rint(kept) < 0).sum(), (np.rint(kept) > 255).sum())
    assert (found["out"], found["signed"], found["numbers"]) == ("o.png", "s.npy", 600)
    said = run("filter", "photo.jpg", "--kernel", "-1 0 1", *words).stderr
    assert "s.npy has them as they are" in said


@pytest.mark.usefixtures("here")
def test_what_was_done_to_the_picture_is_said() -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save("clear.png")
    said = run("filter", "clear.png", "--kernel", "identity", "--out", "o.png").stderr
    assert said == "clear.png: transparency laid on the background\n"
    notes = json.loads(run("filter", "clear.png", "--kernel", "identity", "--out", "o.png", "--json").stdout)["notes"]
    assert notes == ["transparency laid on the background"]
    assert "transparency" in run("filter", "clear.png", "--list", "--out", "o.png").stderr


@pytest.mark.usefixtures("here")
def test_the_kernels_are_listed_and_drawn() -> None:
    told = run("filter", "--list").stdout
    assert told.count("(sum ") == len(KERNELS)
    assert "sharpen: the image minus its Laplacian (sum 1)\n   0 -1  0\n  -1  5 -1\n   0 -1  0\n" in told
    rows = json.loads(run("filter", "--list", "--json").stdout)
    assert [row["name"] for row in rows] == list(KERNELS)
    assert np.array_equal(rows[4]["matrix"], KERNELS["sharpen"])
    assert run("filter", "--list", "--out", "all.png").stdout == "all.png\n"
    assert json.loads(run("filter", "photo.jpg", "--list", "--out", "own.png", "--json").stdout) == {"out": "own.png"}
    with Image.open("all.png") as drawn, Image.open("own.png") as own:
        assert drawn.width == own.width
        assert np.array(own).std(axis=2).max() > 20, "a picture in colour stays so"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "A picture, --kernel and --out are needed, as in: convlens filter photo.jpg"),
        (("photo.jpg", "--kernel", "sharpen"), "A picture, --kernel and --out are needed"),
        (("no.jpg", "--kernel", "sharpen", "--out", "o.png"), "no.jpg: there is no such file"),
        (("matrix.csv", "--kernel", "shapen", "--out", "o.png"), "Did you mean 'sharpen'?"),
        (("photo.jpg", "--kernel", "1 2;3", "--out", "o.png"), "kernel must have rows of equal length"),
        (("photo.jpg", "--kernel", "no.csv", "--out", "o.png"), "There is no file 'no.csv'."),
        (("photo.jpg", "--kernel", "sharpen", "--out", "o.jpg"), "o.jpg must end in .png"),
        (("copy.png", "--kernel", "sharpen", "--out", "copy.png"), "copy.png is the picture itself"),
        (("photo.jpg", "--kernel", "sharpen", "--out", "no/o.png"), "There is no folder 'no'"),
        (("photo.jpg", "--kernel", "sharpen", "--out", "o.png", "--border", "mirror"), "no padding mode 'mirror'"),
        (("photo.jpg", "--kernel", "sharpen", "--out", "o.png", "--on", "blue"), "'channels' or on 'luminance'"),
        (("--list", "--kernel", "sharpen"), "--kernel has no effect with --list"),
        (("--list", "--border", "zeros"), "--border has no effect with --list"),
        (("photo.jpg", "--list"), "--list with a picture needs --out"),
        (("copy.png", "--list", "--out", "copy.png"), "copy.png is the picture itself"),
        (("no.jpg", "--list", "--out", "o.png"), "no.jpg: there is no such file"),
    ],
)
def test_what_cannot_be_filtered(words: tuple[str, ...], said: str, here: Path) -> None:
    with Image.open("photo.jpg") as photo:
        photo.save("copy.png")
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    assert said in one_line("filter", *words)
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


# the page -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_the_page_shows_what_is_printed() -> None:
    shown = re.findall(r"```sh\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.S)
    assert len(shown) == 4
    for command, text in shown:
        assert run(*shlex.split(command)[1:]).stdout == text


@pytest.mark.usefixtures("here")
def test_every_command_of_the_page_runs() -> None:
    done: list[Any] = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S):
        for line in block.splitlines():
            run(*shlex.split(line)[1:])
            done.append(line)
    assert len(done) == 11
    assert {"sharp.png", "slope.png", "slope.npy", "all.png"} <= {path.name for path in Path().iterdir()}
