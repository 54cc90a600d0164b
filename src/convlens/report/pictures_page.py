"""What the page shows of pictures given back: errors beside the baselines, and the pictures themselves.

For anomalies, where the score of a picture is how badly it was given back, the ROC curve and the alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlens.report import figures
from convlens.report.numbers import short
from convlens.report.numbers_page import interval
from convlens.report.reading import NONE, many, percent
from convlens.report.sections import Card, Section, Shot, Table

SCORES = {"psnr": "PSNR, dB", "ssim": "SSIM", "mae": "mean absolute error", "mse": "mean squared error"}


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
    report: Mapping[str, Any], shots: Sequence[Shot], legend: str, cards: Sequence[Card] = ()
) -> list[Section]:
    """The section of a report of `metrics.reconstruction`."""
    title = f"From the best to the worst image: {legend}"
    tables = picture_tables(report)
    return [Section("pictures", "Pictures", "What it gives back", picture_reading(report), cards, tables, title, shots)]


def picture_reading(report: Mapping[str, Any]) -> str:
    """The error in a sentence, beside the best baseline."""
    best = max(report["baselines"], key=lambda row: row["psnr"]["value"] or 0.0)
    said = f"The pictures come back with a PSNR of {interval(report['psnr'])} dB; {best['name']} reaches "
    said += f"{interval(best['psnr'])} dB"
    gain = best["gain"]["psnr"]
    better = percent(best["gain"]["better"]["value"])
    return f"{said}. That is {interval(gain)} dB more, and {better} of the pictures are better."


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


def anomaly_sections(report: Mapping[str, Any], shots: Sequence[Shot], legend: str) -> list[Section]:
    """The section of a report of `metrics.anomaly`."""
    cards = []
    if curve := report["roc"]:
        drawn = figures.roc(curve["false_positive_rate"], curve["true_positive_rate"], None)
        cards.append(
            Card("Found against false alarms", "Every threshold is a point; the dotted line is chance.", drawn)
        )
    lead, tables = anomaly_reading(report), anomaly_tables(report)
    title = f"The hardest images: {legend}"
    return [Section("anomalies", "Anomalies", "What it notices", lead, cards, tables, title, shots)]


def anomaly_reading(report: Mapping[str, Any]) -> str:
    """The ranking and the alarms in a sentence or two."""
    said = []
    if report["auc"]["value"] is not None:
        said.append(
            f"In {percent(report['auc']['value'])} of all pairs of one normal image and one that is not, the latter "
            f"has the higher score."
        )
    if alarm := report["alarm"]:
        promised = percent(alarm["threshold"]["promise"], 0)
        rate = percent(alarm["false_alarms"]["value"])
        said.append(f"{rate} of the normal images raise an alarm; {promised} were promised.")
        if report["abnormal"]:
            said.append(f"{percent(alarm['detection']['value'])} of the others are found.")
    return " ".join(said)
