"""What the README and the pages of `docs/` say is run, parsed or compared with the code.

Each page gets a folder with small pictures in place of the reader's own. Its Python snippets run there in order, as a
reader would type them; training is cut to two short epochs, whatever the snippet asks for. A snippet that cannot run
says why in a comment above it: `<!-- not run: the reason -->`.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

import convlens as cl
from convlens import experiment, model
from convlens.cli.main import app
from convlens.config import Config, option_names
from convlens.data.builtin import BUILTIN, draw_xo
from convlens.data.video import VideoWriter
from convlens.errors import ConvlensError
from convlens.metrics import interval
from convlens.models import layered
from convlens.models.kinds import LAYERS
from convlens.models.options import resolve
from convlens.request import parse_assignment, read_toml
from convlens.run import Run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SPOKEN = [*PAGES, ROOT / "CONTRIBUTING.md"]
FEW = 2  # snippets that may be left unrun
SECTIONS = sorted({name.partition(".")[0] for name in option_names() if "." in name})
QUICK = {
    "train.epochs": 2,
    "train.layout": "contiguous",
    "train.precision": "float32",
    "train.threads": 1,
    "train.device": "cpu",
}
COMMANDS = typer.main.get_command(app)


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language, its text, where it stands, and the comment above it."""

    page: Path
    line: int
    language: str
    text: str
    remark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_snippets(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"(?:<!-- (?P<remark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
    return [
        Snippet(page, text.count("\n", 0, found.start()) + 1, found["language"], found["text"], found["remark"] or "")
        for found in fence.finditer(text)
    ]


SNIPPETS = [snippet for page in SPOKEN for snippet in read_snippets(page)]


def of(language: str, *, page: str = "") -> list[Snippet]:
    return [s for s in SNIPPETS if s.language == language and (not page or s.page == ROOT / page)]


def command_lines() -> list[tuple[str, list[str]]]:
    """Every `convlens ...` of the shell snippets as (where, words)."""
    found = []
    for snippet in of("sh"):
        for line in snippet.text.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "convlens":
                found.append((str(snippet), words[1:]))
    return found


# the reader's own files -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files the pages speak of, small."""
    place, rng = tmp_path_factory.mktemp("reader"), np.random.default_rng(0)

    def paint(path: str, colour: int) -> None:
        pixels = rng.integers(0, 90, (20, 24, 3), dtype=np.uint8)
        pixels[:, :, colour] += 120
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)

    for colour, name in enumerate(("cat", "dog", "owl")):
        for folder, count in (("photos", 12), ("more", 4), ("test_photos", 4)):
            for number in range(count):
                paint(f"{folder}/{name}/{number}.jpg", colour)
        paint(f"new/{name}-or-not.jpg", colour)
    paint("a.jpg", 0)
    paint("part.png", 1)
    with VideoWriter(place / "street.mp4", (20, 24), rate=10.0) as film:
        for _ in range(20):
            film.write(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    rows = ["path,age"]
    for number in range(14):
        paint(f"good_parts/{number}.png", 2)
        paint(f"scans/{number}.png", 1)
        mask = np.zeros((20, 24), dtype=np.uint8)
        mask[number % 8 : 12, 4 : 8 + number] = 255
        (place / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(place / f"masks/{number}_mask.png")
        rows.append(f"scans/{number}.png,{20 + 3 * number}")
    (place / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def model_file(pictures: Path) -> Path:
    """A model file made by a short run, for the pages that start from one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pictures)
        hasten(patch)
        return cl.train("photos/", network="compact", options={"width": 4}, directory=str(pictures / "runs")).model_path


@pytest.fixture
def place(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder with the reader's files, to work in; training is hastened."""
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
    monkeypatch.chdir(tmp_path)
    hasten(monkeypatch)
    return tmp_path


def hasten(patch: pytest.MonkeyPatch) -> None:
    """Let every training take two epochs in one fixed arrangement, and intervals few draws."""
    patch.setattr(interval, "WORK", 0)
    patch.setattr(interval, "FEWEST_DRAWS", 20)
    real = experiment.make_plan

    def make_plan(network: Any, config: Config, *args: Any, **options: Any) -> Any:
        for option, value in QUICK.items():
            config = config.choose(option, value, "a test of the documentation")
        return real(network, config, *args, **options)

    patch.setattr(experiment, "make_plan", make_plan)
    patch.setattr(model, "make_plan", make_plan)


# snippets -------------------------------------------------------------------------------------------------------------


def test_snippets_are_found() -> None:
    counts = {language: len(of(language)) for language in ("python", "sh", "toml", "text")}
    assert all(count > 3 for count in counts.values()), counts
    assert {snippet.language for snippet in SNIPPETS} == set(counts), "a fence without a language is not tested"
    assert len(command_lines()) > 15


def test_few_snippets_are_left_unrun() -> None:
    left = [str(s) for s in SNIPPETS if s.remark.startswith("not run")]
    assert len(left) <= FEW, left
    assert all(re.fullmatch(r"not run: .{10,}", s.remark) for s in SNIPPETS if s.remark.startswith("not run"))


@pytest.mark.parametrize("page", dict.fromkeys(snippet.page for snippet in of("python")), ids=lambda page: page.stem)
def test_python_snippets_run(page: Path, place: Path, request: pytest.FixtureRequest) -> None:
    names: dict[str, Any] = {"__name__": "snippet"}
    for snippet in of("python", page=str(page.relative_to(ROOT))):
        if snippet.remark.startswith("not run"):
            continue
        if snippet.remark == "needs model.safetensors":
            shutil.copy(request.getfixturevalue("model_file"), place / "model.safetensors")
        code = compile("\n" * snippet.line + snippet.text, str(page), "exec")
        exec(code, names)


def test_the_readme_commands_run(place: Path) -> None:
    """From the first look at the images to a prediction, as in the README; what needs weights or a clone is parsed."""
    done = []
    for where, words in command_lines():
        if where.startswith("README") and not {"--weights", "shapes"} & set(words):  # `test_detect` trains on shapes
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, f"{where}: convlens {shlex.join(words)}\n{result.output}"
            done.append(words[0])
    assert {"train", "check", "predict", "evaluate", "networks"} <= set(done)
    assert (place / "runs/first/report.html").exists()


@pytest.mark.parametrize(("where", "words"), command_lines(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_line_exists(where: str, words: list[str]) -> None:
    parse(words)


def parse(words: list[str]) -> None:
    """Let the command line read a line without doing it; and let the config take its `--set`."""
    context = COMMANDS.make_context("convlens", list(words), resilient_parsing=False)
    name, command, rest = COMMANDS.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore
    inner = command.make_context(name, rest, parent=context)
    Config.build(dict(parse_assignment(text) for text in inner.params.get("set_") or ()))


@pytest.mark.parametrize("line", ["trian photos/", "train photos/ --epoch 3", "train --set train.epoch=3", "predict"])
def test_a_wrong_command_line_would_be_found(line: str) -> None:
    with pytest.raises(Exception, match=r"No such|no option|Missing"):
        parse(shlex.split(line))


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    used = {word for page in SPOKEN for word in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text("utf-8"), re.M)}
    assert {"demo", "test", "install"} <= used
    assert used <= targets


@pytest.mark.parametrize("snippet", of("toml"), ids=str)
def test_toml_is_accepted(snippet: Snippet) -> None:
    config = Config.build(tomllib.loads(snippet.text), origin=str(snippet))
    if snippet.remark != "error":
        for table in config.network.layers or ():
            resolve(LAYERS[table["layer"]], {key: table[key] for key in table if key != "layer"}, str(snippet))


# errors that are shown ------------------------------------------------------------------------------------------------


def shown_errors() -> Iterator[tuple[Snippet, Callable[[], object]]]:
    """Each error a page shows, and what brings it about."""
    for before, snippet in pairwise(SNIPPETS):
        if before.remark == "error" and snippet.language == "text":
            layers = tomllib.loads(before.text)["network"]["layers"]
            yield snippet, lambda layers=layers: layered.plan(layers, in_channels=1, outputs=10, size_px=28)
    for snippet in of("text"):
        if snippet.remark.startswith("error of --set "):
            given = dict([parse_assignment(snippet.remark.removeprefix("error of --set "))])
            yield snippet, lambda given=given: Config.build(given, origin="--set")


@pytest.mark.parametrize(("snippet", "cause"), list(shown_errors()), ids=lambda value: str(value)[:40])
def test_shown_errors_are_real(snippet: Snippet, cause: Callable[[], object]) -> None:
    with pytest.raises(ConvlensError) as caught:
        cause()
    assert str(caught.value) == " ".join(snippet.text.split())


def test_errors_are_shown() -> None:
    assert len(list(shown_errors())) >= 5


# tables that repeat the code ------------------------------------------------------------------------------------------


def load(path: Path) -> ModuleType:
    """A Python file as a module, wherever it lies."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_options_are_those_of_the_code() -> None:
    tables, page = load(ROOT / "docs/make_options.py"), (ROOT / "docs/config.md").read_text(encoding="utf-8")
    for name, table in (("options", tables.options()), ("presets", tables.presets())):
        assert tables.replaced(page, name, table) == page, "run: python docs/make_options.py"
    assert all(f"| `{name}` |" in page for name in option_names())


def option_mentions(text: str) -> list[str]:
    """What looks like an option in the code spans of a page, such as `train.epochs` or `augment.flip=none`."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    words = [
        word
        for span in re.findall(r"`([^`\n]+)`", outside)
        for word in re.findall(rf"(?<![\w./-])((?:{'|'.join(SECTIONS)})\.\w+)(?![\w./(])", span)
    ]
    files = ("json", "jsonl", "toml", "yaml", "py", "html", "safetensors", "md")
    return [w for w in words if w.rpartition(".")[2] not in files and not (w[:4] == "run." and hasattr(Run, w[4:]))]


def test_every_option_that_is_named_exists() -> None:
    assert option_mentions("`train.epoch`, `run.json`, `augment.flip=none`, `convlens.data.image`, `run.model`") == [
        "train.epoch",
        "augment.flip",
    ]
    named = {word for page in SPOKEN for word in option_mentions(page.read_text(encoding="utf-8"))}
    assert len(named) > 50
    assert sorted(named - set(option_names())) == []


def table_under(page: str, heading: str) -> dict[str, list[str]]:
    """The first table under a heading: {first cell without its marks: the other cells}."""
    text = (ROOT / page).read_text(encoding="utf-8")
    part = re.split(rf"^#+ {re.escape(heading)}\n", text, maxsplit=1, flags=re.M)[1]
    part = re.split(r"^#+ ", part, maxsplit=1, flags=re.M)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].replace("`", ""): row[1:] for row in rows[2:]}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_is_documented(kind: str) -> None:
    options = {n: p for n, p in signature(LAYERS[kind]).parameters.items() if p.kind is p.KEYWORD_ONLY}
    table, shared = table_under("docs/layers.md", kind), table_under("docs/layers.md", "Weights")
    if "kernel_initializer" in options:
        table |= shared
    assert list(table) == list(options)
    for name, parameter in options.items():
        default = table[name][0]
        if parameter.default is parameter.empty:
            assert default == "needed"
        elif parameter.default is None:
            assert default in ("none", "as `size`")
        else:
            assert json.loads(default.strip("`")) == parameter.default
    assert any(f'layer = "{kind}"' in snippet.text for snippet in of("toml", page="docs/layers.md"))


def test_every_finding_is_documented() -> None:
    table, code = table_under("docs/data.md", "Health"), ""
    made: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src/convlens/data").glob("*.py")):
        code += path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                kind, severity = (a.value if isinstance(a, ast.Constant) else None for a in node.args[:2])
                if kind:
                    made.setdefault(kind, set()).update({severity} - {None})
    assert len(made) > 20
    assert sorted(made.keys() - table.keys()) == []
    assert [kind for kind in table if f'"{kind}"' not in code] == []
    assert {k: v for k, v in made.items() if not v <= set(table[k][0].split(", "))} == {}


def test_the_commands_are_listed() -> None:
    listed = {name.removeprefix("convlens ") for name in table_under("docs/index.md", "Commands")}
    assert listed == set(COMMANDS.commands)  # type: ignore[attr-defined]


def test_the_built_in_sets_are_named() -> None:
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in BUILTIN)


