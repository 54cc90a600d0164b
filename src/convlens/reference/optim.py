"""How a weight learns: update rules as pure functions from one state to the next, starting values, and constraints.

A rule never changes what it is given. `state = adam(state, gradient)` is the whole interface, and the state is plain to
see: the weight, the number of steps taken, and two memories, of gradients and of squared gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError
from convlens.reference.result import numbers


class State(NamedTuple):
    """A weight on its way.

    Attributes:
        weight: the weights themselves.
        step: updates made so far.
        velocity: memory of the gradients (momentum, first moment).
        square: memory of the squared gradients (second moment).
    """

    weight: np.ndarray
    step: int = 0
    velocity: np.ndarray | float = 0.0
    square: np.ndarray | float = 0.0


def start(weight: ArrayLike) -> State:
    """The state before the first step: both memories are zero."""
    array = np.asarray(numbers(weight, "weight"), np.float64)
    return State(array, 0, np.zeros(array.shape), np.zeros(array.shape))


def sgd(state: State, gradient: ArrayLike, *, rate: float = 0.1) -> State:
    """Gradient descent: w -= rate * g.

    Example:
        >>> sgd(start(1.0), 2.0).weight.item()
        0.8
    """
    return state._replace(weight=state.weight - rate * _as(gradient, state), step=state.step + 1)


def momentum(
    state: State, gradient: ArrayLike, *, rate: float = 0.1, beta: float = 0.9, averaged: bool = False
) -> State:
    """Heavy ball: v = beta * v + g, w -= rate * v. What points the same way adds up, what alternates cancels.

    Args:
        averaged: v = beta * v + (1 - beta) * g instead, the average that Adam uses: steps smaller by 1 - beta.

    Source: Polyak 1964.
    """
    share = 1 - beta if averaged else 1.0
    velocity = beta * state.velocity + share * _as(gradient, state)
    return state._replace(weight=state.weight - rate * velocity, step=state.step + 1, velocity=velocity)


def nesterov(state: State, gradient: ArrayLike, *, rate: float = 0.1, beta: float = 0.9) -> State:
    """Momentum that looks ahead: v = beta * v + g, w -= rate * (g + beta * v).

    Source: Nesterov 1983, in the form of Sutskever et al. 2013.
    """
    g = _as(gradient, state)
    velocity = beta * state.velocity + g
    return state._replace(weight=state.weight - rate * (g + beta * velocity), step=state.step + 1, velocity=velocity)


def rmsprop(state: State, gradient: ArrayLike, *, rate: float = 0.1, beta: float = 0.9, eps: float = 1e-8) -> State:
    """s = beta * s + (1 - beta) * g^2, w -= rate * g / (sqrt(s) + eps): every weight steps by its own measure.

    Source: Tieleman and Hinton 2012, lecture 6.5 of Neural Networks for Machine Learning.
    """
    g = _as(gradient, state)
    square = beta * state.square + (1 - beta) * g * g
    return state._replace(weight=state.weight - rate * g / (np.sqrt(square) + eps), step=state.step + 1, square=square)


def adam(
    state: State,
    gradient: ArrayLike,
    *,
    rate: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> State:
    """Momentum and RMSProp together, both corrected for their start at zero.

    v = beta1 * v + (1 - beta1) * g, s = beta2 * s + (1 - beta2) * g^2,
    w -= rate * (v / (1 - beta1^t)) / (sqrt(s / (1 - beta2^t)) + eps)

    Example:
        >>> state = start(1.0)
        >>> for _ in range(3):
        ...     state = adam(state, 2 * state.weight, rate=0.1)
        >>> state.weight.round(9).item()
        0.701586273

    Source: Kingma and Ba 2015, arXiv 1412.6980.
    """
    g, step = _as(gradient, state), state.step + 1
    velocity = beta1 * state.velocity + (1 - beta1) * g
    square = beta2 * state.square + (1 - beta2) * g * g
    mean, root = velocity / (1 - beta1**step), np.sqrt(square / (1 - beta2**step))
    return State(state.weight - rate * mean / (root + eps), step, velocity, square)


def adamw(
    state: State,
    gradient: ArrayLike,
    *,
    rate: float = 0.001,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> State:
    """Adam whose weights shrink by rate * weight_decay before each step, whatever their gradients.

    For plain gradient descent this equals an l2 penalty; for Adam it does not, since Adam would divide the penalty's
    gradient by its root.

    Source: Loshchilov and Hutter 2019, arXiv 1711.05101.
    """
    shrunk = state._replace(weight=state.weight * (1 - rate * weight_decay))
    return adam(shrunk, gradient, rate=rate, beta1=beta1, beta2=beta2, eps=eps)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """How many numbers flow into a unit and out of one: a weight (O, I, h, w) has I h w and O h w.

    Example:
        >>> fans((6, 3, 5, 5)), fans((10, 84))
        ((75, 150), (84, 10))
    """
    if len(shape) < 2:
        raise ShapeError(f"A weight must have at least 2 axes, (O, I, ...); got shape {tuple(shape)}.")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def glorot_uniform(shape: Sequence[int], seed: int) -> np.ndarray:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)): variance 2 / (fan_in + fan_out), to keep signals and gradients alive.

    Example:
        >>> abs(glorot_uniform((6, 3, 5, 5), seed=0)).max() < (6 / (75 + 150)) ** 0.5
        np.True_

    Source: Glorot and Bengio 2010.
    """
    limit = math.sqrt(6 / sum(fans(shape)))
    return np.random.default_rng(seed).uniform(-limit, limit, tuple(shape))


