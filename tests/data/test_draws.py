from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.augment import resolve
from convlens.data.draws import _key, bits, draw, draw_mix, uniform
from convlens.options import AugmentConfig

MANY = np.arange(100_000)


def config(**options: object) -> AugmentConfig:
    return resolve(AugmentConfig(**options), "none")  # type: ignore[arg-type]


def test_the_mixing_function_is_splitmix64() -> None:
    assert _key(0) == 0xE220A8397B1DCDAF  # the generator's published first number from seed 0
    assert int(bits(5, 7, np.array([123_456_789]), "flip")[0]) == _key(5, 7, "flip", 123_456_789)


@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10**6), sample=st.integers(0, 2**40))
def test_a_number_depends_on_nothing_but_its_own_sample(seed: int, epoch: int, sample: int) -> None:
    alone = uniform(seed, epoch, np.array([sample]), "crop")
    among = uniform(seed, epoch, np.array([3, sample, 0]), "crop")
    assert alone[0] == among[1]
    assert 0.0 <= alone[0] < 1.0


def test_numbers_are_spread_evenly() -> None:
    for name, seed, epoch in (("crop", 0, 0), ("crop", 0, 1), ("rotate", 1, 0)):
        counts = np.bincount((uniform(seed, epoch, MANY, name) * 100).astype(int), minlength=100)
        assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 4 * 198**0.5


def test_draws_do_not_follow_one_another() -> None:
    numbers = [
        uniform(seed, epoch, samples, name)
        for seed, epoch, samples, name in (
            (0, 0, MANY, "crop-rows"),
            (0, 0, MANY, "crop-columns"),
            (0, 1, MANY, "crop-rows"),
            (1, 0, MANY, "crop-rows"),
            (0, 0, MANY + 1, "crop-rows"),
            (0, 0, MANY + 2**32, "crop-rows"),
        )
    ]
    correlations = np.corrcoef(numbers) - np.eye(len(numbers))
    assert np.abs(correlations).max() < 4.5 / len(MANY) ** 0.5


def test_no_two_samples_share_their_bits() -> None:
    assert len(np.unique(bits(0, 0, MANY, "order"))) == len(MANY)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(("flip", "axes"), [("none", []), ("horizontal", [1]), ("vertical", [0]), ("both", [0, 1])])
def test_mirroring_and_turning_show_every_state_once_in_a_round(flip: str, axes: list[int], turn: bool) -> None:
    states, changed = 2 ** (len(axes) + turn), [*axes, *[2] * turn]
    for start in (0, 5):
        drawn = [draw(config(flip=flip, turn=turn), 0, start + e, MANY, (8, 8)) for e in range(states)]
        ways = np.stack([np.column_stack([one.flip, one.turn]) for one in drawn])
        codes = ways @ [2, 1, 4]
        assert all(len(np.unique(codes[:, i])) == states for i in range(0, len(MANY), 1000))
        assert not ways[:, :, [way for way in (0, 1, 2) if way not in changed]].any()
    shares = np.bincount(codes[0], minlength=8) / len(MANY)
    assert np.allclose(shares[shares > 0], 1 / states, atol=0.01)


def test_shifts_take_every_whole_pixel_equally_often() -> None:
    shift = draw(config(crop=1 / 14), 0, 0, MANY, (28, 42)).shift
    for axis, most in ((0, 2), (1, 3)):
        values, counts = np.unique(shift[:, axis], return_counts=True)
        assert values.tolist() == list(range(-most, most + 1))
        assert np.allclose(counts / len(MANY), 1 / len(values), atol=0.005)
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.02
    assert np.abs(draw(config(crop=0.01), 0, 0, MANY, (8, 8)).shift).max() == 1


def test_the_other_draws_keep_their_limits() -> None:
    options = {"rotate_deg": 30.0, "translate": 0.25, "scale": 0.2, "brightness": 0.3, "contrast": 0.4}
    drawn = draw(config(**options), 0, 0, MANY, (20, 40))
    limits = ((drawn.angle_deg, -30, 30), (drawn.translate[:, 0], -5, 5), (drawn.translate[:, 1], -10, 10))
    limits += ((drawn.zoom, 0.8, 1.2), (drawn.gain, 0.7, 1.3), (drawn.contrast, 0.6, 1.4))
    for values, low, high in limits:
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() < high
    assert not drawn.whole_pixels
    assert not drawn.same_levels
    still = draw(config(), 0, 0, MANY, (20, 40))
    assert still.whole_pixels
    assert still.same_levels


def test_erased_rectangles_lie_inside_and_are_as_frequent_as_asked() -> None:
    top, left, bottom, right = draw(config(erase=0.25), 0, 0, MANY, (20, 30)).erase.T
    area = (bottom - top) * (right - left)
    assert abs((area > 0).mean() - 0.25) < 0.01
    assert (top.min(), left.min()) == (0, 0)
    assert (bottom.max(), right.max()) == (20, 30)
    assert area[area > 0].min() > 600 * 0.005
    assert 600 * 0.3 < area.max() < 600 * 0.4


def test_every_picture_is_a_partner_once_and_never_its_own() -> None:
    samples = MANY[:200] * 7
    mix = draw_mix(config(mixup=0.4), 0, 3, samples, (8, 8))
    assert sorted(mix.partner) == list(range(200))
    assert (mix.partner != np.arange(200)).all()


def test_partners_do_not_depend_on_the_order_of_the_batch() -> None:
    samples, other = MANY[:50], np.random.default_rng(0).permutation(50)
    options = config(mixup=0.4, cutmix=1.0)
    one, two = (draw_mix(options, 0, 3, s, (8, 8)) for s in (samples, samples[other]))
    assert (samples[one.partner][other] == samples[other][two.partner]).all()
    assert (one.own[other] == two.own).all()
    assert (one.paste[other] == two.paste).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    blend = draw_mix(config(mixup=alpha), 0, 0, MANY, (8, 8)).blend
    assert abs(blend.mean() - 0.5) < 0.01
    assert abs(blend.var() - 1 / (4 * (2 * alpha + 1))) < 0.003


def test_with_both_each_picture_is_blended_or_pasted_never_both() -> None:
    mix = draw_mix(config(mixup=1.0, cutmix=1.0), 0, 0, MANY, (64, 64))
    area = (mix.paste[:, 2] - mix.paste[:, 0]) * (mix.paste[:, 3] - mix.paste[:, 1])
    assert not ((area > 0) & (mix.blend < 1)).any()
    assert abs((mix.blend < 1).mean() - 0.5) < 0.01
    pasted = area > 0
    assert np.allclose(mix.own[pasted], 1 - area[pasted] / 64**2)
    assert abs(mix.own.mean() - 0.5) < 0.01
