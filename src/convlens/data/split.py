"""Train, validation and test: seeded, stratified by class, and never with one group on two sides.

What must stay together (equal `Record.group`, duplicates, near duplicates, and chains of these) is one *unit*; units
are dealt to the parts so that every class comes near its share of each. A split the source itself declares is kept,
and only what it lacks is taken from its training images. The result depends on ids, labels, groups and seed, not on the
order of records. This file must not know images or facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convlens.data.duplicates import Groups, merge_groups
from convlens.data.findings import Finding, shorten
from convlens.data.sources import Record
from convlens.errors import DataError

TRAIN, VALID, TEST = range(3)
PARTS = ("train", "valid", "test")
SPOKEN = ("training", "validation", "test")
TEST_SHARE = 0.2
VALID_SHARE = 0.15
VALID_MOST = 5000
ENOUGH_UNITS = 3


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the records in each part, ascending, int64; no row is in two."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    findings: tuple[Finding, ...] = ()


def default_fractions(n: int) -> tuple[float, float]:
    """Shares of n images held out for (validation, test) where the user names none.

    A fifth for the test, and 15 % for validation but at most 5,000 images: more would hardly sharpen the choice of the
    best epoch, and is missed in training. Count the images to be divided, without those of a test set the source has.

    Example:
        >>> default_fractions(1000), default_fractions(100_000)
        ((0.15, 0.2), (0.05, 0.2))
    """
    return min(VALID_SHARE, VALID_MOST / max(n, 1)), TEST_SHARE


def make_split(
    records: Sequence[Record],
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    *,
    duplicate_groups: Groups,
    fractions: tuple[float, float],
    seed: int,
) -> Split:
    """Divide records into train, validation and test.

    Every class gets at least one unit in train, and one in each part when it has three or more.

    Args:
        labels: the class of each record.
        duplicate_groups: rows that show the same picture, as in `Health.duplicate_groups`.
        fractions: shares for (validation, test) of the images to be divided, which are all, or where the source has
            its own split, those of its train. 0 leaves a part empty; the share of a part the source has is not used.
        seed: decides which units go where.

    Raises:
        DataError: the fractions leave nothing to train on, or the source's own split cannot be understood.
    """
    if min(fractions) < 0 or sum(fractions) >= 1:
        raise DataError(
            f"The shares of validation and test must be 0 or more and leave some images to train on; "
            f"got {fractions[0]:g} and {fractions[1]:g}. Lower data.valid_fraction or data.test_fraction."
        )
    own = _own_split(records)
    shares = [1 - sum(fractions), *fractions] if own is None else [1.0, 0.0, 0.0]
    part = np.full(len(records), TRAIN) if own is None else own
    if own is not None:
        for held, share in ((VALID, fractions[0]), (TEST, fractions[1])):
            if not (own == held).any():
                shares[held], shares[TRAIN] = share, shares[TRAIN] - share
    units = _Units(records, labels, duplicate_groups, part == TRAIN)
    dealt = _deal(units, shares, seed, cover=True)
    for rows, where in zip(units.rows, dealt, strict=True):
        part[rows] = where
    findings = _report(units, dealt, shares)
    if own is not None:
        findings = [_kept(part, shares), *findings]
    return Split(*(np.flatnonzero(part == held) for held in range(3)), findings=tuple(findings))


def folds(
    records: Sequence[Record],
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    *,
    duplicate_groups: Groups,
    k: int,
    seed: int,
) -> list[Split]:
    """Divide records k ways for cross-validation: each is in the validation part of exactly one of the splits.

    Groups and classes are treated as in `make_split`. A test set the source declares is the test of every split, and
    takes no part; otherwise test is empty.

    Raises:
        DataError: k is under 2, or there are fewer than k units to divide.
    """
    is_test, units, dealt = _deal_folds(records, labels, duplicate_groups, k, seed)
    splits = []
    for fold in range(k):
        part = np.where(is_test, TEST, TRAIN)
        for rows, where in zip(units.rows, dealt, strict=True):
            part[rows] = VALID if where == fold else TRAIN
        sides = [VALID if where == fold else TRAIN for where in dealt]
        found = tuple(_report(units, sides, [1 - 1 / k, 1 / k, 0.0]))
        splits.append(Split(*(np.flatnonzero(part == held) for held in range(3)), findings=found))
    return splits


def fold_split(
    records: Sequence[Record],
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    *,
    duplicate_groups: Groups,
    k: int,
    fold: int,
    valid_fraction: float,
    seed: int,
) -> Split:
    """The split of one fold of a cross-validation: its test is the fold, its validation is taken from all others.

    The k folds of one seed test every record once. A test set that the source declares takes no part at all; what it
    declares as validation is divided like the rest.

    Args:
        fold: which, from 1 to k.
        valid_fraction: share of the images outside the fold.

    Raises:
        DataError: as `folds`.
    """
    is_away, units, dealt = _deal_folds(records, labels, duplicate_groups, k, seed)
    part = np.where(is_away, -1, TRAIN)
    for rows, where in zip(units.rows, dealt, strict=True):
        part[rows] = TEST if where == fold - 1 else TRAIN
    sides = [TEST if where == fold - 1 else TRAIN for where in dealt]
    findings = _report(units, sides, [1 - 1 / k, 0.0, 1 / k])
    others = _Units(records, labels, duplicate_groups, part == TRAIN)
    shares = [1 - valid_fraction, valid_fraction, 0.0]
    dealt = _deal(others, shares, seed, cover=True)
    for rows, where in zip(others.rows, dealt, strict=True):
        part[rows] = where
    findings += [finding for finding in _report(others, dealt, shares) if finding not in findings]
    if is_away.any():
        said = f"The source's own test set, {int(is_away.sum()):,} images, takes no part in the cross-validation."
        findings.append(Finding("own-split", "note", said))
    return Split(*(np.flatnonzero(part == held) for held in range(3)), findings=tuple(findings))


def _deal_folds(
    records: Sequence[Record],
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    duplicate_groups: Groups,
    k: int,
    seed: int,
) -> tuple[np.ndarray, _Units, list[int]]:
    """Which records are a test set of the source's own; the units of all others, and the fold of each, from 0."""
    own = _own_split(records)
    is_test = np.zeros(len(records), bool) if own is None else own == TEST
    units = _Units(records, labels, duplicate_groups, ~is_test)
    if not 2 <= k <= len(units.rows):
        raise DataError(
            f"Cross-validation needs at least 2 folds, and as many independent images or groups as folds; "
            f"got {k} folds and {len(units.rows)}. Choose another number of folds."
        )
    return is_test, units, _deal(units, [1 / k] * k, seed, cover=False)


