"""What the page shows of label maps: overlap scores for each class beside the baselines, and the maps themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlens.report.numbers_page import interval
from convlens.report.reading import NONE, many, percent
from convlens.report.sections import Section, Shot, Table

SCORES = {
    "foreground_dice": "Dice of the foreground",
    "mean_dice": "mean Dice",
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "boundary_f1": "boundary F1",
}


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


def mask_sections(report: Mapping[str, Any], shots: Sequence[Shot], legend: str) -> list[Section]:
    """The section of a report of `metrics.segmentation`.

    Args:
        shots: strips of some images, from the best to the worst.
        legend: what is to be seen in a strip.
    """
    title = f"From the best to the worst image: {legend}"
    return [Section("masks", "Masks", "What it draws", mask_reading(report), (), mask_tables(report), title, shots)]


def mask_reading(report: Mapping[str, Any]) -> str:
    """The overlap in a sentence or two, beside the best baseline."""
    name = "foreground_dice" if len(report["classes"]) == 2 else "mean_dice"
    ours, best = report[name], max(report["baselines"], key=lambda row: row[name]["value"] or 0.0, default=None)
    if ours["value"] is None:
        return "Nothing was there to be found, so no overlap can be stated."
    said = f"The {SCORES[name]} is {interval(ours)}: 1 is perfect, and {percent(report['pixel_accuracy']['value'])} of "
    said += "all pixels are right."
    if best is not None and best[name]["value"] is not None:
        said += f" The best simple rule ({best['name']}) reaches {interval(best[name])}."
    if report["ignored_pixels"]:
        said += f" {report['ignored_pixels']:,} pixels are marked as not to be counted."
    return said if best is not None else said.replace(NONE, "")
