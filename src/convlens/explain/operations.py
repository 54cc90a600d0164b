"""What each operation costs, and how the size that comes out of it came about, with the numbers filled in.

Cost is counted in multiply-accumulates (MACs), and only convolutions and matrix products have any: one for each weight
times value, those that fall on padding included. All else, such as an addition, a normalisation or a comparison, is
counted apart as elementwise: one for each value written, or for each value read where many become one. An operation
that is not in these tables is unknown; it gets no cost rather than a guessed one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from convlens.errors import ShapeError
from convlens.explain.steps import BLANK, OVERWRITTEN, RENEWED, Step, Value
from convlens.shapes import Window, conv_size, effective_kernel, pool_size, transposed_size


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# multiply-accumulates, and the names of their two factors
PRODUCTS = {
    "mm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "bmm": ("self", "mat2"),
    "baddbmm": ("batch1", "batch2"),
}
FLASH = "_scaled_dot_product_flash_attention"
ATTENTION = _names(f"{FLASH} {FLASH}_for_cpu _scaled_dot_product_efficient_attention")

# elementwise
POOLS = _names("max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d")
ADAPTIVE = _names("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d")
REDUCTIONS = _names("mean sum amax amin max min var std prod logsumexp linalg_vector_norm any all")
BATCH_NORMS = _names("native_batch_norm cudnn_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training")
LAYER_NORMS = _names("native_layer_norm _fused_rms_norm")
SOFTMAXES = _names("_softmax _log_softmax _safe_softmax")
LINEAR = {"upsample_linear1d": 1, "upsample_bilinear2d": 2, "upsample_trilinear3d": 3}
CUBIC = {"upsample_bicubic2d": 2}
POINTWISE = _names("hardswish glu native_dropout _prelu_kernel")  # torch has not marked these as such
ELEMENTWISE = POOLS | ADAPTIVE | REDUCTIONS | BATCH_NORMS | LAYER_NORMS | SOFTMAXES | POINTWISE | {"native_group_norm"}

# nothing is computed
MAKERS = BLANK | _names("empty zeros ones full arange linspace rand randn eye scalar_tensor")
VIEWS = _names("view _unsafe_view _reshape_alias unsqueeze squeeze")
SAME = _names("clone _to_copy detach alias lift_fresh")
SHUFFLES = _names("pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle")
ARRANGED = _names(
    "permute transpose t expand repeat slice select split split_with_sizes unbind cat stack roll flip as_strided"
)
NEAREST = {f"{name}{axes}d": axes for name in ("upsample_nearest", "_upsample_nearest_exact") for axes in (1, 2, 3)}
MIRRORS = {f"{how}_pad{axes}d": axes for how in ("reflection", "replication") for axes in (1, 2, 3)}
BORDERS = MIRRORS.keys() | {"constant_pad_nd"}
MOVES = MAKERS | VIEWS | SAME | SHUFFLES | ARRANGED | NEAREST.keys() | BORDERS | OVERWRITTEN | {RENEWED}

ALIASES = VIEWS | (ARRANGED - _names("repeat cat stack roll flip")) | _names("detach alias") | {RENEWED}
HIDDEN = ALIASES | SAME | MAKERS | OVERWRITTEN | {"repeat"}

KNOWN = ELEMENTWISE | MOVES | PRODUCTS.keys() | ATTENTION | LINEAR.keys() | CUBIC.keys() | {"convolution"}
SPOKEN = {
    "addmm": "linear",
    "mm": "linear",
    "constant_pad_nd": "pad",
    "linalg_vector_norm": "norm",
    **dict.fromkeys(ATTENTION, "attention"),
    **dict.fromkeys(VIEWS, "reshape"),
}


class Slide(NamedTuple):
    """How the windows of a convolution or a pooling lie along one axis of their input, `axis` counted from the end."""

    axis: int
    size: int
    out: int
    window: Window
    partial: bool


def slides(step: Step) -> list[Slide]:
    """The windows of a convolution or a pooling, one for each axis they slide along; none for other operations."""
    found = step.arguments
    if step.op == "convolution" and not found["transposed"]:
        x, kernel, stride = found["input"], found["weight"].shape[2:], found["stride"]
    elif step.op in POOLS:
        x, axes = found["self"], 3 if "3d" in step.op else 2
        kernel = _each(found["kernel_size"], axes)
        stride = _each(found["stride"] or kernel, axes)
    else:
        return []
    axes, out = len(kernel), _written(step)
    padding, dilation = _each(found["padding"], axes), _each(found.get("dilation", 1), axes)
    windows = map(Window, kernel, _each(stride, axes), padding, dilation)
    partial = bool(found.get("ceil_mode"))
    return [
        Slide(axis, x.shape[axis], out[axis] if out else 0, window, partial)
        for axis, window in zip(range(-axes, 0), windows, strict=True)
    ]


def transposed(step: Step) -> tuple[Sequence[int], ...]:
    """Size, kernel, stride, padding, output padding and dilation of a transposed convolution, each for all axes."""
    found = step.arguments
    kernel = found["weight"].shape[2:]
    names = ("stride", "padding", "output_padding", "dilation")
    return found["input"].shape[-len(kernel) :], kernel, *(_each(found[name], len(kernel)) for name in names)


def reduced_axes(step: Step) -> list[int]:
    """The axes a reduction runs along."""
    axes, count = step.arguments.get("dim"), len(step.arguments["self"].shape)
    if axes is None or axes == []:
        return list(range(count))
    return sorted(axis % count for axis in ([axes] if isinstance(axes, int) else axes))


def name_of(step: Step) -> str:
    """An operation's name as people say it."""
    if step.op == "convolution":
        return f"{'transposed_' if step.arguments['transposed'] else ''}conv{len(step.arguments['stride'])}d"
    if step.op in VIEWS and len(_written(step)) == 2 < len(step.inputs[0].shape):
        return "flatten"
    plain = step.op.removeprefix("_").removeprefix("native_").removesuffix("_with_indices").removesuffix("_kernel")
    return SPOKEN.get(step.op, plain.removeprefix("fused_"))


