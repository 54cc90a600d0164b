from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.augment import PRESETS, Augment, _scrambled, hashed_normal, moved, resolve, warped
from convlens.data.draws import Draw, draw, draw_mix
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import ConfigError, ShapeError
from convlens.options import AugmentConfig

EVERYTHING = {
    "flip": "both",
    "crop": 0.1,
    "rotate_deg": 20.0,
    "translate": 0.1,
    "scale": 0.2,
    "brightness": 0.2,
    "contrast": 0.2,
    "noise": 0.05,
    "erase": 0.5,
}


def images_of(n: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(n + height + width + channels)
    return torch.from_numpy(rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8))


def make(
    channels: int = 3, size: tuple[int, int] = (9, 8), store: tuple[int, int] | None = None, **options: Any
) -> Augment:
    mean, std = (0.1, 0.4, 0.6)[:channels], (0.2, 0.5, 0.3)[:channels]
    preprocess = Preprocess(ImagePolicy(channels=channels), size, store or size, "crop", mean, std)
    return Augment(resolve(AugmentConfig(**options), "none"), preprocess, seed=5, classes=4)


def apply(augment: Augment, images: torch.Tensor, samples: np.ndarray, epoch: int = 0) -> torch.Tensor:
    return augment(images, torch.zeros(len(images), dtype=torch.int64), samples, epoch)[0]


def still(n: int, **changes: Any) -> Draw:
    none = resolve(AugmentConfig(), "none")
    given = {key: np.broadcast_to(value, (n, *np.shape(value))).copy() for key, value in changes.items()}
    return replace(draw(none, 0, 0, np.arange(n), (4, 4)), **given)


# what a picture depends on ----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    chosen=st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True),
    epoch=st.integers(0, 9),
    channels=st.sampled_from([1, 3]),
    only_whole_pixels=st.booleans(),
)
def test_a_picture_does_not_depend_on_its_batch(
    chosen: list[int], epoch: int, channels: int, only_whole_pixels: bool
) -> None:
    options = EVERYTHING | ({"rotate_deg": 0.0, "translate": 0.0, "scale": 0.0} if only_whole_pixels else {})
    augment = make(channels, store=(11, 9), **options)
    images, samples = images_of(12, 11, 9, channels), np.arange(12) * 31
    whole = apply(augment, images, samples, epoch)
    part = apply(augment, images[chosen], samples[chosen], epoch)
    assert torch.equal(part, whole[chosen])


def test_a_picture_depends_on_seed_epoch_and_sample() -> None:
    images, samples = images_of(1, 9, 8).expand(3, -1, -1, -1).contiguous(), np.array([4, 4, 5])
    augment = make(**EVERYTHING)
    first = apply(augment, images, samples, 0)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert not torch.equal(first, apply(augment, images, samples, 1))
    other = Augment(augment.config, augment.preprocess, seed=6, classes=4)
    assert not torch.equal(first, apply(other, images, samples, 0))


def test_the_stored_images_stay_as_they_are() -> None:
    images = images_of(6, 9, 8)
    before = images.clone()
    apply(make(**EVERYTHING), images, np.arange(6))
    assert torch.equal(images, before)


@pytest.mark.parametrize("store", [(9, 8), (12, 13)])
def test_without_augmentation_it_is_preprocessing(store: tuple[int, int]) -> None:
    augment, images = make(store=store), images_of(5, *store)
    x = apply(augment, images, np.arange(5))
    assert torch.equal(x, augment.preprocess.tensor(images))
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_memory_is_channels_last_on_every_way() -> None:
    for options in ({"flip": "horizontal"}, {"rotate_deg": 5.0}, {"mixup": 1.0, "cutmix": 1.0}):
        x = apply(make(**options), images_of(6, 9, 8), np.arange(6))
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert x.shape == (6, 3, 9, 8)


# geometry ---------------------------------------------------------------------------------------------------------


