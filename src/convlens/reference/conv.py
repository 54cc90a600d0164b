# ruff: noqa: N803
"""Convolution: lay a small filter on the input, multiply what lies on top of each other, add up, move on.

    5  2  3  4       1  0       4  1  6      The filter lies on 2 3 / 7 8 when it makes the second number:
    6  7  8  5       1 -1       5  8  7      1*2 + 0*3 + 1*7 - 1*8 = 1. The same four weights make all nine.
    4  5  4  5                  5  3  3
    1  0  2  3

Read `correlate` first: it is the definition, in five lines. The two gradients after it are written with it, for they
are correlations themselves. `Convolution` adds what a layer has besides: padding, groups, a bias. `conv2d`, `conv1d`,
`conv3d` and `windows`, at the end, are what one calls, and take what a person types.

As everywhere in deep learning the filter is not turned over: what is called convolution is, strictly, correlation.

Axes: N sample, C channel in, O channel out (one for each filter), and after them the axes along which the filter
slides. In formulas i is a position in the output, a one in the filter, s the stride, d the dilation; i and a have as
many coordinates as there are axes to slide on. This page knows arrays and sums; it must not know layers, training or
torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from convlens.reference.arguments import Each, Pads, bias_of, each, each_pads, require_channels, with_axes
from convlens.reference.conv_trace import trace_convolution
from convlens.reference.padding import pad, unpad
from convlens.reference.result import Gradients, Index, Result, numbers
from convlens.shapes import Pair, conv_size, sides

# the definition -------------------------------------------------------------------------------------------------------


class Slide(NamedTuple):
    """How a filter moves: its size, the step from place to place, the distance of its taps, each for every axis."""

    kernel: Index
    stride: Index
    dilation: Index

    def places(self, size: Sequence[int]) -> Index:
        """How many places the filter takes on each axis of an input of that size.

        Example:
            >>> Slide(kernel=(3, 3), stride=(2, 1), dilation=(1, 1)).places((6, 6))
            (2, 4)
        """
        return tuple(conv_size(n, k, s, 0, d) for n, k, s, d in zip(size, *self, strict=True))

    def under(self, at: Sequence[int]) -> tuple[Any, ...]:
        """The cells under the filter at place i: i*s, i*s + d, ..., i*s + (k - 1)*d on every axis."""
        axes = zip(at, *self, strict=True)
        return (..., *(slice(i * s, i * s + (k - 1) * d + 1, d) for i, k, s, d in axes))


def correlate(x: np.ndarray, weight: np.ndarray, slide: Slide) -> np.ndarray:
    """The definition: y[n, o, i] = sum over c and a of weight[o, c, a] * x[n, c, i*s + a*d].

    With one sample, one channel and stride 1 it is the loop of the textbooks: y[i, j] is the sum of
    weight * x[i : i + h, j : j + w]. A filter is as deep as the input, so channels are added and only places are left.

    Shapes:
        (N, C, *size), (O, C, *kernel) -> (N, O, *slide.places(size))

    Example:
        >>> x, weight = np.array([[[1, 2, 3, 4, 5]]]), np.array([[[1, -2]]])
        >>> correlate(x, weight, Slide(kernel=(2,), stride=(2,), dilation=(1,))).tolist()  # 1 - 2*2 and 3 - 2*4
        [[[-3, -5]]]
    """
    y = np.zeros((len(x), len(weight), *slide.places(x.shape[2:])), np.result_type(x, weight))
    for n, o, *at in np.ndindex(y.shape):
        window = x[n][slide.under(at)]
        y[n, o, *at] = np.sum(weight[o] * window)
    return y


# its gradients --------------------------------------------------------------------------------------------------------


def weight_gradient(gradient: np.ndarray, x: np.ndarray, slide: Slide) -> np.ndarray:
    """dL/dweight: correlate the input with the loss gradient, s - 1 zeros between its entries.

    weight[o, c, a] met x[n, c, i*s + a*d] on its way to y[n, o, i], for every n and i. So its gradient is the sum over
    n and i of gradient[n, o, i] * x[n, c, i*s + a*d]. That is the definition once more, with a in the part of i and
    n in the part of c: stride and dilation, samples and channels, change places.

    Shapes:
        (N, O, *out), (N, C, *size) -> (O, C, *kernel)

    Example:
        >>> x, gradient = np.array([[[[1, 2, 0], [3, 1, 4], [2, 5, 1]]]]), np.array([[[[1, 2], [-1, 3]]]])
        >>> weight_gradient(gradient, x, Slide((2, 2), (1, 1), (1, 1))).tolist()
        [[[[5, 13], [18, 7]]]]
    """
    changed = Slide(gradient.shape[2:], stride=slide.dilation, dilation=slide.stride)
    sums = correlate(x.swapaxes(0, 1), gradient.swapaxes(0, 1), changed).swapaxes(0, 1)
    return sums[(..., *(slice(k) for k in slide.kernel))]  # cells that the stride never reached make no tap


def full_correlate(x: np.ndarray, weight: np.ndarray, dilation: Index) -> np.ndarray:
    """Full convolution: the filter, turned by 180 degrees, visits every place where it touches the input at all.

    Example:
        >>> full_correlate(np.array([[[1, 2]]]), np.array([[[3, 4]]]), (1,)).tolist()  # (1 + 2z)(3 + 4z)
        [[[3, 10, 8]]]
    """
    kernel = weight.shape[2:]
    border = [((k - 1) * d,) * 2 for k, d in zip(kernel, dilation, strict=True)]
    turned = np.flip(weight, axis=tuple(range(2, weight.ndim)))
    return correlate(pad(x, border), turned, Slide(kernel, (1,) * len(kernel), dilation))


def input_gradient(gradient: np.ndarray, weight: np.ndarray, size: Index, slide: Slide) -> np.ndarray:
    """dL/dx: full convolution of the loss gradient, s - 1 zeros between its entries, with the filter.

    x[n, c, p] went into y[n, o, i] by the tap a that lay on it, i*s + a*d = p. So its gradient is the sum over o and
    all such i and a of gradient[n, o, i] * weight[o, c, a]. As a grows, i falls: the filter is run through backwards,
    which is to say turned.

    Shapes:
        (N, O, *out), (O, C, *kernel) -> (N, C, *size); cells that no window reached get 0.

    Example:
        >>> gradient, weight = np.array([[[[1, 2], [-1, 3]]]]), np.array([[[[1, -1], [2, 3]]]])
        >>> input_gradient(gradient, weight, (3, 3), Slide((2, 2), (1, 1), (1, 1))).astype(int).tolist()
        [[[[1, 1, -2], [1, 11, 3], [-2, 3, 9]]]]
    """
    spans = ((n - 1) * s + 1 for n, s in zip(gradient.shape[2:], slide.stride, strict=True))
    spread = np.zeros((*gradient.shape[:2], *spans))
    spread[(..., *(slice(None, None, s) for s in slide.stride))] = gradient
    reached = full_correlate(spread, weight.swapaxes(0, 1), slide.dilation)
    to_x = np.zeros((*reached.shape[:2], *size))  # may be larger: a stride can leave the last cells unread
    to_x[(..., *(slice(n) for n in reached.shape[2:]))] = reached
    return to_x


# the layer ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Convolution:
    """One convolution with all its numbers: y = correlate(pad(x), weight) + bias, for each group by itself.

    Shapes:
        x (N, C, *size), weight (O, C / groups, *kernel), bias (O,) or none
    """

    name: str
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    slide: Slide
    pads: tuple[Pair, ...]
    groups: int
    mode: str

    def by_group(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The padded channels of each group, with the filters that read them."""
        channels = np.split(pad(self.x, self.pads, self.mode), self.groups, axis=1)
        return list(zip(channels, np.split(self.weight, self.groups), strict=True))

    def forward(self) -> np.ndarray:
        """Pad, correlate each group's channels with its filters, add each filter's bias."""
        y = np.concatenate([correlate(x, weight, self.slide) for x, weight in self.by_group()], axis=1)
        return y if self.bias is None else y + self.bias.reshape(-1, *(1 for _ in self.slide.kernel))

    def backward(self, gradient: np.ndarray) -> Gradients:
        """The gradients of input, weight and bias; a bias went into every number of its map, so it gets their sum."""
        groups = list(zip(np.split(gradient, self.groups, axis=1), self.by_group(), strict=True))
        to_x = [input_gradient(g, weight, x.shape[2:], self.slide) for g, (x, weight) in groups]
        to_weight = [weight_gradient(g, x, self.slide) for g, (x, _) in groups]
        return {
            "x": unpad(np.concatenate(to_x, axis=1), self.pads, self.mode),
            "weight": np.concatenate(to_weight),
            "bias": gradient.sum(axis=(0, *range(2, gradient.ndim))),
        }


