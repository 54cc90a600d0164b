"""Restored images: hand-worked errors, SSIM by its definition and by scikit-image, paired gains, and baselines."""

from __future__ import annotations

import builtins
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.interval import wilson
from convlens.metrics.jackknife import AT_MOST_ONE, POSITIVE, Scale, mean_score
from convlens.metrics.reconstruction import (
    NonLocalMeans,
    fit_non_local_means,
    image_scores,
    join_scores,
    psnr,
    reconstruction_report,
    ssim,
)


def random_images(n: int, seed: int, shape: tuple[int, ...] = (3, 14, 17)) -> tuple[np.ndarray, np.ndarray]:
    """Smooth clean images in 0..1, and noisy ones, of which some have more noise."""
    generator = np.random.default_rng(seed)
    clean = np.sort(generator.random((n, *shape)), axis=-1)
    noise = generator.normal(size=clean.shape) * generator.uniform(0.02, 0.2, size=(n, *(1,) * len(shape)))
    return clean + noise, clean


def ssim_by_definition(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """Equation 13 of Wang et al. 2004, one window at a time."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    local = []
    for i in range(5, x.shape[0] - 5):
        for j in range(5, x.shape[1] - 5):
            a, b = x[i - 5 : i + 6, j - 5 : j + 6], y[i - 5 : i + 6, j - 5 : j + 6]
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            variances = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
            above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
            local.append(above / ((mean_a**2 + mean_b**2 + c1) * (variances + c2)))
    return float(np.mean(local))


def test_the_hand_worked_errors() -> None:
    clean = np.zeros((2, 2, 2))
    restored = np.array([[[0.5, -0.5], [0.0, 0.0]], [[0.1, 0.1], [0.1, 0.1]]])
    scores = image_scores(restored, clean, data_range=2.0)
    assert scores["mse"] == pytest.approx([0.125, 0.01])
    assert scores["mae"] == pytest.approx([0.25, 0.1])
    assert scores["psnr"] == pytest.approx([10 * math.log10(4 / 0.125), 10 * math.log10(4 / 0.01)])
    report = reconstruction_report(scores)
    assert (report["n"], report["mse"]["value"]) == (2, pytest.approx(0.0675))
    assert report["worst"] == [{"position": 0, "mse": 0.125}, {"position": 1, "mse": pytest.approx(0.01)}]
    assert report["ssim"]["value"] is None
    assert report["ssim"]["note"] == "all 2 samples have a side of less than 11 px, too short for SSIM"


def test_the_unit_of_the_images_cancels_in_psnr_and_ssim() -> None:
    restored, clean = random_images(3, seed=0)
    one, bytes_ = image_scores(restored, clean, 1.0), image_scores(255 * restored, 255 * clean, 255)
    for name in ("psnr", "ssim"):
        assert bytes_[name] == pytest.approx(one[name])
    assert bytes_["mae"] == pytest.approx(255 * one["mae"])
    assert psnr(restored[0], clean[0], 1.0) == pytest.approx(one["psnr"][0])


def test_bytes_do_not_wrap_around() -> None:
    low, high = np.full((1, 12, 12), 10, dtype=np.uint8), np.full((1, 12, 12), 20, dtype=np.uint8)
    assert image_scores(low, high, 255)["mae"] == pytest.approx([10])


@pytest.mark.parametrize("data_range", [1.0, 3.0])
def test_ssim_is_its_definition(data_range: float) -> None:
    (restored, clean), third = random_images(2, seed=1, shape=(13, 16)), np.full((13, 16), 0.3)
    for x, y in ((restored[0], clean[0]), (restored[1], clean[0]), (clean[0], third)):
        assert ssim(x, y, data_range) == pytest.approx(ssim_by_definition(x, y, data_range))


def test_ssim_of_equal_and_of_opposite_planes() -> None:
    _, clean = random_images(1, seed=2)
    assert ssim(clean, clean, 1.0) == pytest.approx(np.ones((1, 3)))
    stripes = np.indices((20, 20)).sum(axis=0) % 2 * 1.0
    assert ssim(1 - stripes, stripes, 1.0) < -0.9


def test_ssim_and_psnr_equal_scikit_image() -> None:
    theirs = pytest.importorskip("skimage.metrics")
    wang: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for shape, axis in (((25, 31), None), ((3, 25, 31), 0), ((1, 11, 11), 0)):
        restored, clean = random_images(2, seed=3, shape=shape)
        scores = image_scores(restored, clean, 1.0)
        for i in range(2):
            expected = theirs.structural_similarity(clean[i], restored[i], data_range=1.0, channel_axis=axis, **wang)
            assert scores["ssim"][i] == pytest.approx(expected, abs=1e-12)
            assert scores["psnr"][i] == pytest.approx(
                theirs.peak_signal_noise_ratio(clean[i], restored[i], data_range=1)
            )


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)), st.integers(0, 6))
def test_neither_order_nor_batches_matter(order: list[int], cut: int) -> None:
    restored, clean = random_images(6, seed=4)
    whole = image_scores(restored, clean, 1.0)
    parts = [image_scores(restored[part], clean[part], 1.0) for part in (order[:cut], order[cut:])]
    for name, values in join_scores(parts).items():
        assert values == pytest.approx(whole[name][order], abs=1e-13)
    one, other = reconstruction_report(whole), reconstruction_report(join_scores(parts))
    for name in ("mse", "mae", "psnr", "ssim"):
        assert other[name]["low"] == pytest.approx(one[name]["low"])


def test_images_may_differ_in_size_and_number_of_channels() -> None:
    pairs = [random_images(1, seed, shape) for seed, shape in enumerate([(12, 15), (3, 20, 11), (9, 30)])]
    scores = image_scores([x[0] for x, _ in pairs], [y[0] for _, y in pairs], 1.0)
    for i, (x, y) in enumerate(pairs):
        alone = image_scores(x, y, 1.0)
        for name in scores:
            assert scores[name][i] == pytest.approx(alone[name][0], nan_ok=True)
    assert np.isnan(scores["ssim"]).tolist() == [False, False, True]
    report = reconstruction_report(scores)
    assert report["ssim"]["note"].startswith("mean over 2 of 3 samples; the others have a side of less than 11 px")


def test_many_images_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    restored, clean = random_images(7, seed=5)
    whole = image_scores(restored, clean, 1.0)
    monkeypatch.setattr("convlens.metrics.reconstruction.CHUNK", 2 * clean[0].size)
    for name, values in image_scores(restored, clean, 1.0).items():
        assert values == pytest.approx(whole[name])


def test_perfect_images() -> None:
    restored, clean = random_images(4, seed=6)
    restored[1] = clean[1]
    report = reconstruction_report(image_scores(restored, clean, 1.0))
    assert report["psnr"]["n"] == 3
    assert report["psnr"]["note"] == "mean over 3 of 4 samples; the others have no error, an infinite PSNR"
    perfect = reconstruction_report(image_scores(clean, clean, 1.0))
    assert (perfect["mse"]["value"], perfect["ssim"]["value"]) == (0.0, pytest.approx(1.0))
    assert perfect["psnr"]["value"] is None
    json.dumps(perfect, allow_nan=False)


def test_the_gain_over_a_baseline_is_paired() -> None:
    noisy, clean = random_images(12, seed=7)
    better = clean + 0.9 * (noisy - clean)  # a tenth less error on every image: 0.92 dB
    ours, theirs = image_scores(better, clean, 1.0), image_scores(noisy, clean, 1.0)
    report = reconstruction_report(ours, {"noisy input": theirs})
    row = report["baselines"][0]
    gain = row["gain"]
    assert row["name"] == "noisy input"
    assert row["psnr"]["value"] == pytest.approx(theirs["psnr"].mean())
    assert [gain["psnr"][end] for end in ("low", "value", "high")] == pytest.approx([-20 * math.log10(0.9)] * 3)
    assert report["psnr"]["high"] - report["psnr"]["low"] > 3
    assert gain["mse"]["value"] == pytest.approx((theirs["mse"] - ours["mse"]).mean())
    assert all(gain[name]["value"] > 0 for name in ("mse", "mae", "psnr", "ssim"))
    assert gain["better"] == wilson(12, 12).to_json()
    turned = reconstruction_report(theirs, {"ours": ours})["baselines"][0]["gain"]
    assert turned["ssim"]["value"] == pytest.approx(-gain["ssim"]["value"])
    assert turned["better"]["value"] == 0.0
    assert reconstruction_report(ours, {"the same": ours})["baselines"][0]["gain"]["better"]["value"] == 0.0


def test_the_intervals_of_psnr_and_of_its_gain_are_students() -> None:
    generator = np.random.default_rng(8)
    clean = np.zeros((9, 4, 4))
    ours, theirs = (image_scores(generator.normal(size=clean.shape), clean, 1.0) for _ in range(2))
    gain = reconstruction_report(ours, {"it": theirs})["baselines"][0]["gain"]["psnr"]
    difference = ours["psnr"] - theirs["psnr"]
    expected = stats.t.interval(0.95, 8, difference.mean(), stats.sem(difference))
    assert (gain["low"], gain["high"]) == pytest.approx(expected)
    own = reconstruction_report(ours)["psnr"]
    assert (own["low"], own["high"]) == pytest.approx(stats.t.interval(0.95, 8, own["value"], stats.sem(ours["psnr"])))


def test_intervals_hold_as_often_as_they_say() -> None:
    # noise of a level that varies from image to image; E MSE = E sigma^2
    generator = np.random.default_rng(9)
    known = np.mean(np.linspace(0.1, 0.3, 10001) ** 2)
    held = 0
    for _ in range(200):
        sigma = generator.uniform(0.1, 0.3, size=(10, 1, 1))
        report = reconstruction_report(image_scores(sigma * generator.normal(size=(10, 6, 6)), np.zeros((10, 6, 6)), 1))
        held += report["mse"]["low"] <= known <= report["mse"]["high"]
    assert 0.9 <= held / 200 <= 0.99


@pytest.mark.parametrize(("name", "scale"), [("mse", POSITIVE), ("mae", POSITIVE), ("ssim", AT_MOST_ONE)])
def test_intervals_keep_to_the_range_of_the_score(name: str, scale: Scale) -> None:
    scores = image_scores(*random_images(4, seed=10), data_range=1.0)
    assert reconstruction_report(scores)[name] == mean_score(scores[name], scale=scale).to_json()


def test_no_images_is_a_report_not_a_crash() -> None:
    nothing = image_scores(np.zeros((0, 1, 12, 12)), np.zeros((0, 1, 12, 12)), 1.0)
    report = reconstruction_report(nothing, {"noisy input": nothing})
    assert (report["n"], report["mse"]["value"], report["mse"]["note"]) == (0, None, "no samples")
    json.dumps(report, allow_nan=False)


def test_errors_name_what_came() -> None:
    image = np.zeros((1, 12, 12))
    with pytest.raises(DataError, match=r"got 1\.0 for values that span 255"):
        image_scores(image, image + 255 * np.eye(12), 1.0)
    with pytest.raises(DataError, match="must be above 0"):
        image_scores(image, image, 0.0)
    with pytest.raises(DataError, match="restored images must be finite; 1 are not"):
        psnr(np.array([[np.nan, 0]]), np.zeros((1, 2)), 1.0)
    with pytest.raises(ShapeError, match="got 1 and 2"):
        image_scores(image, np.zeros((2, 12, 12)), 1.0)
    with pytest.raises(ShapeError, match=r"got \(1, 12, 11\) and \(1, 12, 12\)"):
        image_scores(image[:, :, :11], image, 1.0)
    with pytest.raises(ShapeError, match=r"\(H, W\) or \(C, H, W\) each; got \(12,\)"):
        image_scores(np.zeros((2, 12)), np.zeros((2, 12)), 1.0)
    with pytest.raises(ShapeError, match=r"at least 11 x 11 px; got shape \(10, 30\)"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)), 1.0)
    scores = image_scores(image, image, 1.0)
    with pytest.raises(ShapeError, match="'it' must have answered the same 1 images; got 0 scores"):
        reconstruction_report(scores, {"it": image_scores(image[:0], image[:0], 1.0)})


def patches(seed: int, n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Flat images with one bright square each, and noise of 0.1."""
    generator = np.random.default_rng(seed)
    clean = np.zeros((n, 24, 24))
    for image in clean:
        top, left = generator.integers(2, 10, size=2)
        image[top : top + 10, left : left + 10] = 0.8
    return clean + generator.normal(0.0, 0.1, size=clean.shape), clean


def test_non_local_means_takes_the_noise_away() -> None:
    pytest.importorskip("skimage")
    method = fit_non_local_means(*patches(0))
    assert method.sigma == pytest.approx(0.1, rel=0.1)
    noisy, clean = patches(1)
    restored = np.stack([method.restore(image) for image in noisy])
    ours, theirs = image_scores(restored, clean, 1.0), image_scores(noisy, clean, 1.0)
    assert reconstruction_report(ours, {"noisy input": theirs})["baselines"][0]["gain"]["psnr"]["low"] > 5
    assert method.restore(np.stack([noisy[0]] * 3)) == pytest.approx(np.stack([restored[0]] * 3))
    in_bytes = NonLocalMeans(255 * method.sigma, method.strength).restore(255 * noisy[0])
    assert in_bytes == pytest.approx(255 * restored[0], abs=1e-6)


def test_the_strength_of_non_local_means_is_the_best_one_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy, clean = patches(2)
    monkeypatch.setattr(NonLocalMeans, "restore", lambda self, image: image * (1 + abs(self.strength - 0.8)))
    exact = np.full_like(clean, 0.5)
    assert fit_non_local_means(exact + 1e-6 * (noisy - clean), exact).strength == 0.8
    with pytest.raises(DataError, match="got 3 pairs without noise"):
        fit_non_local_means(list(clean), list(clean))
    with pytest.raises(ShapeError, match="got 3 and 2"):
        fit_non_local_means(list(noisy), list(clean[:2]))


def test_scikit_image_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    known = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("skimage"):
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"needs scikit-image: pip install 'convlens\[denoise\]'"):
        NonLocalMeans(0.1, 0.8).restore(np.zeros((12, 12)))
