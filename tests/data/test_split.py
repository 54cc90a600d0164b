from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.duplicates import merge_groups
from convlens.data.health import leaks
from convlens.data.sources import Record
from convlens.data.split import Split, default_fractions, folds, make_split
from convlens.errors import DataError

PARTS = ("train", "valid", "test")
PINNED = ([1, 8], [6, 7])  # of "ab" * 5 with seed 3: a change here changes every user's split


def records_of(
    labels: str, groups: list[int | None] | None = None, splits: list[str | None] | None = None
) -> list[Record]:
    """One record for each letter, the letter being its class."""
    return [
        Record(
            f"{label}/{i:04}",
            i,
            label,
            None if groups is None or groups[i] is None else f"g{groups[i]}",
            splits[i] if splits else None,
        )
        for i, label in enumerate(labels)
    ]


def split_of(labels: str, groups: Any = None, splits: Any = None, **options: Any) -> Split:
    chosen = {"duplicate_groups": (), "fractions": (0.15, 0.2), "seed": 0} | options
    return make_split(records_of(labels, groups, splits), list(labels), **chosen)


def sizes(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.valid), len(split.test)


def by_class(split: Split, labels: str) -> dict[str, Counter[str]]:
    return {part: Counter(labels[row] for row in getattr(split, part)) for part in PARTS}


def kinds(split: Split) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in split.findings}


def is_whole(split: Split, n: int) -> bool:
    rows = np.concatenate([split.train, split.valid, split.test])
    ascending = all((np.diff(getattr(split, part)) > 0).all() for part in PARTS)
    return ascending and sorted(rows.tolist()) == list(range(n)) and rows.dtype == np.int64


def unit_labels(n: int, *group_lists: Any) -> np.ndarray:
    return merge_groups(np.arange(n), [rows for groups in group_lists for rows in groups])


def rows_by_group(groups: list[int | None]) -> list[list[int]]:
    return [
        [row for row, g in enumerate(groups) if g == group] for group in sorted({g for g in groups if g is not None})
    ]


some_labels = st.lists(st.sampled_from("abcd"), min_size=1, max_size=60).map("".join)
shares = st.tuples(st.floats(0.0, 0.45), st.floats(0.0, 0.45))


