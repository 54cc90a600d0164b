"""How a batch is put before the network: stored images become its input, and their targets what it is compared with.

`still` is how validation, test and prediction see a batch; `changed` is how training sees it in one epoch. What belongs
to the pixels follows them: a mask is moved exactly as its image is, a clean picture is its own target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from convlens.config import Kind
from convlens.data.augment import Augment
from convlens.data.noise import Noise, noise_keys
from convlens.data.preprocess import Preprocess

Pair = tuple[Tensor, Tensor]


class Present(Protocol):
    """From stored images and targets to (input, target), both on the device of the images."""

    def still(self, images: Tensor, targets: Tensor, samples: np.ndarray) -> Pair:
        """The batch as it is."""
        ...

    def changed(self, images: Tensor, targets: Tensor, samples: np.ndarray, epoch: int) -> Pair:
        """The batch as training sees it in this epoch."""
        ...


@dataclass(frozen=True)
class Labelled:
    """Classes and numbers belong to the whole image and stay what they are; mixup and cutmix mix them.

    Attributes:
        augment: None where nothing is trained.
    """

    preprocess: Preprocess
    augment: Augment | None = None

    def still(self, images: Tensor, targets: Tensor, samples: np.ndarray) -> Pair:
        return self.preprocess.tensor(images), targets

    def changed(self, images: Tensor, targets: Tensor, samples: np.ndarray, epoch: int) -> Pair:
        return _needed(self.augment)(images, targets, samples, epoch)


@dataclass(frozen=True)
class Masked:
    """A class for every pixel: the mask is cut, mirrored, turned and zoomed as its image is.

    Training sees windows of the network's input size; without training the whole stored image is shown.
    """

    preprocess: Preprocess
    augment: Augment | None = None

    def still(self, images: Tensor, targets: Tensor, samples: np.ndarray) -> Pair:
        return self.preprocess.whole.tensor(images), targets

    def changed(self, images: Tensor, targets: Tensor, samples: np.ndarray, epoch: int) -> Pair:
        augment = _needed(self.augment)
        drawn = augment.draw(samples, epoch)
        return augment.apply(images, drawn), augment.move_masks(targets, drawn)


@dataclass(frozen=True)
class Pictured:
    """The target is the clean picture itself, in levels 0..1; the input is the same, with noise where there is any.

    Shapes:
        targets as they come are not looked at; as they go (N, C, H, W) float32.
    """

    preprocess: Preprocess
    augment: Augment | None = None
    noise: Noise | None = None
    seed: int = 0

    def still(self, images: Tensor, targets: Tensor, samples: np.ndarray) -> Pair:
        return self._pair(self.preprocess.tensor(images), noise_keys(self.seed, 0, samples, "still"))

    def changed(self, images: Tensor, targets: Tensor, samples: np.ndarray, epoch: int) -> Pair:
        augment = _needed(self.augment)
        x = augment.apply(images, augment.draw(samples, epoch))
        return self._pair(x, noise_keys(self.seed, epoch, samples, "changed"))

    def _pair(self, x: Tensor, keys: np.ndarray) -> Pair:
        clean = self.preprocess.levels(x)
        if self.noise is None:
            return x, clean
        noisy = self.noise.add(clean, keys)
        return self.preprocess.normalised(noisy), clean


KINDS: dict[Kind, type[Any]] = {"class": Labelled, "number": Labelled, "mask": Masked, "picture": Pictured}


def make_present(
    kind: Kind, preprocess: Preprocess, augment: Augment | None = None, *, noise: Noise | None = None, seed: int = 0
) -> Present:
    """The way a kind of target is presented.

    Args:
        augment: needed for training.
        noise: added to pictures; of no use to other kinds.
        seed: of the noise.
    """
    if kind == "picture":
        return Pictured(preprocess, augment, noise, seed)
    return KINDS[kind](preprocess, augment)


def _needed(augment: Augment | None) -> Augment:
    if augment is None:
        raise TypeError("Only a presentation made with an Augment can show changed pictures.")
    return augment
