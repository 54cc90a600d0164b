"""What the page shows of label maps: overlap scores for each class beside the baselines, and the maps themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlens.report.numbers_page import interval
from convlens.report.overlay import ERROR_COLOURS, class_colour
from convlens.report.reading import NONE, many, percent
from convlens.report.sections import Section, Shot, Table

SCORES = {
    "foreground_dice": "Dice of the foreground",
    "mean_dice": "mean Dice",
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "boundary_f1": "boundary F1",
}
MISTAKES = {
    "right": "right",
    "missed": "missed: in the true mask alone",
    "false": "false: in the answer alone",
    "confused": "found as another class",
}
HATCHED = "repeating-linear-gradient(135deg, #fff 0 2px, #000 2px 4px)"
LEAD = "Every pixel is compared with the mask. A mean hides what single images show, so those come below."


def mask_tables(report: Mapping[str, Any]) -> list[Table]:
    """The scores of a report of `metrics.segmentation`: of all together beside the baselines, and of each class."""
    level = f"{100 * report['level']:g} % intervals over {many(report['n'], 'image')}"
    methods = [("this network", report), *((row["name"], row) for row in report["baselines"])]
    rows = [[name, *(interval(found.get(score) or {}) for score in SCORES)] for name, found in methods]
    classes = [
        [
            row["name"],
            f"{row['images']:,}",
            *(interval(row.get(score) or {}) for score in ("dice", "iou", "boundary_f1")),
        ]
        for row in report["per_class"]
    ]
    return [
        Table(f"Overlap with the masks, with {level}", ["method", *SCORES.values()], rows),
        Table("Class by class", ["class", "images", "Dice", "IoU", "boundary F1"], classes),
    ]


def mask_sections(report: Mapping[str, Any], shots: Sequence[Shot], columns: Sequence[str]) -> list[Section]:
    """The section of a report of `metrics.segmentation`.

    Args:
        shots: strips of some images, from the best to the worst.
        columns: what the pictures of a strip are.
    """
    tables, title = mask_tables(report), "From the best to the worst image"
    return [Section("masks", "Masks", "What it draws", LEAD, (), tables, title, shots, columns, colours(report))]


def colours(report: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the colours of masks and of error maps mean, as the legend of a section."""
    painted = [(_css(class_colour(index)), name) for index, name in enumerate(report["classes"]) if index]
    kinds = MISTAKES if len(report["classes"]) > 2 else {name: MISTAKES[name] for name in list(MISTAKES)[:3]}
    found = [(_css(ERROR_COLOURS[kind]), words) for kind, words in kinds.items()]
    lines = [("In the masks", painted), ("Where they differ", found)]
    if report["ignored_pixels"]:
        lines[1][1].append((HATCHED, "not counted"))
    return lines


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def mask_reading(report: Mapping[str, Any]) -> str:
    """The overlap in a sentence or two, beside the best baseline."""
    name = "foreground_dice" if len(report["classes"]) == 2 else "mean_dice"
    comparable = [row for row in report["baselines"] if name in row]
    ours, best = report[name], max(comparable, key=lambda row: row[name]["value"] or 0.0, default=None)
    if ours["value"] is None:
        return "Nothing was there to be found, so no overlap can be stated."
    said = f"The {SCORES[name]} is {interval(ours)}: 1 is perfect, and {percent(report['pixel_accuracy']['value'])} of "
    said += "all pixels are right."
    if best is not None and best[name]["value"] is not None:
        said += f" The best simple rule ({best['name']}) reaches {interval(best[name])}."
    if report["ignored_pixels"]:
        said += f" {report['ignored_pixels']:,} pixels are not counted: padding, or marked so in the masks."
    return said if best is not None else said.replace(NONE, "")
