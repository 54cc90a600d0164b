"""Views as boxes of memory, against numpy arrays that hold the number of each cell."""

from __future__ import annotations

import random

import numpy as np
import pytest

from convlens.explain.memory import Layout, common, place


def layout(view: np.ndarray, memory: np.ndarray) -> Layout:
    first = view.reshape(-1)[0] if view.size else 0
    return Layout(int(first), view.shape, tuple(step // memory.itemsize for step in view.strides))


def random_view(rng: random.Random, base: np.ndarray) -> np.ndarray:
    view = base
    for _ in range(rng.randrange(4)):
        kind, axis = rng.choice(["slice", "slice", "step", "select", "turn", "merge"]), rng.randrange(max(view.ndim, 1))
        if view.ndim == 0:
            break
        n = view.shape[axis]
        at = [slice(None)] * view.ndim
        if kind == "slice":
            at[axis] = slice(rng.randrange(n), None)
        elif kind == "step":
            at[axis] = slice(rng.randrange(n), None, rng.choice([2, 3]))
        elif kind == "select":
            at[axis] = slice(i := rng.randrange(n), i + 1)
        view = view[tuple(at)]
        if kind == "turn":
            view = view.transpose(rng.sample(range(view.ndim), view.ndim))
        elif kind == "select":
            view = view.squeeze(axis)
        elif kind == "merge":
            merged = view.reshape(-1, *view.shape[2:]) if view.ndim > 1 else view
            view = merged if np.shares_memory(merged, base) else view
    return view


@pytest.mark.parametrize("part", range(4))
def test_a_view_is_the_box_it_is_said_to_be(part: int) -> None:
    rng, found = random.Random(part), 0
    for _ in range(200):
        memory = np.arange(2 * 5 * 6 * 3)
        base = memory.reshape(rng.choice([(2, 5, 6, 3), (10, 1, 18), (2, 15, 6)]))
        view = random_view(rng, base)
        if view.size == 0:
            continue
        placed = place(layout(view, memory), layout(base, memory))
        if placed is None:
            continue
        found += 1
        box = base[placed.slices]
        assert placed.shape == box.shape
        assert np.array_equal(box.transpose(placed.order).reshape(-1), view.reshape(-1))
    assert found > 150


@pytest.mark.parametrize("part", range(4))
def test_what_two_boxes_have_in_common_is_what_their_cells_have(part: int) -> None:
    rng, met, apart = random.Random(part), 0, 0
    for _ in range(200):
        memory = np.arange(5 * 6 * 7)
        base = memory.reshape(5, 6, 7)
        a, b = random_view(rng, base), random_view(rng, base)
        if not a.size or not b.size:
            continue
        first, second = place(layout(a, memory), layout(base, memory)), place(layout(b, memory), layout(base, memory))
        if first is None or second is None:
            continue
        both, shared = set(a.reshape(-1).tolist()) & set(b.reshape(-1).tolist()), common(first, second)
        if shared is None:
            assert not both
            apart += 1
            continue
        met += 1
        for placed, part_of in zip((first, second), shared, strict=True):
            assert set(base[placed.slices][part_of].reshape(-1).tolist()) == both
    assert met > 50
    assert apart > 5


def test_some_views_are_no_boxes() -> None:
    base = Layout(0, (4, 6), (6, 1))
    assert place(Layout(0, (3, 8), (8, 1)), base) is None  # cut in another way
    assert place(Layout(0, (4, 4), (7, 1)), base) is None  # slanting
    assert place(Layout(0, (4, 6), (0, 1)), base) is None  # the same row again and again
    assert place(Layout(4, (4, 4), (6, 1)), base) is None  # runs over the edge
    assert place(Layout(-1, (1, 1), (6, 1)), base) is None  # lies before it


def test_dense_is_without_gaps() -> None:
    assert Layout(3, (2, 1, 4), (4, 99, 1)).dense
    assert not Layout(0, (2, 4), (5, 1)).dense
    assert not Layout(0, (2, 4), (1, 2)).dense
    assert Layout(0, (2, 3), (3, 1)).size == (6, 2)
