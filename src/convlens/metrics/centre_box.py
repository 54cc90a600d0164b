"""The detector that looks at nothing: what average precision costs nothing to reach.

It answers one box for every image: the commonest class of training, of the mean size of its boxes, at the centre. A
detector that has learnt to look must do better. This file knows boxes and sizes of images, not pixels or files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from convlens.errors import DataError


@dataclass(frozen=True)
class CentreBox:
    """One box for every image.

    Attributes:
        label: the commonest class.
        width: mean width of its boxes, as a share of the image's.
        height: mean height, likewise.
        mean_count: mean number of objects, of all classes, in a training image.
        n: number of training images.
    """

    label: int
    width: float
    height: float
    mean_count: float
    n: int

    def detect(self, height_px: float, width_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The box (1, 4), its class (1,) and its score (1,), which is always 1.

        Example:
            >>> CentreBox(3, 0.5, 0.25, 2.0, 10).detect(80, 100)
            (array([[25., 30., 75., 50.]]), array([3]), array([1.]))
        """
        across, down = self.width * width_px / 2, self.height * height_px / 2
        x, y = width_px / 2, height_px / 2
        return np.array([[x - across, y - down, x + across, y + down]]), np.array([self.label]), np.ones(1)


def centre_box(images: Iterable[tuple[np.ndarray, np.ndarray, tuple[float, float]]]) -> CentreBox:
    """Learn the box from training images; of classes equally common the first.

    Args:
        images: for each its true boxes as rows x1, y1, x2, y2, their classes, and its height and width, in pixels.

    Shapes:
        boxes (M, 4), classes (M,)

    Raises:
        DataError: the images have no box.
    """
    sizes, labels, n = [np.zeros((0, 2))], [np.zeros(0, dtype=np.int64)], 0
    for boxes, classes, (height_px, width_px) in images:
        boxes, n = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), n + 1
        sizes.append((boxes[:, 2:] - boxes[:, :2]) / (width_px, height_px))
        labels.append(np.asarray(classes, dtype=np.int64))
    shares, label = np.concatenate(sizes), np.concatenate(labels)
    if len(label) == 0:
        raise DataError(f"The baseline needs training images with boxes; got {n} images without one.")
    commonest = int(np.bincount(label).argmax())
    width, height = shares[label == commonest].mean(axis=0)
    return CentreBox(commonest, float(width), float(height), len(label) / n, n)