def test_the_run_directory_and_the_card_are_as_described(model_file: Path) -> None:
    directory = model_file.parent
    table = table_under("docs/run-directory.md", "The run directory")
    assert {path.name for path in directory.iterdir()} | {"tensorboard"} == set(table)
    columns = {name for names in table_under("docs/run-directory.md", "The history") for name in names.split(", ")}
    assert set(Run.open(directory).history[0]) | {"gradient_norms"} == columns
    card = cl.Model.load(model_file).card
    assert set(card) | {"threshold", "abstain"} == set(table_under("docs/model-file.md", "The card"))


# links ----------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors GitHub and mkdocs give to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", SPOKEN, ids=lambda page: page.stem)
def test_links_and_pictures_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    site = ROOT if page.parent == ROOT else ROOT / "docs"
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(site), f"{page.name} leaves the site: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_picture_of_the_report_is_on_the_first_screen() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert any("docs/pictures/report.png" in line for line in lines[:12])
    for name in ("report", "report-dark"):
        file = ROOT / f"docs/pictures/{name}.png"
        with Image.open(file) as picture:
            assert picture.size == (1280, 800)
        assert file.stat().st_size < 100_000


def test_the_site_has_every_page_and_fetches_nothing() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def files(nav: Any) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        return [file for part in (nav.values() if isinstance(nav, dict) else nav) for file in files(part)]

    written = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents]
    assert sorted(files(site["nav"])) == sorted(written)
    assert site["theme"]["font"] is False
    assert "analytics" not in str(site)
    assert "http" not in str(site)


