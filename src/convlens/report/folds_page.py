"""What the page of a cross-validation shows before anything else: the score of each fold, their mean and spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convlens.report.numbers import short
from convlens.report.numbers_page import interval
from convlens.report.reading import NONE, many
from convlens.report.sections import Section, Table


def fold_table(found: Mapping[str, Any]) -> Table:
    """A row for each fold, and one for all images together.

    Args:
        found: the content of `cross_validation.json`.
    """
    name = found["headline"]["name"].replace("_", " ")
    rows = [
        [f"fold {row['fold']}", f"{row['images']:,}", f"{row['best_epoch']}", interval(row["value"])]
        for row in found["by_fold"]
    ]
    rows.append(["all images", f"{found['report']['n']:,}", NONE, interval(found["headline"]["value"])])
    return Table("Fold by fold", ["tested on", "images", "weights of epoch", name], rows)


def fold_section(found: Mapping[str, Any]) -> Section:
    """The table with the mean and the spread in words."""
    folds = found["folds"]
    said = (
        f"Each image was tested once, by the one of {folds} networks that had not seen it or its like. The scores on "
        f"this page are of all {many(found['report']['n'], 'image')} together. "
    )
    if found["mean"] is not None:
        said += f"Over the folds the mean is {short(found['mean'])}"
        said += f", with a standard deviation of {short(found['spread'])}." if found["spread"] is not None else "."
    said += " Each fold left a network and a page of its own; to have one network, train on all images."
    return Section("folds", "Folds", "Fold by fold", said, (), [fold_table(found)])
