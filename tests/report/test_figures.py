"""Figures: the numbers they show, colours that follow the page, the same bytes each time."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convlens.errors import ShapeError
from convlens.report import canvas, figures
from summaries import history


def bins(*counts: int) -> list[dict]:
    return [
        {"confidence": 0.5 if n else None, "count": n, "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": n}}
        for n in counts
    ]


DRAWN = {
    "loss": lambda: figures.learning_curve(history(20), "loss", 12, "nats"),
    "accuracy": lambda: figures.learning_curve(history(20), "accuracy", 12, percent=True),
    "one epoch": lambda: figures.learning_curve(history(1), "loss", 1),
    "no validation": lambda: figures.learning_curve(history(5, valid=False), "loss", None),
    "panels": lambda: figures.thin_panels(history(20), {"rate": "learning rate", "images_per_s": "images per second"}),
    "reliability": lambda: figures.reliability(bins(0, 3, 9), bins(1, 0, 2)),
    "answered": lambda: figures.answered([0.1, 0.5, 1.0], [1.0, 0.97, 0.9], (0.5, 0.97)),
    "roc": lambda: figures.roc([0, 0.1, 1], [0, 0.8, 1], (0.1, 0.8)),
    "precision_recall": lambda: figures.precision_recall([1, 0.5, 0], [0.3, 0.9, 1], 0.3, (0.5, 0.9)),
    "balance": lambda: figures.balance([5, 9, 7, 30]),
}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_whole_small_and_follows_the_page(name: str) -> None:
    svg = DRAWN[name]()
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert len(root.attrib["aria-label"]) > 10
    assert len(svg) < 20_000
    colours = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(href|clip-path|id)="[^"]*"', "", svg)))
    assert colours == set(), "every colour is a variable of the page"
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= set(canvas.VARIABLES.values())
    for banned in ("<style", "font-family", "<image", "http://", "<metadata", "DejaVu"):
        assert banned not in svg.replace("http://www.w3.org", ""), banned
    sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)}
    assert min(sizes) * 297 / canvas.WIDTH >= 11, "letters stay readable in the narrowest card"


def test_figures_of_one_page_share_no_id() -> None:
    page = [DRAWN[name]() for name in ("loss", "accuracy", "panels", "reliability", "answered", "roc", "balance")]
    ids = [name for svg in page for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert ids, "clipping needs ids"
    assert len(ids) == len(set(ids))


def test_the_same_numbers_give_the_same_bytes_in_another_process() -> None:
    program = (
        "import sys; from convlens.report import canvas, figures\n"
        f"sys.path.insert(0, {str(Path(__file__).parent.parent)!r}); from summaries import history\n"
        "sys.stdout.write(figures.learning_curve(history(20), 'loss', 12, 'nats'))\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'its state is global'"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout == DRAWN["loss"]() == DRAWN["loss"]()


def test_labels_are_not_rounded_with_the_coordinates() -> None:
    rows = [{"epoch": e, "rate": 0.0123} for e in (1, 2)]
    assert "0.0123" in texts(figures.thin_panels(rows, {"rate": "learning rate"}))


def test_curves_name_their_lines_and_mark_the_best_epoch() -> None:
    svg = DRAWN["loss"]()
    assert {"train", "validation", "1", "20"} <= set(texts(svg))
    assert svg.count("stroke-dasharray") == figures.learning_curve(history(20), "loss", None).count("dasharray") + 1
    assert "validation" not in texts(DRAWN["no validation"]())


def test_line_names_do_not_touch() -> None:
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": 1 / e} for e in range(1, 6)]
    root = ET.fromstring(figures.learning_curve(rows, "loss", None))
    named = {e.text: float(e.attrib["y"]) for e in root.iter() if e.tag.endswith("text")}
    assert abs(named["train"] - named["validation"]) >= canvas.TYPE


@given(
    st.lists(st.floats(-50, 300, allow_subnormal=False) | st.sampled_from([0.0, 77.0, 258.0]), max_size=30),
    st.floats(1, 40),
)
def test_names_are_spread_in_their_order_a_line_apart_and_inside(heights: list[float], apart: float) -> None:
    low, high = 0.0, 258.0
    found = canvas.spread(heights, apart, low, high)
    room = len(heights) < 2 or apart * (len(heights) - 1) <= high - low
    line = apart if room else (high - low) / (len(heights) - 1)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(found[order]) >= line - 1e-6).all()
    assert (found >= low - 1e-6).all()
    assert (found <= high + 1e-6).all()
    again = canvas.spread(found.tolist(), line, low, high)
    assert np.abs(again - found).max(initial=0) < 1e-6, "what fits is left where it is"


def test_names_are_moved_as_little_as_possible() -> None:
    """Against brute force: no other places on a grid, in order, apart and inside, are nearer in squares."""
    rng, places = np.random.default_rng(0), np.array(list(itertools.product(np.arange(0, 12.01, 0.5), repeat=3)))
    places = places[np.diff(places).min(axis=1) >= 3]
    for _ in range(100):
        heights = np.sort(rng.integers(-2, 15, 3)).astype(float)
        found = canvas.spread(heights.tolist(), 3, 0, 12)
        assert ((found - heights) ** 2).sum() <= ((places - heights) ** 2).sum(axis=1).min() + 1e-9


@pytest.mark.parametrize("classes", [3, 8, 16])
def test_numbers_of_curves_that_end_together_do_not_touch(classes: int) -> None:
    curve = {"recall": [0.2, 0.5, 0.96], "precision": [1.0, 0.9, 0.12]}
    svg = figures.precision_recall_of_classes([curve] * classes)
    named = {e.text: (float(e.attrib["x"]), float(e.attrib["y"])) for e in ET.fromstring(svg).iter() if "x" in e.attrib}
    numbers = [named[str(number)] for number in range(1, classes + 1)]
    heights = np.array([y for _, y in numbers])
    assert (np.diff(np.sort(heights)) >= canvas.TYPE).all()
    assert heights.min() >= canvas.TOP
    assert heights.max() <= 330 - canvas.BOTTOM + canvas.TYPE
    assert len({x for x, _ in numbers}) == 1, "in a column"
    assert max(x for x, _ in numbers) + 18 < canvas.WIDTH


def test_more_curves_than_lines_have_no_numbers() -> None:
    curve = {"recall": [0.5], "precision": [0.5]}
    assert "17" not in texts(figures.precision_recall_of_classes([curve] * 17))
    assert "16" in texts(figures.precision_recall_of_classes([*[curve] * 16, None]))


def test_a_wild_first_epoch_makes_the_axis_logarithmic() -> None:
    rows = [{"epoch": e, "train_loss": 5000.0 if e == 1 else 1.0} for e in range(1, 9)]
    svg = figures.learning_curve(rows, "loss", None, "nats")
    assert "nats, logarithmic" in texts(svg)
    assert "$" not in svg


def test_missing_values_leave_gaps_and_empty_columns_no_figure() -> None:
    rows = [{"epoch": e, "train_loss": 1.0 / e, "val_loss": None if e < 3 else 0.5} for e in range(1, 6)]
    assert "validation" in texts(figures.learning_curve(rows, "loss", None))
    assert figures.learning_curve(rows, "accuracy", None) == ""
    assert figures.thin_panels(rows, {"rate": "learning rate"}) == ""
    assert figures.learning_curve([], "loss", None) == ""


@pytest.mark.parametrize(
    "svg",
    [
        figures.reliability(bins(0, 0)),
        figures.answered([1.0], [0.9]),
        figures.roc([], []),
        figures.precision_recall([], [], 0.5),
        figures.balance([7]),
    ],
)
def test_nothing_to_draw_is_no_figure(svg: str) -> None:
    assert svg == ""


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    DRAWN["roc"]()
    assert dict(matplotlib.rcParams) == before


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_contact_sheet_holds_every_picture() -> None:
    white, grey = np.full((30, 30, 3), 255, np.uint8), np.full((30, 30, 1), 99, np.uint8)
    small = np.full((20, 10, 3), 7, np.uint8)
    sheet = pixels(figures.contact_sheet([[white, grey], [small, white], [grey, grey]]))
    assert sheet.shape[1] == 2 * 30 + 1
    assert (sheet == 255).all(axis=2).sum() == 2 * 900
    assert (sheet == 99).all(axis=2).sum() == 3 * 900
    assert (sheet == 7).all(axis=2).sum() == 200
    first, second = (np.flatnonzero((sheet[:, -1] != figures.SHEET_GREY).all(axis=1))[i] for i in (29, 30))
    assert second - first > 2, "the first row is set apart"


def test_a_sheet_shows_one_channel_of_many() -> None:
    image = np.dstack([np.full((4, 4), shade, np.uint8) for shade in (10, 20, 30, 40, 50)])
    assert (pixels(figures.contact_sheet([[image]])) == 10).all()


def test_a_mistakes_sheet_fills_rows() -> None:
    image = np.full((24, 24, 3), 255, np.uint8)
    sheet = pixels(figures.mistakes_sheet([image] * 5, across=2))
    assert sheet.shape[1] == 2 * 24 + 1
    assert (sheet == 255).all(axis=2).sum() == 5 * 24 * 24


@pytest.mark.parametrize("rows", [[], [[]], [[np.zeros((4, 4), np.uint8)]], [[np.zeros((4, 4, 3), np.float32)]]])
def test_a_sheet_refuses_what_is_no_picture(rows: list) -> None:
    with pytest.raises(ShapeError, match=r"got"):
        figures.contact_sheet(rows)