def is_known(step: Step) -> bool:
    """Whether the cost of an operation is known."""
    return step.pointwise or step.op in KNOWN


def moves_only(step: Step) -> bool:
    """Whether an operation computes nothing: it writes only what was there before."""
    return step.op in MOVES


def is_hidden(step: Step) -> bool:
    """Whether an operation is nothing to tell of by itself: the same values, seen or kept in another way."""
    return step.op in HIDDEN and name_of(step) != "flatten"


# cost -----------------------------------------------------------------------------------------------------------------


def macs(step: Step) -> int | None:
    """Multiply-accumulates; None where the operation is unknown.

    Convolution: values that come out x inputs of the group x cells of the window. Transposed, it is turned around:
    values that come in x outputs of the group x cells of the window. Product of (m, k) and (k, n): m k n.
    """
    found, out = step.arguments, _written(step)
    if step.op == "convolution":
        scattered = found["input"].shape if found["transposed"] else out
        return math.prod(scattered) * math.prod(found["weight"].shape[1:])
    if step.op in PRODUCTS:
        left, right = (found[name].shape for name in PRODUCTS[step.op])
        return math.prod(left) * right[-1]
    if step.op in ATTENTION:
        query, key, value = (found[name].shape for name in ("query", "key", "value"))
        return math.prod(query) * key[-2] + math.prod(query[:-1]) * math.prod(value[-2:])
    return 0 if is_known(step) else None


def elementwise(step: Step) -> int | None:
    """All other operations on single values; None where the operation is unknown."""
    found, out = step.arguments, _written(step)
    bias = found.get("bias") if step.op == "convolution" else found.get("self") if "add" in step.op else None
    if step.op == "convolution" or step.op in PRODUCTS:
        return math.prod(out) if isinstance(bias, Value) else 0
    if not is_known(step):
        return None
    if moves_only(step):
        return 0
    if step.op in POOLS:
        return math.prod(out) * math.prod(slide.window.kernel for slide in slides(step))
    if step.op in ADAPTIVE or step.op in REDUCTIONS:
        return math.prod(found["self"].shape)
    if step.op in ATTENTION:  # the softmax
        return math.prod(found["query"].shape[:-1]) * found["key"].shape[-2]
    return math.prod(out)


def written_bytes(step: Step) -> int:
    """Memory an operation takes for what it gives; nothing where it works in place or gives a view."""
    if step.in_place or step.op in ALIASES or not step.outputs:
        return 0
    return math.prod(step.outputs[0].shape) * step.outputs[0].tensor.itemsize


# words ----------------------------------------------------------------------------------------------------------------


