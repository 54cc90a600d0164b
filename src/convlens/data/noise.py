"""Noise added on purpose, for networks that learn to remove it: a pure function of (seed, epoch, sample).

A key of 32 bits for each sample stands for all its noise, so a picture is spoilt alike in every batch, in every order
and in a resumed run. This file adds noise to levels 0..1; it knows nothing of normalisation or networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
import torch
from torch import Tensor

from convlens.data.augment import hashed_normal
from convlens.data.draws import bits
from convlens.errors import ConfigError, ShapeError, did_you_mean

CLIP = "clip"
FEW_PHOTONS = 10.0  # up to here counts are found one by one
MOST_COUNTS = 32  # no normal number of `hashed_normal` asks for so many of an expected 10


@dataclass(frozen=True)
class Kind:
    """What the amount of one kind of noise means, and within which bounds it is accepted."""

    meaning: str
    most: float
    example: str


KINDS: dict[str, Kind] = {
    "gaussian": Kind("the standard deviation, where black is 0 and white is 1", 1.0, "gaussian:0.1"),
    "poisson": Kind("the photons expected from white, 1", 1e6, "poisson:30"),
    "salt-and-pepper": Kind("the share of pixels", 1.0, "salt-and-pepper:0.05"),
}


@dataclass(frozen=True)
class Noise:
    """One kind of noise and how much of it.

    - `gaussian`: to every value its own normal number is added, of standard deviation `amount`.
    - `poisson`: every value is replaced by count / amount, where the count is of a Poisson distribution of mean
      amount * level. So the noise is strongest where the picture is bright, in proportion to the level's square root.
    - `salt-and-pepper`: a share `amount` of all pixels becomes black or white, with equal chance, in all channels
      together. No other pixel changes.

    The first two leave 0..1, as measurements do before they are stored. A picture file cannot: for a network that shall
    restore noisy files, `clip` cuts levels off at 0 and 1 as the file did, which also makes black lighter on average.

    Attributes:
        kind: one of `KINDS`.
        amount: above 0; what it means is in `KINDS`.
        clip: cut off what leaves 0..1.

    Raises:
        ConfigError: the fields do not fit together.
    """

    kind: str
    amount: float
    clip: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            examples = ", ".join(kind.example for kind in KINDS.values())
            raise ConfigError(
                f"There is no noise '{self.kind}'. {did_you_mean(self.kind, KINDS)} Write it as in {examples}."
            )
        kind = KINDS[self.kind]
        if not 0.0 < self.amount <= kind.most:
            byte = f" (for {self.amount:g} of 255 write gaussian:{self.amount / 255:.3g})"
            raise ConfigError(
                f"The amount of {self.kind} noise is {kind.meaning}: above 0, at most {kind.most:,.0f}; got "
                f"{self.amount:g}{byte if self.kind == 'gaussian' and 1 < self.amount < 256 else ''}. "
                f"Try {kind.example}."
            )
        if self.clip and self.kind == "salt-and-pepper":
            raise ConfigError(f"Salt-and-pepper noise never leaves 0..1. Leave ':{CLIP}' out.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read KIND:AMOUNT or KIND:AMOUNT:clip.

        Example:
            >>> Noise.parse("poisson:30"), str(Noise.parse("gaussian:0.10:clip"))
            (Noise(kind='poisson', amount=30.0, clip=False), 'gaussian:0.1:clip')
            >>> Noise.parse("gausian:0.1")
            Traceback (most recent call last):
            ...
            convlens.errors.ConfigError: There is no noise 'gausian'. Did you mean 'gaussian'? Write it as in \
gaussian:0.1, poisson:30, salt-and-pepper:0.05.

        Raises:
            ConfigError: the text is something else.
        """
        name, *rest = (part.strip() for part in text.split(":"))
        example = KINDS[name].example if name in KINDS else "gaussian:0.1"
        if name not in KINDS:
            cls(name, 1.0)  # says which there are
        if not rest:
            raise ConfigError(f"Noise is KIND:AMOUNT, such as {example}; got '{text}' without an amount.")
        if rest[1:] not in ([], [CLIP]):
            raise ConfigError(
                f"After its amount, noise takes nothing or '{CLIP}', as in {example}:{CLIP}; got '{text}'."
            )
        try:
            amount = float(rest[0])
        except ValueError:
            raise ConfigError(f"The amount of noise must be a number, as in {example}; got '{text}'.") from None
        return cls(name, amount, clip=len(rest) > 1)

    def __str__(self) -> str:
        return f"{self.kind}:{repr(float(self.amount)).removesuffix('.0')}{f':{CLIP}' if self.clip else ''}"

    def add(self, levels: Tensor, keys: np.ndarray) -> Tensor:
        """The pictures with their noise, as a new tensor, on the device where they are.

        Args:
            levels: 0..1; a level below 0 gives no photons.
            keys: of `noise_keys`.

        Shapes:
            levels (N, C, H, W) float, keys (N,) uint32 -> (N, C, H, W) float of the same type.

        Raises:
            ShapeError: levels or keys have another shape or type.
        """
        if levels.ndim != 4 or not levels.is_floating_point():
            raise ShapeError(
                f"Noise is added to levels (N, C, H, W) of real numbers 0..1; got {tuple(levels.shape)} {levels.dtype}."
            )
        if keys.dtype != np.uint32 or keys.shape != (len(levels),):
            raise ShapeError(
                f"Noise needs one uint32 key of noise_keys for each of {len(levels)} pictures; got {keys.shape} "
                f"{keys.dtype}."
            )
        n, channels, height, width = levels.shape
        planes = 1 if self.kind == "salt-and-pepper" else channels
        z = hashed_normal(keys, planes * height * width, levels.device).view(n, planes, height, width)
        if self.kind == "salt-and-pepper":
            return _salted(levels, z, self.amount)
        noisy = levels + self.amount * z if self.kind == "gaussian" else counts(self.amount * levels, z) / self.amount
        return (noisy.clamp_(0.0, 1.0) if self.clip else noisy).to(levels.dtype)


