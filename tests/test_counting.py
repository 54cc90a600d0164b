"""Counting and measuring: a small detector learns the drawn shapes, and is asked about pictures it has not seen.

The pictures are larger than the stored size, so that an answer is only right when it was brought back to them. The
measures are tried on answers that were spoilt, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import convlens as cl
import small
from convlens.data import shapes_set
from convlens.data.boxes import Box
from convlens.model import Model
from convlens.run import Run
from convlens.tasks.detect import Detection, FoundObject

pytestmark = pytest.mark.slow  # trains for about a minute

STORED, ASKED = 128, 160
SEED = 0
RADIUS = (0.1, 0.48)  # larger than usual, so that all of COCO's sizes occur in such pictures
OPTIONS: dict[str, Any] = {
    "task": "detect",
    "epochs": 9,
    "batch_size": 8,
    "rate": 0.007,
    "preset": "none",
    "valid_fraction": 0.1,
    "test_fraction": 0.12,
    "options": {"width": 16, "scales": 2, "fpn_width": 32},
    "layout": "channels_last",
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
}
COUNT_OFF, FOUND, SIDES_OFF, LEANING = 0.55, 0.75, 2.5, 1.5


def drawn(n: int, side_px: int, seed: int, most: int = shapes_set.MOST) -> tuple[np.ndarray, list[tuple[Box, ...]]]:
    with patch.multiple(shapes_set, RADIUS=RADIUS, MOST=most):
        return shapes_set.make_shapes(n, side_px, seed)


@cache
def learned() -> Run:
    folder = str(small.shared() / "counting")
    return cl.train(drawn(1400, STORED, SEED), seed=SEED, directory=folder, name="shapes", **OPTIONS)


@cache
def asked() -> tuple[np.ndarray, list[tuple[Box, ...]], list[Detection]]:
    """New pictures, what is in them, and what is found there."""
    images, true = drawn(120, ASKED, SEED + 1000)
    return images, true, Model.load(learned().model_path).predict(list(images))


# measures -------------------------------------------------------------------------------------------------------------


def agreement(found: FoundObject, box: Box) -> float:
    """Intersection over union, 0 for another class."""
    width = max(0.0, min(found.x2, box.x2) - max(found.x1, box.x1))
    height = max(0.0, min(found.y2, box.y2) - max(found.y1, box.y1))
    both = (found.x2 - found.x1) * (found.y2 - found.y1) + box.area
    return 0.0 if found.label != box.name else width * height / (both - width * height)


def miscounted(answers: Sequence[Detection], true: Sequence[tuple[Box, ...]]) -> float:
    """Mean absolute error of the number of objects in a picture."""
    return float(np.mean([abs(len(answer.objects) - len(boxes)) for answer, boxes in zip(answers, true, strict=True)]))


def measured(answers: Sequence[Detection], true: Sequence[tuple[Box, ...]]) -> tuple[float, np.ndarray]:
    """The share of the objects found at an IoU of 0.5, and of those by how many px each side is too long."""
    errors, boxes = list[float](), 0
    for answer, inside in zip(answers, true, strict=True):
        boxes += len(inside)
        for box in inside:
            best = max(answer.objects, key=lambda one, box=box: agreement(one, box), default=None)
            if best is not None and agreement(best, box) >= 0.5:
                errors += [best.x2 - best.x1 - box.width, best.y2 - best.y1 - box.height]
    return len(errors) / 2 / boxes, np.array(errors)


def complaints(answers: Sequence[Detection], true: Sequence[tuple[Box, ...]]) -> set[str]:
    """What is wrong with some answers."""
    share, errors = measured(answers, true)
    always = np.mean([len(boxes) for boxes in true])
    trivial = float(np.mean([abs(always - len(boxes)) for boxes in true]))
    found = {
        "count": miscounted(answers, true) > min(COUNT_OFF, trivial / 2),
        "found": share < FOUND,
        "sides": len(errors) == 0 or np.median(np.abs(errors)) > SIDES_OFF,
        "leaning": len(errors) == 0 or abs(np.median(errors)) > LEANING,
        "empty": any(answer.objects for answer, boxes in zip(answers, true, strict=True) if not boxes),
    }
    return {name for name, is_wrong in found.items() if is_wrong}


# what was learned -----------------------------------------------------------------------------------------------------


def test_objects_are_counted_found_and_measured_in_pixels_of_the_picture() -> None:
    _, true, answers = asked()
    assert sum(not boxes for boxes in true) > 10, "there are empty pictures among them"
    assert complaints(answers, true) == set()


def test_the_report_counts_far_better_than_the_mean_of_training() -> None:
    counts = learned().evaluation["test"]["counts"]
    assert counts["mae"]["value"] < counts["baseline"]["mae"]["value"] / 2
    assert counts["baseline"]["mae_gain"]["low"] > 0


def test_small_medium_and_large_objects_are_found() -> None:
    rows = {row["size"]: row for row in learned().evaluation["test"]["by_size"]}
    assert all(row["boxes"] >= 5 for row in rows.values())
    assert {size for size, row in rows.items() if row["map50"]["value"] < 0.7} == set()


def test_where_nothing_is_drawn_nothing_is_found() -> None:
    grounds, _ = drawn(60, ASKED, SEED + 2000, most=0)
    plain = [np.full((ASKED, ASKED, 3), level, np.uint8) for level in (60, 128, 200)]
    answers = Model.load(learned().model_path).predict([*grounds, *plain])
    assert [len(answer.objects) for answer in answers] == [0] * 63


# the measures themselves ----------------------------------------------------------------------------------------------


def changed(box: FoundObject, share: float, way: float) -> FoundObject:
    """A box with its sides scaled around its own middle, then moved along the diagonal of the picture by its place."""
    x, y = (box.x1 + box.x2) / 2 * way, (box.y1 + box.y2) / 2 * way
    width, height = (box.x2 - box.x1) * share / 2, (box.y2 - box.y1) * share / 2
    return replace(box, x1=x - width, y1=y - height, x2=x + width, y2=y + height)


SPOILT: dict[str, tuple[Callable[[Detection], Sequence[FoundObject]], set[str]]] = {
    "sides scaled by 0.8": (lambda one: [changed(box, 0.8, 1.0) for box in one.objects], {"sides", "leaning"}),
    "pixels of the stored image": (
        lambda one: [changed(box, STORED / ASKED, STORED / ASKED) for box in one.objects],
        {"found", "sides", "leaning"},
    ),
    "every second object": (lambda one: one.objects[::2], {"count", "found"}),
    "every object twice": (lambda one: one.objects * 2, {"count"}),
    "one box too many in all": (
        lambda one: [*one.objects, FoundObject("disc", 0.9, 0.0, 0.0, 30.0, 30.0)],
        {"count", "empty"},
    ),
    "another class": (lambda one: [replace(box, label="disc") for box in one.objects], {"found"}),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_answers_are_noticed(name: str) -> None:
    spoil, expected = SPOILT[name]
    _, true, answers = asked()
    assert expected <= complaints([replace(one, objects=tuple(spoil(one))) for one in answers], true)
