"""For each operation: which units of its inputs a unit of its output reads.

The rules here are those of the operations that compute; `arranging.py` has the others, and says what a rule is. They
follow what is read, whatever it is then multiplied with: a weight of zero hides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convlens.explain import arranging as to
from convlens.explain import operations as ops
from convlens.explain.arranging import Found, See, Unknown, only
from convlens.explain.seen import NOTHING, Seen
from convlens.explain.steps import OVERWRITTEN, RENEWED, Step, Value
from convlens.shapes import Window, effective_kernel


def pointwise(step: Step, see: See) -> Found:
    """Each unit reads the units of its own place."""
    shape = step.outputs[0].shape
    return Seen.join([seen for value in step.inputs if (seen := see(value))], shape)


def convolution(step: Step, see: See) -> Found:
    """Windows along the axes behind the channels; in the channels, the unit's group."""
    x, weight, out = see(step.arguments["input"]), step.arguments["weight"], step.outputs[0].shape
    if x is None:
        raise Unknown
    axes, groups = len(weight.shape) - 2, step.arguments["groups"]
    y = x.mix(-axes - 1, out[-axes - 1], groups)
    for slide in ops.slides(step):
        y = y.window(slide.axis, slide.out, slide.window)
    if step.arguments["transposed"]:
        for axis, *how in zip(range(-axes, 0), out[-axes:], *ops.transposed(step), strict=True):
            y = _scatter(y, axis, *how)
    return _with_weights(y, [weight, step.arguments["bias"]], see)


def pooling(step: Step, see: See) -> Found:
    """Windows."""
    y = only(step, see)
    for slide in ops.slides(step):
        y = y.window(slide.axis, slide.out, slide.window)
    return y


