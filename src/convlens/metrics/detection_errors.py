"""What kind of mistakes a detector makes: which of them to mend, and where to look at them.

Every detection shown is of exactly one kind, and so is every true box. This file knows boxes, classes and scores as
arrays, not networks or files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convlens.errors import ConfigError, ShapeError
from convlens.metrics.detection_tally import DetectionTally, JudgedImage
from convlens.metrics.matching import LEFT_OUT, RIGHT, box_area, box_iou

FOUND_IOU = 0.5  # from here on a box is where its object is
NEAR_IOU = 0.1  # below, it has nothing to do with the object

DETECTION_KINDS = {
    "right": "the object is found",
    "doubled": "the object is there, but another detection has it already",
    "misplaced": "the right class near an object of it, but not close enough",
    "confused": "the place of an object, but of another class",
    "confused_and_misplaced": "near an object, but of another class and not close enough",
    "background": "nothing is there",
}
TRUTH_KINDS = {
    "found": "a detection has it",
    "mistaken": "not found, but a misplaced or confused detection shows that it was seen",
    "missed": "no detection comes near it",
}


@dataclass(frozen=True)
class _Verdicts:
    """One image: the detections shown, with the kind of each, and the true boxes that count, with the kind of each.

    `truths` holds, for each detection shown, the true box that makes it of its kind, or -1.
    """

    detections: np.ndarray
    kinds: np.ndarray
    ious: np.ndarray
    truths: np.ndarray
    counted: np.ndarray
    truth_kinds: np.ndarray


def detection_errors(
    tally: DetectionTally, names: Sequence[str], *, threshold: float, examples: int = 5
) -> dict[str, Any]:
    """Kinds of the detections from the threshold on, and of the true boxes, as plain JSON values.

    A detection that is not right is the first of these that fits: misplaced (IoU 0.1 to 0.5 at best with the objects
    of its class), confused (IoU from 0.5 on with an object of another class), doubled, confused and misplaced,
    background. So one with two objects at its place, of its own class and of another, is called confused.
    Detections that took a true box to ignore are left out, as are those beyond `max_detections`.

    Args:
        tally: the true boxes and the detections.
        names: of the classes, in the order of their numbers.
        threshold: detections from this score on are judged.
        examples: how many of each kind to name.

    Returns:
        `n` (images), `threshold`; `detections`, a list with `kind`, `meaning`, `count`, `share` (of the detections
        judged, None if there are none) and `examples`, the most certain ones by `image` (position), `box` (row among
        the image's detections), `score`, `class`, and where there is one `truth` (row among its true boxes),
        `truth_class` and `iou`; `truths` likewise of the true boxes, whose `examples` are the largest ones;
        `confusions`, how often an object of `true` was called `called`, most often first.

    Raises:
        ShapeError: there are other than one name per class.
        ConfigError: a threshold that is no number, or a negative number of examples.

    Source: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", 2020, arXiv:2008.08115,
    and the order of its reference code.
    Differs: kinds are counted at one threshold on the score, not weighed by the average precision they cost.
    """
    if len(names) != tally.classes:
        raise ShapeError(f"Expected a name for each of the {tally.classes} classes; got {len(names)}.")
    if not math.isfinite(threshold) or examples < 0:
        raise ConfigError(f"Expected a finite score threshold and at least 0 examples; got {threshold} and {examples}.")
    verdicts = [_judge(image, threshold) for image in tally.images]
    return {
        "n": tally.n,
        "threshold": float(threshold),
        "detections": list(_detections(tally, verdicts, names, examples)),
        "truths": list(_truths(tally, verdicts, names, examples)),
        "confusions": _confusions(tally, verdicts, names),
    }


def _judge(image: JudgedImage, threshold: float) -> _Verdicts:
    status = image.status[:, 0, 0]
    detections = np.flatnonzero((image.scores >= threshold) & (status != LEFT_OUT))
    counted = np.flatnonzero(~image.ignore)
    right, taken = status[detections] == RIGHT, image.taken[detections]
    # One more column, a true box that nothing overlaps, so that there always is a best one
    overlap = np.zeros((len(detections), len(counted) + 1))
    overlap[:, :-1] = box_iou(image.boxes[detections], image.truth_boxes[counted])
    same = np.zeros(overlap.shape, dtype=bool)
    same[:, :-1] = image.classes[detections][:, None] == image.truth_classes[counted]
    own, other = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    best_own, best_other = own.max(axis=1), other.max(axis=1)
    fits = {
        "right": right,
        "misplaced": (best_own >= NEAR_IOU) & (best_own < FOUND_IOU),
        "confused": best_other >= FOUND_IOU,
        "doubled": best_own >= FOUND_IOU,
        "confused_and_misplaced": best_other >= NEAR_IOU,
    }
    kinds = np.select(list(fits.values()), list(fits), "background")
    rows = np.arange(len(detections))
    of_own = np.isin(kinds, ["misplaced", "doubled"])
    nearest = np.where(of_own, own.argmax(axis=1), other.argmax(axis=1))
    truths = np.append(counted, -1)[nearest]
    truths = np.where(right, taken, np.where(kinds == "background", -1, truths))
    ious = np.where(of_own, best_own, best_other)
    ious[right] = overlap[rows[right], np.searchsorted(counted, taken[right])]
    seen = np.isin(counted, truths[np.isin(kinds, ["misplaced", "confused"])])
    truth_kinds = np.select([np.isin(counted, taken[right]), seen], ["found", "mistaken"], "missed")
    return _Verdicts(detections, kinds, ious, truths, counted, truth_kinds)


def _detections(
    tally: DetectionTally, verdicts: Sequence[_Verdicts], names: Sequence[str], examples: int
) -> Iterator[dict[str, Any]]:
    total = sum(len(one.kinds) for one in verdicts)
    for kind, meaning in DETECTION_KINDS.items():
        members = [(i, j) for i, one in enumerate(verdicts) for j in np.flatnonzero(one.kinds == kind)]
        certainty = [-tally.images[i].scores[verdicts[i].detections[j]] for i, j in members]
        first = [members[place] for place in np.argsort(certainty, kind="stable")[:examples]]
        rows = []
        for i, j in first:
            image, one = tally.images[i], verdicts[i]
            box, truth = int(one.detections[j]), int(one.truths[j])
            row = {"image": i, "box": box, "score": float(image.scores[box]), "class": names[image.classes[box]]}
            if truth >= 0:
                row |= {"truth": truth, "truth_class": names[image.truth_classes[truth]], "iou": float(one.ious[j])}
            rows.append(row)
        yield _row(kind, meaning, len(members), total, rows)


def _truths(
    tally: DetectionTally, verdicts: Sequence[_Verdicts], names: Sequence[str], examples: int
) -> Iterator[dict[str, Any]]:
    total = sum(len(one.counted) for one in verdicts)
    for kind, meaning in TRUTH_KINDS.items():
        members = [(i, int(j)) for i, one in enumerate(verdicts) for j in one.counted[one.truth_kinds == kind]]
        areas = [float(box_area(tally.images[i].truth_boxes[j])) for i, j in members]
        rows = [
            {"image": i, "truth": j, "truth_class": names[tally.images[i].truth_classes[j]], "area_px": areas[place]}
            for place in np.argsort(-np.array(areas), kind="stable")[:examples]
            for i, j in [members[place]]
        ]
        yield _row(kind, meaning, len(members), total, rows)


def _row(kind: str, meaning: str, count: int, total: int, examples: list[dict[str, Any]]) -> dict[str, Any]:
    share = count / total if total else None
    return {"kind": kind, "meaning": meaning, "count": count, "share": share, "examples": examples}


def _confusions(tally: DetectionTally, verdicts: Sequence[_Verdicts], names: Sequence[str]) -> list[dict[str, Any]]:
    pairs: Counter[tuple[int, int]] = Counter()
    for image, one in zip(tally.images, verdicts, strict=True):
        confused = one.kinds == "confused"
        true, called = image.truth_classes[one.truths[confused]], image.classes[one.detections[confused]]
        pairs.update(zip(true.tolist(), called.tolist(), strict=True))
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"true": names[true], "called": names[called], "count": count} for (true, called), count in ordered]