@st.composite
def grouped_data(draw: st.DrawFn) -> tuple[str, list[int | None], tuple[tuple[int, ...], ...]]:
    """Labels, user groups of any classes, and duplicate groups that overlap them."""
    labels = draw(some_labels)
    n = len(labels)
    groups = draw(st.lists(st.one_of(st.none(), st.integers(0, max(1, n // 3))), min_size=n, max_size=n))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=n // 4))
    return labels, groups, tuple(tuple(sorted(set(pair))) for pair in pairs if pair[0] != pair[1])


@given(grouped_data(), shares, st.integers(0, 2**63 - 1))
def test_a_split_is_complete_disjoint_and_divides_no_group(
    data: Any, fractions: tuple[float, float], seed: int
) -> None:
    labels, groups, duplicates = data
    split = split_of(labels, groups, duplicate_groups=duplicates, fractions=fractions, seed=seed)
    assert is_whole(split, len(labels))
    assert leaks(split, duplicates, records_of(labels, groups)) == ()
    side = np.zeros(len(labels), int)
    side[split.valid], side[split.test] = 1, 2
    units = unit_labels(len(labels), duplicates, rows_by_group(groups))
    assert all(side[row] == side[units[row]] for row in range(len(labels)))


@given(grouped_data(), shares, st.integers(0, 99))
def test_every_class_is_trained_on(data: Any, fractions: tuple[float, float], seed: int) -> None:
    labels, groups, duplicates = data
    split = split_of(labels, groups, duplicate_groups=duplicates, fractions=fractions, seed=seed)
    assert {labels[row] for row in split.train} == set(labels)


@given(some_labels, shares, st.integers(0, 99))
def test_without_groups_every_class_comes_near_its_shares(
    labels: str, fractions: tuple[float, float], seed: int
) -> None:
    found = by_class(split_of(labels, fractions=fractions, seed=seed), labels)
    for name, n in Counter(labels).items():
        for part, share in zip(PARTS, (1 - sum(fractions), *fractions), strict=True):
            assert abs(found[part][name] - share * n) <= 2
            assert found[part][name] > 0 or share == 0 or n < 3


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=1, max_size=30),
    st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
)
def test_a_class_of_three_groups_is_in_every_part(units: list[tuple[str, int]], fractions: tuple[float, float]) -> None:
    labels = "".join(label * size for label, size in units)
    groups = [g for g, (_, size) in enumerate(units) for _ in range(size)]
    found = by_class(split_of(labels, groups, fractions=fractions), labels)
    for name, count in Counter(label for label, _ in units).items():
        if count >= 3:
            assert all(found[part][name] for part in PARTS)


@given(grouped_data(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(data: Any, seed: int, random: Any) -> None:
    labels, groups, duplicates = data
    records = records_of(labels, groups)
    order = list(range(len(records)))
    random.shuffle(order)
    place = {row: at for at, row in enumerate(order)}
    moved = tuple(tuple(place[row] for row in rows) for rows in duplicates)
    options: dict[str, Any] = {"fractions": (0.15, 0.2), "seed": seed}
    first = make_split(records, list(labels), duplicate_groups=duplicates, **options)
    again = make_split(
        [records[row] for row in order], [labels[row] for row in order], duplicate_groups=moved[::-1], **options
    )
    for part in PARTS:
        assert {order[row] for row in getattr(again, part)} == set(getattr(first, part).tolist())


def test_shares_are_met_exactly_where_they_can_be() -> None:
    split = split_of("a" * 600 + "b" * 300 + "c" * 100)
    assert sizes(split) == (650, 150, 200)
    assert by_class(split, "a" * 600 + "b" * 300 + "c" * 100)["valid"] == {"a": 90, "b": 45, "c": 15}
    assert split.findings == ()


def test_many_small_classes_do_not_shift_the_whole() -> None:
    labels = "".join(chr(200 + i) * 10 for i in range(100))  # 6.5, 1.5 and 2 of each
    assert sizes(split_of(labels)) == (650, 150, 200)


def test_groups_of_many_sizes_come_near_the_shares() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 80, 1000).tolist()
    labels = "".join("ab"[group % 3 == 0] for group in groups)
    split = split_of(labels, groups)
    assert np.abs(np.array(sizes(split)) / 1000 - (0.65, 0.15, 0.2)).max() < 0.02


def test_another_seed_is_another_split_and_the_same_seed_the_same() -> None:
    one, same, other = (split_of("ab" * 50, seed=seed) for seed in (1, 1, 2))
    assert [one.train.tolist(), one.test.tolist()] == [same.train.tolist(), same.test.tolist()]
    assert one.test.tolist() != other.test.tolist()
    pinned = split_of("ab" * 5, seed=3)
    assert (pinned.valid.tolist(), pinned.test.tolist()) == PINNED


def test_the_chance_of_being_tested_is_the_same_for_every_image() -> None:
    tested = np.bincount(np.concatenate([split_of("ab" * 10, seed=seed).test for seed in range(400)]), minlength=20)
    assert tested.min() > 400 * 0.2 - 40
    assert tested.max() < 400 * 0.2 + 40


@pytest.mark.parametrize(
    ("fractions", "parts"), [((0.0, 0.2), (80, 0, 20)), ((0.1, 0.0), (90, 10, 0)), ((0, 0), (100, 0, 0))]
)
def test_a_share_of_nothing_leaves_the_part_empty(fractions: tuple[float, float], parts: tuple[int, int, int]) -> None:
    split = split_of("ab" * 50, fractions=fractions)
    assert (sizes(split), split.findings) == (parts, ())


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.9, 0.3), (-0.1, 0.2)])
def test_shares_that_leave_nothing_to_train_on_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(DataError, match=r"leave some images to train on; got .*Lower data\.valid_fraction"):
        split_of("ab" * 50, fractions=fractions)


def test_labels_may_be_numbers_and_are_named_by_the_records() -> None:
    labels = "a" * 20 + "b" * 2
    split = make_split(
        records_of(labels), np.array([0] * 20 + [1] * 2), duplicate_groups=(), fractions=(0.15, 0.2), seed=0
    )
    same = split_of(labels)
    assert [split.train.tolist(), split.test.tolist()] == [same.train.tolist(), same.test.tolist()]
    (missing,) = split.findings
    assert "The validation part has no image of 1 class: b." in missing.message


def test_every_record_needs_a_label() -> None:
    with pytest.raises(DataError, match="one label for each of 3 records; got 2"):
        make_split(records_of("abc"), ["a", "b"], duplicate_groups=(), fractions=(0.1, 0.1), seed=0)


# What a person should know --------------------------------------------------------------------------------------------


def test_a_class_that_cannot_be_everywhere_is_a_warning() -> None:
    split = split_of("a" * 20 + "b" * 20 + "c" * 30, [None] * 20 + [0] * 20 + [None] * 30)
    assert kinds(split)["missing-class"] == "warning"
    assert [f.message.split(".")[0] for f in split.findings if f.kind == "missing-class"] == [
        "The validation part has no image of 1 class: b",
        "The test part has no image of 1 class: b",
    ]


def test_a_part_without_an_image_is_an_error() -> None:
    split = split_of("ab" * 10, [0] * 20)
    assert sizes(split) == (20, 0, 0)
    assert [(f.kind, f.severity) for f in split.findings if f.severity == "error"] == [("empty-part", "error")] * 2
    assert "No image is left for the test part: 20 images in 1 independent units" in split.findings[-1].message


def test_a_part_far_from_its_share_says_why() -> None:
    split = split_of("a" * 40, [i // 13 for i in range(39)] + [None])
    assert kinds(split)["uneven-part"] == "note"
    assert any("(the largest has 13 images)" in f.message for f in split.findings)


# The source's own split -----------------------------------------------------------------------------------------------


def test_a_whole_split_of_the_source_is_kept() -> None:
    own: list[Any] = ["train"] * 10 + ["valid"] * 4 + ["test"] * 6
    split = split_of("ab" * 10, splits=own)
    assert (split.train.tolist(), split.test.tolist()) == (list(range(10)), list(range(14, 20)))
    (kept,) = split.findings
    assert kept.message == "The split the source came with is kept: 10 training, 4 validation and 6 test images."
    assert kept.severity == "note"


@pytest.mark.parametrize(
    ("own", "parts", "said"),
    [
        (["train"] * 100 + ["test"] * 50, (90, 10, 50), "validation images are taken from its training images"),
        (["train"] * 100 + ["valid"] * 50, (80, 50, 20), "test images are taken from its training images"),
        (["train"] * 150, (105, 15, 30), "validation and test images are taken from its training images"),
    ],
)
def test_what_the_source_lacks_is_taken_from_its_train(own: list[Any], parts: tuple[int, ...], said: str) -> None:
    split = split_of("ab" * 75, splits=own, fractions=(0.1, 0.2))
    assert sizes(split) == parts
    assert is_whole(split, 150)
    assert said in split.findings[0].message
    for row, part in enumerate(own):
        assert part == "train" or row in getattr(split, str(part))


def test_groups_that_leak_in_the_source_are_not_moved() -> None:
    own: list[Any] = ["train"] * 60 + ["test"] * 20
    groups: list[Any] = [*range(60), *range(20)]
    split = split_of("ab" * 40, groups, own, duplicate_groups=((58, 79), (1, 2)))
    assert split.test.tolist() == list(range(60, 80))
    assert len(split.valid) == 9
    found = leaks(split, ((58, 79), (1, 2)), records_of("ab" * 40, groups))
    assert [len(f.records) for f in found] == [2, 40]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (["train"] * 5 + [None] * 5, "some records have no part; got 5 train, 5 without a part"),
        (["train"] * 5 + ["holdout"] * 5, "the parts must be train, valid or test; got 5 train, 5 holdout"),
        (["test"] * 10, "nothing to train on; got 10 test"),
    ],
)
def test_an_unclear_split_of_the_source_is_refused(own: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        split_of("ab" * 5, splits=own)


# Cross-validation and defaults ----------------------------------------------------------------------------------------


@given(grouped_data(), st.integers(2, 4), st.integers(0, 99))
def test_each_record_is_held_out_once_and_groups_are_whole(data: Any, k: int, seed: int) -> None:
    labels, groups, duplicates = data
    units = unit_labels(len(labels), duplicates, rows_by_group(groups))
    if len(set(units.tolist())) < k:
        return
    found = folds(records_of(labels, groups), list(labels), duplicate_groups=duplicates, k=k, seed=seed)
    assert len(found) == k
    assert sorted(np.concatenate([split.valid for split in found]).tolist()) == list(range(len(labels)))
    for split in found:
        assert is_whole(split, len(labels))
        assert leaks(split, duplicates, records_of(labels, groups)) == ()


@given(some_labels, st.integers(2, 5))
def test_folds_have_even_classes(labels: str, k: int) -> None:
    if len(labels) < k:
        return
    found = [by_class(s, labels) for s in folds(records_of(labels), list(labels), duplicate_groups=(), k=k, seed=0)]
    for name in set(labels):
        counts = [fold["valid"][name] for fold in found]
        assert max(counts) - min(counts) <= 1


def test_the_test_set_of_the_source_takes_no_part_in_folds() -> None:
    own: list[Any] = ["train"] * 20 + ["valid"] * 10 + ["test"] * 10
    found = folds(records_of("ab" * 20, splits=own), list("ab" * 20), duplicate_groups=(), k=3, seed=0)
    assert [(len(s.train), len(s.valid), s.test.tolist()) for s in found] == [(20, 10, list(range(30, 40)))] * 3


def test_a_class_that_a_fold_cannot_train_on_is_an_error() -> None:
    found = folds(records_of("a" * 9 + "b"), list("a" * 9 + "b"), duplicate_groups=(), k=2, seed=0)
    assert sorted(kinds(split).get("missing-class", "") for split in found) == ["error", "warning"]


@pytest.mark.parametrize("k", [1, 5])
def test_too_few_or_too_many_folds_are_refused(k: int) -> None:
    with pytest.raises(DataError, match=f"got {k} folds and 4"):
        folds(records_of("abab"), list("abab"), duplicate_groups=(), k=k, seed=0)


@pytest.mark.parametrize(
    ("n", "fractions"),
    [(0, (0.15, 0.2)), (1, (0.15, 0.2)), (33_333, (0.15, 0.2)), (50_000, (0.1, 0.2)), (1_000_000, (0.005, 0.2))],
)
def test_default_fractions(n: int, fractions: tuple[float, float]) -> None:
    assert default_fractions(n) == pytest.approx(fractions)