def adaptive(step: Step, see: See) -> Found:
    """Window i reads from floor(i n / o) to ceil((i + 1) n / o) - 1."""
    y, axes = only(step, see), 3 if "3d" in step.op else 2
    for axis, out in zip(range(-axes, 0), step.outputs[0].shape[-axes:], strict=True):
        n = y.shape[axis]
        if out == 1:
            y = y.reduce([axis])
        elif n % out == 0:
            y = y.window(axis, out, Window(n // out, n // out))
        else:
            y = y.take(axis, _table([range(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]))
    return y


def batch_norm(step: Step, see: See) -> Found:
    """With the running mean each value by itself; with that of the batch, the whole map of the channel."""
    x = see(step.arguments["input"])
    if x is None:
        raise Unknown
    if step.arguments.get("training"):
        x = x.reduce([axis for axis in range(len(x.shape)) if axis != 1]).expand(x.shape)
    return _with_weights(x, [value for name, value in step.arguments.items() if name != "input"], see)


def layer_norm(step: Step, see: See) -> Found:
    """All along the axes that are normalised together."""
    x = see(step.arguments["input"])
    if x is None:
        raise Unknown
    axes = range(-len(step.arguments["normalized_shape"]), 0)
    return x.reduce(axes).expand(x.shape)


def group_norm(step: Step, see: See) -> Found:
    """The whole maps of the channels of the group."""
    x = see(step.arguments["input"])
    if x is None:
        raise Unknown
    return x.reduce(range(2, len(x.shape))).mix(1, x.shape[1], step.arguments["group"]).expand(x.shape)


def softmax(step: Step, see: See) -> Found:
    """All along its axis."""
    x = only(step, see)
    return x.reduce([step.arguments["dim"]]).expand(x.shape)


def reduction(step: Step, see: See) -> Found:
    """All along the axes that are summed up."""
    x = only(step, see)
    axes = ops.reduced_axes(step)
    y = x.reduce(axes)
    return y if len(step.outputs[0].shape) == len(x.shape) else y.reshape(step.outputs[0].shape)


def product(step: Step, see: See) -> Found:
    """(m, k) times (k, n): the row of the one and the column of the other."""
    left, right = (see(step.arguments[name]) for name in ops.PRODUCTS[step.op])
    out, added = step.outputs[0].shape, step.arguments["self"] if "add" in step.op else None
    parts = [left.reduce([-1]) if left else None, right.reduce([-2]) if right else None, see(added) if added else None]
    return Seen.join([part for part in parts if part], out)


def attention(step: Step, see: See) -> Found:
    """The unit's own query, all keys and all values."""
    mask = step.arguments.get("attn_mask") or step.arguments.get("attn_bias")
    if step.arguments["is_causal"] or (mask and see(mask)):
        raise Unknown
    parts = [
        seen.reduce([-1] if name == "query" else [-2, -1])
        for name in ("query", "key", "value")
        if (seen := see(step.arguments[name]))
    ]
    return Seen.join(parts, step.outputs[0].shape)


def gated(step: Step, see: See) -> Found:
    """The first half along an axis times a function of the second."""
    x, axis = only(step, see), step.arguments["dim"]
    half = x.shape[axis] // 2
    return Seen.join([x.window(axis, half, Window(1, 1, -at)) for at in (0, half)], step.outputs[0].shape)


def _with_weights(y: Seen, weights: Sequence[Any], see: See) -> Seen:
    """With weights that were themselves made from the input, where each of them sees the same of it."""
    for weight in weights:
        seen = see(weight) if isinstance(weight, Value) else None
        if seen:
            if any(n > 1 for cells in seen.sets for n in cells.shape[:-1]):
                raise Unknown
            y = Seen.join([y, seen.reduce(range(len(seen.shape))).reshape((1,) * len(y.shape))], y.shape)
    return y


def _scatter(
    y: Seen, axis: int, out: int, n: int, kernel: int, stride: int, padding: int, extra: int, dilation: int
) -> Seen:
    """A transposed window: unit i writes to i s - p, i s - p + d, ...; so each unit reads those that write to it."""
    if stride == 1:
        return y.window(axis, out, Window(kernel, 1, effective_kernel(kernel, dilation) - 1 - padding, dilation))
    readers: list[list[int]] = [[] for _ in range(out)]
    for i in range(n):
        for tap in range(kernel):
            target = i * stride - padding + tap * dilation
            if 0 <= target < out:
                readers[target].append(i)
    return y.take(axis, _table(readers))


def _table(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of unequal length as one table of taps."""
    table = np.full((len(rows), max(map(len, rows))), NOTHING)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


RULES: dict[str, Callable[[Step, See], Found]] = {
    **dict.fromkeys(ops.PRODUCTS, product),
    **dict.fromkeys(ops.ATTENTION, attention),
    **dict.fromkeys(ops.POOLS, pooling),
    **dict.fromkeys(ops.ADAPTIVE, adaptive),
    **dict.fromkeys(ops.REDUCTIONS, reduction),
    **dict.fromkeys(ops.BATCH_NORMS, batch_norm),
    **dict.fromkeys(ops.LAYER_NORMS, layer_norm),
    **dict.fromkeys(ops.SOFTMAXES, softmax),
    **dict.fromkeys(ops.POINTWISE, pointwise),
    **dict.fromkeys(ops.SAME, to.same),
    **dict.fromkeys(ops.VIEWS, to.viewed),
    **dict.fromkeys(ops.SHUFFLES, to.shuffled),
    **dict.fromkeys(ops.BORDERS, to.padded),
    **dict.fromkeys((*ops.NEAREST, *ops.LINEAR, *ops.CUBIC), to.enlarged),
    **dict.fromkeys(OVERWRITTEN, to.copied),
    **dict.fromkeys(("permute", "transpose", "t"), to.permuted),
    **dict.fromkeys(("expand", "repeat"), to.repeated),
    **dict.fromkeys(("slice", "select"), to.sliced),
    **dict.fromkeys(("split", "split_with_sizes", "unbind"), to.divided),
    **dict.fromkeys(("cat", "stack"), to.joined),
    **dict.fromkeys(("roll", "flip"), to.rolled),
    "convolution": convolution,
    "as_strided": to.strided,
    "native_group_norm": group_norm,
    "glu": gated,
    RENEWED: to.renewed,
}


def rule_for(step: Step) -> Callable[[Step, See], Found]:
    """The rule of an operation.

    Raises:
        Unknown: there is none.
    """
    if step.op in RULES:
        return RULES[step.op]
    if step.pointwise:
        return pointwise
    raise Unknown
