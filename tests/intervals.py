"""The intervals of a report, wherever they stand."""

from __future__ import annotations

from typing import Any


def scores_of(report: Any) -> list[dict[str, Any]]:
    """Every interval that `Interval.to_json` wrote."""
    if isinstance(report, dict):
        if {"value", "low", "high", "n"} <= set(report):
            return [report]
        return [one for value in report.values() for one in scores_of(value)]
    return [one for value in report for one in scores_of(value)] if isinstance(report, list) else []
