from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from convlens.data import duplicates
from convlens.data.duplicates import exact_duplicates, groups_of, merge, merge_groups, near_duplicates
from convlens.data.facts import Fact, scan
from convlens.data.policy import ImagePolicy
from convlens.data.sources import Record, Source

SIDE = 96


def photo(seed: int) -> Image.Image:
    """Soft blobs of light: smooth and different for every seed, as photographs are."""
    levels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def again(picture: Image.Image, **options: int) -> Image.Image:
    """The picture after a JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return Image.open(buffer)


def facts_of(*pictures: Image.Image) -> tuple[Fact, ...]:
    arrays = [np.asarray(picture) for picture in pictures]
    facts = []
    for i, array in enumerate(arrays):
        source = Source("a", (Record(f"{i}", 0, "x"),), array[None])
        facts += scan(source, ImagePolicy(), 1)
    return tuple(facts)


SAME: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda p: again(p, quality=30),
    "half the size": lambda p: p.resize((SIDE // 2, SIDE // 2)),
    "sharper": lambda p: p.filter(ImageFilter.SHARPEN),
    "a border cut off": lambda p: p.crop((1, 0, SIDE, SIDE - 1)),
}
OTHER: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "much brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "another": lambda _: photo(99),
}


@pytest.mark.parametrize("change", SAME)
def test_a_picture_made_again_is_a_near_duplicate(change: str) -> None:
    pictures = [photo(seed) for seed in range(5)]
    assert near_duplicates(facts_of(*pictures, SAME[change](pictures[3]))).groups == ((3, 5),)


@pytest.mark.parametrize("change", OTHER)
def test_another_picture_is_not(change: str) -> None:
    pictures = [photo(seed) for seed in range(5)]
    assert near_duplicates(facts_of(*pictures, OTHER[change](pictures[3]))).groups == ()


def test_exact_and_near_duplicates_become_one_group() -> None:
    first, other = photo(1), photo(2)
    facts = facts_of(first, other, first.copy(), again(first), other.copy())
    assert exact_duplicates(facts) == ((0, 2), (1, 4))
    assert near_duplicates(facts).groups == ((0, 2, 3), (1, 4))


def test_equal_hashes_are_not_enough() -> None:
    ramp = np.repeat(np.arange(SIDE, dtype=np.uint8)[None, :, None], SIDE, axis=0).repeat(3, axis=2)
    facts = facts_of(Image.fromarray(ramp), Image.fromarray(ramp * 2))
    assert facts[0].phash == facts[1].phash
    assert near_duplicates(facts).groups == ()


def test_the_same_scene_a_little_brighter_is_another_picture() -> None:
    ramp = np.linspace(0, 240, SIDE)[None, :, None] * np.ones((SIDE, 1, 3))
    facts = facts_of(*(Image.fromarray((ramp + add).astype(np.uint8)) for add in (0, 3, 9)))
    assert near_duplicates(facts).groups == ((0, 1),)


def test_a_small_difference_counts_for_more_where_there_is_little_contrast() -> None:
    ramp = np.arange(SIDE, dtype=np.float32) / SIDE
    faint = np.rint(40 * ramp)[None, :, None] * np.ones((SIDE, 1, 3))
    facts = facts_of(*(Image.fromarray((faint + add).astype(np.uint8)) for add in (0, 1, 3)))
    assert near_duplicates(facts).groups == ((0, 1),)


def test_flat_pictures_are_left_out_and_equal_ones_are_not() -> None:
    facts = facts_of(*(Image.new("RGB", (SIDE, SIDE), (level,) * 3) for level in (250, 249, 248, 250)))
    found = near_duplicates(facts)
    assert found.groups == ((0, 3),)
    assert found.comparisons == 0  # a thousand flat pictures must not be half a million comparisons


def test_small_pictures_are_not_compared_and_named() -> None:
    small = photo(1).resize((SIDE, 31))
    found = near_duplicates(facts_of(small, again(small), photo(2), again(photo(2)), small.copy()))
    assert found.groups == ((0, 4), (2, 3))
    assert found.small == (0, 1, 4)


def test_a_search_without_end_is_ended_and_says_so() -> None:
    facts = facts_of(*(again(photo(1), quality=quality) for quality in range(40, 60)))
    whole = near_duplicates(facts)
    assert (whole.complete, len(whole.groups[0])) == (True, 20)
    cut = near_duplicates(facts, most=whole.comparisons // 2)
    assert not cut.complete
    assert cut.comparisons < whole.comparisons


def test_no_pictures_have_no_duplicates() -> None:
    assert near_duplicates(()) == duplicates.Search((), (), 0, True)


words = st.integers(0, 2**64 - 1)


@given(words, st.lists(st.lists(st.integers(0, 63), max_size=5), min_size=1, max_size=8), st.lists(words, max_size=8))
def test_every_pair_of_hashes_three_bits_apart_is_found(start: int, flips: list[list[int]], others: list[int]) -> None:
    hashes = [*others, *(start ^ sum(1 << bit for bit in set(flip)) for flip in flips)]
    found = {
        tuple(sorted(pair))
        for left, right, _ in duplicates._near_pairs(np.array(hashes, np.uint64))
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    }
    pairs = combinations(range(len(hashes)), 2)
    assert found == {(a, b) for a, b in pairs if (hashes[a] ^ hashes[b]).bit_count() <= 3}


@given(st.integers(1, 30), st.lists(st.lists(st.integers(0, 29), max_size=5), max_size=12))
def test_merging_is_what_a_plain_union_find_does(n: int, groups: list[list[int]]) -> None:
    groups = [[row % n for row in rows] for rows in groups]
    parent = list(range(n))
    for rows in groups:
        for row in rows[1:]:
            low, high = sorted((parent[rows[0]], parent[row]))
            parent = [low if p == high else p for p in parent]
    assert merge_groups(np.arange(n), groups).tolist() == parent


def test_members_of_an_earlier_merge_follow_a_long_chain() -> None:
    earlier = merge(np.arange(80), np.array([79]), np.array([63]))
    chain = np.arange(63)
    assert merge(earlier, chain, chain + 1)[[0, 63, 79]].tolist() == [0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=20), st.integers(0, 20))
def test_pairs_may_be_merged_in_any_portions(pairs: list[tuple[int, int]], cut: int) -> None:
    def merged(labels: np.ndarray, some: list[tuple[int, int]]) -> np.ndarray:
        return merge(labels, np.array([a for a, _ in some], np.int64), np.array([b for _, b in some], np.int64))

    at_once = merged(np.arange(20), pairs)
    assert merged(merged(np.arange(20), pairs[:cut]), pairs[cut:]).tolist() == at_once.tolist()
    groups = groups_of(at_once)
    assert all(len(set(at_once[list(rows)].tolist())) == 1 and list(rows) == sorted(rows) for rows in groups)
    assert sum(map(len, groups)) == 20 - sum(np.bincount(at_once) == 1)
