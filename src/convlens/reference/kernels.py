"""The named kernels of the lectures, and what each does to an image.

`conv2d` does not turn a kernel over, so a kernel is written as it lies on the image. What the kernels promise:

- **Sum 1** (identity, sharpen, the blurs, unsharp masking): a constant image stays as it is.
- **Sum 0** (all edges, Sobel): a constant image gives 0, so only change is seen; the result has signs.
- identity: gives the image back.
- box_blur: the 3 x 3 average pooling with stride 1.
- gaussian_blur_3x3 and _5x5: [1, 2, 1] / 4 and [1, 4, 6, 4, 1] / 16, once down and once across.
- unsharp_masking_5x5 = 2 identity - gaussian_blur_5x5: the image plus what the blur took away.
- sharpen = identity - edge_detection_2: the image minus its Laplacian.
- vertical_edge = -edge_detector, the two signs of the lectures; horizontal_edge is the transpose of edge_detector.
- sobel_x = [1, 2, 1] down times [-1, 0, 1] across: a slope, blurred along the edge; sobel_y is its transpose.
- emboss = identity + a slope from top left to bottom right: sum 1, so flat parts keep their level.

Padding matters: with a border of zeros even a blur darkens the rim (the corner of a constant image falls to 4/9 under
the box), which `padding_mode="reflect"` or `"replicate"` avoids.
"""

from __future__ import annotations

import numpy as np

from convlens.errors import ConfigError, did_you_mean


def _matrix(*rows: tuple[float, ...], over: float = 1) -> np.ndarray:
    matrix = np.array(rows, dtype=np.float64) / over
    matrix.flags.writeable = False
    return matrix


_GAUSSIAN_5X5 = ((1, 4, 6, 4, 1), (4, 16, 24, 16, 4), (6, 24, 36, 24, 6), (4, 16, 24, 16, 4), (1, 4, 6, 4, 1))
_UNSHARP_5X5 = ((1, 4, 6, 4, 1), (4, 16, 24, 16, 4), (6, 24, -476, 24, 6), (4, 16, 24, 16, 4), (1, 4, 6, 4, 1))

KERNELS: dict[str, np.ndarray] = {
    "identity": _matrix((0, 0, 0), (0, 1, 0), (0, 0, 0)),
    "edge_detection_1": _matrix((1, 0, -1), (0, 0, 0), (-1, 0, 1)),
    "edge_detection_2": _matrix((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    "edge_detection_3": _matrix((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
    "sharpen": _matrix((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "box_blur": _matrix((1, 1, 1), (1, 1, 1), (1, 1, 1), over=9),
    "gaussian_blur_3x3": _matrix((1, 2, 1), (2, 4, 2), (1, 2, 1), over=16),
    "gaussian_blur_5x5": _matrix(*_GAUSSIAN_5X5, over=256),
    "unsharp_masking_5x5": _matrix(*_UNSHARP_5X5, over=-256),
    "vertical_edge": _matrix((1, 0, -1), (1, 0, -1), (1, 0, -1)),
    "edge_detector": _matrix((-1, 0, 1), (-1, 0, 1), (-1, 0, 1)),
    "horizontal_edge": _matrix((-1, -1, -1), (0, 0, 0), (1, 1, 1)),
    "sobel_x": _matrix((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "sobel_y": _matrix((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "emboss": _matrix((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
}

MEANINGS: dict[str, str] = {
    "identity": "the image itself",
    "edge_detection_1": "corners and diagonal changes",
    "edge_detection_2": "edges in four directions (Laplacian)",
    "edge_detection_3": "edges in all eight directions",
    "sharpen": "the image minus its Laplacian",
    "box_blur": "mean of the 3 x 3 neighbourhood",
    "gaussian_blur_3x3": "mean with more weight in the middle",
    "gaussian_blur_5x5": "a wider blur",
    "unsharp_masking_5x5": "the image plus what a blur takes away",
    "vertical_edge": "vertical edges, positive where the left side is brighter",
    "edge_detector": "vertical edges, positive where the right side is brighter",
    "horizontal_edge": "horizontal edges, positive where the lower side is brighter",
    "sobel_x": "slope from left to right",
    "sobel_y": "slope from top to bottom",
    "emboss": "relief, lit from the lower right",
}


def kernel(name: str) -> np.ndarray:
    """The matrix of a name.

    Example:
        >>> kernel("sharpen").astype(int).tolist()
        [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
        >>> kernel("sharpn")
        Traceback (most recent call last):
        ...
        convlens.errors.ConfigError: There is no kernel 'sharpn'. Did you mean 'sharpen'?

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in KERNELS:
        raise ConfigError(f"There is no kernel '{name}'. {did_you_mean(name, KERNELS)}")
    return KERNELS[name]
