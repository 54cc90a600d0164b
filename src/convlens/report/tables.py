"""The tables of a report, whatever its task: what the page prints, and what the command line prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convlens.report.boxes_page import box_tables
from convlens.report.masks_page import mask_tables
from convlens.report.pictures_page import anomaly_tables, picture_tables
from convlens.report.sections import Table


def tables_of(report: Mapping[str, Any]) -> list[Table]:
    """The tables of a report of masks, of boxes, of pictures or of anomalies, told apart by what is in it."""
    if "map50" in report:
        return box_tables(report)
    if "auc" in report:
        return anomaly_tables(report)
    return picture_tables(report) if "psnr" in report else mask_tables(report)
