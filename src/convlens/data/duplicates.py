"""Which images show the same picture, or nearly: groups of rows that must not be divided.

Everything is decided from the facts of one decode pass; no pixel is read again. It must not know labels, findings'
severity or splits: what a group means is for `health.py` and `split.py` to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convlens.data.facts import THUMB_PX, Fact

Groups = tuple[tuple[int, ...], ...]
SMALLEST_COMPARED_PX = 32
MAX_HAMMING = 3
MAX_DIFFERENCE = 4.0
MAX_CONTRAST_SHARE = 1 / 8
FLAT_RANGE = 16
MAX_COMPARISONS = 200_000_000
_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@dataclass(frozen=True)
class Search:
    """Groups of near and exact duplicates together, and how far they were looked for.

    Attributes:
        small: rows too small to compare, under 32 px on a side.
        comparisons: pairs of hashes that were compared.
        complete: whether every pair that could be near was compared.
    """

    groups: Groups
    small: tuple[int, ...]
    comparisons: int
    complete: bool


def merge(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Join elements by pairs; the label of each becomes the smallest member of its group (union-find, vectorised).

    Args:
        labels: `np.arange(n)` to start with, or an earlier result.

    Shapes:
        labels (n,), left (p,), right (p,) -> (n,).

    Example:
        >>> merge(np.arange(6), np.array([4, 1]), np.array([5, 4])).tolist()
        [0, 1, 2, 3, 1, 1]
    """
    labels = labels.copy()
    while True:
        low, high = np.minimum(labels[left], labels[right]), np.maximum(labels[left], labels[right])
        apart = low < high
        if not apart.any():
            return labels
        np.minimum.at(labels, high[apart], low[apart])
        while not np.array_equal(above := labels[labels], labels):
            labels = above


def merge_groups(labels: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Join all members of each group, as `merge` joins pairs.

    Example:
        >>> merge_groups(np.arange(5), [(0, 2), (3, 2, 4)]).tolist()
        [0, 1, 0, 0, 0]
    """
    left = [row for rows in groups for row in rows[:-1]]
    right = [row for rows in groups for row in rows[1:]]
    return merge(labels, np.array(left, np.int64), np.array(right, np.int64))


def groups_of(labels: np.ndarray) -> Groups:
    """The groups of two or more in labels from `merge`, ascending, in the order of their first members.

    Example:
        >>> groups_of(np.array([0, 1, 0, 1, 4]))
        ((0, 2), (1, 3))
    """
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return tuple(tuple(rows.tolist()) for rows in np.split(order, starts[1:]) if len(rows) > 1)


def exact_duplicates(facts: Sequence[Fact]) -> Groups:
    """Rows whose decoded pixels are the same, whatever file they came from."""
    rows: dict[str, list[int]] = {}
    for row, fact in enumerate(facts):
        rows.setdefault(fact.content, []).append(row)
    return tuple(tuple(same) for same in rows.values() if len(same) > 1)


def near_duplicates(facts: Sequence[Fact], most: int = MAX_COMPARISONS) -> Search:
    """Find pictures that are nearly the same, such as a photograph saved again, scaled, or taken twice in a burst.

    Two are near duplicates when their 64-bit difference hashes differ in at most 3 bits, and their 16 x 16 grey
    thumbnails on average by at most 4 of 255 levels and an eighth of their contrast. Flat pictures are left out: too
    little is in them to tell. A change of brightness, a turn or a mirror image is another picture.

    Args:
        facts: of readable images.
        most: comparisons after which the search ends, complete or not.

    Source: the difference hash is N. Krawetz, "Kind of Like That", 2013.
    """
    labels = merge_groups(np.arange(len(facts)), exact_duplicates(facts))
    is_small = np.array([min(fact.height, fact.width) < SMALLEST_COMPARED_PX for fact in facts], bool)
    rows = np.flatnonzero(~is_small & (labels == np.arange(len(facts))))  # one of each set of exact duplicates
    thumbs = np.frombuffer(b"".join(facts[row].thumb for row in rows.tolist()), np.uint8).reshape(-1, THUMB_PX**2)
    is_vivid = np.ptp(thumbs, axis=1) >= FLAT_RANGE
    rows, thumbs = rows[is_vivid], thumbs[is_vivid]
    comparisons, complete = 0, True
    for left, right, compared in _near_pairs(np.array([facts[row].phash for row in rows.tolist()], np.uint64)):
        apart = labels[rows[left]] != labels[rows[right]]
        left, right = left[apart], right[apart]
        alike = _look_alike(thumbs[left].astype(np.float32), thumbs[right].astype(np.float32))
        labels = merge(labels, rows[left[alike]], rows[right[alike]])
        comparisons += compared
        if comparisons >= most:
            complete = False
            break
    return Search(groups_of(labels), tuple(np.flatnonzero(is_small).tolist()), comparisons, complete)


def _look_alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether thumbnails (p, 256) differ little, in levels and against the contrast there is."""
    difference, contrast = np.abs(left - right).mean(axis=1), left.std(axis=1)
    return difference <= np.minimum(MAX_DIFFERENCE, MAX_CONTRAST_SHARE * contrast)


def _near_pairs(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Pairs at most 3 bits apart, some of them twice, and how many pairs were compared to find them.

    The 64 bits are dealt to four bands of 16: three differing bits leave at least one band equal. A band takes every
    fourth bit, so that an empty border does not make the bands of all pictures equal. Sorted by band, equals are
    neighbours.
    """
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)  # (n, 64)
    for band in range(4):
        keys = np.packbits(bits[:, band::4], axis=1).view(np.uint16)[:, 0]
        order = np.lexsort((hashes, keys))
        keys, ordered = keys[order], hashes[order]
        first, step = np.arange(len(keys)), 0
        while True:
            step += 1
            first = first[first + step < len(keys)]
            first = first[keys[first] == keys[first + step]]
            if not len(first):
                break
            differing = (ordered[first] ^ ordered[first + step]).view(np.uint8).reshape(-1, 8)
            near = first[_ONES[differing].sum(axis=1) <= MAX_HAMMING]
            yield order[near], order[near + step], len(first)
