"""From labels to what a network is trained on: class indices, or numbers; and what must be known of them later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convlens.config import DataConfig
from convlens.data.classes import Classes
from convlens.data.sources import Record, Source
from convlens.data.tables import names_of
from convlens.errors import DataError

STRATA = 5


@dataclass(frozen=True)
class Targets:
    """What every image is to be answered with.

    Attributes:
        names: the classes, or what the numbers are called; one for each output of the network.
        values: class indices (N,) int64, or numbers (N, T) float32.
        bounds: that every number lies between, if any.
        strata: (N,) int64, by which a split is stratified: the class, or the fifth of the range the number lies in.
    """

    names: Classes
    values: np.ndarray
    strata: np.ndarray
    bounds: tuple[float, float] | None = None

    @property
    def numeric(self) -> bool:
        """Numbers, not classes."""
        return self.values.ndim == 2

    def learned(self, rows: np.ndarray) -> dict[str, Any]:
        """What the model's card keeps of the training targets: counts of the classes, or mean, spread and median."""
        found = self.values[rows]
        if not self.numeric:
            return {"train_counts": np.bincount(found, minlength=len(self.names)).tolist()}
        std = np.where(found.std(0) > 0, found.std(0), 1.0)
        figures = {"mean": found.mean(0), "std": std, "median": np.median(found, 0)}
        learned: dict[str, Any] = {name: [float(v) for v in values] for name, values in figures.items()}
        return learned | ({"bounds": list(self.bounds)} if self.bounds else {})


def make_targets(source: Source, records: Sequence[Record], data: DataConfig, names: Classes | None = None) -> Targets:
    """The targets of some records of a source.

    Args:
        records: those that are kept.
        data: says which columns numbers came from.
        names: of a network already trained; the labels must be among its classes, or as many as its numbers.

    Raises:
        ClassMismatch: a label is not one of the classes.
        DataError: another number of values than the network answers with.
    """
    labels = [str(record.label) for record in records]
    names = names or (Classes.of(labels) if not (source.numeric or source.classes) else names_of_outputs(source, data))
    if not source.numeric:
        indices = np.array(names.indices(labels, where=source.name), dtype=np.int64)
        return Targets(names, indices, indices)
    values = np.array([[float(number) for number in label.split()] for label in labels], np.float32)
    values = values.reshape(len(labels), -1)
    if values.shape[1] != len(names):
        raise DataError(
            f"The network answers with {len(names)} numbers ({', '.join(names.names)}); the images of {source.name} "
            f"have {values.shape[1]}."
        )
    if data.bounds and not (data.bounds[0] <= values.min() and values.max() <= data.bounds[1]):
        raise DataError(
            f"data.bounds says that every number lies between {data.bounds[0]:g} and {data.bounds[1]:g}; those of "
            f"{source.name} lie between {values.min():g} and {values.max():g}."
        )
    order = np.argsort(np.argsort(values[:, 0], kind="stable"), kind="stable")
    strata = order * min(STRATA, max(1, len(values) // 10)) // max(1, len(values))
    return Targets(names, values, strata.astype(np.int64), data.bounds)


def names_of_outputs(source: Source, data: DataConfig) -> Classes:
    """The classes of a source, or what its numbers are called: as their columns, or `value`, or `value 1` and so on."""
    if not source.numeric:
        labels = [record.label for record in source.records if record.label is not None]
        return Classes(source.classes) if source.classes else Classes.of(labels)
    count = next((record.label.count(" ") + 1 for record in source.records if record.label is not None), 1)
    asked = names_of(data.label_column) if data.label_column else []
    if len(asked) == count:
        return Classes(tuple(asked))
    return Classes(("value",) if count == 1 else tuple(f"value {number}" for number in range(1, count + 1)))