class _Units:
    """What is to be divided, in the order of its smallest ids.

    Attributes:
        rows: the rows of each unit.
        counts: for each unit, how many rows of each class it has.
        totals: rows of each class in all units.
        names: of the classes, for messages.
    """

    def __init__(
        self,
        records: Sequence[Record],
        labels: Sequence[int] | Sequence[str] | np.ndarray,
        duplicate_groups: Groups,
        is_free: np.ndarray,
    ) -> None:
        if len(labels) != len(records):
            raise DataError(f"Expected one label for each of {len(records):,} records; got {len(labels):,} labels.")
        order = sorted(range(len(records)), key=lambda row: records[row].id)
        place = np.empty(len(records), np.int64)
        place[order] = np.arange(len(records))
        named: dict[str, list[int]] = {}
        for row, record in enumerate(records):
            if record.group is not None:
                named.setdefault(record.group, []).append(row)
        together = [place[list(rows)].tolist() for rows in (*duplicate_groups, *named.values())]
        first = merge_groups(np.arange(len(records)), together)  # by place: each unit's smallest id
        members: dict[int, list[int]] = {}
        for at, row in enumerate(order):
            if is_free[row]:
                members.setdefault(int(first[at]), []).append(row)
        values, codes = np.unique(np.asarray(labels), return_inverse=True)
        self.names = [str(value) for value in values]
        for code, record in zip(codes.tolist(), records, strict=True):
            self.names[code] = record.label or self.names[code]
        self.rows = list(members.values())
        classes = codes.tolist()
        self.counts = [Counter(classes[row] for row in rows) for rows in self.rows]
        self.totals = np.bincount(codes[is_free], minlength=len(values)).tolist()

    def classes_of(self, chosen: Sequence[bool]) -> list[int]:
        """Rows of each class in the chosen units."""
        found = [0] * len(self.totals)
        for counts, is_in in zip(self.counts, chosen, strict=True):
            for code, count in counts.items() if is_in else ():
                found[code] += count
        return found


