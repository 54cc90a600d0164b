from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.batch import Batches
from convlens.errors import DataError


def make(n: int, batch_size: int, *, shuffle: bool = True, seed: int = 3) -> Batches:
    """Images whose every level is their row, targets ten times that; the part leaves out row 0."""
    images = np.arange(n + 1, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    return Batches(
        images, 10 * np.arange(n + 1), np.arange(1, n + 1), batch_size=batch_size, seed=seed, shuffle=shuffle
    )


@given(n=st.integers(1, 120), batch_size=st.integers(1, 50), epoch=st.integers(0, 5))
def test_a_shuffled_epoch_shows_every_sample_once_in_even_batches(n: int, batch_size: int, epoch: int) -> None:
    batches = make(n, batch_size)
    found = list(batches.epoch(epoch))
    sizes = [len(batch.samples) for batch in found]
    assert len(found) == len(batches)
    assert sorted(np.concatenate([batch.samples for batch in found])) == list(range(1, n + 1))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(batch_size, 3 if batch_size == 2 else 1)
    assert min(sizes) > 1 or n == 1 or batch_size == 1
    for batch in found:
        assert batch.images.shape == (len(batch.samples), 2, 3, 1)
        assert (batch.images[:, 1, 2, 0].numpy() == batch.samples).all()
        assert (batch.targets.numpy() == 10 * batch.samples).all()


@given(n=st.integers(0, 60), batch_size=st.integers(1, 30))
def test_unshuffled_batches_are_full_and_in_order(n: int, batch_size: int) -> None:
    sizes, samples = [], []
    for batch in make(n, batch_size, shuffle=False).epoch(4):
        sizes.append(len(batch.samples))
        samples += batch.samples.tolist()
    assert samples == list(range(1, n + 1))
    assert all(size == batch_size for size in sizes[:-1])
    assert not sizes or 1 <= sizes[-1] <= batch_size


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), start=st.integers(0, 30), shuffle=st.booleans())
def test_an_epoch_goes_on_from_any_batch(n: int, batch_size: int, start: int, shuffle: bool) -> None:
    whole = [batch.samples.tolist() for batch in make(n, batch_size, shuffle=shuffle).epoch(7)]
    resumed = make(n, batch_size, shuffle=shuffle)
    assert [batch.samples.tolist() for batch in resumed.epoch(7, start=start)] == whole[start:]
    assert [resumed.order(7)[resumed.slice(i)].tolist() for i in range(len(resumed))] == whole


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    orders = [tuple(make(50, 8, seed=seed).order(epoch)) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len(set(orders)) == 6
    batches = make(50, 8, seed=1)
    list(batches.epoch(0))
    assert tuple(batches.order(2)) == orders[5]
    assert tuple(make(50, 13, seed=1).order(2)) == orders[5]


def test_every_place_is_equally_likely() -> None:
    places = np.stack([np.argsort(make(10, 5).order(epoch)) for epoch in range(2000)])
    counts = np.stack([np.bincount(places[:, row], minlength=10) for row in range(10)])
    assert ((counts - 200) ** 2 / 200).sum() < 81 + 5 * (2 * 81) ** 0.5


def test_the_order_is_written_down() -> None:
    assert make(8, 4, seed=0).order(0).tolist() == [1, 3, 6, 5, 7, 4, 8, 2]


class Noted(np.memmap):
    """A memory map that notes which rows were read."""

    rows: list[int]

    def __getitem__(self, key: object) -> object:
        if isinstance(key, np.integer):
            self.rows.append(int(key))
        return super().__getitem__(key)  # type: ignore[index]


def test_a_mapped_store_gives_the_same_and_is_read_in_its_order(tmp_path: Path) -> None:
    memory = np.random.default_rng(0).integers(0, 256, (40, 3, 2, 3), dtype=np.uint8)
    memory.tofile(tmp_path / "pixels")
    mapped = Noted(tmp_path / "pixels", np.uint8, mode="r", shape=memory.shape)
    mapped.rows = []
    given = {"targets": np.arange(40), "indices": np.arange(5, 38), "batch_size": 7, "seed": 1, "shuffle": True}
    read = []
    for one, other in zip(Batches(memory, **given).epoch(2), Batches(mapped, **given).epoch(2), strict=True):
        assert torch.equal(one.images, other.images)
        assert (one.samples == other.samples).all()
        read += sorted(other.samples.tolist())
    assert mapped.rows == read


def test_a_batch_is_a_copy() -> None:
    for shuffle in (True, False):
        batches = make(6, 6, shuffle=shuffle)
        next(batches.epoch(0)).images.fill_(99)
        assert batches.images.max() == 6


def test_targets_keep_their_kind() -> None:
    images, rows = np.zeros((4, 2, 2, 1), np.uint8), np.arange(4)
    options = {"batch_size": 4, "seed": 0, "shuffle": False}
    whole = next(Batches(images, np.arange(4, dtype=np.uint8), rows, **options).epoch(0)).targets
    fractions = next(Batches(images, np.ones((4, 2), np.float64), rows, **options).epoch(0)).targets
    assert (whole.dtype, fractions.dtype, fractions.shape) == (torch.int64, torch.float32, (4, 2))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": np.zeros((4, 2, 2), np.uint8)}, r"\(N, H, W, C\) uint8; got \(4, 2, 2\)"),
        ({"images": np.zeros((4, 2, 2, 1))}, "float64"),
        ({"targets": np.zeros(3, np.int64)}, "4 images and 3 targets"),
        ({"indices": np.array([0, 4])}, r"rows 0..3; got 0..4"),
        ({"batch_size": 0}, "at least 1; got 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, object], says: str) -> None:
    parts = {
        "images": np.zeros((4, 2, 2, 1), np.uint8),
        "targets": np.zeros(4, np.int64),
        "indices": np.arange(4),
        "batch_size": 2,
    }
    with pytest.raises(DataError, match=says):
        Batches(**(parts | change), seed=0, shuffle=True)  # type: ignore[arg-type]
