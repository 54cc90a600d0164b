"""The page about boxes: its tables, its sentences and its curves, from reports of the task."""

from __future__ import annotations

from typing import Any

import numpy as np

from convlens.metrics.detection_tally import DetectionTally
from convlens.report.boxes_page import BASELINE, box_reading, box_sections, box_tables, shown_counts
from convlens.report.figures import precision_recall_of_classes
from convlens.report.reading import NONE
from convlens.report.sections import Shot
from convlens.report.tables import tables_of
from convlens.tasks.detect import Detect
from convlens.tasks.task import Seen

SPEED = {
    "image_px": [32, 48],
    "where": "a processor",
    "engines": [
        {"name": "plain", "images_per_s": 12.3, "median_ms": 81.0, "slow_ms": 90.5, "n": 30, "score_off": 0.0},
        {"name": "half", "images_per_s": 50.0, "median_ms": 20.0, "slow_ms": 21.0, "n": 4, "score_off": 0.0123},
        {"name": "lost", "images_per_s": 50.0, "median_ms": 20.0, "slow_ms": 21.0, "n": 4, "score_off": None},
        {"name": "file", "error": "OSError: gone"},
    ],
}
LEARNED = {"box_images": 1, "mean_count": 2.0, "centre_box": {"label": 0, "width_px": 8.0, "height_px": 8.0}}


def report(**changes: Any) -> dict[str, Any]:
    outputs = np.zeros((2, 3, 6), np.float32)
    outputs[..., 5] = -1
    outputs[0, :2] = [(0, 0, 8, 8, 0.9, 0), (20, 20, 28, 28, 0.8, 1)]
    outputs[1, 0] = (0, 0, 8, 8, 0.7, 1)
    targets = np.array([[[0, 0, 0, 8, 8], [1, 8, 8, 16, 16]], [[0, 0, 0, 8, 8], [-2, 4, 4, 9, 9]]], np.float32)
    task = Detect(("cat", "dog"), {"data": LEARNED})
    return {**task.report(outputs, targets, Seen(np.zeros((2, 32, 32, 1), np.uint8), np.arange(2))), **changes}


def test_the_tables_say_what_the_report_says() -> None:
    tables = box_tables(report(speed=SPEED))
    assert all(len(row) == len(table.head) for table in tables for row in table.rows)
    overall, shown, classes, sizes, detections, truths, speed = tables
    assert "32 x 32 px" in overall.title
    assert [row[0] for row in overall.rows] == ["this network", BASELINE]
    assert overall.rows[0][1].startswith("0.25")
    assert {row[0]: row[1].split()[0] for row in shown.rows}["precision"] == "0.333"
    assert [row[:2] for row in classes.rows] == [["cat", "2"], ["dog", "1"]]
    assert [row[1] for row in sizes.rows] == ["3", "0", "0"]
    assert [row[1] for row in detections.rows if row[0].startswith(("right", "confused:", "background"))] == ["1"] * 3
    assert [row[1] for row in truths.rows] == ["1", "1", "1"]
    assert "single images of 32 x 48 px, from the stored image to its boxes" in speed.title
    assert speed.title.endswith("on a processor; the last column is against plain")
    assert speed.rows == [
        ["plain", "12.3", "81", "90.5", "30", "0"],
        ["half", "50", "20", "21", "4", "0.012"],
        ["lost", "50", "20", "21", "4", NONE],
        ["file: does not run here, OSError: gone", *[NONE] * 5],
    ]
    assert [table.title for table in tables_of(report())] == [table.title for table in tables[:-1]]


def test_without_a_baseline_only_the_network_is_there() -> None:
    bare = report(baseline=None)
    assert len(box_tables(bare)[0].rows) == 1
    assert BASELINE not in box_reading(bare)


def test_the_reading_names_score_threshold_mistake_and_what_does_not_count() -> None:
    said = box_reading(report())
    assert "mean average precision at IoU 0.5 is 0.25" in said
    assert BASELINE in said
    assert "From a score of 0.30 on, 33.3" in said
    assert "The commonest mistake is confused" in said
    assert "1 box marked difficult or crowd" in said
    assert box_reading(report(map50={"value": None})).startswith("There was nothing to find")


def test_the_section_holds_curves_and_shots() -> None:
    [section] = box_sections(report(), [Shot(b"", ["1 of 1 found"])])
    assert section.columns == ("true boxes", "found")
    assert "1 cat, 2 dog" in section.cards[0].caption
    assert "<svg" in section.cards[0].svg
    empty = report()
    for row in empty["per_class"]:
        row["curve"] = None
    assert box_sections(empty, [])[0].cards == []


def test_with_many_classes_the_caption_sends_to_the_table() -> None:
    many = report()
    many["per_class"] = many["per_class"] * 9
    assert box_sections(many, [])[0].cards[0].caption.endswith("the table below has them all.")


def test_curves_are_drawn_for_the_classes_that_have_one() -> None:
    curve = {"recall": [0.0, 0.5], "precision": [1.0, 0.5]}
    assert precision_recall_of_classes([None, None]) == ""
    assert "of 1 classes" in precision_recall_of_classes([None, curve])
    assert "of 2 classes" in precision_recall_of_classes([curve, curve])


def test_counts_of_an_image() -> None:
    tally, it = DetectionTally(1), np.array([0, 0])
    boxes, wrong = np.array([[0, 0, 8, 8], [20, 0, 28, 8]]), np.array([[0, 20, 8, 28]])
    found, scores = np.concatenate([boxes + np.eye(4)[3], wrong]), np.array([0.9, 0.2, 0.6])
    tally.add(boxes, it, found, np.array([0, 0, 0]), scores, ignore=np.array([False, True]))
    assert shown_counts(tally.images[0], 0.7) == (1, 1, 1)
    assert shown_counts(tally.images[0], 0.5) == (1, 2, 1)
    assert shown_counts(tally.images[0], 0.1) == (1, 2, 1)  # the second took a box that does not count
    assert shown_counts(tally.images[0], 0.95) == (0, 0, 1)
