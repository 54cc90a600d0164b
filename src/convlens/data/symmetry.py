"""Does it help to know mirror images? Measured on the training images, so that flipping is never a blind default.

Small grey pictures of half the training images are the memory of a nearest-neighbour classifier, the other half are the
questions. The memory is used as it is, and with a mirrored copy of every picture beside it. Where the copies answer
more questions (clothes, hands, animals), flipping is a fair augmentation; where they mislead (digits, letters), not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 14
MOST = 4000


@dataclass(frozen=True)
class MirrorTest:
    """Right answers of the nearest neighbour, with and without mirrored copies in its memory."""

    plain: int
    with_mirrored: int
    questions: int
    changed: int = 0

    @property
    def gain(self) -> int:
        """Answers won by the mirrored copies; negative where they mislead."""
        return self.with_mirrored - self.plain

    @property
    def misleads(self) -> bool:
        """Whether the loss is more than chance: over two standard errors of the answers that changed."""
        return self.gain < -2.0 * self.changed**0.5

    def __str__(self) -> str:
        return (
            f"a nearest-neighbour classifier answers {self.with_mirrored} of {self.questions} training images with "
            f"mirrored copies in its memory, {self.plain} without"
        )


def mirror_test(images: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> MirrorTest:
    """Ask the nearest neighbour with and without mirrored copies.

    Shapes:
        images (N, H, W, C) uint8, targets (N,), rows (n,) of the training part -> MirrorTest.
    """
    rows = np.random.default_rng(0).permutation(np.sort(rows))[:MOST]  # files often come sorted by class
    small, labels = _shrink(images[rows]), targets[rows]
    memory, questions = small[::2], small[1::2]
    known, truth = labels[::2], labels[1::2]
    near, near_distance = _nearest(questions, memory)
    mirror, mirror_distance = _nearest(questions, memory[:, :, ::-1])
    answers = np.where(near_distance <= mirror_distance, known[near], known[mirror])
    right, right_mirrored = known[near] == truth, answers == truth
    changed = int((right != right_mirrored).sum())
    return MirrorTest(int(right.sum()), int(right_mirrored.sum()), len(truth), changed)


def _shrink(images: np.ndarray) -> np.ndarray:
    """Grey means over a grid of at most 14 x 14 blocks, on the 0..1 scale: (N, H, W, C) -> (N, h, w)."""
    _, height, width, _ = images.shape
    step_h, step_w = -(-height // SIDE), -(-width // SIDE)
    grey = images[:, : height // step_h * step_h, : width // step_w * step_w].mean(axis=3) / 255.0
    n, h, w = grey.shape
    return grey.reshape(n, h // step_h, step_h, w // step_w, step_w).mean(axis=(2, 4))


def _nearest(questions: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the nearest memory, and its squared distance without the question's own square."""
    q, m = questions.reshape(len(questions), -1), memory.reshape(len(memory), -1)
    distance = (m**2).sum(1)[None] - 2.0 * q @ m.T
    return distance.argmin(1), distance.min(1)
