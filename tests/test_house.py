"""House rules that no linter knows: laws that well-kept projects break without noticing."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PYTHON = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
HOMES = {
    "timm": {"models/backbone.py"},
    "matplotlib": {"report/canvas.py"},
    "pyarrow": {"data/tables.py"},
    "PIL": {"data/image_file.py", "data/image.py", "data/pixels.py"},
    "jinja2": {"report/page.py"},
    "skimage": {"metrics/reconstruction.py"},
    "torchvision": {"nn/boxes.py"},
    "cv2": {"data/video.py"},
    "yaml": {"data/annotations_yolo.py"},
    "pycocotools": set(),  # the tests compare with it
    "pickle": set(),
}


def trees(paths: list[Path]) -> Iterator[tuple[Path, ast.Module]]:
    for path in paths:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def thrown_away(tree: ast.Module) -> list[int]:
    """Lines where a comparison is a statement of its own: `x == y` tests nothing."""
    return [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Compare)]


def split_messages(tree: ast.Module) -> list[int]:
    """Lines where a built-in error gets several arguments: the message becomes a tuple."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            name, arguments = node.exc.func.id, node.exc.args
            system = issubclass(getattr(builtins, name, Exception), OSError)  # these do take a number and a text
            if not system and name.endswith(("Error", "Mismatch")) and len(arguments) > 1:
                found.append(node.lineno)
    return found


def test_the_rules_find_what_they_are_for() -> None:
    bad = ast.parse('x == 1\nraise ValueError("a", x)')
    assert thrown_away(bad) == [1]
    assert split_messages(bad) == [2]


def test_no_comparison_is_thrown_away() -> None:
    assert {str(path): lines for path, tree in trees(PYTHON) if (lines := thrown_away(tree))} == {}


def test_every_error_takes_one_message() -> None:
    assert {str(path): lines for path, tree in trees(PYTHON) if (lines := split_messages(tree))} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [str(p) for p, tree in trees(SOURCES) if p.name != "__init__.py" and not ast.get_docstring(tree)]
    assert silent == []


def test_a_file_is_read_in_one_sitting() -> None:
    long = {str(p): n for p in SOURCES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 450}
    assert long == {}


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library: str) -> None:
    users = set()
    for path, tree in trees(SOURCES):
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == library for name in names):
                users.add(path.relative_to(ROOT / "src/convlens").as_posix())
    assert users <= HOMES[library], f"{library} is imported outside its home"


def test_the_statistics_of_imagenet_are_written_once() -> None:
    homes = [
        path.relative_to(ROOT / "src/convlens").as_posix()
        for path, tree in trees(SOURCES)
        if any(_is(node, 0.485) for node in ast.walk(tree))
    ]
    assert homes == ["options.py"]


def _is(node: ast.AST, value: float) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def test_nothing_prints_but_the_command_line() -> None:
    for path, tree in trees([p for p in SOURCES if "cli" not in p.parts]):
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert not [c.lineno for c in calls if c.func.id == "print"], path  # type: ignore[attr-defined]
