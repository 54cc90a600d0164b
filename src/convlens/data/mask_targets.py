"""The masks of a source as one array beside the store: every mask read, understood, and fitted as its image is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convlens.config import DataConfig
from convlens.data.facts import Fact
from convlens.data.findings import Finding, shorten
from convlens.data.fitting import fit_mask
from convlens.data.mask_map import IGNORED
from convlens.data.mask_meaning import choose
from convlens.data.masks import histogram, lossy_masks, read_mask, require_size
from convlens.data.record import Record, Source
from convlens.errors import BadImage, DataError

if TYPE_CHECKING:
    from convlens.data.preprocess import Preprocess


def understand(source: Source, data: DataConfig) -> Source:
    """The same source, with what the values of its masks mean: as the user says, or as a look at all of them proposes.

    Raises:
        DataError: the values cannot be understood; the message holds their histogram and what to write.
    """
    if source.kind != "mask" or source.mask_map is not None:
        return source
    files = {record.id: Path(target) for record in source.records if isinstance(target := source.target(record), Path)}
    meant, told = choose(histogram(_raw(source, source.records, data.max_pixels)), data.mask_values)
    return replace(source, mask_map=meant, findings=(*source.findings, *lossy_masks(files), *told))


def read_masks(
    source: Source, records: Sequence[Record], facts: Sequence[Fact], preprocess: Preprocess
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """The masks of some records at storage size, and what is wrong with them.

    Args:
        facts: of those records; a mask must be as large as its image.

    Shapes:
        (N, store height, store width) uint8, 255 where nothing counts.
    """
    meant = source.mask_map
    assert meant is not None
    values = np.full((len(records), *preprocess.store_px), IGNORED, np.uint8)
    bad: dict[str, list[str]] = {}

    def one(row: int) -> None:
        record = records[row]
        try:
            raw = read_mask(source.target(record), preprocess.policy.max_pixels, str(record.label))
            require_size(raw, (facts[row].height, facts[row].width), str(record.label))
            values[row] = fit_mask(meant.apply(raw), preprocess)
        except (BadImage, DataError) as error:
            bad.setdefault(getattr(error, "reason", str(error)), []).append(record.id)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        list(pool.map(one, range(len(records))))
    findings = tuple(
        Finding("bad-mask", "error", f"Mask of {shorten(ids)}: {reason}", tuple(ids)) for reason, ids in bad.items()
    )
    return values, findings


def _raw(source: Source, records: Sequence[Record], max_pixels: int) -> Iterator[np.ndarray]:
    for record in records:
        try:
            yield read_mask(source.target(record), max_pixels, str(record.label))
        except BadImage:
            continue  # a finding when the masks are read for training
