"""Random numbers that are functions of (seed, epoch, sample), and what augmentation draws from them.

A generator has a history: skip a sample and all later ones change. Here every number is a hash of who asks for it, so a
resumed run, another batch size or another device sees the same pictures. NumPy only, and only numbers of one per
sample; what they do to pixels is `augment.py`'s affair.

Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (the mixing function).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from convlens.options import AugmentConfig

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
ERASED_SHARE = (0.02, 0.33)
ERASED_ASPECT = (0.3, 3.3)
QUANTILES = 1 << 14


def bits(seed: int, epoch: int, samples: np.ndarray, name: str) -> np.ndarray:
    """64 random bits for each sample; the name keeps different draws apart.

    For one (seed, epoch, name) this is a one-to-one map of the sample number: two samples never get the same bits.

    Shapes:
        samples (N,) int -> (N,) uint64.

    Example:
        >>> first, again = bits(0, 5, np.array([3, 4]), "flip"), bits(0, 5, np.array([4]), "flip")
        >>> bool(first[1] == again[0])
        True
    """
    x = samples.astype(np.uint64) ^ np.uint64(_key(seed, epoch, name))
    x += np.uint64(GAMMA)
    for shift, factor in MIX:
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x


def uniform(seed: int, epoch: int, samples: np.ndarray, name: str) -> np.ndarray:
    """One number in [0, 1) for each sample.

    Shapes:
        samples (N,) int -> (N,) float64.
    """
    return (bits(seed, epoch, samples, name) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=256)
def _key(*parts: int | str) -> int:
    key = 0
    for part in parts:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part
        key = ((key ^ number) + GAMMA) & MASK
        for shift, factor in MIX:
            key = ((key ^ (key >> shift)) * factor) & MASK
        key ^= key >> 31
    return key


@dataclass(frozen=True)
class Draw:
    """What was drawn for each sample of a batch; nothing in it depends on the other samples.

    The geometry is stated in pixels of the source, so that whatever belongs to a picture can follow it.

    Shapes:
        axes of size 2 are (rows, columns).

    Attributes:
        flip: (N, 2) bool; mirrored along that axis.
        turn: (N,) bool; in the end rows and columns change places, which with a mirror is a quarter turn.
        shift: (N, 2) int; whole pixels by which the window on the source is moved.
        translate: (N, 2) float; the same in fractions of pixels.
        angle_deg: (N,) rotation of the picture, counter-clockwise.
        zoom: (N,) magnification.
        gain: (N,) factor of the levels.
        contrast: (N,) factor of the distance of the levels from the mean of the training set.
        noise: (N,) uint32 key of the sample's noise.
        erase: (N, 4) int; top, left, bottom, right of the blanked rectangle, empty where top = bottom.
    """

    flip: np.ndarray
    turn: np.ndarray
    shift: np.ndarray
    translate: np.ndarray
    angle_deg: np.ndarray
    zoom: np.ndarray
    gain: np.ndarray
    contrast: np.ndarray
    noise: np.ndarray
    erase: np.ndarray

    @property
    def whole_pixels(self) -> bool:
        """Whether pictures are only mirrored, turned by quarters and moved by whole pixels: nothing is interpolated."""
        return not self.angle_deg.any() and not self.translate.any() and bool((self.zoom == 1.0).all())

    @property
    def same_levels(self) -> bool:
        """Whether brightness and contrast of every picture stay as they are."""
        return bool((self.gain == 1.0).all() and (self.contrast == 1.0).all())


def draw(config: AugmentConfig, seed: int, epoch: int, samples: np.ndarray, size_px: tuple[int, int]) -> Draw:
    """Draw the changes of each sample for one epoch.

    Mirroring and turning alternate instead of being tossed anew: the sample's own bits say how it starts, and every
    epoch takes the next state, so that two epochs in a row (four, where both axes are mirrored; eight, where pictures
    are turned too) show each state once.

    Source: Jordan 2024, arXiv:2404.00498 (alternating flip).
    """
    n, sides = len(samples), np.array(size_px)

    def spread(name: str, limit: float) -> np.ndarray:
        return (uniform(seed, epoch, samples, name) * 2.0 - 1.0) * limit if limit else np.zeros(n)

    def pair(name: str, limit: float) -> np.ndarray:
        return np.stack([spread(f"{name}-rows", limit), spread(f"{name}-columns", limit)], axis=1)

    shift = np.zeros((n, 2), np.int64)
    if config.crop:
        most = np.maximum(1, np.rint(float(config.crop) * sides))
        shift = np.floor((pair("crop", 0.5) + 0.5) * (2 * most + 1)).astype(np.int64) - most.astype(np.int64)
    flip, turn = _states(config.flip, bool(config.turn), seed, epoch, samples)
    return Draw(
        flip=flip,
        turn=turn,
        shift=shift,
        translate=pair("translate", float(config.translate)) * sides,
        angle_deg=spread("rotate", float(config.rotate_deg)),
        zoom=1.0 + spread("scale", float(config.scale)),
        gain=1.0 + spread("brightness", float(config.brightness)),
        contrast=1.0 + spread("contrast", float(config.contrast)),
        noise=(bits(seed, epoch, samples, "noise") >> np.uint64(32)).astype(np.uint32),
        erase=_erased(config.erase, seed, epoch, samples, size_px),
    )


def _states(flip: str, turn: bool, seed: int, epoch: int, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axes = {"none": (), "horizontal": (1,), "vertical": (0,), "both": (1, 0)}[flip]
    ways = np.zeros((len(samples), 3), bool)  # mirrored along rows, along columns, turned
    changed = (*axes, 2) if turn else axes
    if changed:
        state = bits(seed, 0, samples, "flip") + np.uint64(epoch)
        for place, way in enumerate(changed):
            ways[:, way] = (state >> np.uint64(place)) & np.uint64(1)
    return ways[:, :2], ways[:, 2]


def _erased(chance: float, seed: int, epoch: int, samples: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    if not chance:
        return np.zeros((len(samples), 4), np.int64)
    u = [uniform(seed, epoch, samples, f"erase-{part}") for part in ("chance", "share", "aspect")]
    share = ERASED_SHARE[0] + u[1] * (ERASED_SHARE[1] - ERASED_SHARE[0])
    low, high = np.log(ERASED_ASPECT)
    aspect = np.exp(low + u[2] * (high - low))
    sides = np.sqrt(share[:, None] * size_px[0] * size_px[1] * np.stack([aspect, 1.0 / aspect], axis=1))
    sides[u[0] >= chance] = 0.0
    return _placed(sides, seed, epoch, samples, size_px, "erase")


def _placed(
    sides: np.ndarray, seed: int, epoch: int, samples: np.ndarray, size_px: tuple[int, int], name: str
) -> np.ndarray:
    """Put rectangles of (N, 2) sides anywhere wholly inside the picture: (N, 4) top, left, bottom, right."""
    within = np.minimum(np.rint(sides), size_px).astype(np.int64)
    u = np.stack([uniform(seed, epoch, samples, f"{name}-{axis}") for axis in ("rows", "columns")], axis=1)
    start = np.floor(u * (np.array(size_px) - within + 1)).astype(np.int64)
    return np.concatenate([start, start + within], axis=1)


@dataclass(frozen=True)
class Mix:
    """Which other picture of the batch is mixed into each, and how; this alone depends on who is in the batch.

    Attributes:
        partner: (N,) int; position in the batch of the other picture. Every picture is a partner exactly once.
        own: (N,) float; share of the picture itself, in its target too.
        blend: (N,) float; the share by which levels are blended, 1 where a rectangle is pasted instead.
        paste: (N, 4) int; top, left, bottom, right of the rectangle taken from the partner.
    """

    partner: np.ndarray
    own: np.ndarray
    blend: np.ndarray
    paste: np.ndarray


def draw_mix(config: AugmentConfig, seed: int, epoch: int, samples: np.ndarray, size_px: tuple[int, int]) -> Mix:
    """Draw partners and shares, with mixup or cutmix on; with both, each picture takes either with equal chance.

    Source: Zhang et al. 2018, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899 (cutmix).
    Differs: the pasted rectangle lies wholly inside the picture.
    """
    order = np.argsort(bits(seed, epoch, samples, "partner"))
    partner = np.empty(len(samples), np.int64)
    partner[order] = np.roll(order, 1)
    mixup_chance = float(config.mixup > 0) / (float(config.mixup > 0) + float(config.cutmix > 0))
    blends = uniform(seed, epoch, samples, "mix-kind") < mixup_chance
    u = uniform(seed, epoch, samples, "mix-share")
    blend = np.where(blends, _beta(config.mixup, u), 1.0)
    cut = np.where(blends, 0.0, np.sqrt(1.0 - _beta(config.cutmix, u)))
    paste = _placed(cut[:, None] * np.array(size_px), seed, epoch, samples, size_px, "mix")
    area = (paste[:, 2] - paste[:, 0]) * (paste[:, 3] - paste[:, 1])
    return Mix(partner, blend * (1.0 - area / (size_px[0] * size_px[1])), blend, paste)


def _beta(alpha: float, u: np.ndarray) -> np.ndarray:
    """Quantiles u of the Beta(alpha, alpha) distribution, from a table."""
    return _beta_table(alpha)[(u * QUANTILES).astype(np.int64)] if alpha else np.ones_like(u)


@lru_cache(maxsize=8)
def _beta_table(alpha: float) -> np.ndarray:
    return np.sort(np.random.default_rng(0).beta(alpha, alpha, QUANTILES))
