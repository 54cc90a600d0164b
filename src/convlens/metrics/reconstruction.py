"""How near restored images come to the clean ones: squared and absolute error, PSNR and structural similarity.

Every image has its own scores, so that means, intervals and comparisons are over images and nothing depends on the
batches. A restored image says little alone: its scores stand beside those of the noisy input, of the mean image of
training, or of a method without learning (non-local means, from scikit-image), image by image. This file knows images
as arrays, not networks or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.interval import Interval, normal_quantile, wilson
from convlens.metrics.jackknife import AT_MOST_ONE, PLAIN, POSITIVE, Scale, mean_score

WINDOW_PX, SIGMA_PX = 11, 1.5
K1, K2 = 0.01, 0.03
WORST = 5
CHUNK = 200_000  # pixels worked on at once, to stay in the processor's cache
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)
SCALES: dict[str, Scale] = {"mse": POSITIVE, "mae": POSITIVE, "psnr": PLAIN, "ssim": AT_MOST_ONE}
MISSING = {"psnr": "no error, an infinite PSNR", "ssim": f"a side of less than {WINDOW_PX} px, too short for SSIM"}
ERRORS = ("mse", "mae")  # smaller is better

ImageScores = dict[str, np.ndarray]


def psnr(restored: np.ndarray, clean: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio of one image in decibels: 10 log10(data_range^2 / MSE); infinite without any error.

    Shapes:
        restored and clean alike

    Example:
        >>> round(psnr(np.array([[0.0, 0.1]]), np.array([[0.1, 0.0]]), data_range=1.0), 6)
        20.0

    Raises:
        ShapeError, DataError: as `image_scores`.
    """
    restored, clean = _check_pair(restored, clean, data_range)
    return float(_decibels(np.mean((restored - clean) ** 2), data_range))


def ssim(restored: np.ndarray, clean: np.ndarray, data_range: float) -> np.ndarray:
    """Mean structural similarity of each plane: 1 for equal planes, near 0 for unrelated ones.

    Means, variances and covariance come from a Gaussian window of 11 x 11 px with a standard deviation of 1.5 px, and
    the local similarities are averaged over every window that lies wholly inside the image: nothing is padded, and the
    outer 5 px are no centre of a window.

    Shapes:
        (..., H, W) -> (...)

    Raises:
        ShapeError, DataError: as `image_scores`, or a side is shorter than 11 px.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004, equation 13,
    with K1 = 0.01 and K2 = 0.03.
    Differs: no averaging down of large images before; colour is the mean over the channels.
    """
    x, y = _check_pair(restored, clean, data_range)
    if x.ndim < 2 or min(x.shape[-2:]) < WINDOW_PX:
        raise ShapeError(f"SSIM needs images of at least {WINDOW_PX} x {WINDOW_PX} px; got shape {x.shape}.")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y, square_x, square_y, product = (_blur(a) for a in (x, y, x * x, y * y, x * y))
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean(axis=(-2, -1))