def _deal(units: _Units, shares: Sequence[float], seed: int, *, cover: bool) -> list[int]:
    """The part of each unit: largest first, each to the part that most lacks its classes.

    Args:
        cover: first give every class a unit of its own in train, and where it has three or more, in the other parts.
    """
    order = np.random.default_rng(seed).permutation(len(units.rows)).tolist()
    order.sort(key=lambda unit: -len(units.rows[unit]))
    dealt = [-1] * len(units.rows)
    lacking = [[share * total for total in units.totals] for share in shares]
    lacking_in_all = [share * sum(units.totals) for share in shares]
    open_parts = [part for part, share in enumerate(shares) if share > 0]

    def give(unit: int, part: int) -> None:
        dealt[unit] = part
        lacking_in_all[part] -= len(units.rows[unit])
        for code, count in units.counts[unit].items():
            lacking[part][code] -= count

    if cover:
        holders: list[list[int]] = [[] for _ in units.totals]
        for unit in order:
            for code in units.counts[unit]:
                holders[code].append(unit)
        rarest = sorted((code for code in range(len(holders)) if holders[code]), key=lambda code: len(holders[code]))
        for part in (part for part in (TRAIN, TEST, VALID) if part in open_parts):
            for code in rarest:
                free = [unit for unit in holders[code] if dealt[unit] < 0]
                wants = part == TRAIN or len(holders[code]) >= ENOUGH_UNITS
                if wants and free and all(dealt[unit] != part for unit in holders[code]):
                    give(free[0] if part == TRAIN else free[-1], part)  # the smallest serves a small part best
    for unit in order:
        if dealt[unit] < 0:
            counts = units.counts[unit].items()
            need = {
                part: round(sum(n * lacking[part][code] / units.totals[code] for code, n in counts), 9)
                for part in open_parts
            }
            give(unit, max(open_parts, key=lambda part: (need[part], lacking_in_all[part])))
    return dealt


def _own_split(records: Sequence[Record]) -> np.ndarray | None:
    """The part of each record as the source declares it, or None where it declares nothing."""
    said = Counter(record.split for record in records)
    if set(said) <= {None}:
        return None
    listed = ", ".join(f"{count:,} {part or 'without a part'}" for part, count in said.items())
    if unknown := set(said) - set(PARTS):
        what = "some records have no part" if unknown == {None} else "the parts must be train, valid or test"
        raise DataError(f"The source's own split is unclear: {what}; got {listed}. Give each record a part, or none.")
    if "train" not in said:
        raise DataError(f"The source's own split has nothing to train on; got {listed}. Add a train part.")
    return np.array([PARTS.index(record.split) for record in records if record.split])


def _kept(part: np.ndarray, shares: Sequence[float]) -> Finding:
    taken = [SPOKEN[held] for held in (VALID, TEST) if shares[held] > 0]
    train, valid, test = (int((part == held).sum()) for held in range(3))
    carved = f" ({' and '.join(taken)} images are taken from its training images)" if taken else ""
    counts = f"{train:,} training, {valid:,} validation and {test:,} test images"
    return Finding("own-split", "note", f"The split the source came with is kept{carved}: {counts}.")


def _report(units: _Units, dealt: Sequence[int], shares: Sequence[float]) -> list[Finding]:
    """What a person should know about how the units could be dealt."""
    findings, n = [], sum(units.totals)
    largest = max((len(rows) for rows in units.rows), default=0)
    for part in (part for part in range(3) if shares[part] > 0):
        found = units.classes_of([where == part for where in dealt])
        got, wanted = sum(found) / max(n, 1), shares[part]
        if not got:
            findings.append(
                Finding(
                    "empty-part",
                    "error",
                    f"No image is left for the {SPOKEN[part]} part: {n:,} images in {len(units.rows):,} independent "
                    f"units are too few. Add images, or set data.valid_fraction or data.test_fraction to 0.",
                )
            )
            continue
        absent = [
            name for name, count, total in zip(units.names, found, units.totals, strict=True) if total > count == 0
        ]
        if absent:
            findings.append(
                Finding(
                    "missing-class",
                    "error" if part == TRAIN else "warning",
                    f"The {SPOKEN[part]} part has no image of {len(absent)} class{'es' if len(absent) > 1 else ''}: "
                    f"{shorten(absent)}. It takes three images or groups that are not alike to have one in every "
                    f"part; add images.",
                )
            )
        if abs(got - wanted) > max(wanted / 2, 0.02):
            findings.append(
                Finding(
                    "uneven-part",
                    "note",
                    f"The {SPOKEN[part]} part has {got:.0%} of the {n:,} images instead of {wanted:.0%}: groups are "
                    f"not divided (the largest has {largest:,} images), and every class shall be in every part.",
                )
            )
    return findings
