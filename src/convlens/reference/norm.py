# ruff: noqa: N803
"""Batch normalisation in both its modes, and dropout: layers that behave differently in training and in use.

Nothing here remembers anything. Running statistics go in and come out, and the units that dropout keeps are drawn by a
function of a seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError
from convlens.reference.result import Gradients, Index, Result, numbers
from convlens.reference.trace import Term, Trace


class Statistics(NamedTuple):
    """Mean and variance of each channel."""

    mean: np.ndarray
    variance: np.ndarray


def batch_statistics(x_NC: ArrayLike) -> Statistics:
    """Mean and (biased, 1/n) variance of each channel over all samples and positions.

    Example:
        >>> batch_statistics([1.0, 2.0, 3.0, 4.0])
        Statistics(mean=array([2.5]), variance=array([1.25]))
    """
    x = _with_channels(x_NC)
    others = (0, *range(2, x.ndim))
    return Statistics(x.mean(axis=others), x.var(axis=others))


def running_statistics(running: Statistics, x_NC: ArrayLike, momentum: float = 0.1) -> Statistics:
    """The running statistics after one more batch: (1 - momentum) * running + momentum * batch.

    The batch's variance enters unbiased (times n / (n - 1)), as in torch. Keras counts momentum the other way round
    (its 0.9 is 0.1 here) and takes the biased variance.

    Example:
        >>> running_statistics(Statistics(np.zeros(1), np.ones(1)), [1.0, 2.0, 3.0, 4.0])
        Statistics(mean=array([0.25]), variance=array([1.06666667]))

    Raises:
        ShapeError: the batch holds a single number for each channel, which has no variance.
    """
    x = _with_channels(x_NC)
    n = x.size // x.shape[1]
    if n < 2:
        raise ShapeError(f"A variance needs at least 2 numbers a channel; got shape {x.shape}. Use a larger batch.")
    batch = batch_statistics(x)
    return Statistics(
        (1 - momentum) * running.mean + momentum * batch.mean,
        (1 - momentum) * running.variance + momentum * batch.variance * n / (n - 1),
    )


def batch_norm(
    x_NC: ArrayLike,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    running: Statistics | None = None,
    eps: float = 1e-5,
) -> Result:
    """y = scale * (x - mean) / sqrt(variance + eps) + shift, channel by channel.

    In training mean and variance are those of the batch, and the gradient flows through them too. In use they are the
    running statistics and constants, so that a sample's result does not depend on its neighbours.

    Shapes:
        x (N, C, ...), or (N,) for one channel; scale, shift, running.mean and running.variance (C,).

    Args:
        running: the running statistics, for use; None in training.

    Example:
        >>> batch_norm([1.0, 2.0, 3.0, 4.0]).value.round(4).tolist()
        [-1.3416, -0.4472, 0.4472, 1.3416]

    Raises:
        ShapeError: scale, shift or statistics are not one number for each channel.

    Source: Ioffe and Szegedy 2015, arXiv 1502.03167.
    """
    given, x = numbers(x_NC, "x"), _with_channels(x_NC)
    channels, others = x.shape[1], (0, *range(2, x.ndim))
    used = batch_statistics(x) if running is None else running

    def spread(values: ArrayLike, name: str) -> np.ndarray:
        array = np.asarray(numbers(values, name), np.float64).reshape(-1)
        if len(array) != channels:
            raise ShapeError(f"{name} must hold one number for each of the {channels} channels; got {len(array)}.")
        return array.reshape(-1, *[1] * (x.ndim - 2))

    mean, variance = spread(used.mean, "mean"), spread(used.variance, "variance")
    gamma = spread(np.ones(channels) if scale is None else scale, "scale")
    beta = spread(np.zeros(channels) if shift is None else shift, "shift")
    root = np.sqrt(variance + eps)
    standard = (x - mean) / root
    y = gamma * standard + beta

    def differentiate(gradient: np.ndarray) -> Gradients:
        g = gradient.reshape(x.shape)
        to_x = g * gamma / root
        if running is None:  # the batch's mean and variance moved with every x
            along = (to_x * standard).mean(axis=others, keepdims=True)
            to_x = to_x - to_x.mean(axis=others, keepdims=True) - standard * along
        return {"x": to_x.reshape(given.shape), "scale": (g * standard).sum(axis=others), "shift": g.sum(axis=others)}

    def explain(out: Index) -> Trace:
        at = out if len(out) > 1 else (*out, 0)
        c = at[1]
        parts = {"mean": mean, "variance": variance, "root": root, "scale": gamma, "shift": beta}
        steps = [(f"{name}[{c}]", array.reshape(-1)[c].item()) for name, array in parts.items()]
        steps.insert(3, ("(x - mean) / root", standard[at].item()))
        statistics = "of the batch" if running is None else "running"
        equation = f"y = scale * (x - mean) / sqrt(variance + {eps}) + shift, mean and variance {statistics}"
        return Trace("batch_norm", out, equation, y[at].item(), (Term(out, x[at].item()),), tuple(steps))

    return Result(y.reshape(given.shape), explain, differentiate)


def draw_kept(shape: tuple[int, ...], rate: float, seed: int) -> np.ndarray:
    """Which units dropout keeps: each with chance 1 - rate, decided by the seed.

    Example:
        >>> draw_kept((1000,), 0.25, seed=0).mean().round(1)
        np.float64(0.8)
    """
    _require_rate(rate)
    return np.random.default_rng(seed).random(shape) >= rate


def dropout(x: ArrayLike, rate: float, kept: ArrayLike | None = None) -> Result:
    """Inverted dropout: in training y = x / (1 - rate) where kept and 0 elsewhere, in use y = x.

    Dividing by the chance of being kept leaves the expected value as it is, so that nothing is left to do in use.

    Args:
        kept: true for each unit that is kept, from `draw_kept`; None in use.

    Example:
        >>> dropout([1, 2, 3, 4], 0.5, kept=[True, False, True, False]).tolist(), dropout([1, 2], 0.5).tolist()
        ([2.0, 0.0, 6.0, 0.0], [1.0, 2.0])

    Source: Srivastava et al. 2014, JMLR 15.
    """
    _require_rate(rate)
    x = np.asarray(numbers(x, "x"), np.float64)
    mask = np.ones(x.shape, bool) if kept is None else np.asarray(kept, bool)
    if mask.shape != x.shape:
        raise ShapeError(f"kept must have the shape of x, {x.shape}; got {mask.shape}. Draw it with draw_kept.")
    factor = np.ones(x.shape) if kept is None else mask / (1 - rate)

    def explain(out: Index) -> Trace:
        mark = "" if mask[out] else "dropped"
        equation = "y = x" if kept is None else f"y = kept * x / (1 - {rate})"
        term = Term(out, x[out].item(), weight=factor[out].item(), mark=mark)
        return Trace("dropout", out, equation, term.product, (term,), names=("x", "factor"))

    return Result(x * factor, explain, lambda gradient: {"x": gradient * factor})


def _with_channels(x: ArrayLike) -> np.ndarray:
    array = np.asarray(numbers(x, "x"), np.float64)
    if array.ndim == 0:
        raise ShapeError("Batch normalisation takes (N, C, ...) or (N,); got a single number. Give a batch.")
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _require_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ConfigError(f"The dropout rate must be at least 0 and below 1; got {rate}. 0.5 drops every second unit.")