def test_flipping_twice_is_the_identity() -> None:
    images = images_of(4, 5, 6)
    for flip in ([True, False], [False, True], [True, True]):
        drawn = still(4, flip=flip)
        once = moved(images, drawn, (5, 6))
        assert torch.equal(once, images.flip([axis + 1 for axis in (0, 1) if flip[axis]]))
        assert torch.equal(moved(once, drawn, (5, 6)), images)


def test_mirrors_and_an_exchange_are_the_eight_ways_a_square_can_lie() -> None:
    image, seen = images_of(1, 7, 7), set()
    ways = [np.rot90(side, turns) for side in (image[0], image[0].flip(1)) for turns in range(4)]
    for rows in (False, True):
        for columns in (False, True):
            for turn in (False, True):
                drawn = still(1, flip=[rows, columns], turn=turn)
                for move in (moved, warped):
                    found = move(image, drawn, (7, 7))[0].numpy()
                    seen.add(next(way for way, expected in enumerate(ways) if (found == expected).all()))
    assert len(seen) == 8


def test_pictures_that_are_not_square_are_not_turned() -> None:
    with pytest.raises(ConfigError, match=r"square pictures.*\(12, 12\).*\(9, 8\).*augment.turn=false"):
        make(3, (9, 8), (12, 12), turn=True)
    with pytest.raises(ConfigError, match="square pictures"):
        make(3, (8, 8), (12, 13), turn=True)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("store", [(6, 7), (9, 12), (6, 8)])
def test_a_shift_shows_the_neighbouring_pixels_and_mirrors_the_border(channels: int, store: tuple[int, int]) -> None:
    images, size, border = images_of(1, *store, channels), (6, 7), 4
    padded = np.pad(images[0].numpy(), ((border, border), (border, border), (0, 0)), mode="symmetric")
    for down in range(-3, 4):
        for right in range(-3, 4):
            top = border + (store[0] - 6) // 2 + down
            left = border + (store[1] - 7) // 2 + right
            expected = padded[top : top + 6, left : left + 7]
            for move in (moved, warped):
                assert (move(images, still(1, shift=[down, right]), size)[0].numpy() == expected).all()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.integers(1, 40).map(lambda side: (side, side)),
    margin=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_both_ways_agree_on_whole_pixels(
    size: tuple[int, int], margin: tuple[int, int], channels: int, seed: int
) -> None:
    images = images_of(4, size[0] + margin[0], size[1] + margin[1], channels)
    options = resolve(AugmentConfig(flip="both", turn=size[0] == size[1], crop=0.5), "none")
    drawn = draw(options, seed, 0, np.arange(4), size)
    assert torch.equal(moved(images, drawn, size).float(), warped(images, drawn, size))


def test_far_beyond_the_border_the_mirror_images_go_on() -> None:
    images = images_of(3, 5, 6)
    for far in (-23, -11, 7, 16, 40):
        drawn = still(3, shift=[far, -far])
        assert torch.equal(moved(images, drawn, (5, 6)).float(), warped(images, drawn, (5, 6)))


@pytest.mark.parametrize("side", [7, 8, 224])
def test_quarter_turns_are_exact(side: int) -> None:
    images = images_of(1, side, side)
    for turns in (1, 2, 3):
        turned = warped(images, still(1, angle_deg=90.0 * turns), (side, side))
        assert (turned[0].numpy() == np.rot90(images[0].numpy(), turns)).all()


def test_a_mirrored_picture_is_mirrored_before_it_is_turned() -> None:
    images = images_of(1, 8, 8)
    turned = warped(images, still(1, angle_deg=90.0, flip=[False, True]), (8, 8))
    assert (turned[0].numpy() == np.rot90(images[0].numpy()[:, ::-1])).all()


