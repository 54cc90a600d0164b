"""What a weight is before it has learned anything: constants, and draws whose spread fits the size of the layer.

An initialiser fills a tensor in place and returns it. Any function of `torch.nn.init` serves as well. The fans of a
weight (O, I, h, w) are I h w and O h w, as in `reference.optim.fans`. Without a generator they draw from torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convlens.errors import ShapeError
from convlens.nn.named import look_up, require_number

Initialiser = Callable[[Tensor], Any]
Generator = torch.Generator | None


def initialiser(wanted: str | Mapping[str, Any] | Initialiser) -> Initialiser:
    """The initialiser of a name, of a table, or as it is.

    Example:
        >>> initialiser({"name": "random_normal", "stddev": 0.01})
        RandomNormal(mean=0.0, stddev=0.01, generator=None)

    Raises:
        ConfigError: there is none of that name, or it has no such option.
    """
    return look_up("an initialiser", wanted, INITIALISERS)


def fans(weight: Tensor) -> tuple[int, int]:
    """How many numbers flow into a unit of the weight and out of one.

    Raises:
        ShapeError: it is a vector, whose fans nobody knows.
    """
    if weight.ndim < 2:
        raise ShapeError(
            f"This initialiser measures the fans of a weight (O, I, ...); got shape {tuple(weight.shape)}. "
            "For a bias choose zeros, ones, constant, random_normal or random_uniform."
        )
    taps = math.prod(weight.shape[2:])
    return weight.shape[1] * taps, weight.shape[0] * taps


@dataclass(frozen=True)
class Constant:
    """The same number everywhere."""

    value: float = 0.0

    def __post_init__(self) -> None:
        require_number("constant", "value", self.value)

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        return weight.fill_(self.value)


@dataclass(frozen=True)
class RandomNormal:
    """A normal distribution."""

    mean: float = 0.0
    stddev: float = 0.05
    generator: Generator = None

    def __post_init__(self) -> None:
        require_number("random_normal", "mean", self.mean)
        require_number("random_normal", "stddev", self.stddev, least=0)

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        return weight.normal_(self.mean, self.stddev, generator=self.generator)


@dataclass(frozen=True)
class RandomUniform:
    """A uniform distribution."""

    minval: float = -0.05
    maxval: float = 0.05
    generator: Generator = None

    def __post_init__(self) -> None:
        require_number("random_uniform", "minval", self.minval)
        require_number("random_uniform", "maxval", self.maxval, least=self.minval)

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        return weight.uniform_(self.minval, self.maxval, generator=self.generator)


@dataclass(frozen=True)
class GlorotUniform:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010.
    """

    generator: Generator = None

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        limit = math.sqrt(6 / sum(fans(weight)))
        return weight.uniform_(-limit, limit, generator=self.generator)


@dataclass(frozen=True)
class GlorotNormal:
    """Normal with variance 2 / (fan_in + fan_out).

    Differs: Keras draws again what lies beyond two standard deviations, and widens the rest to the same variance.
    """

    generator: Generator = None

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        return weight.normal_(0, math.sqrt(2 / sum(fans(weight))), generator=self.generator)


@dataclass(frozen=True)
class HeUniform:
    """Uniform in +-sqrt(6 / fan_in).

    Source: He et al. 2015, arXiv 1502.01852.
    """

    generator: Generator = None

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        limit = math.sqrt(6 / fans(weight)[0])
        return weight.uniform_(-limit, limit, generator=self.generator)


@dataclass(frozen=True)
class HeNormal:
    """Normal with variance 2 / fan_in.

    Differs: from Keras as `GlorotNormal` does.
    """

    generator: Generator = None

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        return weight.normal_(0, math.sqrt(2 / fans(weight)[0]), generator=self.generator)


@dataclass(frozen=True)
class ByChannel:
    """Draws the kernel of a depthwise convolution as Keras measures it, (h, w, C, m): fans C h w and m h w.

    Shapes:
        (C * m, 1, h, w)
    """

    initialiser: Initialiser
    multiplier: int

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Tensor:
        drawn = weight.new_empty(self.multiplier, len(weight) // self.multiplier, *weight.shape[2:])
        self.initialiser(drawn)
        return weight.copy_(drawn.transpose(0, 1).reshape(weight.shape))


INITIALISERS: dict[str, Callable[..., Initialiser]] = {
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "zeros": lambda: Constant(0.0),
    "ones": lambda: Constant(1.0),
    "constant": Constant,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
}