def image_scores(
    restored: Sequence[np.ndarray] | np.ndarray, clean: Sequence[np.ndarray] | np.ndarray, data_range: float
) -> ImageScores:
    """`mse`, `mae`, `psnr` and `ssim` of each image; of a batch or of many, joined by `join_scores`.

    Args:
        restored: what the network made; it may leave the range.
        clean: what it should have made.
        data_range: the largest possible difference of two values, such as 1 for 0..1 or 255 for bytes.

    Returns:
        four arrays (N,); `psnr` is infinite where there is no error, `ssim` nan for images of less than 11 px.

    Shapes:
        (N, H, W) or (N, C, H, W), or a sequence of N images (H, W) or (C, H, W) that may differ in size

    Raises:
        ShapeError: restored and clean images differ in number or shape.
        DataError: a value that is not finite, clean values further apart than the range, or a range not above 0.
    """
    if len(restored) != len(clean):
        raise ShapeError(f"Expected one restored image for each clean one; got {len(restored)} and {len(clean)}.")
    alike = isinstance(restored, np.ndarray) and isinstance(clean, np.ndarray)
    step = max(1, CHUNK // max(1, clean[0].size)) if alike and len(clean) else 1
    parts: list[ImageScores] = []
    for start in range(0, len(clean), step):
        x, y = (np.asarray(images[start : start + step]) for images in (restored, clean))
        x, y = _check_pair(x, y, data_range)
        if y.ndim not in (3, 4):
            raise ShapeError(f"Images must be (H, W) or (C, H, W) each; got {y.shape[1:]}.")
        x, y = (one.reshape(len(one), -1, *one.shape[-2:]) for one in (x, y))  # (N, C, H, W)
        error = x - y
        square = (error**2).mean(axis=(1, 2, 3))
        large = min(y.shape[-2:]) >= WINDOW_PX
        similar = ssim(x, y, data_range).mean(axis=1) if large else np.full(len(y), np.nan)
        absolute = np.abs(error).mean(axis=(1, 2, 3))
        parts.append({"mse": square, "mae": absolute, "psnr": _decibels(square, data_range), "ssim": similar})
    return join_scores(parts)


def join_scores(parts: Iterable[ImageScores]) -> ImageScores:
    """The scores of several batches as those of one."""
    listed = list(parts)
    return {name: np.concatenate([np.zeros(0), *(part[name] for part in listed)]) for name in SCALES}


def reconstruction_report(
    scores: ImageScores, baselines: Mapping[str, ImageScores] | None = None, *, level: float = 0.95
) -> dict[str, Any]:
    """Everything said about restored images on one set of samples, as plain JSON values.

    Args:
        scores: of the network's images, from `image_scores`.
        baselines: the same of other answers to the same images in the same order, by name, such as `noisy input`.
        level: coverage of every interval.

    Returns:
        `n`, `level`; the intervals (see `Interval.to_json`) `mse`, `mae`, `psnr`, `ssim`, each a mean over the images;
        `baselines`, each with `name`, its own four and a `gain`: how much better ours is on the same images, above 0
        also for the errors where ours is better, and `better`, the share of the images where our PSNR is higher;
        `worst`, the images of the lowest PSNR by their position.

    Raises:
        ShapeError: a baseline has scores of another number of images.
        ConfigError: a level outside 0..1.
    """
    normal_quantile(level)
    n = len(scores["mse"])
    report: dict[str, Any] = {"n": n, "level": level, **_means(scores, level), "baselines": []}
    for name, other in (baselines or {}).items():
        if len(other["mse"]) != n:
            raise ShapeError(
                f"The baseline '{name}' must have answered the same {n} images; got {len(other['mse'])} scores."
            )
        gain = {key: _gain(key, scores[key], other[key], level).to_json() for key in SCALES}
        gain["better"] = wilson(int((scores["psnr"] > other["psnr"]).sum()), n, level).to_json()
        report["baselines"].append({"name": name, **_means(other, level), "gain": gain})
    lowest = np.argsort(-scores["mse"], kind="stable")[:WORST]
    report["worst"] = [{"position": int(i), "mse": float(scores["mse"][i])} for i in lowest]
    return report


@dataclass(frozen=True)
class NonLocalMeans:
    """Denoising without learning: each pixel becomes the mean of pixels whose surroundings look alike.

    Attributes:
        sigma: standard deviation of the noise, in the unit of the images.
        strength: how different two patches may be and still count as alike, in sigmas.

    Source: Buades et al., "A Non-Local Algorithm for Image Denoising", 2005, as scikit-image implements it.
    """

    sigma: float
    strength: float

    def restore(self, noisy: np.ndarray) -> np.ndarray:
        """One image (H, W) or (C, H, W), denoised.

        Raises:
            ConfigError: scikit-image is not installed.
        """
        noisy = np.asarray(noisy, dtype=np.float64)
        window = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
        grey = noisy.ndim == 2 or len(noisy) == 1
        plane = noisy.reshape(noisy.shape[-2:]) if grey else noisy
        settings = {"h": self.strength * self.sigma, "sigma": self.sigma, "channel_axis": None if grey else 0}
        return _skimage().denoise_nl_means(plane, **settings, **window).reshape(noisy.shape)


def fit_non_local_means(
    noisy: Sequence[np.ndarray] | np.ndarray, clean: Sequence[np.ndarray] | np.ndarray
) -> NonLocalMeans:
    """Non-local means at its best: the noise as it is, and the strength with the least squared error on these images.

    A baseline left at its defaults is a weak one, and would flatter the network. A few dozen training images do.

    Raises:
        ConfigError: scikit-image is not installed.
        DataError: no images, or no noise.
        ShapeError: noisy and clean images differ in number or shape.
    """
    if len(noisy) != len(clean):
        raise ShapeError(f"Expected one noisy image for each clean one; got {len(noisy)} and {len(clean)}.")
    pairs = [_check_pair(x, y, None) for x, y in zip(noisy, clean, strict=True)]
    pixels = sum(y.size for _, y in pairs)
    sigma = float(np.sqrt(sum(((x - y) ** 2).sum() for x, y in pairs) / max(1, pixels)))
    if not sigma > 0:
        raise DataError(
            f"Non-local means needs noisy images that differ from the clean ones; got {len(pairs)} pairs without noise."
        )

    def loss(strength: float) -> float:
        method = NonLocalMeans(sigma, strength)
        return sum(float(((method.restore(x) - y) ** 2).sum()) for x, y in pairs)

    return NonLocalMeans(sigma, min(STRENGTHS, key=loss))


def non_local_means_available() -> bool:
    """Whether scikit-image, which does it, is installed."""
    return find_spec("skimage") is not None


def _skimage() -> ModuleType:
    try:
        from skimage import restoration
    except ImportError:
        raise ConfigError("The non-local means baseline needs scikit-image: pip install 'convlens[denoise]'.") from None
    return restoration


def _check_pair(restored: np.ndarray, clean: np.ndarray, data_range: float | None) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(restored, dtype=np.float64), np.asarray(clean, dtype=np.float64)
    if x.shape != y.shape:
        raise ShapeError(f"A restored and a clean image must have one shape; got {x.shape} and {y.shape}.")
    for name, values in (("restored", x), ("clean", y)):
        if not np.isfinite(values).all():
            raise DataError(f"The values of {name} images must be finite; {int((~np.isfinite(values)).sum())} are not.")
    spread = float(np.ptp(y)) if y.size else 0.0
    if data_range is not None and (not data_range > 0 or spread > data_range * (1 + 1e-6)):
        raise DataError(
            f"The data range must be above 0 and hold the clean values; got {data_range} for values that span "
            f"{spread:.4g}. Use 1 for images in 0..1 and 255 for bytes."
        )
    return x, y


def _decibels(square: Any, data_range: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / np.asarray(square))


def _blur(planes: np.ndarray) -> np.ndarray:
    """Gaussian means of all windows inside the plane, one axis after the other. (..., H, W) -> (..., H-10, W-10)"""
    offsets = np.arange(WINDOW_PX) - WINDOW_PX // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA_PX**2))
    weights /= weights.sum()
    rows = sliding_window_view(planes, WINDOW_PX, axis=-2) @ weights
    return sliding_window_view(rows, WINDOW_PX, axis=-1) @ weights


def _means(scores: ImageScores, level: float) -> dict[str, Any]:
    return {key: _mean(key, scores[key], level, SCALES[key]).to_json() for key in SCALES}


def _gain(key: str, ours: np.ndarray, theirs: np.ndarray, level: float) -> Interval:
    with np.errstate(invalid="ignore"):  # two infinite PSNRs
        better = theirs - ours if key in ERRORS else ours - theirs
    return _mean(key, better, level, PLAIN)


def _mean(key: str, values: np.ndarray, level: float, scale: Scale) -> Interval:
    return mean_score(values, level, scale, missing=MISSING.get(key, ""))