def test_zoom_magnifies_the_centre() -> None:
    images = torch.zeros(1, 8, 8, 1, dtype=torch.uint8)
    images[:, 2:6, 2:6] = 200
    large = warped(images, still(1, zoom=2.0), (8, 8))[0, :, :, 0]
    assert (large[1:7, 1:7] == 200).all()
    assert (large[0, 1:7] == 150).all()
    small = warped(images, still(1, zoom=0.5), (8, 8))[0, 2:6, 2:6, 0]  # mirrored beyond
    assert small[1:3, 1:3].eq(200).all()
    assert small.gt(0).sum() == 4


def test_half_a_pixel_is_the_mean_of_two() -> None:
    images = torch.tensor([10, 20, 60], dtype=torch.uint8).view(1, 1, 3, 1)
    assert warped(images, still(1, translate=[0.0, 0.5]), (1, 3)).flatten().tolist() == [15, 40, 60]


def test_a_small_turn_keeps_a_smooth_picture_smooth() -> None:
    slope = torch.arange(0, 240, 10, dtype=torch.uint8).view(1, 1, 24, 1).repeat(1, 24, 1, 1)
    turned = warped(slope, still(1, angle_deg=10.0), (24, 24))[0, 6:18, 6:18, 0]
    row, column = torch.meshgrid(torch.arange(6, 18) - 11.5, torch.arange(6, 18) - 11.5, indexing="ij")
    angle = np.deg2rad(10.0)
    expected = 115 + 10 * (np.cos(angle) * column - np.sin(angle) * row)
    assert (turned - expected).abs().max() <= 0.51


# levels -----------------------------------------------------------------------------------------------------------


def test_brightness_and_contrast_are_the_formula() -> None:
    augment, images = make(), images_of(2, 9, 8)
    drawn = still(2, gain=1.2, contrast=0.5)
    x = augment.apply(images, drawn)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (augment.preprocess.mean, augment.preprocess.std))
    levels = images.permute(0, 3, 1, 2).float() / 255 * 1.2
    expected = ((levels - mean) * 0.5 + mean - mean) / std
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=0)


def test_noise_has_the_deviation_asked_for() -> None:
    images = torch.full((50, 40, 40, 3), 128, dtype=torch.uint8)
    augment = make(size=(40, 40), noise=0.1)
    added = apply(augment, images, np.arange(50)) - augment.preprocess.tensor(images)
    levels = added * torch.tensor(augment.preprocess.std).view(1, 3, 1, 1)
    assert levels.mean().abs() < 0.001
    for channel in range(3):
        assert abs(levels[:, channel].std() - 0.1) < 0.001


def test_hashed_numbers_are_normal_and_independent() -> None:
    z = hashed_normal(np.arange(40, dtype=np.uint32), 10_001, torch.device("cpu")).double()
    assert z.shape == (40, 10_001)
    n = z.numel() ** 0.5
    assert abs(z.mean()) < 4 / n
    assert abs((z**2).mean() - 1) < 4 * 2**0.5 / n
    assert abs((z**4).mean() - 3) < 4 * 96**0.5 / n
    pairs = [(z[:, :-k] * z[:, k:]).mean() for k in (1, 2, 3, 28, 5000)] + [(z[:-1] * z[1:]).mean()]
    assert max(abs(float(pair)) for pair in pairs) < 4.5 / n


def test_the_hash_is_lowbias32() -> None:
    numbers = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    expected = []
    for x in numbers:
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32
        x = (x ^ x >> 15) * 0x846CA68B % 2**32
        expected.append(x ^ x >> 16)
    found = _scrambled(torch.from_numpy(np.array(numbers, np.uint32).view(np.int32)))
    assert found.numpy().view(np.uint32).tolist() == expected


def test_erasing_blanks_the_rectangle_with_the_mean() -> None:
    augment, images = make(erase=1.0), images_of(2, 9, 8)
    boxes = np.array([[1, 2, 4, 7], [0, 0, 0, 0]])
    x = augment.apply(images, replace(still(2), erase=boxes))
    expected = augment.preprocess.tensor(images)
    expected[0, :, 1:4, 2:7] = 0.0
    assert torch.equal(x, expected)


