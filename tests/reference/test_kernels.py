"""The named kernels keep their promises; filtering a photograph equals the definition."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.errors import ConfigError, ShapeError
from convlens.reference import KERNELS, conv2d, display, filter_image, kernel
from convlens.reference.filter import luminance
from convlens.reference.kernels import MEANINGS
from lectures import HORIZONTAL, VERTICAL, X8

SUM_0 = {"edge_detection_1", "edge_detection_2", "edge_detection_3", "vertical_edge", "edge_detector"}
SUM_0 |= {"horizontal_edge", "sobel_x", "sobel_y"}
FLAT = np.full((7, 8), 5.0)
IMAGE = np.random.default_rng(0).integers(0, 256, (7, 9, 3))


@pytest.mark.parametrize("name", KERNELS)
def test_the_sum_decides_what_becomes_of_a_flat_image(name: str) -> None:
    total = 0 if name in SUM_0 else 1
    assert KERNELS[name].sum() == pytest.approx(total, abs=1e-15)
    inside = conv2d(FLAT, KERNELS[name]).value
    np.testing.assert_allclose(inside, 5.0 * total, atol=1e-14)


def test_every_kernel_has_a_meaning_and_cannot_be_changed() -> None:
    assert MEANINGS.keys() == KERNELS.keys()
    with pytest.raises(ValueError, match="read-only"):
        kernel("identity")[0, 0] = 1


def test_identities() -> None:
    five = np.zeros((5, 5))
    five[2, 2] = 1
    small, large = np.array([1, 2, 1]) / 4, np.array([1, 4, 6, 4, 1]) / 16
    assert np.array_equal(KERNELS["gaussian_blur_3x3"], np.outer(small, small))
    assert np.array_equal(KERNELS["gaussian_blur_5x5"], np.outer(large, large))
    assert np.array_equal(KERNELS["unsharp_masking_5x5"], 2 * five - KERNELS["gaussian_blur_5x5"])
    assert np.array_equal(KERNELS["sharpen"], KERNELS["identity"] - KERNELS["edge_detection_2"])
    assert np.array_equal(KERNELS["vertical_edge"], -KERNELS["edge_detector"])
    assert np.array_equal(KERNELS["horizontal_edge"], KERNELS["edge_detector"].T)
    assert np.array_equal(KERNELS["sobel_y"], KERNELS["sobel_x"].T)
    assert np.array_equal(KERNELS["sobel_x"], np.outer([1, 2, 1], [-1, 0, 1]))
    assert np.array_equal(conv2d(X8, KERNELS["identity"], padding="same").value, X8)


def test_the_lectures_responses() -> None:
    assert KERNELS["vertical_edge"].tolist() == VERTICAL
    assert KERNELS["horizontal_edge"].tolist() == HORIZONTAL
    assert conv2d(X8, KERNELS["edge_detection_1"]).value[0].tolist() == [-2, -11, 9, 11, 0, 0]
    assert conv2d(X8, KERNELS["edge_detection_2"]).value[5].tolist() == [23, 1, -13, 7, -16, 5]
    edges = conv2d(X8, KERNELS["edge_detector"]).value
    assert edges[:2].tolist() == [[0, 3, -2, -1, 3, -2], [2, 0, 6, 3, -2, -5]]
    assert np.array_equal(conv2d(X8, KERNELS["vertical_edge"]).value, -edges)
    assert conv2d(X8, KERNELS["horizontal_edge"]).value[0].tolist() == [1, -1, -3, 8, 17, 19]


def test_an_edge_detector_is_blind_along_its_edge() -> None:
    vertical_step = np.repeat([[0, 0, 0, 9, 9, 9]], 6, axis=0)
    assert not conv2d(vertical_step, KERNELS["horizontal_edge"]).value.any()
    assert conv2d(vertical_step.T, KERNELS["horizontal_edge"]).value.max() == 27
    assert conv2d(vertical_step, KERNELS["edge_detector"]).value.max() == 27


def test_a_border_of_zeros_darkens_the_corner() -> None:
    box = KERNELS["box_blur"]
    assert conv2d(np.ones((4, 4)), box, padding=1).value[0, 0] == pytest.approx(4 / 9)
    for mode in ("reflect", "replicate", "circular"):
        np.testing.assert_allclose(conv2d(np.ones((4, 4)), box, padding=1, padding_mode=mode).value, 1)


@pytest.mark.parametrize("border", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("name", ["sobel_x", "unsharp_masking_5x5"])
def test_filtering_equals_the_definition(name: str, border: str) -> None:
    each = [conv2d(IMAGE[..., c], KERNELS[name], padding="same", padding_mode=border).value for c in range(3)]
    np.testing.assert_allclose(filter_image(IMAGE, KERNELS[name], border=border), np.stack(each, axis=-1), atol=1e-12)


def test_an_even_kernel_keeps_the_size() -> None:
    expected = conv2d(IMAGE[..., 0], [[1, 2], [3, 4]], padding="same").value
    assert np.array_equal(filter_image(IMAGE[..., 0], [[1, 2], [3, 4]], border="zeros"), expected)


def test_luminance_is_filtered_once() -> None:
    assert luminance([[[255, 255, 255]]]).item() == pytest.approx(255)
    grey = IMAGE @ np.array([0.299, 0.587, 0.114])
    assert np.array_equal(
        filter_image(IMAGE, KERNELS["sobel_x"], on="luminance"), filter_image(grey, KERNELS["sobel_x"])
    )


def test_display_clamps_a_copy_and_counts() -> None:
    signed = filter_image([[0, 0, 255, 255]], [[-1, 0, 1]], border="replicate") * 2
    assert signed.tolist() == [[0, 510, 510, 0]]
    shown = display(-signed)
    assert shown.pixels.tolist() == [[0, 0, 0, 0]]
    assert (shown.below, shown.above) == (2, 0)
    assert signed.max() == 510
    assert display([[0, 255]]).note == ""


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"There is no kernel 'sobel'\. Did you mean 'sobel_[xy]'"):
        kernel("sobel")
    with pytest.raises(ConfigError, match="works on 'channels' or on 'luminance'; got 'light'"):
        filter_image(IMAGE, KERNELS["sharpen"], on="light")
    with pytest.raises(ShapeError, match=r"A kernel is a matrix \(h, w\); got shape \(3,\)"):
        filter_image(IMAGE, [1, 2, 3])
    with pytest.raises(ShapeError, match=r"An image is \(H, W\) or \(H, W, C\); got shape \(1, 7, 9, 3\)"):
        filter_image(IMAGE[None], KERNELS["sharpen"])
    with pytest.raises(ShapeError, match="Luminance needs 1 or 3 channels; got 2"):
        filter_image(IMAGE[..., :2], KERNELS["sharpen"], on="luminance")
