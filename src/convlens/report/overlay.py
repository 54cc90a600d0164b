"""Pictures of classes, mistakes and scores laid over an image, in colours that colour-blind eyes can tell apart.

Everything is an array: classes in, levels out. This file must not know files, networks or pages; a page asks
`class_colour` and `ERROR_COLOURS` for its legend.
"""

from __future__ import annotations

import numpy as np

from convlens.errors import ShapeError

IGNORED = 255
FILL = 0.4  # how much of a colour lies over the image
PALETTE = (  # Okabe and Ito, "Color Universal Design", 2008; then the muted scheme of P. Tol, "Colour Schemes", 2021
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (136, 34, 85),
    (51, 34, 136),
    (136, 204, 238),
    (153, 153, 51),
    (221, 204, 119),
    (204, 102, 119),
    (170, 68, 153),
)
ERROR_COLOURS = {"right": (0, 158, 115), "missed": (0, 114, 178), "false": (213, 94, 0), "confused": (240, 228, 66)}
PAPER = 246
_INFERNO = (  # every 17th colour of the map "inferno" of van der Walt and Smith, 2015 (CC0), uniform to the eye
    "000004 0c0826 240c4f 420a68 5d126e 781c6d 932667 ae305c c73e4c dd513a ed6925 f8850f fca50a fac62d f2e661 fcffa4"
)


def class_colour(index: int) -> tuple[int, int, int]:
    """The colour of a class; class 0, the background, has none of its own and is not painted."""
    return PALETTE[(index - 1) % len(PALETTE)]


def overlay(image: np.ndarray, classes: np.ndarray, *, others: np.ndarray | None = None) -> np.ndarray:
    """Paint each class over the image, half transparent with an outline of one pixel; class 0 is left as it is.

    Pixels that are ignored, 255, are hatched.

    Args:
        image: grey is shown grey; of other numbers of channels than 1 and 3 the first is shown.
        others: a second map, such as the truth, drawn as dashed outlines in black and white.

    Shapes:
        image (H, W, C) uint8, classes and others (H, W) -> (H, W, 3) uint8

    Raises:
        ShapeError: the arrays do not belong together.
    """
    picture = _rgb(image)
    _require(classes, picture, "classes")
    colours = np.array([class_colour(index) for index in range(256)], np.float64)
    painted = (classes > 0) & (classes != IGNORED)
    picture[painted] = _mixed(picture[painted], colours[classes[painted]], FILL)
    edge = outlines(classes)
    picture[edge] = colours[classes[edge]]
    _hatch(picture, classes == IGNORED)
    if others is not None:
        _require(others, picture, "others")
        edge = outlines(others)
        y, x = np.nonzero(edge)
        picture[edge] = np.where((x + y) // 3 % 2, 255, 0)[:, None]
    return picture


def outlines(classes: np.ndarray) -> np.ndarray:
    """The pixels of each class but 0 and ignored that touch, at a side, a pixel of another; the border is none.

    Shapes:
        (H, W) -> (H, W) bool

    Example:
        >>> outlines(np.array([[0, 1, 1, 1]])).tolist()
        [[False, True, False, False]]
    """
    edge = np.zeros(classes.shape, bool)
    for axis in (0, 1):
        changes = np.diff(classes.astype(np.int16), axis=axis) != 0
        before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        before[axis], after[axis] = (1, 0), (0, 1)
        edge |= np.pad(changes, before) | np.pad(changes, after)
    return edge & (classes > 0) & (classes != IGNORED)


def error_map(true: np.ndarray, predicted: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    """What was found, missed and invented, in `ERROR_COLOURS`; where both are background, paper or the grey image.

    A pixel is `right` where both have one class, `missed` where only the truth has one, `false` where only the
    prediction has, and `confused` where the two differ. Ignored pixels of the truth are hatched.

    Args:
        image: shown, in greys, where nothing is painted.

    Shapes:
        true and predicted (H, W), image (H, W, C) uint8 -> (H, W, 3) uint8

    Raises:
        ShapeError: the arrays do not belong together.
    """
    picture = np.full((*true.shape, 3), PAPER, np.uint8) if image is None else _grey(_rgb(image))
    _require(true, picture, "true classes")
    _require(predicted, picture, "predicted classes")
    found, there = predicted > 0, true > 0
    same, counts = true == predicted, true != IGNORED
    kinds = {
        "right": there & same,
        "missed": there & ~found,
        "false": ~there & found,
        "confused": there & found & ~same,
    }
    for kind, where in kinds.items():
        share = FILL if kind == "right" and image is not None else 1.0  # so that mistakes stand out
        picture[where & counts] = _mixed(picture[where & counts], np.array(ERROR_COLOURS[kind]), share)
    _hatch(picture, ~counts)
    return picture


def heat(image: np.ndarray, values: np.ndarray, *, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Scores as heat over the grey image: dark and clear where low, bright and dense where high.

    Args:
        values: one score for each pixel; where it is nan or infinite, the image is shown alone.
        low: the score drawn coldest. Default: the lowest.
        high: the score drawn hottest. Default: the highest.

    Shapes:
        image (H, W, C) uint8, values (H, W) -> (H, W, 3) uint8

    Raises:
        ShapeError: the arrays do not belong together.
    """
    picture = _grey(_rgb(image))
    _require(values, picture, "values")
    known = np.isfinite(values)
    if not known.any():
        return picture
    scores = values[known].astype(np.float64)
    low = float(scores.min()) if low is None else low
    high = float(scores.max()) if high is None else high
    level = ((scores - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(scores)
    picture[known] = _mixed(picture[known], heat_colours(level), (0.25 + 0.6 * level)[:, None])
    return picture


def heat_colours(level: np.ndarray) -> np.ndarray:
    """Colours of levels 0..1, from black over purple and orange to pale yellow, in steps that look equal.

    Shapes:
        (...) -> (..., 3) float64 of 0..255
    """
    anchors = np.array([list(bytes.fromhex(code)) for code in _INFERNO.split()], np.float64)
    at = np.asarray(level, np.float64).clip(0, 1) * (len(anchors) - 1)
    below = np.floor(at).astype(np.int64).clip(max=len(anchors) - 2)
    share = (at - below)[..., None]
    return anchors[below] * (1 - share) + anchors[below + 1] * share


def _mixed(below: np.ndarray, above: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    return np.rint(below * (1 - share) + above * share).astype(np.uint8)


def _hatch(picture: np.ndarray, where: np.ndarray) -> None:
    """Draw diagonal lines, black beside white so that they show on anything."""
    y, x = np.nonzero(where)
    step = (x + y) % 8
    for at, level in ((0, 255), (1, 0)):
        picture[y[step == at], x[step == at]] = level


def _rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ShapeError(f"Expected a uint8 image (H, W, C); got {image.dtype} {image.shape}.")
    return image.copy() if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)


def _grey(picture: np.ndarray) -> np.ndarray:
    grey = np.rint(picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _require(plane: np.ndarray, picture: np.ndarray, what: str) -> None:
    if plane.shape != picture.shape[:2]:
        raise ShapeError(f"Expected {what} of the size of the image, {picture.shape[:2]}; got {plane.shape}.")
