"""X or O: the lecture's toy network, from nine by nine pixels to a vote, in NumPy.

Two pictures of an X differ in 16 of 81 pixels, and both are an X. Compared as wholes they fit badly; compared in small
pieces they fit well. The functions stand in the order of the lecture: `compare` whole pictures, `match` small features
wherever they lie, and the `Network` that keeps the best matches and lets them vote. Every number can be traced.

`Network` does not mind where its features come from: `of_lecture` takes the three of the lecture, `Network.of` those
of a trained torch network. This file draws nothing and trains nothing; torch is imported only to meet it.

Source: "Deep Learning, Session 07, Convolutional Nets", slides. Its text has no O: the one here is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError
from convlens.reference import Gradients, Result, Trace, conv2d, dense, flatten, max_pool2d, relu, softmax
from convlens.reference.result import Index, numbers

if TYPE_CHECKING:
    from torch import nn


def picture(text: str) -> np.ndarray:
    """A picture of +1 (#) and -1 (any other character), one row for each word.

    Example:
        >>> picture("#. .#").tolist()
        [[1, -1], [-1, 1]]
    """
    return numbers([[1 if cell == "#" else -1 for cell in row] for row in text.split()], "picture")


X = picture("""
    .........
    .#.....#.
    ..#...#..
    ...#.#...
    ....#....
    ...#.#...
    ..#...#..
    .#.....#.
    .........
""")
DEFORMED_X = picture("""
    .........
    ......#..
    .#...#...
    ..##.#...
    ....#....
    ...#.##..
    ...#...#.
    ..#......
    .........
""")
O = picture("""
    .........
    ...###...
    ..#...#..
    .#.....#.
    .#.....#.
    .#.....#.
    ..#...#..
    ...###...
    .........
""")  # noqa: E741
FEATURES = np.stack([picture("#.. .#. ..#"), picture("..# .#. #.."), picture("#.# .#. #.#")])
NAMES = ("\\", "/", "x")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two pictures, pixel by pixel.

    Attributes:
        first: the first picture.
        differs: where the second has another pixel.
    """

    first: np.ndarray
    differs: np.ndarray

    @property
    def different(self) -> int:
        """How many pixels differ."""
        return int(self.differs.sum())

    @property
    def score(self) -> Fraction:
        """Equal minus different pixels over all of them: 1 for the same picture, -1 for its negative."""
        return Fraction(self.differs.size - 2 * self.different, self.differs.size)

    def __str__(self) -> str:
        """The first picture as on the slide, with an X wherever the second differs."""
        cells = np.where(self.differs, "X", self.first.astype(str))
        return "\n".join(" ".join(cell.rjust(2) for cell in row) for row in cells)


def compare(first: ArrayLike, second: ArrayLike) -> Comparison:
    """Lay one picture of +1 and -1 on another and mark every pixel that differs.

    Example:
        >>> print(compare(X, DEFORMED_X).score, compare(X, DEFORMED_X).different)
        49/81 16

    Raises:
        ShapeError: the pictures differ in size, or hold other numbers.
    """
    a, b = numbers(first, "first"), numbers(second, "second")
    if a.shape != b.shape or a.ndim != 2 or not a.size or not (np.isin(a, (-1, 1)).all() and np.isin(b, (-1, 1)).all()):
        raise ShapeError(
            f"Two pictures of one size, of +1 and -1 only, can be compared; got {a.shape} and {b.shape}, values from "
            f"{min(a.min(initial=1), b.min(initial=1))} to {max(a.max(initial=-1), b.max(initial=-1))}. "
            "Use nearest() for grey pictures."
        )
    return Comparison(a, a != b)


def nearest(images: ArrayLike, stored: ArrayLike) -> np.ndarray:
    """For each image the stored picture with the smallest sum of squared differences: recognition without features.

    Between pictures of +1 and -1 that sum is four times the number of pixels that differ.

    Shapes:
        (N, H, W), (M, H, W) -> (N,) whole numbers below M; of equals the first.

    Example:
        >>> nearest([DEFORMED_X, O], [X, O]).tolist()
        [0, 1]
    """
    a, b = (np.asarray(numbers(some, "images"), np.float64) for some in (images, stored))
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ShapeError(f"Images and stored pictures are (N, H, W) and (M, H, W); got {a.shape} and {b.shape}.")
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    # |a - b|^2 = |a|^2 - 2 a b + |b|^2, whose first term is the same for every stored picture
    return ((b**2).sum(axis=1) - 2 * a @ b.T).argmin(axis=1)


def match(image: ArrayLike, features: ArrayLike) -> Result:
    """Slide each feature over the image; where it lies, multiply pixel by pixel, add, divide by the number of pixels.

    Between pictures of +1 and -1 the result is 1 where all pixels agree, and -1 where none does. It is a convolution
    divided by the size of its filter.

    Shapes:
        (H, W), (O, h, w) -> (O, H - h + 1, W - w + 1); a single feature (h, w) gives a single map.

    Example:
        >>> match(X, FEATURES).shape, match(X, DEFORMED_X).value.item() == 49 / 81
        ((3, 7, 7), True)
        >>> print(match(X, FEATURES[1]).trace((3, 3)))
        match: result[3, 3]
          match[i, j] = mean over a, b of feature[a, b] * image[i + a, j + b]
        <BLANKLINE>
           1 -1  1     -1 -1  1     -1  1  1
          -1  1 -1  *  -1  1 -1  =   1  1  1
           1 -1  1      1 -1 -1      1  1 -1
        <BLANKLINE>
          feature[0, 0] * image[3, 3] = -1 * 1 = -1
          feature[0, 1] * image[3, 4] = -1 * -1 = 1
          feature[0, 2] * image[3, 5] = 1 * 1 = 1
          feature[1, 0] * image[4, 3] = -1 * -1 = 1
          feature[1, 1] * image[4, 4] = 1 * 1 = 1
          feature[1, 2] * image[4, 5] = -1 * -1 = 1
          feature[2, 0] * image[5, 3] = 1 * 1 = 1
          feature[2, 1] * image[5, 4] = -1 * -1 = 1
          feature[2, 2] * image[5, 5] = -1 * 1 = -1
        <BLANKLINE>
          sum of 9 products = 5
          divided by = 9
          result[3, 3] = 0.555556
        <BLANKLINE>
          Shown to 6 digits; result[3, 3] is exactly 0.5555555555555556.

    Raises:
        ShapeError: a feature is larger than the image, or one of the two is no matrix.
    """
    pixels, given = numbers(image, "image"), numbers(features, "features")
    if pixels.ndim != 2 or given.ndim not in (2, 3):
        raise ShapeError(
            f"match takes one image (H, W) and features (O, h, w) or (h, w); got {pixels.shape} and {given.shape}."
        )
    stack = given.reshape(-1, *given.shape[-2:])
    sums, size = [conv2d(pixels, feature) for feature in stack], stack[0].size
    value = np.stack([one.value for one in sums]) / size

    def explain(out: Index) -> Trace:
        o, *at = out if given.ndim == 3 else (0, *out)
        trace = sums[o].explain(tuple(at))
        return replace(
            trace,
            operation="match",
            out=out,
            equation="match[i, j] = mean over a, b of feature[a, b] * image[i + a, j + b]",
            result=trace.result / size,
            steps=(*trace.steps, ("divided by", size)),
            names=("image", "feature"),
        )

    def differentiate(gradient: np.ndarray) -> Gradients:
        parts = [one.differentiate(g) for one, g in zip(sums, gradient.reshape(value.shape) / size, strict=True)]
        to_features = np.stack([part["weight"] for part in parts])
        return {"image": np.sum([part["x"] for part in parts], axis=0), "features": to_features.reshape(given.shape)}

    return Result(value if given.ndim == 3 else value[0], explain, differentiate)


def cut(values: ArrayLike, digits: int = 2) -> np.ndarray:
    """Decimals cut off, not rounded, as on the slides: 7/9 is 0.77.

    Example:
        >>> cut([7 / 9, -5 / 9, 1.0]).tolist()
        [0.77, -0.55, 1.0]
    """
    scale = 10**digits
    return np.trunc(np.round(np.asarray(values, np.float64) * scale, 6)) / scale


@dataclass(frozen=True, eq=False)
class Network:
    """Convolution, ReLU and pooling, once for each set of filters; then every value that is left gets a vote.

    Attributes:
        filters: weights (O, C, h, w) and biases (O,) of each convolution.
        vote: weights (K, I) and biases (K,) of the one dense layer.
        letters: what the K outputs stand for.

    Example:
        >>> network = of_lecture()
        >>> [network.decide(image) for image in (X, DEFORMED_X, O)]
        ['X', 'X', 'O']
        >>> {name: stage.shape for name, stage in network.stages(X).items()}  # doctest: +NORMALIZE_WHITESPACE
        {'conv1': (3, 7, 7), 'relu1': (3, 7, 7), 'pool1': (3, 4, 4), 'flatten': (48,), 'vote': (2,), 'softmax': (2,)}
    """

    filters: tuple[tuple[np.ndarray, np.ndarray], ...]
    vote: tuple[np.ndarray, np.ndarray]
    letters: tuple[str, ...] = ("X", "O")

    def stages(self, image: ArrayLike) -> dict[str, Result]:
        """What every layer makes of an image (H, W), by the layer's name; each can be traced.

        Pooling takes 2x2 windows and keeps those that run over the edge, as the lecture's does: 7x7 becomes 4x4.
        """
        made: dict[str, Result] = {}
        maps: Any = numbers(image, "image")[np.newaxis]
        for number, (weight, bias) in enumerate(self.filters, 1):
            made[f"conv{number}"] = conv2d(maps, weight, bias)
            made[f"relu{number}"] = relu(made[f"conv{number}"])
            made[f"pool{number}"] = maps = max_pool2d(made[f"relu{number}"], 2, partial=True)
        made["flatten"] = flatten(maps)
        made["vote"] = dense(made["flatten"], *self.vote)
        made["softmax"] = softmax(made["vote"])
        return made

    def decide(self, image: ArrayLike) -> str:
        """The letter with most votes."""
        return self.letters[int(np.argmax(self.stages(image)["vote"].value))]

    def twin(self, size_px: int | tuple[int, int] = 9) -> nn.Sequential:
        """The same network in torch, in double precision: (N, 1, H, W) -> the votes (N, K)."""
        import torch

        from convlens.models import layered

        counts = [len(weight) for weight, _ in self.filters]
        twin = layered.build(layers(*counts), in_channels=1, outputs=len(self.letters), size_px=size_px).double()
        own = [array for pair in (*self.filters, self.vote) for array in pair]
        with torch.no_grad():
            for parameter, array in zip(twin.parameters(), own, strict=True):
                parameter.copy_(torch.as_tensor(array))
        return twin

    @classmethod
    def of(cls, network: nn.Module, letters: tuple[str, ...] = ("X", "O")) -> Self:
        """Read the weights of a torch network that was built from `layers`.

        Raises:
            ConfigError: it is made of other layers than these.
        """
        kinds = [type(part).__name__ for part in network.children()]
        stacks = kinds.count("Conv2d")
        if kinds != ["Conv2d", "ReLU", "MaxPool2d"] * stacks + ["Flatten", "Linear"]:
            raise ConfigError(
                f"The network must be Conv2d, ReLU, MaxPool2d once or more, then Flatten, Linear; got "
                f"{', '.join(kinds) or 'no layers'}. Build it from the list that xo.layers() gives."
            )
        own = [parameter.detach().cpu().double().numpy() for parameter in network.parameters()]
        pairs = list(zip(own[::2], own[1::2], strict=True))
        return cls(tuple(pairs[:-1]), pairs[-1], letters)


def of_lecture() -> Network:
    """The network of the lecture: its three features, and a vote for the letter whose perfect picture is nearest.

    What the perfect X and O make of the features, 48 values each, becomes the two rows of the vote. With half their
    squared length subtracted, the row that fits an image best is the one at the smallest distance from its 48 values.
    The features are divided by nine here, once and for all, so that the maps are those of `match`.
    """
    seen = [flatten(max_pool2d(relu(match(letter, FEATURES)), 2, partial=True)).value for letter in (X, O)]
    rows = np.stack(seen)
    return Network(((FEATURES[:, np.newaxis] / 9, np.zeros(3)),), (rows, -(rows**2).sum(axis=1) / 2))


def layers(*filters: int) -> list[dict[str, Any]]:
    """The list of layers of such a network, for `network.layers`: one set of 3x3 filters for each number given.

    Example:
        >>> [table["layer"] for table in layers(3)]
        ['conv', 'max_pool', 'flatten', 'dense']
    """
    stack: list[dict[str, Any]] = []
    for count in filters:
        stack.append({"layer": "conv", "filters": count, "kernel_size": 3, "activation": "relu"})
        stack.append({"layer": "max_pool", "size": 2, "partial_windows": True})
    return [*stack, {"layer": "flatten"}, {"layer": "dense", "units": "classes"}]
