"""Noise added on purpose: its distribution, and what it depends on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.noise import FEW_PHOTONS, KINDS, Noise, counts, noise_keys
from convlens.errors import ConfigError, ShapeError

TEXTS = ["gaussian:0.1", "gaussian:0.25:clip", "poisson:4", "poisson:200", "poisson:30:clip", "salt-and-pepper:0.3"]


def keys_of(n: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return noise_keys(seed, epoch, np.arange(n))


def flat(level: float, n: int = 50, channels: int = 1, side: int = 100) -> torch.Tensor:
    return torch.full((n, channels, side, side), level)


def added(text: str, level: float, **shape: int) -> torch.Tensor:
    levels = flat(level, **shape)
    return Noise.parse(text).add(levels, keys_of(len(levels))).double() - level


# what it depends on -----------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    chosen=st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True),
    text=st.sampled_from(TEXTS),
    channels=st.sampled_from([1, 3]),
    channels_last=st.booleans(),
)
def test_a_picture_does_not_depend_on_its_batch(
    chosen: list[int], text: str, channels: int, channels_last: bool
) -> None:
    levels, samples = torch.rand(12, channels, 7, 9, generator=torch.Generator().manual_seed(1)), np.arange(12) * 31
    noise = Noise.parse(text)
    whole = noise.add(levels, noise_keys(3, 4, samples))
    part = levels[chosen].contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(noise.add(part, noise_keys(3, 4, samples[chosen])), whole[chosen])


@pytest.mark.parametrize("text", TEXTS)
def test_seed_epoch_sample_and_name_each_change_the_noise(text: str) -> None:
    level, noise = flat(0.5, n=1, side=40), Noise.parse(text)
    asked = [(0, 0, 0, "a"), (1, 0, 0, "a"), (0, 1, 0, "a"), (0, 0, 1, "a"), (0, 0, 0, "b")]
    pictures = [noise.add(level, noise_keys(seed, epoch, np.array([s]), name)) for seed, epoch, s, name in asked]
    z = torch.stack([picture.flatten() - picture.mean() for picture in pictures])
    correlations = torch.corrcoef(z) - torch.eye(len(asked))
    assert correlations.abs().max() < 4.5 / 40
    assert torch.equal(noise.add(level, noise_keys(0, 0, np.array([0]), "a")), pictures[0])


@pytest.mark.parametrize("text", TEXTS)
def test_the_clean_picture_is_left_alone(text: str) -> None:
    levels = torch.rand(3, 2, 8, 8)
    copy = levels.clone()
    noisy = Noise.parse(text).add(levels, keys_of(3))
    assert torch.equal(levels, copy)
    assert not torch.equal(noisy, copy)
    assert noisy.dtype == torch.float32


def test_keys_are_the_upper_bits_of_their_draw_and_all_differ() -> None:
    keys = keys_of(1000)
    assert keys.dtype == np.uint32
    assert len(np.unique(keys)) == 1000
    assert abs(keys.mean() / 2**32 - 0.5) < 4.5 / (12 * 1000) ** 0.5


# distributions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.7])
@pytest.mark.parametrize("sigma", [0.05, 0.4])
def test_gaussian_noise_has_the_deviation_asked_for_and_is_not_clipped(sigma: float, level: float) -> None:
    noise = added(f"gaussian:{sigma}", level)
    n = noise.numel() ** 0.5
    assert abs(noise.mean()) < 4 * sigma / n
    assert abs(noise.square().mean() / sigma**2 - 1) < 4 * 2**0.5 / n
    assert abs((noise / sigma).pow(4).mean() - 3) < 4 * 96**0.5 / n


def test_clipping_cuts_off_at_black_and_white_and_changes_nothing_else() -> None:
    levels = torch.rand(4, 3, 30, 30)
    for text in ("gaussian:0.4", "poisson:5"):
        plain, cut = (Noise.parse(t).add(levels, keys_of(4)) for t in (text, f"{text}:clip"))
        assert plain.max() > 1.0
        assert torch.equal(cut, plain.clamp(0, 1))
    assert abs(added("gaussian:0.4:clip", 0.0).mean() - 0.4 / (2 * math.pi) ** 0.5) < 0.001


@pytest.mark.parametrize("photons", [0.5, 4, 30, 1000])
@pytest.mark.parametrize("level", [0.1, 1.0])
def test_poisson_noise_keeps_the_mean_and_has_the_variance_of_photons(photons: float, level: float) -> None:
    noise, mean = added(f"poisson:{photons}", level) * photons, photons * level
    n = noise.numel()
    assert abs(noise.mean()) < 4 * (mean / n) ** 0.5
    assert abs(noise.square().mean() - mean) < 4 * ((mean + 2 * mean**2) / n) ** 0.5
    assert abs(noise.pow(3).mean() - mean) < 5 * ((15 * mean**3 + 25 * mean**2 + mean) / n) ** 0.5
    torch.testing.assert_close((noise + mean).round(), noise + mean, atol=2e-4, rtol=0)  # whole photons


@pytest.mark.parametrize("expected", [0.01, 1.0, 3.7, FEW_PHOTONS, FEW_PHOTONS + 0.001, 12.5, 40.0])
def test_counts_are_the_quantiles_of_the_poisson_distribution(expected: float) -> None:
    places = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    found = counts(torch.full_like(places, expected), torch.special.ndtri(places))
    shares = torch.bincount(found.long()).double() / len(places)
    k = torch.arange(len(shares), dtype=torch.float64)
    true = torch.exp(k * math.log(expected) - expected - torch.lgamma(k + 1))
    assert (shares - true).abs().max() < 5e-5


def test_no_light_gives_no_photons_and_more_light_never_fewer() -> None:
    assert not counts(torch.zeros(1000), torch.linspace(-4.9, 4.9, 1000)).any()
    z = torch.linspace(-3.8, 3.8, 99)[:, None]  # beyond, the last digit of a float32 decides
    rising = counts(torch.linspace(0.0, 25.0, 2001).expand(99, -1), z.expand(-1, 2001))
    assert (rising.diff(dim=1) >= 0).all()
    assert (rising.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 1.0])
def test_salt_and_pepper_strike_the_share_of_pixels_half_black_half_white(share: float) -> None:
    noisy = Noise("salt-and-pepper", share).add(flat(0.25), keys_of(50))
    n = noisy.numel()
    for level in (0.0, 1.0):
        assert abs((noisy == level).double().mean() - share / 2) < 4 * (share / 2 * (1 - share / 2) / n) ** 0.5
    assert set(noisy.unique().tolist()) <= {0.0, 0.25, 1.0}


def test_salt_and_pepper_strike_all_channels_of_a_pixel_together() -> None:
    noisy = Noise("salt-and-pepper", 0.3).add(flat(0.25, channels=3, side=20), keys_of(50))
    assert torch.equal(noisy[:, 0], noisy[:, 1])
    assert torch.equal(noisy[:, 0], noisy[:, 2])


@pytest.mark.parametrize("text", ["gaussian:0.1", "poisson:30"])
def test_pixels_channels_and_samples_are_independent(text: str) -> None:
    z = added(text, 0.5, channels=2)
    z = (z - z.mean()) / z.std()
    pairs = [z[..., 1:] * z[..., :-1], z[..., 1:, :] * z[..., :-1, :], z[:, 0] * z[:, 1], z[1:] * z[:-1]]
    assert max(abs(float(pair.mean())) * pair.numel() ** 0.5 for pair in pairs) < 4.5


def test_the_type_of_the_levels_is_kept() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        for text in TEXTS:
            assert Noise.parse(text).add(torch.rand(2, 1, 4, 4, dtype=dtype), keys_of(2)).dtype == dtype


# text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*TEXTS, "gaussian:0.123456789", "poisson:1e-05", "poisson:1000000"])
def test_text_and_noise_are_each_other(text: str) -> None:
    noise = Noise.parse(text)
    assert Noise.parse(str(noise)) == noise
    assert str(noise).split(":")[0] == text.split(":")[0]
    if text in TEXTS:
        assert str(noise) == text


def test_spaces_around_the_parts_do_not_matter() -> None:
    assert Noise.parse(" poisson : 30 : clip ") == Noise("poisson", 30.0, clip=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_of_errors_are_accepted(kind: str) -> None:
    assert Noise.parse(KINDS[kind].example).kind == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "There is no noise ''. Choose from: gaussian, poisson, salt-and-pepper. Write it as in gaussian:0.1,"),
        ("gausian:0.1", "no noise 'gausian'. Did you mean 'gaussian'"),
        ("salt-pepper:0.1", "no noise 'salt-pepper'. Did you mean 'salt-and-pepper'"),
        ("poisson", "Noise is KIND:AMOUNT, such as poisson:30; got 'poisson' without an amount"),
        ("poisson:many", "must be a number, as in poisson:30; got 'poisson:many'"),
        ("gaussian:0.1:clipped", "nothing or 'clip', as in gaussian:0.1:clip; got 'gaussian:0.1:clipped'"),
        ("gaussian:0.1:clip:clip", "nothing or 'clip'"),
        ("gaussian:25", "above 0, at most 1; got 25 (for 25 of 255 write gaussian:0.098). Try gaussian:0.1"),
        ("gaussian:0", "above 0, at most 1; got 0. Try"),
        ("gaussian:nan", "got nan. Try"),
        ("poisson:-3", "photons expected from white, 1: above 0, at most 1,000,000; got -3. Try poisson:30"),
        ("poisson:inf", "got inf. Try"),
        ("salt-and-pepper:5", "share of pixels: above 0, at most 1; got 5. Try salt-and-pepper:0.05"),
        ("salt-and-pepper:0.1:clip", "never leaves 0..1. Leave ':clip' out"),
    ],
)
def test_bad_text_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Noise.parse(text)
    assert message in str(caught.value)


def test_what_does_not_fit_is_refused() -> None:
    noise, levels = Noise("gaussian", 0.1), torch.rand(3, 1, 4, 4)
    with pytest.raises(ShapeError, match=r"levels \(N, C, H, W\) of real numbers 0..1; got \(3, 1, 4, 4\) torch.uint8"):
        noise.add((levels * 255).to(torch.uint8), keys_of(3))
    with pytest.raises(ShapeError, match=r"got \(1, 4, 4\)"):
        noise.add(levels[0], keys_of(3))
    for keys in (keys_of(2), keys_of(3).astype(np.int64)):
        with pytest.raises(ShapeError, match="one uint32 key of noise_keys for each of 3 pictures"):
            noise.add(levels, keys)
