# ruff: noqa: N803
"""Losses: one number that says how wrong the outputs are, and the gradient with which all learning begins.

Every loss is a mean over what is compared. The classification losses take logits, not probabilities: softmax and
logarithm together cannot overflow, one after the other they can.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import DataError, ShapeError
from convlens.reference.activation import sigmoid, softmax
from convlens.reference.result import Index, Result, numbers
from convlens.reference.trace import Number, Term, Trace


def cross_entropy(logits_NK: ArrayLike, target: ArrayLike) -> Result:
    """Mean over the samples of -sum over k of target[k] * log softmax(logits)[k].

    The gradient for the logits is (softmax - target) / N: what was said minus what was meant.

    Shapes:
        (N, K) with targets (N,) as class indices or (N, K) as probabilities; or one sample (K,) -> ()

    Example:
        >>> loss = cross_entropy([[0.0, 0.0]], [1])
        >>> loss.value.round(6).item(), loss.backward()["logits"].tolist()
        (0.693147, [[0.5, -0.5]])

    Raises:
        ShapeError: there is not one target for each sample.
        DataError: a class index is none of the K classes.
    """
    given = np.asarray(numbers(logits_NK, "logits"), np.float64)
    logits = np.atleast_2d(given)
    share = _shares(numbers(target, "target"), given)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    losses = -np.where(share == 0, 0, share * log_p).sum(axis=1)
    to_logits = (softmax(logits).value * share.sum(axis=1, keepdims=True) - share) / len(logits)
    equation = "loss = mean over n of -sum over k of target[n, k] * log softmax(logits[n])[k]"
    return _mean("cross_entropy", equation, losses, {"logits": to_logits.reshape(given.shape)})


def binary_cross_entropy(logits: ArrayLike, target: ArrayLike) -> Result:
    """Mean of -t log p - (1 - t) log(1 - p), with p = sigmoid(logit). The gradient is (p - t) / n.

    Example:
        >>> binary_cross_entropy([0.0, 0.0], [0, 1]).value.round(6).item()
        0.693147
    """
    x, t = _same_shape(logits, target, "logits")
    losses = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
    equation = "loss = mean of -t log p - (1 - t) log(1 - p), p = sigmoid(logit)"
    return _mean("binary_cross_entropy", equation, losses, {"logits": (sigmoid(x).value - t) / x.size})


def squared_error(prediction: ArrayLike, target: ArrayLike) -> Result:
    """Mean of (prediction - target)^2.

    Example:
        >>> loss = squared_error([1, 2], [1, 4])
        >>> loss.value.item(), loss.backward()["prediction"].tolist()
        (2.0, [0.0, -2.0])
    """
    p, t = _same_shape(prediction, target, "prediction")
    equation = "loss = mean of (prediction - target)^2"
    return _mean("squared_error", equation, (p - t) ** 2, {"prediction": 2 * (p - t) / p.size})


def absolute_error(prediction: ArrayLike, target: ArrayLike) -> Result:
    """Mean of |prediction - target|. Where both are equal the gradient is 0.

    Example:
        >>> absolute_error([1, 2], [1, 4]).value.item()
        1.0
    """
    p, t = _same_shape(prediction, target, "prediction")
    equation = "loss = mean of |prediction - target|"
    return _mean("absolute_error", equation, abs(p - t), {"prediction": np.sign(p - t) / p.size})


def l1_penalty(weight: ArrayLike, strength: float = 0.01) -> Result:
    """strength * sum of |weight|: pulls every weight to 0 with the same force, and small ones all the way.

    Example:
        >>> l1_penalty([1.0, -2.0, 3.0]).value.item()
        0.06
    """
    w = np.asarray(numbers(weight, "weight"), np.float64)
    return _penalty("l1_penalty", f"{strength} * sum of |weight|", w, strength * abs(w), strength * np.sign(w))


def l2_penalty(weight: ArrayLike, strength: float = 0.01) -> Result:
    """strength * sum of weight^2: pulls large weights harder. Its gradient is 2 * strength * weight.

    Differs: torch's `weight_decay=d` adds d * weight to the gradient, which is this penalty with strength d / 2.

    Example:
        >>> penalty = l2_penalty([1.0, -2.0, 3.0])
        >>> penalty.value.item(), penalty.backward()["weight"].tolist()
        (0.14, [0.02, -0.04, 0.06])
    """
    w = np.asarray(numbers(weight, "weight"), np.float64)
    return _penalty("l2_penalty", f"{strength} * sum of weight^2", w, strength * w * w, 2 * strength * w)


def _shares(target: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Targets as a probability for each class: (N, K)."""
    samples, classes = np.atleast_2d(logits).shape
    if target.shape == logits.shape:
        return np.atleast_2d(target).astype(np.float64)
    if logits.ndim not in (1, 2) or target.shape != logits.shape[:-1]:
        raise ShapeError(
            f"Logits (N, K) or (K,) need a class index for each sample, or a probability for each class; "
            f"got logits {logits.shape} and targets {target.shape}."
        )
    index = target.reshape(-1)
    if not np.isin(index, np.arange(classes)).all():
        raise DataError(f"Class indices must be whole numbers from 0 to {classes - 1}; got {index.tolist()}.")
    return np.eye(classes)[index.astype(int)].reshape(samples, classes)


def _same_shape(prediction: ArrayLike, target: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    p, t = (np.asarray(numbers(each, name), np.float64) for each in (prediction, target))
    if p.shape != t.shape:
        raise ShapeError(
            f"{name} and target must have the same shape; got {p.shape} and {t.shape}. "
            "They are never stretched to fit: reshape one of them."
        )
    return p, t


def _mean(name: str, equation: str, losses: np.ndarray, gradients: dict[str, np.ndarray]) -> Result:
    value = losses.mean()

    def explain(out: Index) -> Trace:
        terms = tuple(Term(tuple(at), losses[at].item()) for at in np.ndindex(losses.shape))
        steps: tuple[tuple[str, Number], ...] = (("sum", losses.sum().item()), ("divided by", losses.size))
        return Trace(name, out, equation, value.item(), terms, steps, names=("loss", ""))

    return Result(np.asarray(value), explain, lambda g: {key: g * slope for key, slope in gradients.items()})


def _penalty(name: str, equation: str, weight: np.ndarray, parts: np.ndarray, slope: np.ndarray) -> Result:
    value = parts.sum()

    def explain(out: Index) -> Trace:
        terms = tuple(Term(tuple(at), parts[at].item()) for at in np.ndindex(weight.shape))
        return Trace(name, out, f"penalty = {equation}", value.item(), terms, names=("part", ""))

    return Result(np.asarray(value), explain, lambda g: {"weight": g * slope})
