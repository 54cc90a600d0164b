"""The masks of a source as one array beside the store: every mask read, understood, and fitted as its image is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convlens.data.facts import Fact
from convlens.data.findings import Finding, shorten
from convlens.data.fitting import fit_mask
from convlens.data.mask_map import IGNORED
from convlens.data.mask_meaning import choose
from convlens.data.masks import histogram, lossy_masks, read_mask, require_size
from convlens.data.record import Record, Source
from convlens.errors import BadImage, DataError
from convlens.options import DataConfig

if TYPE_CHECKING:
    from convlens.data.preprocess import Preprocess

MOST_REASONS = 5  # that are told one by one


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
    values = np.full((len(records), *preprocess.store_px), IGNORED, np.uint8)

    def one(row: int) -> None:
        values[row] = fit_mask(_classes(source, records[row], facts[row], preprocess.policy.max_pixels), preprocess)

    return values, _each(records, "Mask", one)


def check_masks(source: Source, facts: Sequence[Fact], max_pixels: int) -> tuple[Finding, ...]:
    """What is wrong with the masks of a source; nothing of them is kept.

    Args:
        facts: of all records of the source; masks of unreadable images are not looked at.
    """
    pairs = [(record, fact) for record, fact in zip(source.records, facts, strict=True) if fact.ok]
    return _each([record for record, _ in pairs], "Mask", lambda row: _classes(source, *pairs[row], max_pixels))


def read_pictures(
    source: Source, records: Sequence[Record], facts: Sequence[Fact], preprocess: Preprocess
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """The clean pictures of some noisy images at storage size, read as those are, and what is wrong with them.

    Shapes:
        (N, store height, store width, C) uint8
    """
    values = np.zeros((len(records), *preprocess.store_px, preprocess.policy.channels), np.uint8)

    def one(row: int) -> None:
        label, noisy = str(records[row].label), (facts[row].height, facts[row].width)
        decoded = preprocess.decode(source.target(records[row]), label)
        if decoded.size_px != noisy:
            height, width = decoded.size_px
            size = f"the clean picture is {height} x {width}, the noisy one {noisy[0]} x {noisy[1]} pixels"
            raise BadImage(label, "mask-size", size)
        values[row] = preprocess.pixels(decoded)

    return values, _each(records, "Clean picture", one)


def _classes(source: Source, record: Record, fact: Fact, max_pixels: int) -> np.ndarray:
    """The classes (h, w) of one mask, which must be as large as its image."""
    assert source.mask_map is not None
    raw = read_mask(source.target(record), max_pixels, str(record.label))
    require_size(raw, (fact.height, fact.width), str(record.label))
    return source.mask_map.apply(raw)


def _each(records: Sequence[Record], what: str, one: Callable[[int], object]) -> tuple[Finding, ...]:
    """Do something for every record, in threads; what could not be done, by its reason."""
    bad: dict[str, list[str]] = {}

    def tried(row: int) -> str:
        try:
            one(row)
        except (BadImage, DataError) as error:
            return str(getattr(error, "reason", error)).rstrip(".")
        return ""

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        for record, wrong in zip(records, pool.map(tried, range(len(records))), strict=True):
            if wrong:
                bad.setdefault(wrong, []).append(record.id)
    findings = [
        Finding("bad-mask", "error", f"{what} of {shorten(ids)}: {reason}.", tuple(ids)) for reason, ids in bad.items()
    ]
    if more := [identity for finding in findings[MOST_REASONS:] for identity in finding.records]:
        message = f"{len(more):,} more cannot be used either: {shorten(more)}."
        findings[MOST_REASONS:] = [Finding("bad-mask", "error", message, tuple(more))]
    return tuple(findings)


def _raw(source: Source, records: Sequence[Record], max_pixels: int) -> Iterator[np.ndarray]:
    for record in records:
        try:
            yield read_mask(source.target(record), max_pixels, str(record.label))
        except BadImage:
            continue  # a finding when the masks are read for training
