"""Which units of its inputs a unit reads after an operation that only arranges: views, slices, joints, borders.

A rule gets a step and a way to look up what its inputs see (None: nothing of the network's input), and gives what its
output sees, or a list with an entry for each output. What it cannot say for certain it leaves by raising `Unknown`.
`reading.py` has the rules of the operations that compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from convlens.explain import operations as ops
from convlens.explain.memory import Layout, Placed, common, place
from convlens.explain.seen import Seen
from convlens.explain.steps import Step, Value, values_in
from convlens.shapes import Window

See = Callable[[Value], Seen | None]
Found = Seen | None | list[Seen | None]


class Unknown(Exception):
    """A rule cannot say what is read."""


def only(step: Step, see: See, but: str = "") -> Seen:
    """What the one input sees that sees anything."""
    given = {name: value for name, value in step.arguments.items() if name != but}
    found = [seen for value in values_in(given) if (seen := see(value))]
    if len(found) != 1:
        raise Unknown
    return found[0]


def same(step: Step, see: See) -> Found:
    return only(step, see)


def copied(step: Step, see: See) -> Found:
    """What was there before is gone."""
    return Seen.join([only(step, see, but="self")], step.outputs[0].shape)


def viewed(step: Step, see: See) -> Found:
    x, shape = only(step, see), step.outputs[0].shape
    if math.prod(x.shape) != math.prod(shape):  # other bytes per value
        raise Unknown
    return x.reshape(shape)


def permuted(step: Step, see: See) -> Found:
    x, found = only(step, see), step.arguments
    order = list(range(len(x.shape)))
    if step.op == "permute":
        order = found["dims"]
    elif len(order) > 1:
        a, b = (found["dim0"], found["dim1"]) if step.op == "transpose" else (0, 1)
        order[a], order[b] = order[b], order[a]
    return x.permute(order)


def strided(step: Step, see: See) -> Found:
    """A view by strides, where it is a box of what it was made from."""
    x, found = only(step, see), step.arguments
    base = found["self"].layout
    offset = base.offset if found["storage_offset"] is None else found["storage_offset"]
    within = place(Layout(offset, tuple(found["size"]), tuple(found["stride"])), base)
    if within is None:
        raise Unknown
    return x.crop(within.slices).permute(within.order).reshape(step.outputs[0].shape)


def repeated(step: Step, see: See) -> Found:
    x, shape = only(step, see), step.outputs[0].shape
    y = x.expand((*shape[: len(shape) - len(x.shape)], *x.shape))
    if step.op == "expand":
        return y.expand(shape)
    for axis, n in enumerate(shape):
        if n != y.shape[axis]:
            y = y.take(axis, np.arange(n)[:, None] % y.shape[axis])
    return y


def sliced(step: Step, see: See) -> Found:
    x, found = only(step, see), step.arguments
    if step.op == "select":
        start, every, out = found["index"] % x.shape[found["dim"]], 1, 1
    else:
        start, _, every = slice(found["start"], found["end"], found["step"]).indices(x.shape[found["dim"]])
        out = step.outputs[0].shape[found["dim"]]
    return x.window(found["dim"], out, Window(1, every, -start)).reshape(step.outputs[0].shape)


def divided(step: Step, see: See) -> Found:
    """Pieces along an axis, each a tensor."""
    x, axis, parts, at = only(step, see), step.arguments["dim"], list[Seen | None](), 0
    for output in step.outputs:
        n = 1 if step.op == "unbind" else output.shape[axis]
        parts.append(x.window(axis, n, Window(1, 1, -at)).reshape(output.shape))
        at += n
    return parts


def joined(step: Step, see: See) -> Found:
    axis, shape = step.arguments["dim"] % len(step.outputs[0].shape), step.outputs[0].shape
    values = [value for value in step.arguments["tensors"] if math.prod(value.shape)]
    parts = [see(value) for value in values]
    if step.op == "stack":
        one = (*shape[:axis], 1, *shape[axis + 1 :])
        return Seen.cat([part and part.reshape(one) for part in parts], [1] * len(parts), axis, shape)
    return Seen.cat(parts, [value.shape[axis] for value in values], axis, shape)


def padded(step: Step, see: See) -> Found:
    """A border of constants, or of copies of what lies inside."""
    y, pads = only(step, see), step.arguments.get("pad") or step.arguments["padding"]
    for number in range(len(pads) // 2):
        axis, (before, after) = -1 - number, pads[2 * number : 2 * number + 2]
        n = y.shape[axis]
        out, at = n + before + after, np.arange(-before, n + after)
        if step.op == "constant_pad_nd":
            y = y.window(axis, out, Window(1, 1, before))
        else:
            at = np.clip(at, 0, n - 1) if step.op.startswith("replication") else n - 1 - abs(n - 1 - abs(at))
            y = y.take(axis, at[:, None])
    return y


def rolled(step: Step, see: See) -> Found:
    y, axes = only(step, see), step.arguments["dims"]
    if step.op == "roll" and not axes:
        raise Unknown
    for axis, shift in zip(axes, step.arguments.get("shifts", axes), strict=True):
        n = y.shape[axis]
        at = np.arange(n)[::-1] if step.op == "flip" else (np.arange(n) - shift) % n
        y = y.take(axis, at[:, None])
    return y


def shuffled(step: Step, see: See) -> Found:
    """Channels to pixels, pixels to channels, or channels among themselves."""
    x, out = only(step, see), step.outputs[0].shape
    if "channel" in step.op:
        n, channels, *rest = x.shape
        groups = step.arguments["groups"]
        return (
            x.reshape((n, groups, channels // groups, *rest)).permute([0, 2, 1, *range(3, 3 + len(rest))]).reshape(out)
        )
    *lead, channels, height, width = x.shape
    at = len(lead)
    if step.op == "pixel_shuffle":
        r = step.arguments["upscale_factor"]
        split, order = (channels // r**2, r, r, height, width), (0, 3, 1, 4, 2)
    else:
        r = step.arguments["downscale_factor"]
        split, order = (channels, height // r, r, width // r, r), (0, 2, 4, 1, 3)
    return x.reshape((*lead, *split)).permute([*range(at), *(at + axis for axis in order)]).reshape(out)


def enlarged(step: Step, see: See) -> Found:
    """The cells torch interpolates between, whatever weight it gives them."""
    y, found = only(step, see), step.arguments
    axes = ops.NEAREST.get(step.op) or ops.LINEAR.get(step.op) or ops.CUBIC[step.op]
    names = {1: ["scales"], 2: ["scales_h", "scales_w"], 3: ["scales_d", "scales_h", "scales_w"]}[axes]
    real = np.float64 if step.outputs[0].tensor.dtype.itemsize == 8 else np.float32  # rounds as torch does
    for axis, name in zip(range(-axes, 0), names, strict=True):
        n, out = y.shape[axis], step.outputs[0].shape[axis]
        if n != out or step.op not in ops.LINEAR:
            taps = _sources(step.op, n, out, found[name], bool(found.get("align_corners")), real)
            y = y.take(axis, np.clip(taps, 0, n - 1))
    return y


def renewed(step: Step, see: See) -> Found:
    """A view of memory that was written to through another view: it reads what lies there now."""
    old, new = see(step.arguments["old"]), see(step.arguments["new"])
    written, view, base = (step.arguments[name] for name in ("written", "view", "base"))
    if written.dtype != view.dtype:
        raise Unknown
    if written.dense and view.dense and (written.offset, written.size[0]) == (view.offset, view.size[0]):
        return new and new.reshape(view.shape)
    above, below = place(written, base), place(view, base)
    if above is None or below is None:
        raise Unknown
    shared = common(above, below)
    if shared is None:
        return old
    ground = old or (new and new.blank(view.shape))
    if ground is None:
        return None
    piece = new and _as_box(new, above).crop(shared[0])
    if piece is None or piece.shape != below.shape:
        piece = _as_box(ground, below).overwrite(piece, shared[1])
    return piece.permute(below.order).reshape(view.shape)


def _as_box(x: Seen, placed: Placed) -> Seen:
    """A view with the axes of its base."""
    return x.reshape(placed.ordered).permute(np.argsort(placed.order).tolist())


def _sources(op: str, n: int, out: int, factor: float | None, corners: bool, real: Any) -> np.ndarray:
    """The cells each enlarged cell is taken from, before those beyond the border are moved to it."""
    if op in ops.NEAREST:
        real = np.float32
        if "exact" not in op and out in (n, 2 * n):  # torch does not ask for the factor then
            factor = out / n
    at = np.arange(out).astype(real)
    scale = real(1 / factor) if factor else real(n) / real(out)
    if op in ops.NEAREST:
        return np.floor((at + real(0.5) if "exact" in op else at) * scale).astype(int)[:, None]
    if corners:
        source = at * (real(n - 1) / real(out - 1) if out > 1 else real(0))
    else:
        source = (at + real(0.5)) * scale - real(0.5)
    if op in ops.CUBIC:
        return np.floor(source).astype(int)[:, None] + np.arange(-1, 3)
    first = np.minimum(np.floor(np.maximum(source, 0)).astype(int), n - 1)
    return np.stack([first, np.minimum(first + 1, n - 1)], axis=1)
