"""The page: complete, escaped, without a request, readable in both modes, whole where parts are missing."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from convlens.metrics.classification import classification_report
from convlens.report import page, views
from convlens.report.page import Headline, Mistake, RunSummary, render, write
from summaries import history, run

HOSTILE = ["<script>alert(1)</script>", "\"a\" onload='x' & <b>", "\u202edcba", "x" * 200]
TEN = [f"class {i}" for i in range(10)]
TEN_RUN = run(TEN)
FULL = run(["a", "b", "c"], n=90)
VOID = {"meta", "link", "br", "img", "wbr", "hr"}


class Reader(HTMLParser):
    """Collects tags, attributes, ids and text; notes tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-3:]}")
        if self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def ten() -> str:
    return render(TEN_RUN)


@pytest.fixture(scope="module")
def two() -> str:
    return render(run(HOSTILE[:2]))


def test_the_page_is_well_formed(ten: str, two: str) -> None:
    for text in (ten, two):
        reader = Reader(text)
        assert reader.faults == []
        assert reader.open == []
        ids = reader.values("id")
        assert len(ids) == len(set(ids))
        anchors = {value[1:] for value in reader.values("href") if value.startswith("#")}
        assert anchors <= set(ids), "every link of the page has its place"


def test_nothing_is_fetched_and_nothing_runs(ten: str) -> None:
    reader = Reader(ten)
    assert "script" not in reader.tags
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    policy = next(value for value in reader.values("content") if "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    for name in ("src", "href", "srcset", "action", "data", "poster"):
        assert all(value.startswith(("#", "data:")) for value in reader.values(name)), name
    assert not re.findall(r"@import|url\((?!#)", ten)


@pytest.mark.parametrize("count", [2, 4])
def test_names_are_shown_as_they_are_and_never_become_markup(count: int) -> None:
    names = HOSTILE[:count]
    summary = run(names)
    nasty = dataclasses.replace(
        summary,
        history=(),
        title=names[0],
        mistakes=[Mistake(summary.mistakes[0].png, names[0], names[1], 0.9, names[0] + "/" + names[1])],
        config=[("train.rate", names[0], names[1])],
        events=[{"kind": names[0], "message": names[1]}],
        hardware={names[0]: names[1]},
        model_file=names[1],
    )
    reader = Reader(render(nasty))
    assert "script" not in reader.tags
    assert "b" in reader.tags
    assert not [key for _, key, _ in reader.attributes if key == "onload"]
    for name in names:
        assert name in reader.text or name in "".join(reader.values("title"))
    assert reader.faults == []


def test_commands_survive_odd_paths() -> None:
    text = Reader(render(dataclasses.replace(FULL, model_file="my runs/it's.safetensors"))).text
    assert "convlens predict 'my runs/it'\"'\"'s.safetensors' photo.jpg" in text
    assert 'cl.load("my runs/it\'s.safetensors")' in text


@pytest.mark.parametrize(
    ("task", "config", "command"),
    [
        ("classify", [], "evaluate m.safetensors other-images/"),
        ("segment", [], "evaluate m.safetensors other-images/ --masks other-masks/"),
        ("denoise", [("data.clean", "clean/", "--clean")], "evaluate m.safetensors other-images/ --clean other-clean/"),
        ("denoise", [("data.clean", None, "default")], "evaluate m.safetensors other-images/"),
        ("regress", [], "evaluate m.safetensors other.csv"),
    ],
)
def test_the_command_to_evaluate_names_what_the_task_needs(
    task: str, config: list[tuple[str, str | None, str]], command: str
) -> None:
    page = render(dataclasses.replace(FULL, task=task, config=config, model_file="m.safetensors"))
    assert f"convlens {command}</code>" in page


def test_where_there_is_no_model_to_use_none_is_offered() -> None:
    page = render(dataclasses.replace(FULL, model_file=""))
    assert "Use it" in render(FULL)
    assert "Use it" not in page
    assert Reader(page).faults == []


def test_the_numbers_of_the_report_are_on_the_page(ten: str) -> None:
    text = Reader(ten).text.replace("\u00a0", " ")
    report = TEN_RUN.test
    assert report is not None
    assert f"{100 * report['accuracy']['value']:.1f} %" in text
    for row in report["per_class"]:
        assert f"{100 * row['recall']['value']:.1f} %" in text
        assert row["name"] in text
    for cell in np.ravel(report["confusion"]):
        assert str(cell) in text
    assert "chosen: it was best" in text
    assert "folder/one.png" in ten


def test_warnings_stand_at_the_top(ten: str) -> None:
    top, _, rest = ten.partition("<main")
    assert "2 images twice." in top
    assert "a careful word" in top
    assert "1 image is tiny." in rest
    assert "1 image is tiny." not in top


def test_a_test_opened_twice_and_no_test_are_said() -> None:
    short = dataclasses.replace(FULL, history=(), confidence=page.Confidence())
    assert short.test is not None
    twice = render(dataclasses.replace(short, test_opened=2))
    assert "opened twice" in twice
    assert "There was no test set" not in twice
    without = dataclasses.replace(short, test=None, valid=short.test, headline=Headline.of(short.test, part="valid"))
    assert "There was no test set" in render(without)


def test_every_figure_and_picture_has_words(ten: str) -> None:
    reader = Reader(ten)
    assert reader.tags.count("svg") >= 4
    assert reader.tags.count("svg") == len(
        [v for t, k, v in reader.attributes if (t, k) == ("svg", "aria-label") and v]
    )
    assert reader.tags.count("img") == len([v for t, k, v in reader.attributes if (t, k) == ("img", "alt") and v])


MISSING = {
    "everything": RunSummary("bare", "classify", "today"),
    "headline": dataclasses.replace(FULL, headline=None),
    "data": dataclasses.replace(FULL, data=None),
    "network": dataclasses.replace(FULL, network=None),
    "history": dataclasses.replace(FULL, history=(), best_epoch=None),
    "validation": dataclasses.replace(FULL, history=history(3, valid=False), best_epoch=None),
    "epochs but one": dataclasses.replace(FULL, history=history(1), best_epoch=1),
    "evaluation": dataclasses.replace(FULL, test=None, headline=None, mistakes=()),
    "mistakes": dataclasses.replace(FULL, mistakes=(), contact_sheet=None),
    "confidence": dataclasses.replace(FULL, confidence=page.Confidence()),
    "timing": dataclasses.replace(FULL, timing=page.Timing(), hardware={}, versions={}, config=(), events=()),
    "parts of history": dataclasses.replace(FULL, history=[{"epoch": 1, "train_loss": 0.5}], best_epoch=None),
}


@pytest.mark.parametrize("part", MISSING)
def test_a_missing_part_is_left_out(part: str) -> None:
    reader = Reader(render(MISSING[part]))
    assert reader.faults == []
    assert "None" not in reader.text
    assert "nan" not in reader.text.split()
    links = {value[1:] for tag, key, value in reader.attributes if (tag, key) == ("a", "href")}
    assert links <= {*reader.values("id")}


def test_no_images_without_answers_is_no_fault() -> None:
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    report = classification_report(shares, np.zeros(3, int), ["present", "absent"], train_counts=[3, 0])
    reader = Reader(render(dataclasses.replace(FULL, test=report, headline=Headline.of(report))))
    assert "no samples of this class" in reader.text
    assert reader.faults == []


def test_many_classes_fold_and_stay_small() -> None:
    names = [f"a rather long name of a breed, number {i}" for i in range(120)]
    text = render(run(names, n=900, epochs=2))
    assert len(text) < 600_000
    reader = Reader(text)
    assert "All 120 classes" in reader.text
    assert "matrix" not in " ".join(reader.values("class")).split()
    assert names[119] in reader.text


def test_the_same_run_gives_the_same_page(ten: str) -> None:
    assert render(run(TEN)) == ten


def test_a_file_name_that_is_not_text_is_still_written(tmp_path: Path) -> None:
    odd = dataclasses.replace(FULL.mistakes[0], id="photo\udcff.png")
    write(dataclasses.replace(FULL, mistakes=[odd]), tmp_path / "report.html")
    assert "photo?.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write(MISSING["everything"], target)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert target.read_text() == "old"


def test_small_pictures_keep_their_pixels() -> None:
    def png(width: int, height: int) -> bytes:
        return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")

    assert page.pixel_class(png(28, 64)) == "pixels"
    assert page.pixel_class(png(28, 65)) == ""
    assert [page.sheet_scale(png(width, 9)) for width in (100, 400, 2000)] == [6, 2, 1]


# Contrast: the colours of page.css against the definitions of WCAG 2.

CSS = (Path(page.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")


def palette(mode: str) -> dict[str, np.ndarray]:
    light = CSS[: CSS.index("@media screen and (prefers-color-scheme: dark)")]
    dark = CSS[len(light) : CSS.index("*, *::before")]
    found = re.findall(r"--([\w-]+): (#[0-9a-fA-F]{3,6});", light) + (
        re.findall(r"--([\w-]+): (#[0-9a-fA-F]{3,6});", dark) if mode == "dark" else []
    )
    return {name: np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255 for name, code in found}


def linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Of two linear colours."""
    dim, bright = sorted(float(colour @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (bright + 0.05) / (dim + 0.05)


LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


def mixed(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """`color-mix(in oklab, ...)` of two linear colours (Ottosson 2020)."""
    a, b = (LAB @ np.cbrt(LMS @ colour) for colour in (start, end))
    return np.clip(np.linalg.solve(LMS, np.linalg.solve(LAB, a + share * (b - a)) ** 3), 0, 1)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_in_both_modes(mode: str) -> None:
    colours = {name: linear(value) for name, value in palette(mode).items()}
    pairs = [(text, ground) for text in ("ink", "muted", "accent", "wrong", "bad") for ground in ("page", "card")]
    pairs += [("ink", "wrong-soft"), ("wrong", "wrong-soft"), ("accent", "wrong-soft"), ("bad", "wrong-soft")]
    low = {pair: c for pair in pairs if (c := contrast(*(colours[name] for name in pair))) < 4.5}
    assert low == {}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("ramp", ["right", "wrong"])
def test_counts_stand_out_on_every_shade_of_the_matrix(mode: str, ramp: str) -> None:
    colours = {name: linear(value) for name, value in palette(mode).items()}
    low = {}
    for depth in range(101):
        ground = mixed(colours["card"], colours[f"{ramp}-end"], depth / 100)
        ink = colours["cell-deep" if depth / 100 > views.DEEP[ramp][mode == "dark"] else "cell"]
        if (found := contrast(ink, ground)) < 4.5:
            low[depth] = round(found, 2)
    assert low == {}


def test_the_contrast_is_that_of_the_standard() -> None:
    black, white, grey = (linear(np.full(3, v)) for v in (0.0, 1.0, 0x76 / 255))
    assert contrast(black, white) == pytest.approx(21)
    assert contrast(grey, white) == pytest.approx(4.54, abs=0.01)
    assert mixed(black, white, 0.5) == pytest.approx(0.125, abs=1e-3)
