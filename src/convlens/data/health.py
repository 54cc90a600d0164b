"""What is wrong, or only odd, about the images of a source, as findings.

Nothing is printed, moved or dropped here. It reads the facts of one decode pass beside the records they belong to; it
must not know files, pixels or how a split is made. Rows count the kept records: those whose image could be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convlens.data.arrays import DARK_NOTE, SIXTEEN_BIT_NOTE
from convlens.data.duplicates import SMALLEST_COMPARED_PX, Groups, Search, exact_duplicates
from convlens.data.duplicates import near_duplicates as search
from convlens.data.facts import Fact
from convlens.data.findings import Finding, Severity, shorten
from convlens.data.sources import Record, Source
from convlens.errors import DataError

if TYPE_CHECKING:
    from convlens.data.split import Split

UNBALANCED = 3.0
FEW = 5
LONG_ASPECT = 3.0
TOGETHER = "A split made by convlens keeps each group on one side"
WHITE_LEVELS = (255, 1023, 4095, 16383)


@dataclass(frozen=True)
class Health:
    """What was found.

    Attributes:
        findings: in the order in which a person should read them; a note about all images lists none.
        duplicate_groups: rows of kept records that show the same or nearly the same picture: two or more a group,
            ascending, no row in two groups.
    """

    findings: tuple[Finding, ...]
    duplicate_groups: Groups


def inspect(
    source: Source,
    facts: Sequence[Fact],
    *,
    near_duplicates: bool,
    max_bad_fraction: float = 0.01,
    size_px: tuple[int, int] | None = None,
    white_level: int = 65535,
) -> Health:
    """Look at everything that can be known before training.

    Args:
        facts: one for every record of the source, in its order.
        near_duplicates: look also for pictures that are nearly, not exactly, the same.
        max_bad_fraction: a larger share of unreadable images is an error.
        size_px: height and width of the network's input; smaller images are named.
        white_level: the 16-bit value that was decoded as white.

    Raises:
        DataError: the facts are not those of this source.
    """
    if [fact.id for fact in facts] != [record.id for record in source.records]:
        raise DataError(
            f"Expected one fact for each of the {len(source.records):,} records of {source.name}, in their order; "
            f"got {len(facts):,} facts of other records. Scan this source again."
        )
    findings = list(_unreadable(source, facts, max_bad_fraction))
    records = [record for record, fact in zip(source.records, facts, strict=True) if fact.ok]
    seen = [fact for fact in facts if fact.ok]
    if not records:
        why = f"none of its {len(facts):,} images can be read" if facts else "it holds no image"
        return Health((*findings, Finding("no-images", "error", f"{source.name} cannot be used: {why}.")), ())
    if source.kind in ("mask", "pair", "boxes"):  # labels of files and places may differ for equal pictures
        records = [replace(record, label=None) for record in records]
    exact = exact_duplicates(seen)
    found = search(seen) if near_duplicates else None
    if source.kind == "number":
        findings += _numbers(records)
    elif source.kind == "class":
        findings += _classes(source, records)
    findings += _duplicates(records, exact)
    if found:
        findings += _near_duplicates(records, found, exact)
    findings += [*_sizes(seen, size_px), *_modes(seen), *_dark(seen, white_level), *_notes(seen)]
    return Health(tuple(findings), found.groups if found else exact)


def leaks(split: Split, groups: Groups, records: Sequence[Record]) -> tuple[Finding, ...]:
    """Groups that lie on two sides of a split, as findings with all ids; nothing is moved.

    Args:
        groups: rows that show the same picture, as in `Health.duplicate_groups`.
        records: the kept records; equal values of `Record.group` belong together too.
    """
    side = np.full(len(records), -1)
    for number, rows in enumerate((split.train, split.valid, split.test)):
        side[rows] = number
    named: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        if record.group is not None:
            named.setdefault(record.group, []).append(row)
    kinds = (("identical or nearly identical images", groups), ("records that belong together", named.values()))
    return tuple(finding for what, listed in kinds for finding in _leaks(what, listed, side, records))


def _leaks(
    what: str, groups: Iterable[Sequence[int]], side: np.ndarray, records: Sequence[Record]
) -> Iterator[Finding]:
    across = [rows for rows in groups if len(set(side[list(rows)].tolist()) - {-1}) > 1]
    if not across:
        return
    rows = np.array([row for rows in across for row in rows])
    held = "; ".join(
        f"{int((side[rows] == number).sum()):,} of {int((side == number).sum()):,} {part} images"
        for number, part in enumerate(("training", "validation", "test"))
    )
    yield Finding(
        "leak",
        "warning",
        f"Leak: {_groups(len(across))} of {what} on two sides of the split the source came with ({held}). This "
        f"flatters the score. Nothing was moved: remove them from one side, or let convlens divide the images. "
        f"For one: {shorten(records[row].id for row in across[0])}.",
        tuple(records[row].id for row in rows.tolist()),
    )


def _unreadable(source: Source, facts: Sequence[Fact], max_bad_fraction: float) -> Iterator[Finding]:
    bad = [fact for fact in facts if not fact.ok]
    if not bad:
        return
    ids, share = tuple(fact.id for fact in bad), len(bad) / len(facts)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(fact.kind for fact in bad).most_common())
    first = shorten((f"{fact.id} ({fact.reason})" for fact in bad), most=2)
    yield Finding(
        "unreadable",
        "warning",
        f"{len(bad):,} of {len(facts):,} images ({_percent(share)}) cannot be used and are left out: {kinds}. {first}.",
        ids,
    )
    if share > max_bad_fraction:
        yield Finding(
            "too-many-unreadable",
            "error",
            f"{_percent(share)} of the images of {source.name} cannot be used ({len(bad):,} of {len(facts):,}); "
            f"at most {_percent(max_bad_fraction)} may be. Repair or remove them, or raise data.max_bad_fraction. "
            f"What is wrong: {kinds}. The first is {bad[0].id} ({bad[0].reason}).",
            ids,
        )


def _classes(source: Source, records: Sequence[Record]) -> Iterator[Finding]:
    listed, kept = _by_class(source.records), _by_class(records)
    if not listed:
        return
    for name in dict.fromkeys((*(source.classes or ()), *listed)):
        if name not in kept:
            ids = tuple(listed.get(name, ()))
            why = f"none of its {len(ids):,} images can be read" if ids else "no image has this label"
            yield Finding("empty-class", "error", f"Class '{name}' is empty: {why}. Repair or remove it.", ids)
    if len(kept) == 1:
        yield Finding(
            "one-class",
            "error",
            f"All {len(records):,} images are of one class, '{next(iter(kept))}'; expected two or more to tell apart. "
            f"Give each class its own folder or label.",
        )
    single = {name: ids for name, ids in kept.items() if len(ids) == 1}
    tiny = {name: ids for name, ids in kept.items() if 1 < len(ids) < FEW}
    advice: tuple[tuple[dict[str, list[str]], Severity, str], ...] = (
        (single, "error", "1 image, which cannot be both learnt and tested. Add images or remove the class"),
        (tiny, "warning", f"fewer than {FEW} images; a score on so few says little. Add images"),
    )
    for found, severity, said in advice:
        if found:
            which = f"Class {next(iter(found))!r} has" if len(found) == 1 else f"{len(found):,} classes have"
            names = "" if len(found) == 1 else f": {shorten(found)}"
            ids = tuple(one for ids in found.values() for one in ids)
            yield Finding("tiny-class", severity, f"{which} {said}{names}.", ids)
    (most, many), (least, few) = max(kept.items(), key=_size), min(kept.items(), key=_size)
    if len(many) > UNBALANCED * len(few):
        yield Finding(
            "imbalance",
            "warning",
            f"The classes are unbalanced: '{most}' has {len(many):,} images, '{least}' {len(few):,} "
            f"({len(many) / len(few):.1f} to 1). Always answering '{most}' is right for "
            f"{_percent(len(many) / len(records))}; judge by balanced accuracy, and try train.class_weights=balanced.",
        )


def _numbers(records: Sequence[Record]) -> Iterator[Finding]:
    if len({record.label for record in records}) == 1:
        yield Finding(
            "one-value",
            "error",
            f"All {len(records):,} images have the same number, {records[0].label}; expected numbers that differ.",
        )


def _by_class(records: Iterable[Record]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for record in records:
        if record.label is not None:
            ids.setdefault(record.label, []).append(record.id)
    return ids


def _size(item: tuple[str, list[str]]) -> int:
    return len(item[1])


def _duplicates(records: Sequence[Record], exact: Groups) -> Iterator[Finding]:
    if exact:
        yield Finding(
            "duplicate",
            "warning",
            f"{sum(map(len, exact)):,} images are equal to another, pixel for pixel, in {_groups(len(exact))}. "
            f"{TOGETHER}, but they count more than once. For one: {_example(records, exact)}.",
            _ids(records, exact),
        )
    conflicting = [rows for rows in exact if len({records[row].label for row in rows}) > 1]
    if conflicting:
        first = {records[row].label: f"{records[row].id} is '{records[row].label}'" for row in conflicting[0]}
        yield Finding(
            "conflicting-labels",
            "warning",
            f"Equal images have different labels in {_groups(len(conflicting))}; one label at most is right. "
            f"For one: {shorten(first.values())}. Correct the labels, or remove the copies.",
            _ids(records, conflicting),
        )


def _near_duplicates(records: Sequence[Record], found: Search, exact: Groups) -> Iterator[Finding]:
    near = sorted(set(found.groups) - set(exact), key=len, reverse=True)
    if near:
        mixed = sum(len({records[row].label for row in rows}) > 1 for rows in near)
        yield Finding(
            "near-duplicate",
            "note",
            f"{sum(map(len, near)):,} images look nearly the same as another, in {_groups(len(near))}, the largest of "
            f"{len(near[0]):,}" + (f"; {_groups(mixed)} of more than one class" if mixed else "") + f". {TOGETHER}. "
            f"For one: {_example(records, near)}.",
            _ids(records, near),
        )
    if found.small:
        yield Finding(
            "near-duplicate-skipped",
            "note",
            f"Near duplicates were not looked for among {len(found.small):,} of {len(records):,} images: under "
            f"{SMALLEST_COMPARED_PX} px on a side, too little tells two pictures apart. Equal images were.",
            _unless_all([records[row].id for row in found.small], len(records)),
        )
    if not found.complete:
        yield Finding(
            "near-duplicate-incomplete",
            "warning",
            f"The search for near duplicates ended after {found.comparisons:,} comparisons, because very many images "
            f"look alike; others may lie on two sides of the split. Name what belongs together with data.group_column.",
        )


def _groups(count: int) -> str:
    return f"{count:,} group{'' if count == 1 else 's'}"


def _ids(records: Sequence[Record], groups: Iterable[Sequence[int]]) -> tuple[str, ...]:
    return tuple(records[row].id for rows in groups for row in rows)


def _example(records: Sequence[Record], groups: Sequence[Sequence[int]]) -> str:
    return shorten(_ids(records, groups[:1]))


def _sizes(facts: Sequence[Fact], size_px: tuple[int, int] | None) -> Iterator[Finding]:
    heights, widths = np.array([fact.height for fact in facts]), np.array([fact.width for fact in facts])
    if np.ptp(heights) or np.ptp(widths):
        (low, usual, high), (narrow, common, wide) = (
            (side.min(), np.median(side), side.max()) for side in (heights, widths)
        )
        yield Finding(
            "odd-size",
            "note",
            f"The images differ in size. Smallest, median and largest height: {low}, {usual:.0f} and {high} px; "
            f"width: {narrow}, {common:.0f} and {wide} px.",
        )
    aspect = widths / heights
    usual = float(np.median(aspect))
    odd = np.flatnonzero(np.maximum(aspect / usual, usual / aspect) > LONG_ASPECT).tolist()
    if odd:
        yield Finding(
            "odd-shape",
            "warning",
            f"{len(odd):,} of {len(facts):,} images are more than {LONG_ASPECT:.0f} times longer or narrower than the "
            f"usual width:height of {usual:.2f}; to crop or squash them loses most of the picture. "
            f"{shorten(f'{facts[row].id} ({heights[row]} x {widths[row]} px)' for row in odd)}.",
            tuple(facts[row].id for row in odd),
        )
    small = np.flatnonzero((heights < size_px[0]) | (widths < size_px[1])).tolist() if size_px else []
    if size_px and small:
        yield Finding(
            "small-image",
            "note",
            f"{len(small):,} of {len(facts):,} images are smaller than the network's input of {size_px[0]} x "
            f"{size_px[1]} px and are enlarged, which adds no detail. The shortest side is "
            f"{min(heights.min(), widths.min())} px.",
            _unless_all([facts[row].id for row in small], len(facts)),
        )


def _modes(facts: Sequence[Fact]) -> Iterator[Finding]:
    modes = Counter(fact.mode for fact in facts).most_common()
    if len(modes) > 1:
        listed = ", ".join(f"{mode} ({count:,})" for mode, count in modes)
        yield Finding(
            "mixed-modes", "note", f"The images are stored in {len(modes)} modes, {listed}; all are brought to one."
        )


def _dark(facts: Sequence[Fact], white_level: int) -> Iterator[Finding]:
    deep = [fact for fact in facts if SIXTEEN_BIT_NOTE in fact.notes]
    if not deep or not all(DARK_NOTE in fact.notes for fact in deep):
        return
    peak = max(fact.peak for fact in deep)
    least = white_level * max(peak - 0.5, 0.5) / 255
    likely = next((level for level in WHITE_LEVELS if level >= least), white_level)
    yield Finding(
        "dark-16-bit",
        "warning",
        f"All {len(deep):,} 16-bit images use values up to about {white_level * peak / 255:.0f} only, where "
        f"{white_level} is white: at most {peak + 1} of 256 grey levels are left. "
        f"Set data.white_level, probably to {likely}.",
        _unless_all([fact.id for fact in deep], len(facts)),
    )


def _notes(facts: Sequence[Fact]) -> Iterator[Finding]:
    ids: dict[str, list[str]] = {}
    for fact in facts:
        for note in fact.notes:
            ids.setdefault(note, []).append(fact.id)
    for note, found in sorted(ids.items(), key=lambda item: (-len(item[1]), item[0])):
        yield Finding(
            "decoded", "note", f"{len(found):,} of {len(facts):,} images: {note}.", _unless_all(found, len(facts))
        )


def _unless_all(ids: Sequence[str], total: int) -> tuple[str, ...]:
    """The ids, or none where the finding says itself that it is about all images."""
    return tuple(ids) if len(ids) < total else ()


def _percent(share: float) -> str:
    """A share that does not round to nothing: 0.4 % stays 0.4 %, and 3 in a million are not 0."""
    return f"{share * 100:.3g} %"