# mixing -----------------------------------------------------------------------------------------------------------


def test_mixup_blends_pictures_and_targets_alike() -> None:
    augment, images, samples = make(mixup=0.7), images_of(6, 9, 8), np.arange(6) * 3
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    x, shares = augment(images, targets, samples, 2)
    mix = draw_mix(augment.config, 5, 2, samples, (9, 8))
    plain = augment.preprocess.tensor(images)
    for i in range(6):
        own, other = float(mix.own[i]), int(mix.partner[i])
        torch.testing.assert_close(x[i], own * plain[i] + (1 - own) * plain[other], atol=1e-5, rtol=0)
        expected = torch.zeros(4)
        expected[targets[i]] += own
        expected[targets[other]] += 1 - own
        torch.testing.assert_close(shares[i], expected)


def test_cutmix_targets_count_the_pixels() -> None:
    augment, images = make(1, (12, 10), cutmix=1.0), torch.zeros(4, 12, 10, 1, dtype=torch.uint8)
    images += torch.tensor([0, 50, 100, 150], dtype=torch.uint8).view(4, 1, 1, 1)
    x, shares = augment(images, torch.arange(4), np.arange(4), 1)
    levels = augment.preprocess.picture(x)[..., 0]
    for i in range(4):
        for k in range(4):
            assert float(shares[i, k]) == pytest.approx((levels[i] == 50 * k).mean())


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    augment, images = make(mixup=1.0, cutmix=1.0), images_of(1, 9, 8)
    x, shares = augment(images, torch.tensor([2]), np.array([8]), 0)
    torch.testing.assert_close(x, augment.preprocess.tensor(images))
    torch.testing.assert_close(shares, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))


# options ----------------------------------------------------------------------------------------------------------


def test_presets_fill_what_the_user_left_open() -> None:
    chosen = resolve(AugmentConfig(crop=0.25, erase=0.5), "objects")
    assert (chosen.preset, chosen.flip, chosen.crop, chosen.erase, chosen.rotate_deg) == (
        "objects",
        "horizontal",
        0.25,
        0.5,
        0.0,
    )
    assert resolve(AugmentConfig(preset="digits"), "objects").flip == "none"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_complete_and_valid(preset: str) -> None:
    chosen = resolve(AugmentConfig(preset=preset), "none")  # type: ignore[arg-type]
    assert "auto" not in chosen.model_dump().values()
    assert AugmentConfig(**chosen.model_dump()) == chosen


def test_what_is_left_open_or_unknown_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"preset 'digit'\. Did you mean 'digits'"):
        resolve(AugmentConfig(), "digit")
    with pytest.raises(ConfigError, match=r"augment\.preset is still auto"):
        Augment(AugmentConfig(), make().preprocess, seed=0, classes=2)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="equally many; got 3, 3, 2"):
        make()(images_of(3, 9, 8), torch.zeros(3, dtype=torch.int64), np.arange(2), 0)
    with pytest.raises(ShapeError, match=r"\(N, 9, 8, 3\) uint8"):
        make()(images_of(3, 8, 9), torch.zeros(3, dtype=torch.int64), np.arange(3), 0)


# masks ------------------------------------------------------------------------------------------------------------

MOVES = {"flip": "both", "crop": 0.4, "rotate_deg": 180.0, "translate": 0.2, "scale": 0.4}
SPACE = 7  # levels between neighbours of a ramp


