"""Activations: the non-linearity between layers, number by number, and the softmax that makes scores probabilities.

Written so that no exponential can overflow: e is only ever raised to a number that is not positive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ShapeError
from convlens.reference.result import Gradients, Index, Result, numbers
from convlens.reference.trace import Term, Trace, place


def relu(x: ArrayLike) -> Result:
    """y = max(0, x). The gradient passes where x > 0.

    Example:
        >>> relu([-2, 0, 3]).tolist(), relu([-2, 0, 3]).backward([1, 1, 1])["x"].tolist()
        ([0, 0, 3], [0.0, 0.0, 1.0])
    """
    x = numbers(x, "x")
    return _pointwise("relu", "y = max(0, x)", x, np.where(x > 0, x, 0), x > 0)


def leaky_relu(x: ArrayLike, slope: float = 0.01) -> Result:
    """y = x where x > 0, and slope * x elsewhere, so that no unit is ever quite silent.

    Example:
        >>> leaky_relu([-2.0, 3.0]).tolist()
        [-0.02, 3.0]
    """
    x = numbers(x, "x")
    equation = f"y = x if x > 0, else {slope} * x"
    return _pointwise("leaky_relu", equation, x, np.where(x > 0, x, slope * x), np.where(x > 0, 1, slope))


def prelu(x: ArrayLike, slope: ArrayLike = 0.25, *, axis: int = 1) -> Result:
    """Parametric ReLU: leaky ReLU whose slope is learned, one for all or one for each channel of `axis`.

    Example:
        >>> y = prelu([-2.0, -1.0, 0.0, 3.0])
        >>> y.tolist(), y.backward([1, 1, 1, 1])["slope"].tolist()
        ([-0.5, -0.25, 0.0, 3.0], -3.0)

    Raises:
        ShapeError: there are neither one nor as many slopes as channels.

    Source: He et al. 2015, arXiv 1502.01852.
    """
    x, slope = numbers(x, "x"), numbers(slope, "slope")
    by_channel = slope.size > 1
    if by_channel and (slope.ndim != 1 or x.ndim <= axis or len(slope) != x.shape[axis]):
        raise ShapeError(
            f"slope must be one number, or one for each channel on axis {axis} of x {x.shape}; "
            f"got shape {slope.shape}. Set axis to the axis of the channels."
        )
    shape = [-1 if i == axis else 1 for i in range(x.ndim)] if by_channel else [1] * x.ndim
    spread = slope.reshape(shape)
    values = np.where(x > 0, x, spread * x)

    def differentiate(gradient: np.ndarray) -> Gradients:
        others = tuple(i for i in range(x.ndim) if not by_channel or i != axis)
        to_slope = (gradient * np.where(x > 0, 0, x)).sum(axis=others)
        return {"x": gradient * np.where(x > 0, 1, spread), "slope": to_slope.reshape(slope.shape)}

    def explain(out: Index) -> Trace:
        own = np.broadcast_to(spread, x.shape)[out].item()
        term, equation = Term(out, x[out].item()), "y = x if x > 0, else slope * x"
        return Trace("prelu", out, equation, values[out].item(), (term,), (("slope", own),))

    return Result(values, explain, differentiate)


def sigmoid(x: ArrayLike) -> Result:
    """y = 1 / (1 + e^-x), the chance of the second of two classes. dy/dx = y (1 - y).

    Example:
        >>> sigmoid([-1000.0, 0.0, 1000.0]).tolist()
        [0.0, 0.5, 1.0]
    """
    x = numbers(x, "x")
    small = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1, small) / (1 + small)
    return _pointwise("sigmoid", "y = 1 / (1 + e^-x)", x, y, y * (1 - y))


def tanh(x: ArrayLike) -> Result:
    """y = (e^x - e^-x) / (e^x + e^-x) = 2 sigmoid(2x) - 1. dy/dx = 1 - y^2.

    Example:
        >>> tanh([-1000.0, 0.0, 1000.0]).tolist()
        [-1.0, 0.0, 1.0]
    """
    x = numbers(x, "x")
    less_than_0 = np.expm1(-2 * np.abs(x))  # e^-2|x| - 1, exact also where x is small
    y = np.sign(x) * -less_than_0 / (2 + less_than_0)
    return _pointwise("tanh", "y = (e^x - e^-x) / (e^x + e^-x)", x, y, 1 - y * y)


def softmax(x: ArrayLike, *, axis: int = -1) -> Result:
    """y_k = e^x_k / sum over j of e^x_j: scores to probabilities. Subtracting the largest score changes nothing.

    Example:
        >>> softmax([1000.0, 1000.0]).tolist()
        [0.5, 0.5]
        >>> print(softmax([9.74, 6.68]).trace(0))
        softmax: result[0]
          y[k] = e^(x[k] - m) / sum over j of e^(x[j] - m), m = largest x
        <BLANKLINE>
          x[0] = 9.74
          x[1] = 6.68
        <BLANKLINE>
          m = 9.74
          e^(x[0] - m) = 1
          e^(x[1] - m) = 0.0468877
          sum = 1.04689
          result[0] = 0.955212
        <BLANKLINE>
          Shown to 6 digits; result[0] is exactly 0.9552122969502134.
    """
    x = np.asarray(numbers(x, "x"), dtype=np.float64)
    if x.ndim == 0 or not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"softmax needs an axis of scores; x has shape {x.shape}, and axis is {axis}.")
    largest = x.max(axis=axis, keepdims=True)
    powers = np.exp(x - largest)
    y = powers / powers.sum(axis=axis, keepdims=True)

    def differentiate(gradient: np.ndarray) -> Gradients:
        return {"x": y * (gradient - (gradient * y).sum(axis=axis, keepdims=True))}

    def explain(out: Index) -> Trace:
        line = [(*out[: axis % x.ndim], k, *out[axis % x.ndim + 1 :]) for k in range(x.shape[axis])]
        terms = tuple(Term(at, x[at].item()) for at in line)
        steps = [("m", max(term.value for term in terms))]
        steps += [(f"e^({place('x', at)} - m)", powers[at].item()) for at in line]
        steps.append(("sum", sum(powers[at].item() for at in line)))
        equation = "y[k] = e^(x[k] - m) / sum over j of e^(x[j] - m), m = largest x"
        return Trace("softmax", out, equation, y[out].item(), terms, tuple(steps))

    return Result(y, explain, differentiate)


def _pointwise(name: str, equation: str, x: np.ndarray, y: np.ndarray, slope: np.ndarray) -> Result:
    """An operation that sees one number at a time; `slope` is dy/dx at each."""
    return Result(
        y,
        lambda out: Trace(name, out, equation, y[out].item(), (Term(out, x[out].item()),)),
        lambda gradient: {"x": gradient * slope},
    )
