"""What a source yields: records, and the source as a list of them. Knows nothing of folders, tables or pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convlens.data.findings import Finding
from convlens.errors import DataError
from convlens.options import Kind

if TYPE_CHECKING:
    from convlens.data.mask_map import MaskMap


@dataclass(frozen=True)
class Record:
    """One sample.

    Attributes:
        id: unique and stable: the path below the root with forward slashes, or `train-images#12`.
        image: a file, or a row of the source's arrays.
        label: the answer as a text: the class, the numbers with a space between them, the mask's path below its folder
            or its row, the boxes as JSON. None only where a source was opened without labels, or needs none.
        group: records of equal group stay on one side of a split.
        split: `train`, `valid` or `test` where the source itself says so.
    """

    id: str
    image: Path | int
    label: str | None
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """Records in natural order of their ids, and what was noticed while listing them.

    Attributes:
        name: short, for people: the folder's or file's name, or that of the built-in set.
        arrays: (N, H, W) or (N, H, W, C), where the images are in memory.
        root: the folder all files lie below.
        classes: the order of the classes, where the source declares one.
        kind: what the labels are.
        target_root: the folder that the paths of masks or clean pictures start from.
        target_arrays: (N, H, W) or (N, H, W, C), where those are in memory.
        mask_map: which values of the masks mean which class.
    """

    name: str
    records: tuple[Record, ...]
    arrays: np.ndarray | None = None
    root: Path | None = None
    findings: tuple[Finding, ...] = ()
    classes: tuple[str, ...] | None = None
    kind: Kind = "class"
    target_root: Path | None = None
    target_arrays: np.ndarray | None = None
    mask_map: MaskMap | None = None

    def image(self, record: Record) -> Path | np.ndarray:
        """What the decoder takes: a file, or one array.

        Raises:
            DataError: the record points at a row, but this source has no arrays.
        """
        if isinstance(record.image, Path):
            return record.image
        if self.arrays is None:
            raise DataError(f"Record {record.id} is row {record.image} of an array, but source {self.name} has none.")
        return self.arrays[record.image]

    def target(self, record: Record) -> Path | np.ndarray:
        """The mask or the clean picture that belongs to a record: a file, or one array.

        Raises:
            DataError: there is none.
        """
        if record.label is None:
            raise DataError(f"Record {record.id} of source {self.name} has nothing beside it to learn from.")
        if self.target_arrays is not None:
            return self.target_arrays[int(record.label)]
        return (self.target_root or Path()) / record.label
