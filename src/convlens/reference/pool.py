# ruff: noqa: N803
"""Pooling: one number for each window, with nothing to learn.

A window sees the cells of the input that really exist. So padding never wins a maximum, a partial window at the edge is
a smaller window, and an average divides by the cells present unless it is told to count the padding.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError
from convlens.reference.arguments import Each, Pads, each, each_pads
from convlens.reference.conv_trace import POSITIONS
from convlens.reference.result import Gradients, Index, Result, numbers
from convlens.reference.trace import Number, Term, Trace
from convlens.shapes import Padding, conv_size, pool_size, sides


class Span(NamedTuple):
    """A window along one axis: the cells present, from start to stop, and how many there are with padding."""

    start: int
    stop: int
    with_padding: int


def spans(size: int, window: int, stride: int, padding: Padding = 0, *, partial: bool = False) -> list[Span]:
    """The windows along one axis.

    Example:
        >>> [span[:2] for span in spans(5, 2, 2)], [span[:2] for span in spans(5, 2, 2, partial=True)]
        ([(0, 2), (2, 4)], [(0, 2), (2, 4), (4, 5)])
        >>> spans(3, 2, 2, padding=1)
        [Span(start=0, stop=1, with_padding=2), Span(start=1, stop=3, with_padding=2)]
    """
    if padding == "valid":
        padding = 0
    if isinstance(padding, int):
        before, after = padding, padding
        count = pool_size(size, window, stride, padding, partial=partial)
    elif partial:
        raise ConfigError(
            f"partial windows need a padding that is one number; got {padding!r}. Leave out one of the two."
        )
    else:
        before, after = sides(size, window, stride, padding)
        count = conv_size(size, window, stride, padding)
    found = []
    for i in range(count):
        start, stop = i * stride - before, i * stride - before + window
        if stop <= 0 or start >= size:
            raise ShapeError(
                f"Every pooling window must hold a cell of the input; window {i} of size {window} lies wholly on the "
                f"padding {(before, after)}. Pad less."
            )
        found.append(Span(max(start, 0), min(stop, size), min(stop, size + after) - start))
    return found


def adaptive_spans(size: int, count: int) -> list[Span]:
    """`count` windows that cover an axis evenly: window i from floor(i n / count) to ceil((i + 1) n / count).

    Example:
        >>> [span[:2] for span in adaptive_spans(5, 3)]
        [(0, 2), (1, 4), (3, 5)]
    """
    if count < 1:
        raise ShapeError(f"The size of the pooled map must be at least 1; got {count}.")
    edges = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    return [Span(start, stop, stop - start) for start, stop in edges]


class Rule(NamedTuple):
    """How a window becomes one number, and how much of the gradient each of its cells gets."""

    name: str
    formula: str
    value: Callable[[np.ndarray, int], Number]
    share: Callable[[np.ndarray, int], np.ndarray]


def _one(window: np.ndarray, position: np.intp) -> np.ndarray:
    share = np.zeros(window.shape)
    share.flat[position] = 1  # the first of equals: a tie goes to the lowest index
    return share


MAXIMUM = Rule("max", "largest of", lambda w, n: w.max().item(), lambda w, n: _one(w, w.argmax()))
MINIMUM = Rule("min", "smallest of", lambda w, n: w.min().item(), lambda w, n: _one(w, w.argmin()))
SUM = Rule("sum", "sum of", lambda w, n: w.sum().item(), lambda w, n: np.ones(w.shape))
AVERAGE = Rule("avg", "mean of", lambda w, n: w.sum().item() / n, lambda w, n: np.full(w.shape, 1 / n))


def max_pool2d(
    x_NCHW: ArrayLike,
    window: Each = 2,
    stride: Each | None = None,
    padding: Pads = 0,
    *,
    partial: bool = False,
) -> Result:
    """The largest number of each window. Its gradient goes to that cell alone, of equals to the first.

    Shapes:
        (N, C, H, W), (C, H, W) or (H, W) -> the same with H' = pool_size(H, window, stride, padding, partial=partial)

    Args:
        stride: step of the window; its own size if not given.
        padding: a number of at most half the window, 'valid' or 'same'; it takes part in no maximum.
        partial: keep the windows that run over the edge (torch: ceil_mode).

    Example:
        >>> x = [[0, 1, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 1, 2, 1], [1, 4, 2, 1, 0], [0, 0, 1, 2, 1]]
        >>> max_pool2d(x).tolist(), max_pool2d(x, partial=True).tolist()
        ([[1, 1], [4, 2]], [[1, 1, 0], [4, 2, 1], [0, 2, 1]])
        >>> print(max_pool2d(x).trace((0, 1)))
        max_pool2d: result[0, 1]
          y[i, j] = largest of x[0..1, 2..3]
        <BLANKLINE>
          x[0, 2] = 0
          x[0, 3] = 0
          x[1, 2] = 1   (largest)
          x[1, 3] = 1   (tie: the first counts)
        <BLANKLINE>
          result[0, 1] = 1
    """
    return _pool(MAXIMUM, 2, x_NCHW, window, stride, padding, partial=partial)


def min_pool2d(
    x_NCHW: ArrayLike,
    window: Each = 2,
    stride: Each | None = None,
    padding: Pads = 0,
    *,
    partial: bool = False,
) -> Result:
    """The smallest number of each window: -max_pool2d(-x). Options as for `max_pool2d`.

    Example:
        >>> min_pool2d([[29, 15], [0, 100]]).tolist()
        [[0]]
    """
    return _pool(MINIMUM, 2, x_NCHW, window, stride, padding, partial=partial)


def sum_pool2d(
    x_NCHW: ArrayLike,
    window: Each = 2,
    stride: Each | None = None,
    padding: Pads = 0,
    *,
    partial: bool = False,
) -> Result:
    """The sum of each window. Options as for `max_pool2d`.

    Example:
        >>> sum_pool2d([[29, 15], [0, 100]]).tolist()
        [[144]]
    """
    return _pool(SUM, 2, x_NCHW, window, stride, padding, partial=partial)


def avg_pool2d(
    x_NCHW: ArrayLike,
    window: Each = 2,
    stride: Each | None = None,
    padding: Pads = 0,
    *,
    partial: bool = False,
    count_padding: bool = False,
) -> Result:
    """The mean of each window; its gradient is spread evenly. Options as for `max_pool2d`.

    Args:
        count_padding: divide by the cells with padding (torch's count_include_pad, there the default) instead of by the
            cells present. What runs over the padding itself is never counted.

    Example:
        >>> avg_pool2d([[31, 15], [0, 100]]).tolist()
        [[36.5]]
        >>> x = [[-1, -1], [-1, -1]]
        >>> avg_pool2d(x, 3, 1, padding=1).tolist(), avg_pool2d(x, 3, padding=1, count_padding=True).tolist()
        ([[-1.0, -1.0], [-1.0, -1.0]], [[-0.4444444444444444]])
    """
    return _pool(AVERAGE, 2, x_NCHW, window, stride, padding, partial=partial, count_padding=count_padding)


def max_pool1d(x_NCL: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`max_pool2d` of signals (N, C, L), with one axis less and the same options.

    Example:
        >>> max_pool1d([3, 1, 4, 1, 5], partial=True).tolist()
        [3, 4, 5]
    """
    return _pool(MAXIMUM, 1, x_NCL, window, stride, **options)


def min_pool1d(x_NCL: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`min_pool2d` of signals."""
    return _pool(MINIMUM, 1, x_NCL, window, stride, **options)


def sum_pool1d(x_NCL: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`sum_pool2d` of signals."""
    return _pool(SUM, 1, x_NCL, window, stride, **options)


def avg_pool1d(x_NCL: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`avg_pool2d` of signals."""
    return _pool(AVERAGE, 1, x_NCL, window, stride, **options)


def max_pool3d(x_NCDHW: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`max_pool2d` of volumes (N, C, D, H, W), with one axis more and the same options.

    Example:
        >>> max_pool3d([[[1, 2], [3, 4]], [[8, 7], [6, 5]]]).tolist()
        [[[8]]]
    """
    return _pool(MAXIMUM, 3, x_NCDHW, window, stride, **options)


def min_pool3d(x_NCDHW: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`min_pool2d` of volumes."""
    return _pool(MINIMUM, 3, x_NCDHW, window, stride, **options)


def sum_pool3d(x_NCDHW: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`sum_pool2d` of volumes."""
    return _pool(SUM, 3, x_NCDHW, window, stride, **options)


def avg_pool3d(x_NCDHW: ArrayLike, window: Each = 2, stride: Each | None = None, **options: Any) -> Result:
    """`avg_pool2d` of volumes."""
    return _pool(AVERAGE, 3, x_NCDHW, window, stride, **options)


def global_max_pool2d(x_NCHW: ArrayLike) -> Result:
    """The largest number of each map: (N, C, H, W) -> (N, C, 1, 1)."""
    return adaptive_max_pool2d(x_NCHW, 1)


def global_avg_pool2d(x_NCHW: ArrayLike) -> Result:
    """The mean of each map: (N, C, H, W) -> (N, C, 1, 1).

    Example:
        >>> global_avg_pool2d([[[1, 2], [3, 6]], [[0, 0], [0, 4]]]).tolist()
        [[[3.0]], [[1.0]]]
    """
    return adaptive_avg_pool2d(x_NCHW, 1)


def adaptive_max_pool2d(x_NCHW: ArrayLike, size: Each) -> Result:
    """Maximum pooling to a given size, whatever the size of the input: (N, C, H, W) -> (N, C, *size)."""
    return _adaptive(MAXIMUM, x_NCHW, size)


def adaptive_avg_pool2d(x_NCHW: ArrayLike, size: Each) -> Result:
    """Average pooling to a given size, whatever the size of the input: (N, C, H, W) -> (N, C, *size).

    Example:
        >>> adaptive_avg_pool2d([[0, 1, 2, 3, 4]], (1, 3)).tolist()
        [[0.5, 2.0, 3.5]]
    """
    return _adaptive(AVERAGE, x_NCHW, size)


def _pool(
    rule: Rule,
    dims: int,
    x: ArrayLike,
    window: Each,
    stride: Each | None,
    padding: Pads = 0,
    *,
    partial: bool = False,
    count_padding: bool = False,
) -> Result:
    x = _maps(x, dims)
    windows = each(window, dims, "window")
    strides = windows if stride is None else each(stride, dims, "stride")
    axes = zip(x.shape[-dims:], windows, strides, each_pads(padding, dims), strict=True)
    cells = [spans(n, k, s, p, partial=partial) for n, k, s, p in axes]
    return _reduce(f"{rule.name}_pool{dims}d", rule, x, cells, count_padding=count_padding)


def _adaptive(rule: Rule, x: ArrayLike, size: Each) -> Result:
    x = _maps(x, 2)
    cells = [adaptive_spans(n, m) for n, m in zip(x.shape[-2:], each(size, 2, "size"), strict=True)]
    return _reduce(f"adaptive_{rule.name}_pool2d", rule, x, cells, count_padding=False)


def _maps(x: ArrayLike, dims: int) -> np.ndarray:
    x = numbers(x, "x")
    if x.ndim < dims or 0 in x.shape:
        axes = ", ".join("DHW"[-dims:]) if dims > 1 else "L"
        raise ShapeError(f"Pooling takes maps (..., {axes}) with at least one number; got shape {x.shape}.")
    return x


def _reduce(name: str, rule: Rule, x: np.ndarray, axes: list[list[Span]], *, count_padding: bool) -> Result:
    """Every window of every map, row by row, by one rule; `axes` are the windows along each axis."""
    dims = len(axes)

    def along(out: Index) -> list[Span]:
        return [windows[i] for windows, i in zip(axes, out[-dims:], strict=True)]

    def window(out: Index) -> tuple[tuple, int]:
        here = along(out)
        cells = (*out[:-dims], *(slice(start, stop) for start, stop, _ in here))
        return cells, prod(span.with_padding for span in here) if count_padding else x[cells].size

    shape = (*x.shape[:-dims], *(len(windows) for windows in axes))
    y = np.array([rule.value(x[cells], counted) for cells, counted in map(window, np.ndindex(shape))]).reshape(shape)

    def differentiate(gradient: np.ndarray) -> Gradients:
        to_x = np.zeros(x.shape)
        for out in np.ndindex(shape):
            cells, counted = window(out)
            to_x[cells] += gradient[out] * rule.share(x[cells], counted)
        return {"x": to_x}

    def explain(out: Index) -> Trace:
        cells, counted = window(out)
        here, shares = along(out), rule.share(x[cells], counted)
        terms = []
        for tap in np.ndindex(shares.shape):
            index = (*out[:-dims], *(span.start + i for span, i in zip(here, tap, strict=True)))
            value = x[index].item()
            terms.append(Term(index, value, mark=_mark(rule, value, shares[tap].item(), y[out].item())))
        steps = (("sum", sum(term.value for term in terms)), ("divided by", counted)) if rule is AVERAGE else ()
        lead = ", ".join(["n", "c"][-len(out[:-dims]) :]) + ", " if len(out) > dims else ""
        covered = ", ".join(f"{start}..{stop - 1}" for start, stop, _ in here)
        equation = f"y[{lead}{', '.join(POSITIONS[dims])}] = {rule.formula} x[{lead}{covered}]"
        return Trace(name, out, equation, y[out].item(), tuple(terms), steps)

    return Result(y, explain, differentiate)


def _mark(rule: Rule, value: Number, share: float, best: Number) -> str:
    if rule not in (MAXIMUM, MINIMUM) or value != best:
        return ""
    return rule.formula.removesuffix(" of") if share else "tie: the first counts"
