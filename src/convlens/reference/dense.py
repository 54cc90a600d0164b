# ruff: noqa: N803
"""The dense layer, where every value gets a vote, and the flattening that lines the maps up before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.reference.arguments import bias_of
from convlens.reference.result import Gradients, Index, Result, numbers
from convlens.reference.trace import Number, Term, Trace

ORDERS = ("channels_first", "channels_last")


def dense(x_NI: ArrayLike, weight_OI: ArrayLike, bias: ArrayLike | None = None) -> Result:
    """y[n, o] = sum over i of weight[o, i] * x[n, i] + bias[o].

    Shapes:
        (N, I) or (I,), (O, I), (O,) -> (N, O) or (O,)

    Raises:
        ShapeError: the weights do not have a column for each input.

    Example:
        >>> dense([3, 3, 2, 2], [[1, 1, 0, 1], [0, 1, 2, 0]], [1, 0]).tolist()
        [9, 7]
    """
    x, weight = numbers(x_NI, "x"), numbers(weight_OI, "weight")
    if x.ndim not in (1, 2) or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"A dense layer takes x (N, I) or (I,) and weight (O, I); got {x.shape} and {weight.shape}. "
            "The weight needs one row for each output and one column for each input."
        )
    offset = bias_of(bias, len(weight))
    samples = np.atleast_2d(x)
    y = np.zeros((len(samples), len(weight)), np.result_type(x, weight, *([] if offset is None else [offset])))
    for n, o in np.ndindex(y.shape):
        y[n, o] = np.sum(weight[o] * samples[n]) + (0 if offset is None else offset[o])

    def differentiate(gradient: np.ndarray) -> Gradients:
        g = np.atleast_2d(gradient)
        return {"x": (g @ weight).reshape(x.shape), "weight": g.T @ samples, "bias": g.sum(axis=0)}

    def explain(out: Index) -> Trace:
        *n, o = out
        row = x[tuple(n)]
        terms = [Term((*n, i), row[i].item(), (o, i), weight[o, i].item()) for i in range(len(row))]
        steps: list[tuple[str, Number]] = [(f"sum of {len(terms)} products", sum(term.product for term in terms))]
        if offset is not None:
            steps.append((f"bias[{o}]", offset[o].item()))
        lead = "n, " if n else ""
        equation = f"y[{lead}o] = sum over i of weight[o, i] * x[{lead}i]" + ("" if offset is None else " + bias[o]")
        return Trace("dense", out, equation, sum(value for _, value in steps), tuple(terms), tuple(steps))

    return Result(y if x.ndim == 2 else y[0], explain, differentiate)


def flatten(x_NCHW: ArrayLike, order: str = "channels_first") -> Result:
    """Line all maps of a sample up in one vector.

    `channels_first` goes map by map, each row by row, as torch does; `channels_last` goes pixel by pixel, each with all
    its channels, as Keras does. Weights of a dense layer behind it must be permuted to go from one to the other.

    Shapes:
        (N, C, H, W) -> (N, C H W); one sample (C, H, W) or (H, W) -> (C H W,)

    Example:
        >>> x = [[[1, 2]], [[3, 4]]]
        >>> flatten(x).tolist(), flatten(x, "channels_last").tolist()
        ([1, 2, 3, 4], [1, 3, 2, 4])
    """
    if order not in ORDERS:
        raise ConfigError(f"There is no flatten order '{order}'. {did_you_mean(order, ORDERS)}")
    x = numbers(x_NCHW, "x")
    places = np.arange(x.size).reshape(x.shape)
    if order == "channels_last" and x.ndim > 2:
        places = np.moveaxis(places, -3, -1)
    places = places.reshape(len(x), -1) if x.ndim == 4 else places.reshape(-1)
    y = x.reshape(-1)[places]

    def differentiate(gradient: np.ndarray) -> Gradients:
        to_x = np.zeros(x.size)
        to_x[places] = gradient
        return {"x": to_x.reshape(x.shape)}

    def explain(out: Index) -> Trace:
        source = tuple(int(i) for i in np.unravel_index(places[out], x.shape))
        return Trace("flatten", out, f"y = x, {order.replace('_', ' ')}", y[out].item(), (Term(source, y[out].item()),))

    return Result(y, explain, differentiate)