def convolve(
    name: str,
    dims: int,
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Each = 1,
    padding: Pads = "valid",
    dilation: Each = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Result:
    """The convolution along the last `dims` axes, of input and filters as a person gives them.

    Axes that x left out are left out of the result, but never the one that tells several filters apart.
    """
    x, weight = numbers(x, "x"), numbers(weight, "weight")
    x_full, weight_full = with_axes(x, dims, "x"), with_axes(weight, dims, "weight")
    filters, depth, *kernel = weight_full.shape
    require_channels(x_full.shape[1], (filters, depth), groups)
    slide = Slide(tuple(kernel), each(stride, dims, "stride"), each(dilation, dims, "dilation"))
    pads = []
    for size, wish, k, s, d in zip(x_full.shape[2:], each_pads(padding, dims), *slide, strict=True):
        conv_size(size, k, s, wish, d)  # an error that names the sizes as they were given
        pads.append(sides(size, k, s, wish, d))
    conv = Convolution(name, x_full, weight_full, bias_of(bias, filters), slide, tuple(pads), groups, padding_mode)

    y = conv.forward()
    left_out = min(dims + 2 - x.ndim, 2 if filters == 1 else 1)
    shapes = {"x": x.shape, "weight": weight.shape, "bias": (filters,)}

    def differentiate(gradient: np.ndarray) -> Gradients:
        return {wanted: g.reshape(shapes[wanted]) for wanted, g in conv.backward(gradient.reshape(y.shape)).items()}

    return Result(y.reshape(y.shape[left_out:]), partial(trace_convolution, conv, x.ndim, weight.ndim), differentiate)


# what one calls -------------------------------------------------------------------------------------------------------


def conv2d(
    x_NCHW: ArrayLike,
    weight_OIHW: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Each = 1,
    padding: Pads = "valid",
    dilation: Each = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Result:
    """Two-dimensional convolution: y = bias + correlation of the padded input with every filter.

    Shapes:
        x (N, C, H, W), or one image (C, H, W), or a matrix; weight (O, C / groups, h, w), or one filter (C, h, w),
        or a matrix. The result is (N, O, H', W') without the axes that x left out, so that a matrix gives a matrix,
        and with several filters a map for each; H' = conv_size(H, h, ...).

    Args:
        padding: 'valid' (none), 'same' (H' = ceil(H / stride); an odd row goes to the bottom), a number for all
            sides, or for each axis a number or (before, after): ((top, bottom), (left, right)).
        groups: the channels form that many groups, each with its own share of the filters.
        padding_mode: what stands beyond the edge: zeros, reflect, replicate or circular.

    Raises:
        ShapeError: the shapes do not go together.

    Example:
        >>> x, weight = [[5, 2, 3, 4], [6, 7, 8, 5], [4, 5, 4, 5], [1, 0, 2, 3]], [[1, 0], [1, -1]]
        >>> conv2d(x, weight)
        Result([[4, 1, 6],
                [5, 8, 7],
                [5, 3, 3]])
        >>> print(conv2d(x, weight, stride=2, padding=1).trace(out=(0, 0, 1)))
        conv2d: result[0, 1]
          y[i, j] = sum over a, b of weight[a, b] * x[2i + a - 1, 2j + b - 1], zeros beyond the edge
        <BLANKLINE>
          0 0  *   1  0  =   0  0
          2 3      1 -1      2 -3
        <BLANKLINE>
          weight[0, 0] * x[-1, 1] = 1 * 0 = 0   (padding)
          weight[0, 1] * x[-1, 2] = 0 * 0 = 0   (padding)
          weight[1, 0] * x[0, 1] = 1 * 2 = 2
          weight[1, 1] * x[0, 2] = -1 * 3 = -3
        <BLANKLINE>
          sum of 4 products = -1
          result[0, 1] = -1
    """
    return convolve(
        "conv2d",
        2,
        x_NCHW,
        weight_OIHW,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )


def conv1d(x_NCL: ArrayLike, weight_OIL: ArrayLike, bias: ArrayLike | None = None, **options: Any) -> Result:
    """Convolution of signals: `conv2d` with one axis less, and the same options.

    Example:
        >>> conv1d([1, 2, 4, 8], [-1, 1]).tolist()
        [1, 2, 4]
    """
    return convolve("conv1d", 1, x_NCL, weight_OIL, bias, **options)


def conv3d(x_NCDHW: ArrayLike, weight_OIDHW: ArrayLike, bias: ArrayLike | None = None, **options: Any) -> Result:
    """Convolution of volumes: `conv2d` with one axis more, and the same options.

    A filter as deep as the volume can move along two axes only: just what `conv2d` does with channels.

    Example:
        >>> conv3d(np.ones((3, 2, 2), int), np.ones((3, 1, 1), int)).tolist()
        [[[3, 3], [3, 3]]]
    """
    return convolve("conv3d", 3, x_NCDHW, weight_OIDHW, bias, **options)


class Step(NamedTuple):
    """One step of the sliding window."""

    position: Index
    patch: np.ndarray
    products: np.ndarray
    value: int | float


def windows(x_NCHW: ArrayLike, weight_OIHW: ArrayLike, bias: ArrayLike | None = None, **options: Any) -> Iterator[Step]:
    """The steps of `conv2d`, row by row: the position in the output, the patch under the filter, products, value.

    Example:
        >>> for step in windows([[1, 2, 3], [4, 5, 6]], [[1, -1], [0, 2]]):
        ...     print(step.position, step.patch.tolist(), step.products.tolist(), step.value)
        (0, 0) [[1, 2], [4, 5]] [[1, -2], [0, 10]] 9
        (0, 1) [[2, 3], [5, 6]] [[2, -3], [0, 12]] 11
    """
    result = conv2d(x_NCHW, weight_OIHW, bias, **options)
    for position in np.ndindex(result.shape):
        trace = result.trace(position)
        yield Step(position, cast(np.ndarray, trace.window), cast(np.ndarray, trace.products), trace.result)