def ramps(n: int, height: int, width: int) -> torch.Tensor:
    """Pictures whose first two channels say from which row and column a pixel comes."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    levels = SPACE * np.stack([rows, columns, np.zeros_like(rows)], axis=-1)
    assert levels.max() < 256
    return torch.from_numpy(np.repeat(levels[None].astype(np.uint8), n, axis=0))


def masks_of(n: int, height: int, width: int) -> torch.Tensor:
    """A class for every pixel at random, so that each neighbour differs; some count nowhere."""
    rng = np.random.default_rng(height * width)
    return torch.from_numpy(rng.choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), (n, height, width)))


def places(augment: Augment, images: torch.Tensor, drawn: Draw) -> np.ndarray:
    """Where each pixel of the moved ramps comes from, (N, H, W, 2) of rows and columns."""
    mean, std = (np.array(values)[:, None, None] for values in (augment.preprocess.mean, augment.preprocess.std))
    levels = 255.0 * (augment.apply(images, drawn).numpy() * std + mean)
    return levels[:, :2].transpose(0, 2, 3, 1) / SPACE


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(4, 24), st.integers(4, 24)),
    margin=st.tuples(st.integers(0, 11), st.integers(0, 11)),
    names=st.sets(st.sampled_from(sorted(MOVES)), min_size=1),
    turn=st.booleans(),
    epoch=st.integers(0, 50),
)
def test_a_mask_goes_where_its_image_goes(
    size: tuple[int, int], margin: tuple[int, int], names: set[str], turn: bool, epoch: int
) -> None:
    size, margin = ((size[0],) * 2, (margin[0],) * 2) if turn else (size, margin)
    store = size[0] + margin[0], size[1] + margin[1]
    augment = make(3, size, store, turn=turn, **{name: MOVES[name] for name in names})
    n = 16  # so many that a shift by half a pixel, which decides nothing, is not the lot of all
    drawn, images, masks = augment.draw(np.arange(n), epoch), ramps(n, *store), masks_of(n, *store)
    found = augment.move_masks(masks, drawn).numpy()
    assert (found.shape, found.dtype) == ((n, *size), np.uint8)
    at = places(augment, images, drawn)
    sure = (abs(at - np.floor(at) - 0.5) > 0.6 / SPACE).all(-1)  # levels are whole: nearer to a half, rounding decides
    assert sure.any()
    rows, columns = np.rint(at).astype(np.int64).transpose(3, 0, 1, 2)
    expected = masks.numpy()[np.arange(n)[:, None, None], rows, columns]
    assert (found == expected)[sure].all()


def test_levels_noise_and_erased_places_do_not_change_a_mask() -> None:
    plain, loud = (make(3, (9, 8), (12, 12), **options) for options in (MOVES, EVERYTHING | MOVES | {"erase": 1.0}))
    drawn, masks = [one.draw(np.arange(6), 3) for one in (plain, loud)], masks_of(6, 12, 12)
    assert torch.equal(plain.move_masks(masks, drawn[0]), loud.move_masks(masks, drawn[1]))


@settings(max_examples=25, deadline=None)
@given(
    chosen=st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True),
    epoch=st.integers(0, 9),
    names=st.sets(st.sampled_from(sorted(MOVES))),
)
def test_a_mask_does_not_depend_on_its_batch(chosen: list[int], epoch: int, names: set[str]) -> None:
    augment = make(3, (9, 8), (13, 12), **{name: MOVES[name] for name in names})
    masks, samples = masks_of(10, 13, 12), 17 * np.arange(10)
    whole = augment.move_masks(masks, augment.draw(samples, epoch))
    part = augment.move_masks(masks[chosen], augment.draw(samples[chosen], epoch))
    assert torch.equal(part, whole[chosen])


def test_no_class_is_invented_between_two() -> None:
    augment = make(1, (24, 24), **MOVES)
    masks = torch.zeros(8, 24, 24, dtype=torch.uint8)
    masks[:, 6:18, 6:18], masks[:, 10:14, 10:14] = 4, 255
    for epoch in range(5):
        assert set(augment.move_masks(masks, augment.draw(np.arange(8), epoch)).unique().tolist()) == {0, 4, 255}
