"""Kinds of detection errors: hand-worked boxes of each kind, sums that must hold, and an answer for nothing at all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from convlens.errors import ConfigError, ShapeError
from convlens.metrics.detection_errors import detection_errors
from convlens.metrics.detection_tally import DetectionTally

NAMES = ["cat", "dog"]
Rows = list[list[float]]


def add(tally: DetectionTally, truths: Rows, found: Rows, **marks: list[bool]) -> DetectionTally:
    """Rows of truths are class, x1, y1, x2, y2; those of found are likewise, and the score."""
    true, boxes = np.array(truths, dtype=float).reshape(-1, 5), np.array(found, dtype=float).reshape(-1, 6)
    given = {name: np.array(mark) for name, mark in marks.items()}
    tally.add(true[:, 1:], true[:, 0], boxes[:, 1:5], boxes[:, 0], boxes[:, 5], **given)
    return tally


def by_kind(report: dict[str, Any], side: str = "detections") -> dict[str, dict[str, Any]]:
    return {row["kind"]: row for row in report[side]}


def counts(report: dict[str, Any], side: str = "detections") -> dict[str, int]:
    return {row["kind"]: row["count"] for row in report[side] if row["count"]}


@pytest.fixture(scope="module")
def one_of_each() -> dict[str, Any]:
    tally = add(
        DetectionTally(2),
        [[0, 0, 0, 10, 10], [0, 100, 0, 110, 10], [1, 200, 0, 210, 10], [1, 300, 0, 310, 10], [0, 400, 0, 420, 10]],
        [
            [0, 0, 0, 10, 9, 0.5],  # doubled: the next one is surer
            [0, 0, 0, 10, 10, 0.9],  # right
            [0, 107, 0, 117, 10, 0.8],  # misplaced: IoU 3/17
            [0, 200, 0, 210, 8, 0.7],  # confused: IoU 0.8
            [0, 305, 0, 315, 10, 0.6],  # confused and misplaced: IoU 1/3
            [1, 0, 500, 10, 510, 0.4],  # background
            [1, 309.5, 0, 319.5, 10, 0.4],  # background: IoU 0.5/19.5
            [1, 0, 0, 10, 10, 0.1],  # below the threshold
        ],
    )
    add(tally, [], [[1, 0, 0, 5, 5, 0.45]])
    return detection_errors(tally, NAMES, threshold=0.3)


def test_one_of_each_kind(one_of_each: dict[str, Any]) -> None:
    kinds = ("right", "doubled", "misplaced", "confused", "confused_and_misplaced", "background")
    assert [row["kind"] for row in one_of_each["detections"]] == list(kinds)
    assert [row["count"] for row in one_of_each["detections"]] == [1, 1, 1, 1, 1, 3]
    assert [row["share"] for row in one_of_each["detections"]] == pytest.approx([1 / 8] * 5 + [3 / 8])
    assert counts(one_of_each, "truths") == {"found": 1, "mistaken": 2, "missed": 2}
    assert [row["share"] for row in one_of_each["truths"]] == pytest.approx([0.2, 0.4, 0.4])
    assert (one_of_each["n"], one_of_each["threshold"]) == (2, 0.3)


def test_examples_say_where_to_look(one_of_each: dict[str, Any]) -> None:
    rows, expected = by_kind(one_of_each), {"image": 0, "class": "cat"}
    assert rows["right"]["examples"] == [
        {**expected, "box": 1, "score": 0.9, "truth": 0, "truth_class": "cat", "iou": 1.0}
    ]
    assert rows["doubled"]["examples"] == [
        {**expected, "box": 0, "score": 0.5, "truth": 0, "truth_class": "cat", "iou": pytest.approx(0.9)}
    ]
    assert rows["misplaced"]["examples"] == [
        {**expected, "box": 2, "score": 0.8, "truth": 1, "truth_class": "cat", "iou": pytest.approx(3 / 17)}
    ]
    assert rows["confused"]["examples"] == [
        {**expected, "box": 3, "score": 0.7, "truth": 2, "truth_class": "dog", "iou": pytest.approx(0.8)}
    ]
    assert rows["confused_and_misplaced"]["examples"] == [
        {**expected, "box": 4, "score": 0.6, "truth": 3, "truth_class": "dog", "iou": pytest.approx(1 / 3)}
    ]
    assert rows["background"]["examples"] == [
        {"image": 1, "box": 0, "score": 0.45, "class": "dog"},
        {"image": 0, "box": 5, "score": 0.4, "class": "dog"},
        {"image": 0, "box": 6, "score": 0.4, "class": "dog"},
    ]
    truths = by_kind(one_of_each, "truths")
    assert [row["truth"] for row in truths["mistaken"]["examples"]] == [1, 2]
    assert truths["missed"]["examples"] == [
        {"image": 0, "truth": 4, "truth_class": "cat", "area_px": 200.0},
        {"image": 0, "truth": 3, "truth_class": "dog", "area_px": 100.0},
    ]
    assert one_of_each["confusions"] == [{"true": "dog", "called": "cat", "count": 1}]


def test_the_first_kind_that_fits_is_the_kind() -> None:
    truths: Rows = [[0, 0, 0, 10, 10], [1, 0, 0, 10, 9]]
    # A cat found, a cat at the place of the dog; and one nearer to a cat than a misplaced one needs
    found: Rows = [[0, 0, 0, 10, 10, 0.9], [0, 0, 0, 10, 8, 0.8]]
    assert counts(detection_errors(add(DetectionTally(2), truths, found), NAMES, threshold=0)) == {
        "right": 1,
        "confused": 1,
    }
    truths = [[0, 0, 0, 10, 10], [1, 0, 8, 10, 18]]
    found = [[0, 0, 7, 10, 17, 0.8]]  # IoU 3/17 with the cat, 9/11 with the dog
    report = detection_errors(add(DetectionTally(2), truths, found), NAMES, threshold=0)
    assert counts(report) == {"misplaced": 1}
    assert by_kind(report, "truths")["mistaken"]["examples"][0]["truth"] == 0


def test_a_found_object_is_not_mistaken() -> None:
    # A confused detection upon a dog that another detection has found
    found: Rows = [[0, 0, 0, 10, 10, 0.9], [1, 0, 0, 10, 10, 0.5]]
    report = detection_errors(add(DetectionTally(2), [[1, 0, 0, 10, 10]], found), NAMES, threshold=0)
    assert counts(report) == {"right": 1, "confused": 1}
    assert counts(report, "truths") == {"found": 1}
    hidden = detection_errors(add(DetectionTally(2), [[1, 0, 0, 10, 10]], found), NAMES, threshold=0.6)
    assert counts(hidden) == {"confused": 1}
    assert counts(hidden, "truths") == {"mistaken": 1}


def test_what_does_not_count_is_left_out() -> None:
    truths: Rows = [[0, 0, 0, 10, 10], [0, 50, 0, 90, 40], [0, 100, 0, 110, 10]]
    found: Rows = [[0, 0, 0, 10, 10, 0.9], [0, 55, 5, 65, 15, 0.8], [0, 100, 0, 110, 10, 0.7], [1, 0, 0, 10, 10, 0.6]]
    tally = add(DetectionTally(2), truths, found, ignore=[True, False, False], crowd=[False, True, False])
    report = detection_errors(tally, NAMES, threshold=0)
    assert counts(report) == {"right": 1, "background": 1}  # another class upon an ignored box is no confusion
    assert by_kind(report)["right"]["examples"][0]["truth"] == 2
    assert counts(report, "truths") == {"found": 1}
    few = add(DetectionTally(2, max_detections=1), truths[2:], [*found[2:3], [0, 100, 0, 110, 9, 0.1]])
    assert counts(detection_errors(few, NAMES, threshold=0)) == {"right": 1}


def test_kinds_add_up_on_random_images() -> None:
    generator = np.random.default_rng(0)
    tally = DetectionTally(3)
    for _ in range(60):
        m, d = (int(count) for count in generator.integers(0, 6, 2))
        corner, side = generator.integers(0, 30, (m, 2)), generator.integers(5, 30, (m, 2))
        boxes, classes = np.hstack([corner, corner + side]), generator.integers(0, 3, m)
        copied = generator.integers(0, m, d if m else 0)
        moved = boxes[copied] + generator.integers(0, 12, (len(copied), 1))
        called = np.where(generator.random(len(copied)) < 0.7, classes[copied], 0)
        tally.add(boxes, classes, moved, called, generator.random(len(copied)))
    for threshold in (0.0, 0.5):
        report = detection_errors(tally, list("abc"), threshold=threshold, examples=1000)
        shown = sum(int((one.scores >= threshold).sum()) for one in tally.images)
        assert sum(row["count"] for row in report["detections"]) == shown
        assert sum(row["count"] for row in report["truths"]) == tally.truths[:, :, 0].sum()
        assert sum(row["share"] for row in report["detections"]) == pytest.approx(1)
        assert counts(report)["right"] == counts(report, "truths")["found"]
        assert sum(row["count"] for row in report["confusions"]) == by_kind(report)["confused"]["count"]
        assert all(row["count"] for row in report["detections"] + report["truths"])
        for row in report["detections"]:
            assert len(row["examples"]) == row["count"]
            assert (np.diff([example["score"] for example in row["examples"]]) <= 0).all()
            places = [(example["image"], example["box"]) for example in row["examples"]]
            assert len(set(places)) == len(places)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_only_so_many_examples() -> None:
    tally = add(DetectionTally(2), [], [[0, 0, 0, 9, 9, score / 10] for score in range(8)])
    rows = by_kind(detection_errors(tally, NAMES, threshold=0, examples=3))
    assert [row["score"] for row in rows["background"]["examples"]] == [0.7, 0.6, 0.5]
    assert by_kind(detection_errors(tally, NAMES, threshold=0, examples=0))["background"]["examples"] == []


def test_nothing_is_an_answer() -> None:
    nothing = detection_errors(DetectionTally(2), NAMES, threshold=0.5)
    assert all((row["count"], row["share"]) == (0, None) for row in nothing["detections"] + nothing["truths"])
    only_truths = detection_errors(add(DetectionTally(2), [[0, 0, 0, 9, 9]], []), NAMES, threshold=0.5)
    assert counts(only_truths, "truths") == {"missed": 1}
    only_found = detection_errors(add(DetectionTally(2), [], [[0, 0, 0, 9, 9, 1]]), NAMES, threshold=0.5)
    assert counts(only_found) == {"background": 1}
    json.dumps([nothing, only_truths, only_found], allow_nan=False)


def test_errors_name_what_came() -> None:
    with pytest.raises(ShapeError, match="each of the 2 classes; got 3"):
        detection_errors(DetectionTally(2), list("abc"), threshold=0.5)
    for threshold, examples in ((float("nan"), 5), (0.5, -1)):
        with pytest.raises(ConfigError, match=f"got {threshold} and {examples}"):
            detection_errors(DetectionTally(2), NAMES, threshold=threshold, examples=examples)