def noise_keys(seed: int, epoch: int, samples: np.ndarray, name: str = "spoil") -> np.ndarray:
    """What stands for the noise of each sample in one epoch; the name keeps it apart from other draws.

    Shapes:
        samples (N,) int -> (N,) uint32.

    Example:
        >>> first, again = noise_keys(0, 5, np.array([3, 4])), noise_keys(0, 5, np.array([4]))
        >>> bool(first[1] == again[0])
        True
    """
    return (bits(seed, epoch, samples, name) >> np.uint64(32)).astype(np.uint32)


def counts(expected: Tensor, z: Tensor) -> Tensor:
    """Turn standard normal numbers into Poisson counts of the same rank: the least k with P(K <= k) >= Phi(z).

    Up to `FEW_PHOTONS` the probabilities are added up one by one. Above, k is the floor of an expansion in powers of
    the expected number; the probability of every count is then within 0.00004 of the true one. One z gives one count,
    which changes little where the light does.

    Shapes:
        expected and z alike -> float32, whole numbers.

    Source: Giles 2016, "Algorithm 955: approximation of the inverse Poisson cumulative distribution function",
    doi 10.1145/2699466, equation 7.
    """
    expected = expected.float().clamp(min=0.0)
    rank, term = torch.special.ndtr(z), torch.exp(-expected)
    few, reached = torch.zeros_like(expected), term.clone()
    for k in range(1, MOST_COUNTS):
        few += rank > reached
        reached += term.mul_(expected).div_(k)
    many = expected.clamp(min=FEW_PHOTONS)  # smaller ones are not read from here
    root, z2 = many.sqrt(), z * z
    third = (1.0 + z2 / 2.0) * z / (36.0 * root)
    fourth = (z2 * z2 / 270.0 + 7.0 * z2 / 810.0 - 8.0 / 405.0) / many
    many = (many + root * z + (2.0 + z2) / 6.0 - third + fourth).floor_().clamp_(min=0.0)
    return torch.where(expected <= FEW_PHOTONS, few, many)


def _salted(levels: Tensor, z: Tensor, share: float) -> Tensor:
    """White where z is in the upper tail of the normal distribution, black in the lower; each is half of the share."""
    bound = NormalDist().inv_cdf(1.0 - share / 2.0)
    return levels.masked_fill(z <= -bound, 0.0).masked_fill_(z >= bound, 1.0)
