"""What the page shows of answered numbers: errors with intervals, predicted against true, and the worst cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convlens.report import figures
from convlens.report.numbers import short
from convlens.report.reading import DASH, NONE, many, percent
from convlens.report.sections import Card, Section, Shot, Table

LEAD = "The answer for every image beside the true number."


def interval(found: Mapping[str, Any]) -> str:
    """A score with its interval.

    Example:
        >>> interval({"value": 2.5, "low": 2.0, "high": 3.25}) == "2.5 (2\\u20133.25)"
        True
    """
    if found.get("value") is None:
        return NONE
    low, high = found.get("low"), found.get("high")
    return short(found["value"]) + ("" if low is None or high is None else f" ({short(low)}{DASH}{short(high)})")


def number_sections(report: Mapping[str, Any], pictures: Mapping[int, tuple[bytes, str]]) -> list[Section]:
    """The sections of a report of `metrics.regression`.

    Args:
        pictures: position of an image among those scored -> its PNG and id; for the worst cases of every target.
    """
    rows, cards, shots = [], [], []
    for target in report["per_target"]:
        name, bar = target["name"], target["error_bar"]
        half = bar["half_width"] if bar else None
        of = f" of {name}" if len(report["per_target"]) > 1 else ""
        points = target["residuals"]
        band = (
            f" The band holds {percent(bar['level'], 0)} of new images; it was measured on validation." if bar else ""
        )
        cards += [
            Card(
                f"Predicted and true{of}",
                f"A point for each image; on the dotted line the two agree.{band}",
                figures.predicted_against_true(points["true"], points["predicted"], half),
            ),
            Card(
                f"Errors{of}",
                "Above the line the answer was too high. A slope means that small numbers are answered too high and "
                "large ones too low.",
                figures.residuals(points["true"], points["predicted"], half),
            ),
        ]
        always = target["baseline"]
        rows.append([name, *(interval(target[key]) for key in ("mae", "rmse", "r2", "bias"))])
        if always.get("mae"):
            rows.append([f"always {short(always['median'])} (median)", interval(always["mae"]), NONE, NONE, NONE])
            rows.append(
                [f"always {short(always['mean'])} (mean)", NONE, interval(always["rmse"]), interval(always["r2"]), NONE]
            )
        for worst in target["worst"]:
            png, record = pictures[worst["position"]]
            lines = [*([name] if of else []), f"said {short(worst['predicted'])}", f"is {short(worst['true'])}"]
            shots.append(Shot(png, lines, record))
    head = ["target", "mean absolute error", "root mean squared error", "R\u00b2", "bias"]
    table = Table(f"Errors on {many(report['n'], 'image')}, with {100 * report['level']:g} % intervals", head, rows)
    title = "The images it was furthest from"
    return [Section("numbers", "Numbers", "How close it comes", LEAD, cards, [table], title, shots)]


def reading(report: Mapping[str, Any]) -> str:
    """The errors in a sentence or two, beside the trivial answer and the error bar's promise."""
    said: list[str] = []
    for target in report["per_target"]:
        always, bar = target["baseline"], target["error_bar"]
        off = f"On average {target['name']} is off by {interval(target['mae'])}"
        if always.get("mae"):
            off += f"; always answering {short(always['median'])} would be off by {short(always['mae']['value'])}"
        said.append(f"{off}.")
        if bar:
            kept, promised = percent(bar["coverage"]["value"]), percent(bar["level"], 0)
            within = f"An answer is within {short(bar['half_width'])} of the truth in {kept} of these images"
            said.append(f"{within}; {promised} were promised.")
    return " ".join(said)
