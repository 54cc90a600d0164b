"""What the page shows of pictures given back: errors beside the baselines, and the pictures themselves.

For anomalies, where the score of a picture is how badly it was given back, the ROC curve and the alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convlens.report import figures
from convlens.report.numbers import short
from convlens.report.numbers_page import interval
from convlens.report.overlay import heat_colours
from convlens.report.reading import NONE, many, percent
from convlens.report.sections import Card, Section, Shot, Table

HARDEST = {"normal ones of the highest score": "normal", "others of the lowest": "abnormal"}
ROC_WORDS = ("false alarms", "found")
WARMTH = {0.0: "given back as it was", 0.5: "changed", 1.0: "changed most"}
SCORES = {"psnr": "PSNR, dB", "ssim": "SSIM", "mae": "mean absolute error", "mse": "mean squared error"}
LEAD = "Every level is compared with what it should be. A mean hides what single pictures show, so those come below."
STRANGE_LEAD = "A picture counts as strange as far as the network, which saw normal ones only, cannot give it back."


def picture_tables(report: Mapping[str, Any]) -> list[Table]:
    """The errors of a report of `metrics.reconstruction`, with what is gained over every baseline."""
    methods = [("this network", report), *((row["name"], row) for row in report["baselines"])]
    rows = [[name, *(interval(found[score]) for score in SCORES)] for name, found in methods]
    gains = [
        [
            f"over {row['name']}",
            interval(row["gain"]["psnr"]),
            interval(row["gain"]["ssim"]),
            interval(row["gain"]["better"]),
        ]
        for row in report["baselines"]
    ]
    title = f"Levels 0 to 1, with {100 * report['level']:g} % intervals over {many(report['n'], 'image')}"
    return [
        Table(title, ["method", *SCORES.values()], rows),
        Table("Gain on the same images", ["", "PSNR, dB", "SSIM", "share of images that are better"], gains),
    ]


def picture_sections(
    report: Mapping[str, Any],
    shots: Sequence[Shot],
    columns: Sequence[str],
    cards: Sequence[Card] = (),
    probe: Mapping[str, Any] | None = None,
) -> list[Section]:
    """The section of a report of `metrics.reconstruction`.

    Args:
        shots: strips of some images, from the best to the worst.
        columns: what the pictures of a strip are.
        probe: what a linear classifier on the codes reaches.
    """
    title = "From the best to the worst image"
    tables = picture_tables(report)
    if probe:
        always = probe["baseline"]
        rows = [
            ["linear classifier on the codes", interval(probe["accuracy"])],
            [f"always '{always['class']}'", interval(always["accuracy"])],
        ]
        tables.append(Table("What the code knows of the classes, which it was never told", ["", "accuracy"], rows))
    return [Section("pictures", "Pictures", "What it gives back", LEAD, cards, tables, title, shots, columns)]


def picture_reading(report: Mapping[str, Any]) -> str:
    """The error in a sentence, beside the best baseline."""
    best = max(report["baselines"], key=lambda row: row["psnr"]["value"] or 0.0)
    said = f"The pictures come back with a PSNR of {interval(report['psnr'])} dB; {_said(best['name'])} reaches "
    said += f"{interval(best['psnr'])} dB."
    left_out = f" {report['left_out']}" if report.get("left_out") else ""
    gain = best["gain"]["psnr"]
    if gain["value"] is None:
        return said + left_out
    less = {"value": -gain["value"], "low": _minus(gain["high"]), "high": _minus(gain["low"])}
    by = f"{interval(less)} dB less" if gain["value"] < 0 else f"{interval(gain)} dB more"
    return f"{said} That is {by}, and {percent(best['gain']['better']['value'])} of the pictures are better.{left_out}"


def _said(name: str) -> str:
    return name if name.endswith("means") else f"the {name}"


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def anomaly_tables(report: Mapping[str, Any]) -> list[Table]:
    """The scores of a report of `metrics.anomaly`: of ranking, and of the alarms."""
    rows = [["this network", interval(report["auc"])]]
    rows += [
        [row["name"], interval(row["auc"]) if isinstance(row["auc"], Mapping) else short(row["auc"])]
        for row in report["baselines"]
    ]
    counted = f"{report['normal']:,} normal and {report['abnormal']:,} other images"
    tables = [Table(f"How well the score tells them apart, on {counted}", ["method", "ROC AUC"], rows)]
    if alarm := report["alarm"]:
        promise = percent(alarm["threshold"]["promise"], 0)
        found = [
            ["false alarms, of the normal images", interval(alarm["false_alarms"]), f"{promise} promised"],
            ["found, of the others", interval(alarm["detection"]), f"{promise} by chance"],
            ["right, of the alarms", interval(alarm["precision"]), NONE],
        ]
        tables.append(Table("Alarms at the threshold chosen on validation", ["", "share", "beside"], found))
        kinds = [
            [row["kind"], "no" if row["abnormal"] else "yes", f"{row['alarms']['n']:,}", interval(row["alarms"])]
            for row in alarm.get("by_kind", ())
        ]
        if len(kinds) > 1:
            tables.append(Table("Kind by kind", ["kind", "normal", "images", "raise an alarm"], kinds))
    return tables


def anomaly_sections(report: Mapping[str, Any], shots: Sequence[Shot], columns: Sequence[str]) -> list[Section]:
    """The section of a report of `metrics.anomaly`.

    Args:
        shots: strips of the images that are hardest to tell.
        columns: what the pictures of a strip are, the last one the heat.
    """
    cards = []
    if curve := report["roc"]:
        at = " The dot is the one chosen on validation." if report["alarm"] else ""
        drawn = figures.roc(curve["false_alarms"], curve["detection"], _operating_point(report), ROC_WORDS)
        cards.append(
            Card("Found against false alarms", f"Every threshold is a point; the dotted line is chance.{at}", drawn)
        )
    tables = anomaly_tables(report)
    hard = [words for words, count in HARDEST.items() if report[count]]
    title = f"The hardest images: {' and '.join(hard)}" if hard else ""
    legend = [(columns[-1], [(_css(level), words) for level, words in WARMTH.items()])]
    return [
        Section("anomalies", "Anomalies", "What it notices", STRANGE_LEAD, cards, tables, title, shots, columns, legend)
    ]


def _css(level: float) -> str:
    """The colour of a level of heat."""
    return "#{:02x}{:02x}{:02x}".format(*(round(float(part)) for part in heat_colours(np.array(level))))


def _operating_point(report: Mapping[str, Any]) -> tuple[float, float] | None:
    """False alarms and detection at the threshold that is kept."""
    alarm = report["alarm"]
    return (alarm["false_alarms"]["value"], alarm["detection"]["value"]) if alarm else None  # with a curve, both are


def anomaly_reading(report: Mapping[str, Any]) -> str:
    """The ranking and the alarms in a sentence or two."""
    said = []
    if report["auc"]["value"] is None:
        missing = "abnormal" if report["normal"] else "normal"
        said.append(f"No image is known to be {missing}, so it cannot be said how well the two are told apart.")
    else:
        said.append(
            f"In {percent(report['auc']['value'])} of all pairs of one normal image and one that is not, the latter "
            f"has the higher score."
        )
    if alarm := report["alarm"]:
        promised = percent(alarm["threshold"]["promise"], 0)
        if report["normal"]:
            rate = percent(alarm["false_alarms"]["value"])
            said.append(f"{rate} of the normal images raise an alarm; {promised} were promised.")
        if report["abnormal"]:
            said.append(f"{percent(alarm['detection']['value'])} of the others are found.")
    return " ".join(said)