def test_no_module_hides_a_public_name() -> None:
    modules = {path.stem for path in (ROOT / "src/convlens").iterdir()}
    assert modules & set(cl.__all__) == set()


# examples -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_example_options_are_accepted(path: Path) -> None:
    config = Config.build(read_toml(path))
    if config.network.layers:
        assert layered.plan(config.network.layers, in_channels=1, outputs=10, size_px=int(config.data.size_px))


def test_the_example_of_an_own_network_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = load(ROOT / "examples/own_network.py").main(epochs=2, folder=place / "own")
    assert report["n"] == 359
    assert report["accuracy"]["value"] > 0.5
    assert "validation loss" in capsys.readouterr().out
    assert len(list((place / "own").glob("best-*.safetensors"))) == 2


def test_the_example_of_x_or_o_tells_measures_and_draws(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = load(ROOT / "examples/x_or_o.py")
    example.CHANGES = {what: values[::3] for what, values in example.CHANGES.items()}
    table = example.main(letters=60, epochs=1, tested=10, figure=place / "x_or_o.png")
    assert len(table) == 8
    assert all(len(row) == 5 and all(score.n == 10 for score in row.values()) for row in table.values())
    told = capsys.readouterr().out
    assert "(65 - 16) / 81 = 49/81" in told
    assert " .77 -.11  .11  .33  .55 -.11  .33" in told
    assert "120 pictures" in told
    assert len(re.findall(r"\d\.?\d* [* ] +\S+ \[", told)) == len(table)
    ordinary = {what: signature(draw_xo).parameters[what].default for what in example.CHANGES}
    assert ordinary == example.SEEN
    seen = [value for what, value in table if ordinary[what][0] <= value <= ordinary[what][1]]
    assert [float(value) for value in re.findall(r"(\S+) \* +\S+ \[", told)] == seen
    assert max(map(len, told.splitlines())) <= 120
    with Image.open(place / "x_or_o.png") as picture:
        assert picture.size == (1440, 1762)


def test_the_figure_of_x_or_o_has_the_colours_of_the_report() -> None:
    example = load(ROOT / "examples/x_or_o.py")
    light = (ROOT / "src/convlens/report/templates/page.css").read_text(encoding="utf-8").partition("@media")[0]
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", light))
    used = [example.INK, example.MUTED, example.LINE, example.BLUE, example.ORANGE]
    assert used == [colours[name] for name in ("ink", "muted", "line", "accent", "wrong")]


@pytest.mark.parametrize("as_printed", [False, True])
def test_the_example_of_a_lecture_runs(as_printed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    stages = load(ROOT / "examples/lecture_chain.py").main(as_printed)
    told = capsys.readouterr().out
    assert [told.count(f"{number}. {stage.name}\n") for number, stage in enumerate(stages, 1)] == [1] * 8
    assert told.count("As on the slide.") == (5 if as_printed else 3)
    assert told.count("In torch: ") == (0 if as_printed else 8)


@pytest.mark.slow
def test_the_example_of_depth_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = load(ROOT / "examples/depth.py").main(depths=(8,), epochs=1, picture=tmp_path / "depth.png")
    assert len(table) == 5
    assert {len(trained.gradients) for trained in table.values()} == {7, 13, 19}
    assert table["plain", "8"].parameters == table["residual", "8"].parameters == 75_002
    assert capsys.readouterr().out.count("[") == 5
    assert (tmp_path / "depth.png").stat().st_size > 10_000
