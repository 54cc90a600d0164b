"""What the page says of masks: scores beside baselines, and which colour means what."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.metrics.pixel_tally import PixelTally
from convlens.metrics.segmentation import segmentation_report
from convlens.report.masks_page import HATCHED, SCORES, colours, mask_reading, mask_sections, mask_tables
from convlens.report.overlay import ERROR_COLOURS, class_colour, error_map, overlay
from convlens.report.page import RunSummary, render
from convlens.report.sections import Shot
from convlens.report.tables import tables_of

NAMES = ("ground", "disc", "<b>square</b>")


def report(classes: int = 3, ignored: bool = False, empty: bool = False) -> dict[str, object]:
    rng = np.random.default_rng(0)
    tally, otsu = PixelTally(classes, ignore_index=255), PixelTally(2, ignore_index=-1)
    for _ in range(6):
        true = np.zeros((12, 12), np.uint8) if empty else rng.integers(0, classes, (12, 12)).astype(np.uint8)
        answered = np.where(rng.random((12, 12)) < 0.8, true, 0).astype(np.uint8)
        if ignored:
            true[0] = 255
        tally.add(true, answered)
        otsu.add(np.where(true == 255, -1, (true > 0).astype(int)), (rng.random((12, 12)) < 0.5).astype(int))
    return segmentation_report(tally, NAMES[:classes], baselines={"Otsu threshold": otsu})


def css(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(colour).hex()


def test_scores_stand_beside_every_baseline() -> None:
    first, second = mask_tables(report())
    assert first.head == ["method", *SCORES.values()]
    assert [row[0] for row in first.rows] == ["this network", "all background", "Otsu threshold"]
    assert all(len(row) == len(first.head) for row in first.rows)
    assert first.rows[2][2] == "\u2013", "a threshold does not tell disc from square"
    assert [row[0] for row in second.rows] == list(NAMES)
    assert [table.title for table in tables_of(report())] == [first.title, second.title]


@pytest.mark.parametrize(
    ("classes", "score", "rule"), [(2, "Dice of the foreground", "Otsu threshold"), (3, "mean Dice", "all background")]
)
def test_the_reading_compares_with_the_best_rule_that_can_be_compared(classes: int, score: str, rule: str) -> None:
    said = mask_reading(report(classes))
    assert said.startswith(f"The {score} is 0.")
    assert f"The best simple rule ({rule}) reaches" in said
    assert "not counted" not in said
    assert "72 pixels are not counted: padding, or marked so in the masks." in mask_reading(
        report(classes, ignored=True)
    )


def test_nothing_to_be_found_is_said() -> None:
    assert mask_reading(report(2, empty=True)) == "Nothing was there to be found, so no overlap can be stated."


def test_the_legend_has_the_colours_that_are_painted() -> None:
    (masks, painted), (_, mistakes) = colours(report())
    assert masks == "In the masks"
    assert painted == [(css(class_colour(1)), "disc"), (css(class_colour(2)), "<b>square</b>")]
    grey = np.zeros((9, 9, 1), np.uint8)
    square = np.zeros((9, 9), np.uint8)
    square[2:7, 2:7] = 2
    assert css(tuple(overlay(grey, square)[2, 2].tolist())) == painted[1][0]
    drawn = error_map(np.array([[1, 1, 0, 1]]), np.array([[1, 0, 1, 2]]))
    found = [css(tuple(pixel.tolist())) for pixel in drawn[0]]
    assert found == [colour for colour, _ in mistakes]
    assert [words.split(":")[0] for _, words in mistakes] == ["right", "missed", "false", "found as another class"]
    assert [colour for colour, _ in mistakes] == [css(colour) for colour in ERROR_COLOURS.values()]


def test_the_legend_holds_nothing_that_cannot_be_seen() -> None:
    assert len(colours(report(2))[1][1]) == 3, "with one kind of object none is taken for another"
    assert (HATCHED, "not counted") in colours(report(2, ignored=True))[1][1]
    assert (HATCHED, "not counted") not in colours(report(2))[1][1]


def test_the_section_is_on_the_page_with_its_legend() -> None:
    from convlens.data.pixels import encode_png

    strip = encode_png(np.zeros((16, 70, 3), np.uint8))
    sections = mask_sections(report(), [Shot(strip, ["mean IoU 0.5"], "a/b.png")], ("image", "true", "answer", "error"))
    page = render(RunSummary("run", "segment", "today", sections=sections))
    for colour, _ in (*colours(report())[0][1], *colours(report())[1][1]):
        assert f"background:{colour}" in page
    assert "&lt;b&gt;square&lt;/b&gt;" in page
    assert "<b>square</b>" not in page
    assert page.count("<span>true</span>") == 1
    assert 'alt="image, true, answer, error: mean IoU 0.5"' in page
    assert 'class="pixels" src' in page