def formula(step: Step) -> str:
    """How the size that comes out follows from the one that goes in; empty where they are the same.

    One equation for all axes if they are alike, else one for each, rows first.
    """
    found, out = step.arguments, _written(step)
    if step.op == "convolution" and found["transposed"]:
        return _alike(map(_transposed_formula, *transposed(step)))
    if windows := slides(step):
        return _alike(map(_window_formula, windows))
    if step.op in REDUCTIONS:
        return f"{_times(found['self'].shape[axis] for axis in reduced_axes(step))} -> 1"
    if step.op in ADAPTIVE:
        axes = 3 if "3d" in step.op else 2
        return f"{_times(found['self'].shape[-axes:])} -> {_times(out[-axes:])}"
    if step.op in ("mm", "addmm"):
        return f"{found[PRODUCTS[step.op][0]].shape[-1]} -> {out[-1]}"
    if step.op in PRODUCTS:
        left, right = (found[name].shape[-2:] for name in PRODUCTS[step.op])
        return f"({left[0]} x {left[1]}) ({right[0]} x {right[1]})"
    if axes := NEAREST.get(step.op) or LINEAR.get(step.op) or CUBIC.get(step.op):
        return _alike(map(_enlarged, found["self"].shape[-axes:], out[-axes:]))
    if step.op == "cat":
        lengths = [value.shape[found["dim"]] for value in found["tensors"]]
        parts = " + ".join(map(str, lengths if len(lengths) <= 5 else [lengths[0], "...", lengths[-1]]))
        return f"{parts} = {sum(lengths)}"
    if step.op == "constant_pad_nd":
        pads = found["pad"]
        sides = reversed([pads[i : i + 2] for i in range(0, len(pads), 2)])
        size = found["self"].shape[-(len(pads) // 2) :]
        return _alike(f"{n} + {a} + {b} = {n + a + b}" for n, (a, b) in zip(size, sides, strict=True))
    if name_of(step) == "flatten":
        return f"{_times(step.inputs[0].shape[1:])} = {out[-1]}"
    return ""


def unread(step: Step) -> str:
    """Which rows and columns no window ever reads, such as what the floor leaves over; empty if there are none.

    A window of 2 with stride 2 on 7 x 7: "row and column 6 are never read".
    """
    found: dict[str, list[str]] = {}
    names = {1: ["cell"], 2: ["row", "column"], 3: ["slice", "row", "column"]}
    windows = slides(step)
    for name, slide in zip(names.get(len(windows), []), windows, strict=True):
        stride, reads = slide.window.stride, set[int]()
        for first in range(-slide.window.padding, slide.out * stride - slide.window.padding, stride):
            reads |= {first + tap * slide.window.dilation for tap in range(slide.window.kernel)}
        left = [cell for cell in range(slide.size) if cell not in reads]
        if left:
            found.setdefault(_cells(left, slide.size), []).append(name)
    parts, many = [], len(found) > 1
    for which, axes in found.items():
        plural = not which.isdigit()
        many |= plural or len(axes) > 1
        named = " and ".join(f"{axis}s" if plural else axis for axis in axes)
        parts.append(f"{which} {named}" if " of " in which else f"{named} {which}")
    return f"{', '.join(parts)} {'are' if many else 'is'} never read" if parts else ""


def misfit(step: Step) -> str:
    """Why a window does not fit into what reaches it, by the formula; empty where that is not the reason."""
    try:
        if step.op == "convolution" and step.arguments["transposed"]:
            for axis in zip(*transposed(step), strict=True):
                transposed_size(*axis)
        for slide in slides(step):
            kernel, stride, padding, dilation = slide.window
            if step.op == "convolution":
                conv_size(slide.size, kernel, stride, (padding, padding), dilation)
            else:
                reach = effective_kernel(kernel, dilation)
                pool_size(slide.size, reach, stride, padding, partial=slide.partial)
    except ShapeError as error:
        return str(error)
    return ""


def _cells(cells: Sequence[int], size: int) -> str:
    if cells[-1] - cells[0] + 1 > len(cells) or cells[-1] < size - 1:
        return f"{len(cells)} of {size}"
    return str(cells[0]) if len(cells) == 1 else f"{cells[0]} to {cells[-1]}"


def _window_formula(slide: Slide) -> str:
    n, (kernel, stride, padding, dilation) = slide.size, slide.window
    reach = f"{dilation}*({kernel} - 1) - 1" if dilation > 1 else f"{kernel}"
    room = n + 2 * padding - effective_kernel(kernel, dilation)
    inside = f"({n} + 2*{padding} - {reach})/{stride}"
    if room % stride:
        inside = f"{'ceil' if slide.partial else 'floor'}({inside})"
    beyond = slide.partial and -(-room // stride) + 1 > slide.out
    return f"{inside} + 1{' - 1' if beyond else ''} = {slide.out}"


def _transposed_formula(n: int, kernel: int, stride: int, padding: int, extra: int, dilation: int) -> str:
    out = (n - 1) * stride - 2 * padding + effective_kernel(kernel, dilation) + extra
    reach = f"{dilation}*({kernel} - 1) + 1" if dilation > 1 else f"{kernel}"
    return f"({n} - 1)*{stride} - 2*{padding} + {reach}{f' + {extra}' if extra else ''} = {out}"


def _enlarged(n: int, out: int) -> str:
    return f"{n} * {out // n} = {out}" if out % n == 0 else f"{n} -> {out}"


def _alike(parts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(parts))


def _times(numbers: Iterable[int]) -> str:
    return " x ".join(map(str, numbers))


def _each(value: int | Sequence[int], axes: int) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * axes if len(numbers) == 1 else numbers


def _written(step: Step) -> tuple[int, ...]:
    return step.outputs[0].shape if step.outputs else ()