def glorot_normal(shape: Sequence[int], seed: int) -> np.ndarray:
    """Normal with the variance of `glorot_uniform`."""
    return np.random.default_rng(seed).normal(0, math.sqrt(2 / sum(fans(shape))), tuple(shape))


def he_uniform(shape: Sequence[int], seed: int) -> np.ndarray:
    """Uniform in +-sqrt(6 / fan_in): variance 2 / fan_in, twice as much because ReLU lets half through.

    Source: He et al. 2015, arXiv 1502.01852.
    """
    limit = math.sqrt(6 / fans(shape)[0])
    return np.random.default_rng(seed).uniform(-limit, limit, tuple(shape))


def he_normal(shape: Sequence[int], seed: int) -> np.ndarray:
    """Normal with the variance of `he_uniform`."""
    return np.random.default_rng(seed).normal(0, math.sqrt(2 / fans(shape)[0]), tuple(shape))


def max_norm(weight: ArrayLike, limit: float = 2.0) -> np.ndarray:
    """Each filter (first axis) whose norm is above the limit is scaled down to it; the others stay.

    Example:
        >>> max_norm([[3.0, 4.0], [0.3, 0.4]], limit=1.0).tolist()
        [[0.6, 0.8], [0.3, 0.4]]
    """
    return min_max_norm(weight, 0.0, limit)


def min_max_norm(weight: ArrayLike, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """The norm of each filter is brought between low and high; a filter of zeros, without direction, stays.

    Example:
        >>> min_max_norm([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], low=1.0, high=2.0).tolist()
        [[1.2, 1.6], [0.6, 0.8], [0.0, 0.0]]
    """
    if not 0 <= low <= high:
        raise ConfigError(f"A norm lies between two numbers with 0 <= low <= high; got {low} and {high}.")
    w = np.asarray(numbers(weight, "weight"), np.float64)
    norm = np.sqrt((w * w).sum(axis=tuple(range(1, w.ndim)), keepdims=True))
    return w * norm.clip(low, high) / np.where(norm > 0, norm, 1)


def unit_norm(weight: ArrayLike) -> np.ndarray:
    """Each filter (first axis) is scaled to norm 1; a filter of zeros stays.

    Example:
        >>> unit_norm([[3.0, 4.0]]).tolist()
        [[0.6, 0.8]]
    """
    return min_max_norm(weight, 1.0, 1.0)


def non_negative(weight: ArrayLike) -> np.ndarray:
    """Negative weights become 0.

    Example:
        >>> non_negative([-1.0, 2.0]).tolist()
        [0.0, 2.0]
    """
    return np.maximum(np.asarray(numbers(weight, "weight"), np.float64), 0)


def _as(gradient: ArrayLike, state: State) -> np.ndarray:
    g = np.asarray(numbers(gradient, "gradient"), np.float64)
    if g.shape != state.weight.shape:
        raise ShapeError(f"The gradient must have the shape of the weight, {state.weight.shape}; got {g.shape}.")
    return g
