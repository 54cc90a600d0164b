"""Batches: slices of the store, in an order that is a function of (seed, epoch) and of nothing else.

So there is no state to save: a run that goes on in the middle of an epoch asks for the same epoch from another batch.
This file must not know what the images show, how they are changed, or on which device they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from convlens.data.draws import bits
from convlens.errors import DataError


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Shapes:
        images (N, H, W, C) uint8, or features (N, D) float32; targets (N, ...) int64, uint8 or float32; samples (N,)
        int64, rows of the store.
    """

    images: torch.Tensor
    targets: torch.Tensor
    samples: np.ndarray


class Batches:
    """A part of the store, batch by batch, epoch after epoch; every sample comes once in each epoch.

    Shuffled, the batches of an epoch are equally large up to one sample, and never larger than asked: a small last
    batch would weigh as much in training as a full one, and batch normalisation cannot use one of a single image. (Only
    for `batch_size=2` and an odd number of samples does one batch hold three.) Unshuffled, all but the last are full.

    Args:
        images: in memory or memory-mapped; or what a frozen backbone gives for them.
        targets: one for each row of images; whole numbers become int64, but those of masks and pictures stay uint8;
            others float32.
        indices: the rows that belong to this part.
        batch_size: images in a batch.
        seed: of the run; decides the order.
        shuffle: a new order every epoch, for training; else the order of `indices`.

    Shapes:
        images (N, H, W, C) uint8 or (N, D) float32, targets (N, ...), indices (n,) int.

    Raises:
        DataError: the parts do not fit together.

    Example:
        >>> images = np.zeros((5, 2, 2, 1), np.uint8)
        >>> batches = Batches(images, np.arange(5), np.arange(5), batch_size=4, seed=0, shuffle=True)
        >>> [len(batch.samples) for batch in batches.epoch(0)]
        [2, 3]
    """

    def __init__(
        self, images: np.ndarray, targets: np.ndarray, indices: np.ndarray, *, batch_size: int, seed: int, shuffle: bool
    ) -> None:
        targets, indices = np.asarray(targets), np.asarray(indices, dtype=np.int64)
        if (images.dtype, images.ndim) not in ((np.uint8, 4), (np.float32, 2)):
            raise DataError(f"Batches expect images (N, H, W, C) uint8; got {images.shape} {images.dtype}.")
        if len(targets) != len(images):
            raise DataError(f"Every image needs one target; got {len(images)} images and {len(targets)} targets.")
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(images):
            raise DataError(
                f"Indices must be rows 0..{len(images) - 1}; got {indices.min()}..{indices.max()}. Split this store."
            )
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1; got {batch_size}.")
        if targets.dtype != np.uint8 or targets.ndim < 3:
            targets = targets.astype(np.int64 if np.issubdtype(targets.dtype, np.integer) else np.float32)
        self.images, self.targets = images, targets
        self.indices, self.batch_size, self.seed, self.shuffle = indices, batch_size, seed, shuffle

    def __len__(self) -> int:
        """Batches in an epoch."""
        full = -(-self.samples // self.batch_size)
        return min(full, max(1, self.samples // 2)) if self.shuffle and self.batch_size > 1 else full

    @property
    def samples(self) -> int:
        """Samples in an epoch."""
        return len(self.indices)

    @property
    def largest(self) -> int:
        """Samples in the largest batch of an epoch."""
        return -(-self.samples // len(self)) if self.shuffle else min(self.batch_size, self.samples)

    def order(self, epoch: int) -> np.ndarray:
        """The rows of the store in the order of an epoch.

        Each row gets a random number by hashing, and the rows are sorted by it: unlike a shuffle by a generator, it
        stays the same with every version of NumPy.
        """
        if not self.shuffle:
            return self.indices
        return self.indices[np.argsort(bits(self.seed, epoch, self.indices, "order"), kind="stable")]

    def slice(self, batch: int) -> slice:
        """Where a batch lies in the order of its epoch."""
        if not self.shuffle:
            return slice(batch * self.batch_size, min((batch + 1) * self.batch_size, self.samples))
        count = len(self)
        return slice(batch * self.samples // count, (batch + 1) * self.samples // count)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on."""
        order = self.order(epoch)
        for batch in range(start, len(self)):
            rows = order[self.slice(batch)]
            yield Batch(torch.from_numpy(self._gather(rows)), torch.from_numpy(self.targets[rows]), rows)

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        if not isinstance(self.images, np.memmap):
            return self.images[rows]
        out = np.empty((len(rows), *self.images.shape[1:]), self.images.dtype)
        for place in np.argsort(rows):  # in the order of the file, which reads ahead
            out[place] = self.images[rows[place]]
        return out
