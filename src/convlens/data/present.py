"""How a batch is put before the network: stored images become its input, and their targets what it is compared with.

`still` is how validation, test and prediction see a batch; `changed` is how training sees it in one epoch. What belongs
to the pixels follows them: a mask and a box are moved exactly as their image is, a clean picture is its own target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from convlens.data.augment import Augment, beyond
from convlens.data.box_moves import move_boxes
from convlens.data.mosaic import draw_mosaic, mosaic_boxes, mosaic_pictures
from convlens.data.noise import Noise, noise_keys
from convlens.data.preprocess import Preprocess
from convlens.options import Kind

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


@dataclass(frozen=True)
class Boxed:
    """Boxes follow their image exactly; see `box_moves`. Without training the whole stored image is shown.

    Where training sees beyond the image's border, there is the mean of the training images: elsewhere the image's own
    mirror image shows there, and in it objects without a box.

    Attributes:
        mosaic_epochs: how many epochs show pictures made of four, where there are any.
    """

    preprocess: Preprocess
    augment: Augment | None = None
    mosaic_epochs: int = 0

    def still(self, images: Tensor, targets: Tensor, samples: np.ndarray) -> Pair:
        return self.preprocess.whole.tensor(images), targets

    def changed(self, images: Tensor, targets: Tensor, samples: np.ndarray, epoch: int) -> Pair:
        augment, stored = _needed(self.augment), self.preprocess.store_px
        drawn = augment.draw(samples, epoch)
        x = augment.apply(images, drawn)
        if (outside := beyond(drawn, stored, self.preprocess.size_px, x.device)) is not None:
            x.masked_fill_(outside, 0.0)
        size = self.preprocess.size_px
        boxes = move_boxes(targets, drawn, stored, size)
        if not augment.config.mosaic or epoch >= self.mosaic_epochs:
            return x, boxes
        mosaic = draw_mosaic(augment.config.mosaic, augment.seed, epoch, samples, size)
        return mosaic_pictures(x, mosaic), mosaic_boxes(boxes, mosaic, size)


@dataclass(frozen=True)
class Paired:
    """A noisy picture as the input and its clean one as the target, moved and lit alike.

    Shapes:
        targets as they come (N, store height, store width, C) uint8; as they go (N, C, H, W) float32 in levels 0..1.
    """

    preprocess: Preprocess
    augment: Augment | None = None

    def still(self, images: Tensor, targets: Tensor, samples: np.ndarray) -> Pair:
        shown = self.preprocess.tensor(images)
        return shown, self.preprocess.levels(self.preprocess.tensor(targets)) if targets.ndim == 4 else shown

    def changed(self, images: Tensor, targets: Tensor, samples: np.ndarray, epoch: int) -> Pair:
        augment = _needed(self.augment)
        drawn = augment.draw(samples, epoch)
        return augment.apply(images, drawn), self.preprocess.levels(augment.apply(targets, drawn))


KINDS: dict[Kind, type[Any]] = {
    "class": Labelled,
    "number": Labelled,
    "mask": Masked,
    "picture": Pictured,
    "pair": Paired,
    "boxes": Boxed,
}


def make_present(
    kind: Kind,
    preprocess: Preprocess,
    augment: Augment | None = None,
    *,
    noise: Noise | None = None,
    seed: int = 0,
    epochs: int = 0,
) -> Present:
    """The way a kind of target is presented.

    Args:
        augment: needed for training.
        noise: added to pictures; of no use to other kinds.
        seed: of the noise.
        epochs: of training; boxes of four pictures are shown in the first four fifths of them.
    """
    if kind == "picture":
        return Pictured(preprocess, augment, noise, seed)
    if kind == "boxes":
        return Boxed(preprocess, augment, epochs * 4 // 5)
    return KINDS[kind](preprocess, augment)


def _needed(augment: Augment | None) -> Augment:
    if augment is None:
        raise TypeError("Only a presentation made with an Augment can show changed pictures.")
    return augment
