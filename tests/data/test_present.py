"""How batches are put before a network: what belongs to the pixels follows them, and nothing depends on the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.augment import Augment, resolve
from convlens.data.noise import Noise
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.present import Labelled, Masked, Pictured, make_present
from convlens.options import AugmentConfig

MEAN, STD = (0.3, 0.5), (0.2, 0.25)
SIZE, STORE = (6, 8), (9, 12)
MOVING = {"flip": "both", "crop": 0.3, "rotate_deg": 30.0, "scale": 0.2, "brightness": 0.2}


def preprocess(store: tuple[int, int] = STORE) -> Preprocess:
    return Preprocess(ImagePolicy(channels=2), SIZE, store, "crop", MEAN, STD)


def augment(store: tuple[int, int] = STORE, **options: Any) -> Augment:
    return Augment(resolve(AugmentConfig(**options), "none"), preprocess(store), seed=3, classes=2)


def images(n: int = 10, store: tuple[int, int] = STORE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, *store, 2), dtype=np.uint8))


def masks(n: int = 10) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 3, (n, *STORE), dtype=np.uint8))


NONE = torch.zeros(10, dtype=torch.int64)
ROWS = 5 * np.arange(10)


def pictured(noise: str | None = "gaussian:0.2", seed: int = 4, **options: Any) -> Pictured:
    given = None if noise is None else Noise.parse(noise)
    return Pictured(preprocess(SIZE), augment(SIZE, **options), given, seed)


def test_classes_and_numbers_belong_to_the_whole_image() -> None:
    one, targets = Labelled(preprocess(), augment(**MOVING)), torch.arange(10)
    x, same = one.still(images(), targets, ROWS)
    assert torch.equal(x, preprocess().tensor(images()))
    assert same is targets
    x, same = one.changed(images(), targets, ROWS, 2)
    assert torch.equal(x, one.augment(images(), targets, ROWS, 2)[0])  # type: ignore[misc]
    assert same is targets


def test_still_is_the_whole_stored_image_with_its_mask() -> None:
    x, found = Masked(preprocess(), augment(**MOVING)).still(images(), masks(), ROWS)
    assert x.shape == (10, 2, *STORE)
    levels = x * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(levels, images().permute(0, 3, 1, 2) / 255)
    assert torch.equal(found, masks())


def test_training_sees_windows_of_the_input_size_of_both() -> None:
    one = Masked(preprocess(), augment(**MOVING))
    x, found = one.changed(images(), masks(), ROWS, 1)
    assert (x.shape, found.shape) == ((10, 2, *SIZE), (10, *SIZE))
    drawn = augment(**MOVING).draw(ROWS, 1)
    assert torch.equal(x, augment(**MOVING).apply(images(), drawn))
    assert torch.equal(found, augment(**MOVING).move_masks(masks(), drawn))


def test_a_mask_drawn_from_its_image_stays_that_of_its_image() -> None:
    bright = images().clone()
    bright[..., 0] = torch.where(masks() > 0, 255, 0).to(torch.uint8)
    x, found = Masked(preprocess(), augment(flip="both", crop=0.5)).changed(bright, masks(), ROWS, 3)
    assert torch.equal(x[:, 0] > x[:, 0].mean(), found > 0)
    assert not torch.equal(found, masks()[:, 1:7, 2:10]), "nothing moved"


def test_without_noise_a_picture_is_its_own_target() -> None:
    for x, clean in (
        pictured(None).still(images(store=SIZE), NONE, ROWS),
        pictured(None, **MOVING).changed(images(store=SIZE), NONE, ROWS, 0),
    ):
        torch.testing.assert_close(preprocess().levels(x), clean)
    torch.testing.assert_close(
        pictured(None).still(images(store=SIZE), NONE, ROWS)[1], images(store=SIZE).permute(0, 3, 1, 2) / 255
    )


def test_noise_is_in_the_input_and_never_in_the_target() -> None:
    shown = images(store=SIZE)
    for x, clean in (pictured().still(shown, NONE, ROWS), pictured().changed(shown, NONE, ROWS, 2)):
        torch.testing.assert_close(clean, shown.permute(0, 3, 1, 2) / 255)
        added = preprocess().levels(x) - clean
        assert 0.17 < float(added.std()) < 0.23


def test_where_a_picture_is_moved_its_clean_one_is_moved_alike() -> None:
    shown = images(store=SIZE)
    x, clean = pictured(**MOVING).changed(shown, NONE, ROWS, 2)
    quiet, same = pictured(None, **MOVING).changed(shown, NONE, ROWS, 2)
    assert torch.equal(clean, same)
    assert not torch.equal(x, quiet)


def test_every_evaluation_shows_the_same_noise_and_every_epoch_another() -> None:
    shown = images(1, SIZE).expand(10, -1, -1, -1).contiguous()
    one = pictured()
    first = one.still(shown, NONE, ROWS)[0]
    assert torch.equal(first, one.still(shown, NONE, ROWS)[0])
    assert torch.equal(
        first, Pictured(preprocess(SIZE), None, Noise.parse("gaussian:0.2"), 4).still(shown, NONE, ROWS)[0]
    )
    seen = [
        first,
        *(one.changed(shown, NONE, ROWS, epoch)[0] for epoch in range(4)),
        pictured(seed=5).still(shown, NONE, ROWS)[0],
    ]
    flat = torch.cat(seen).flatten(1)  # of every sample in every showing
    alike = torch.corrcoef(flat - flat.mean(0)).fill_diagonal_(0.0)
    assert float(alike.abs().max()) < 0.6, "two of them have the same noise"
    assert torch.equal(seen[2], one.changed(shown, NONE, ROWS, 1)[0])


@settings(max_examples=20, deadline=None)
@given(
    chosen=st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True),
    epoch=st.integers(0, 5),
    noise=st.sampled_from([None, "gaussian:0.1", "poisson:20", "salt-and-pepper:0.2"]),
    way=st.sampled_from(["still", "changed"]),
)
def test_a_pair_does_not_depend_on_its_batch(chosen: list[int], epoch: int, noise: str | None, way: str) -> None:
    for one, shown, targets in (
        (pictured(noise, **MOVING), images(store=SIZE), NONE),
        (Masked(preprocess(), augment(**MOVING)), images(), masks()),
    ):
        show, more = getattr(one, way), () if way == "still" else (epoch,)
        whole, part = show(shown, targets, ROWS, *more), show(shown[chosen], targets[chosen], ROWS[chosen], *more)
        for all_of_them, some in zip(whole, part, strict=True):
            assert torch.equal(all_of_them[chosen], some)


def test_every_kind_is_presented_in_its_way() -> None:
    kinds = {"class": Labelled, "number": Labelled, "mask": Masked, "picture": Pictured}
    for kind, way in kinds.items():
        assert type(make_present(kind, preprocess(SIZE))) is way  # type: ignore[arg-type]
    assert make_present("picture", preprocess(SIZE), noise=Noise.parse("poisson:9"), seed=7) == Pictured(
        preprocess(SIZE), None, Noise.parse("poisson:9"), 7
    )


@pytest.mark.parametrize("kind", ["class", "mask", "picture"])
def test_nothing_is_changed_without_an_augment(kind: Any) -> None:
    with pytest.raises(TypeError, match="Only a presentation made with an Augment"):
        make_present(kind, preprocess(SIZE)).changed(images(store=SIZE), NONE, ROWS, 0)
