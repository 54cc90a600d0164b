"""What the page shows of boxes: average precision beside the baseline, class by class and by size, and the mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convlens.metrics.detection_tally import JudgedImage
from convlens.metrics.matching import LEFT_OUT, RIGHT
from convlens.report import figures
from convlens.report.numbers import short
from convlens.report.numbers_page import interval
from convlens.report.reading import NONE, many, percent
from convlens.report.sections import Card, Section, Shot, Table

BASELINE = "one box of the mean size in the middle"
SIZES = {"small": "small, below 32 x 32 px", "medium": "medium, to 96 x 96 px", "large": "large"}


def box_tables(report: Mapping[str, Any]) -> list[Table]:
    """The scores of a report of the task detect."""
    level = f"{100 * report['level']:g} % intervals over {many(report['n'], 'image')}"
    side = " x ".join(str(n) for n in report["stored_px"])
    rows = [["this network", interval(report["map50"]), interval(report["map"]), interval(report["ar"])]]
    if beside := report["baseline"]:
        rows.append([BASELINE, interval(beside["map50"]), interval(beside["map"]), NONE])
    head = ["method", "mAP at IoU 0.5", "mAP at 0.5 to 0.95", "mean recall"]
    tables = [Table(f"Average precision on images of {side} px, with {level}", head, rows)]
    shown, counts = f"{report['threshold']:.3f}", report["counts"]
    rows = [["precision", interval(report["precision"])], ["recall", interval(report["recall"])]]
    rows += [["F1", interval(report["f1"])], ["error of the number of objects", interval(counts["mae"])]]
    if counts["baseline"].get("mae"):
        mean = short(counts["baseline"]["mean"])
        rows.append([f"the same, always answering {mean}", interval(counts["baseline"]["mae"])])
    tables.append(Table(f"What is shown, from a score of {shown} on", ["at IoU 0.5", "value"], rows))
    classes = [
        [
            row["name"],
            f"{row['support']:,}",
            *(interval(row[name]) for name in ("ap50", "ap", "precision", "recall", "f1")),
        ]
        for row in report["per_class"]
    ]
    head = ["class", "boxes", "AP at 0.5", "AP at 0.5 to 0.95", "precision", "recall", "F1"]
    tables.append(Table("Class by class", head, classes))
    sizes = [
        [SIZES.get(row["size"], row["size"]), f"{row['boxes']:,}", interval(row["map50"]), interval(row["map"])]
        for row in report["by_size"]
    ]
    title = f"By size, in the pixels of the stored image of {side} px"
    tables.append(Table(title, ["objects", "boxes", "mAP at 0.5", "mAP at 0.5 to 0.95"], sizes))
    for part, title in (("detections", "What became of the boxes shown"), ("truths", "What became of the true boxes")):
        kinds = [
            [f"{row['kind'].replace('_', ' ')}: {row['meaning']}", f"{row['count']:,}", percent(row["share"])]
            for row in report["errors"][part]
        ]
        tables.append(Table(title, ["kind", "boxes", "share"], kinds))
    return [*tables, speed_table(speed)] if (speed := report.get("speed")) else tables


def speed_table(speed: Mapping[str, Any]) -> Table:
    """How fast each engine answers single images, and by how much its scores are off."""
    side, first = " x ".join(str(n) for n in speed["image_px"]), speed["engines"][0]["name"]
    title = (
        f"Speed: single images of {side} px, from the stored image to its boxes (preprocessing, network, boxes read "
        f"off, one kept for each object), on {speed['where']}; the last column is against {first}"
    )
    head = ["engine", "images a second", "median, ms", "slowest tenth from, ms", "timed", "scores off by up to"]
    rows = []
    for one in speed["engines"]:
        if "error" in one:
            rows.append([f"{one['name']}: does not run here, {one['error']}", *[NONE] * 5])
            continue
        times = [short(one[name]) for name in ("images_per_s", "median_ms", "slow_ms")]
        off = NONE if one["score_off"] is None else short(one["score_off"], 2)
        rows.append([one["name"], *times, f"{one['n']:,}", off])
    return Table(title, head, rows)


def box_sections(report: Mapping[str, Any], shots: Sequence[Shot]) -> list[Section]:
    """The section of a report of the task detect.

    Args:
        shots: some images, from the best to the worst, each with its true boxes and again with those that are found.
    """
    drawn = figures.precision_recall_of_classes([row["curve"] for row in report["per_class"]])
    names = ", ".join(f"{number} {row['name']}" for number, row in enumerate(report["per_class"], 1))
    words = f"Every threshold is a point; IoU 0.5. {names}."
    if sum(row["curve"] is not None for row in report["per_class"]) > figures.MOST_NUMBERED:
        words = "Every threshold is a point; IoU 0.5. More classes than can be numbered: the table below has them all."
    cards = [Card("Precision over recall", words, drawn)] if drawn else []
    title, tables = "From the best to the worst image; beside each name its score in hundredths", box_tables(report)
    return [
        Section(
            "boxes",
            "Boxes",
            "What it finds",
            "Detections are matched to the true boxes of each image, the most certain first.",
            cards,
            tables,
            title,
            shots,
            columns=("true boxes", "found"),
        )
    ]


def box_reading(report: Mapping[str, Any]) -> str:
    """The score, the threshold and the commonest mistake in a few sentences."""
    if report["map50"]["value"] is None:
        return "There was nothing to find, so no average precision can be stated."
    said = f"The mean average precision at IoU 0.5 is {interval(report['map50'])}: 1 is perfect"
    if report["baseline"]:
        said += f", and {BASELINE} reaches {interval(report['baseline']['map50'])}"
    recall, precision = report["recall"]["value"], report["precision"]["value"]
    said += f". From a score of {report['threshold']:.2f} on, {percent(recall)} of the objects are found"
    said += f", and {percent(precision)} of the boxes shown are right." if precision is not None else "."
    wrong = [row for row in report["errors"]["detections"] if row["kind"] != "right" and row["count"]]
    if wrong:
        worst = max(wrong, key=lambda row: row["count"])
        kind = worst["kind"].replace("_", " ")
        said += f" The commonest mistake is {kind}: {worst['meaning']} ({many(worst['count'], 'box', 'boxes')})."
    if report["ignored_boxes"]:
        said += f" {many(report['ignored_boxes'], 'box', 'boxes')} marked difficult or crowd do not count."
    return said


def shown_counts(image: JudgedImage, threshold: float) -> tuple[int, int, int]:
    """Of one image: detections shown that are right, detections shown, true boxes that count."""
    status = image.status[:, 0, 0]
    shown = (image.scores >= threshold) & (status != LEFT_OUT)
    return int((shown & (status == RIGHT)).sum()), int(shown.sum()), int(np.count_nonzero(~image.ignore))
