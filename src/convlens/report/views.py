"""What the page's tables draw, worked out from the reports of `metrics.classification`: rows, cells, lengths.

The templates only lay out; everything that needs a decision or a division is done here, on plain data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convlens.report.reading import NONE, count, percent

MATRIX_CLASSES = 20
LISTED_CLASSES = 30
FEW_CLASSES, SHORT_NAME = 4, 4
WEAKEST = 15
PAIRS, MORE_PAIRS, EXTREMES = 10, 20, 6

# How far along a ramp of page.css black and white stand out equally: from there on the number in a cell changes ink.
# For each ramp in light and in dark mode; the colours there and the shares here are tested together.
DEEP = {"right": (0.771, 0.617), "wrong": (0.889, 0.566)}


@dataclass(frozen=True)
class Pair:
    """One kind of mistake: how many images of class `true` were called `predicted`."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Cell:
    """One field of the confusion matrix.

    Attributes:
        css: classes of the style sheet.
        depth: how far along the ramp, in percent.
        words: what the field says, in a sentence.
    """

    count: int
    css: str
    depth: float
    words: str


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix; right and wrong answers have a ramp each, the wrong one up to the largest share.

    Attributes:
        rows: (class, cells).
        worst: the share of its class in the largest wrong field.
    """

    classes: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    worst: float

    @property
    def upright(self) -> bool:
        """Whether the names fit over their columns without being turned."""
        return len(self.classes) <= FEW_CLASSES or max(map(len, self.classes)) <= SHORT_NAME


def matrix(report: Mapping[str, Any]) -> Matrix | None:
    """The confusion matrix, where there are few enough classes to print it."""
    names, counts = report["classes"], report["confusion"]
    if len(names) > MATRIX_CLASSES:
        return None
    totals = [sum(row) for row in counts]
    wrong = [n / totals[i] for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and totals[i]]
    worst = max(wrong, default=0.0)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, n in enumerate(counts[i]):
            share = n / totals[i] if totals[i] else 0.0
            depth = share if i == j else share / worst if worst else 0.0
            kind = "right" if i == j else "wrong"
            deep = zip(("deep", "deep-dark"), DEEP[kind], strict=True)
            css = " ".join([kind, *(word for word, bound in deep if depth > bound)]) if n else "zero"
            said = "were recognised" if i == j else f"were called {names[j]}"
            words = f"{count(n)} of {count(totals[i])} {name} ({percent(share)}) {said}"
            cells.append(Cell(n, css, round(100 * depth, 1), words))
        rows.append((name, cells))
    return Matrix(names, rows, worst)


def pairs(report: Mapping[str, Any]) -> list[Pair]:
    """The most frequent kinds of mistake, by number of images and then by share of the class."""
    names, found = report["classes"], []
    most = PAIRS if len(names) <= MATRIX_CLASSES else MORE_PAIRS
    for i, row in enumerate(report["confusion"]):
        total = sum(row)
        found += [Pair(names[i], names[j], n, n / total) for j, n in enumerate(row) if n and i != j]
    return sorted(found, key=lambda pair: (-pair.count, -pair.share))[:most]


def weakest(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The classes with the lowest recall, where there are too many classes to show all at once."""
    rows = [row for row in report["per_class"] if row["recall"]["value"] is not None]
    if len(report["per_class"]) <= LISTED_CLASSES:
        return []
    return sorted(rows, key=lambda row: (row["recall"]["value"], -row["support"]))[:WEAKEST]


def floor(report: Mapping[str, Any]) -> float:
    """Where the whisker strips begin: the largest tenth below every interval, so that differences can be seen."""
    lows = [row[name]["low"] for row in report["per_class"] for name in ("recall", "precision")]
    least = min((low for low in lows if low is not None), default=0.0)
    return min(0.9, math.floor(least * 10) / 10)


def along(value: float, start: float) -> str:
    """A place on a strip from `start` to 1, as CSS.

    Example:
        >>> along(0.75, 0.5)
        '50%'
    """
    return f"{round(100 * (min(max(value, start), 1.0) - start) / (1.0 - start), 1):g}%"


def tint(index: int) -> str:
    """How strong the accent is in the n-th part of a stacked bar.

    Example:
        >>> [tint(i) for i in range(5)]
        ['100%', '64%', '40%', '24%', '24%']
    """
    return f"{(100, 64, 40, 24)[min(index, 3)]}%"


def tag_side(share: float) -> str:
    """How a label over a scale is kept inside it."""
    return "left" if share < 0.14 else "right" if share > 0.86 else ""


def class_counts(counts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, list[int]]]:
    """One row for each class: its images in every part."""
    names = list(dict.fromkeys(name for part in counts.values() for name in part))
    return [(name, [part.get(name, 0) for part in counts.values()]) for name in names]


def extremes(rows: Sequence[tuple[str, list[int]]]) -> list[tuple[str, list[tuple[str, list[int]]]]]:
    """The classes with most and with fewest images in the first part."""
    ordered = sorted(rows, key=lambda row: -row[1][0])
    return [("Most images", ordered[:EXTREMES]), ("Fewest images", ordered[: -EXTREMES - 1 : -1])]


def averages(report: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Macro, micro and weighted precision, recall and F1."""
    kinds = {
        "macro": "macro, every class the same",
        "weighted": "weighted by images",
        "micro": "micro, every image the same",
    }
    return [
        (words, [report[f"{kind}_{score}"] for score in ("recall", "precision", "f1")]) for kind, words in kinds.items()
    ]


def value(found: Any) -> str:
    """An option's value as the config file would write it."""
    if found is None:
        return NONE
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, float):
        return f"{found:.6g}"
    if isinstance(found, list | tuple):
        return ", ".join(value(one) for one in found)
    if isinstance(found, Mapping):
        return ", ".join(f"{key} = {value(one)}" for key, one in found.items()) or NONE
    return str(found)


def events(found: Sequence[Mapping[str, Any]], config: Sequence[tuple[str, Any, str]]) -> list[Mapping[str, Any]]:
    """The events that the table of options does not tell already."""
    told = tuple(f"{option} =" for option, _, _ in config)
    return [event for event in found if not event["message"].startswith(told)]


def gradient_norms(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """History rows with `gradient_norm`, the length of the layers' norms together, where they were recorded."""
    added = []
    for row in rows:
        parts = row.get("gradient_norms")
        norm = math.sqrt(sum(v * v for v in parts.values())) if parts else row.get("gradient_norm")
        added.append({**row, "gradient_norm": norm})
    return added


def rate_point(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """False and true positive rate of one class as it was decided."""
    negatives = row["false_positive"] + row["true_negative"]
    if not negatives or not row["support"]:
        return None
    return row["false_positive"] / negatives, row["true_positive"] / row["support"]


def precision_point(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Recall and precision of one class as it was decided."""
    recall, precision = row["recall"]["value"], row["precision"]["value"]
    return None if recall is None or precision is None else (recall, precision)
