"""Gradients of a convolution as results of their own: each of their numbers can be explained like any other.

The gradient for the input is a transposed convolution of the loss gradient, and the gradient for the filter a
convolution of the input with it, in which stride and dilation have changed places. Single matrices only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ShapeError
from convlens.reference import Result, Term, Trace, conv2d, conv_transpose2d
from convlens.reference.result import Gradients, Index, numbers
from convlens.shapes import Padding, conv_size, sides

NAME = "conv2d_backward"


def gradients_of_conv2d(
    x_HW: ArrayLike,  # noqa: N803
    weight: ArrayLike,
    gradient: ArrayLike,
    *,
    stride: int = 1,
    padding: Padding = "valid",
    dilation: int = 1,
) -> dict[str, Result]:
    """dL/dX, dL/dF and dL/db of `conv2d(x, weight)`, from dL/dO.

    Shapes:
        x (H, W), weight (h, w), gradient (H', W') -> (H, W), (h, w), ()

    Example:
        >>> found = gradients_of_conv2d([[1, 2, 0], [3, 1, 4], [2, 5, 1]], [[1, -1], [2, 3]], [[1, 2], [-1, 3]])
        >>> found["dL/dX"].tolist(), found["dL/dF"].tolist(), found["dL/db"].tolist()
        ([[1, 1, -2], [1, 11, 3], [-2, 3, 9]], [[5, 13], [18, 7]], 5)

    Raises:
        ShapeError: the gradient has not the shape of the output, or padding differs on the two sides of an axis.
    """
    x, filter_, g = numbers(x_HW, "x"), numbers(weight, "weight"), numbers(gradient, "gradient")
    if not x.ndim == filter_.ndim == g.ndim == 2:
        raise ShapeError(
            f"The gradients are worked out for one matrix and one filter; got shapes {x.shape}, {filter_.shape} and "
            f"{g.shape}. Take one channel."
        )
    shape = tuple(conv_size(n, k, stride, padding, dilation) for n, k in zip(x.shape, filter_.shape, strict=True))
    if g.shape != shape:
        raise ShapeError(f"The gradient must have the shape of the output, {shape}; got {g.shape}.")
    pads = [sides(n, k, stride, padding, dilation) for n, k in zip(x.shape, filter_.shape, strict=True)]
    if any(before != after for before, after in pads):
        raise ShapeError(
            f"The gradients are worked out for the same padding on both sides; '{padding}' adds {pads[0]} here. "
            "Give padding as a number."
        )
    border = tuple(before for before, _ in pads)
    axes = zip(x.shape, border, filter_.shape, strict=True)
    rest = [(n + 2 * p - dilation * (k - 1) - 1) % stride for n, p, k in axes]  # what no window reached
    to_x = conv_transpose2d(
        g, filter_, stride=stride, padding=border, dilation=dilation, output_padding=rest if any(rest) else 0
    )
    to_filter = conv2d(x, g, stride=dilation, dilation=stride, padding=border)
    rows, columns = filter_.shape
    return {
        "dL/dX": _renamed(to_x, "dL/dX", ("dL/dO", "F")),
        "dL/dF": _renamed(replace(to_filter, value=to_filter.value[:rows, :columns]), "dL/dF", ("X", "dL/dO")),
        "dL/db": _total(g),
    }


def _renamed(result: Result, wanted: str, names: tuple[str, str]) -> Result:
    """The same numbers under the names they have in a backward pass."""

    def explain(out: Index) -> Trace:
        trace = result.explain(out)
        equation = trace.equation.replace("y[", f"{wanted}[").replace("weight[", f"{names[1]}[")
        equation = equation.replace("* x[", f"* {names[0]}[").replace("a cell of x", f"a cell of {names[0]}")
        return replace(trace, operation=NAME, names=names, equation=equation)

    return replace(result, explain=explain)


def _total(gradient: np.ndarray) -> Result:
    """The gradient of the bias, which was added once to every output."""
    total = gradient.sum()

    def explain(out: Index) -> Trace:
        terms = tuple(Term(tuple(at), gradient[at].item()) for at in np.ndindex(gradient.shape))
        return Trace(NAME, out, "dL/db = sum of dL/dO", total.item(), terms, names=("dL/dO", ""))

    def differentiate(upstream: np.ndarray) -> Gradients:
        return {"gradient": np.full(gradient.shape, upstream)}

    return Result(np.asarray(total), explain, differentiate)
