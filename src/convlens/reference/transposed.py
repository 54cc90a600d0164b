# ruff: noqa: N803
"""Convolution the other way round: full convolution, and the transposed convolution that makes maps larger.

A convolution gathers a window into one number. The transposed one scatters one number over a window: it stamps the
filter on a larger canvas, once for each input number, and adds where the stamps overlap. It is the gradient of a
convolution with respect to its input, used as a layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ConfigError, ShapeError
from convlens.reference.arguments import Each, bias_of, each, with_axes
from convlens.reference.conv import Slide, conv2d, correlate, weight_gradient
from convlens.reference.conv_trace import POSITIONS, TAPS
from convlens.reference.result import Gradients, Index, Result, numbers
from convlens.reference.trace import Number, Term, Trace
from convlens.shapes import Pair, effective_kernel, transposed_size


def full_conv2d(x_NCHW: ArrayLike, weight_OIHW: ArrayLike, bias: ArrayLike | None = None) -> Result:
    """Full convolution: `conv2d` with the filter turned by 180 degrees and a border of k - 1 zeros.

    This is the convolution of mathematics. A trace shows the filter as it lies on the input, turned.

    Shapes:
        (N, C, H, W), (O, C, h, w) -> (N, O, H + h - 1, W + w - 1)

    Example:
        >>> full_conv2d([[1, 2], [-1, 3]], [[1, -1], [2, 3]]).tolist()
        [[1, 1, -2], [1, 11, 3], [-2, 3, 9]]
    """
    weight = numbers(weight_OIHW, "weight")
    border = tuple(k - 1 for k in weight.shape[-2:])
    result = conv2d(x_NCHW, np.flip(weight, axis=(-2, -1)), bias, padding=border)

    def explain(out: Index) -> Trace:
        trace = result.explain(out)
        equation = trace.equation.replace("weight[", "turned[")
        return replace(trace, operation="full_conv2d", names=("x", "turned"), equation=equation)

    def differentiate(gradient: np.ndarray) -> Gradients:
        gradients = result.differentiate(gradient)
        return {**gradients, "weight": np.flip(gradients["weight"], axis=(-2, -1))}

    return Result(result.value, explain, differentiate)


def scatter(x: np.ndarray, weight: np.ndarray, slide: Slide, size: Index) -> np.ndarray:
    """The definition: for each n, c, i, o and a, add weight[c, o, a] * x[n, c, i] to canvas[n, o, i*s + a*d].

    Shapes:
        (N, C, *in), (C, O, *kernel) -> (N, O, *size)

    Example:
        >>> scatter(np.array([[[1, 10]]]), np.array([[[1, 2, 3]]]), Slide((3,), (2,), (1,)), (5,)).tolist()
        [[[1, 2, 13, 20, 30]]]
    """
    canvas = np.zeros((len(x), weight.shape[1], *size), np.result_type(x, weight))
    for n, c, *at in np.ndindex(x.shape):
        canvas[n][slide.under(at)] += x[n, c, *at] * weight[c]
    return canvas


@dataclass(frozen=True, eq=False)
class Transposed:
    """One transposed convolution: x (N, C, ...), weight (C, O / groups, ...), bias (O,) or none."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    slide: Slide
    cut: tuple[Pair, ...]
    output_padding: Index
    groups: int

    @property
    def canvas(self) -> Index:
        """Size before the border is cut away."""
        axes = zip(self.x.shape[2:], *self.slide, self.output_padding, strict=True)
        return tuple((n - 1) * s + (k - 1) * d + 1 + extra for n, k, s, d, extra in axes)

    @property
    def kept(self) -> tuple:
        """What is left of the canvas when the cells of `cut` are taken away before and after, along every axis."""
        return (..., *(slice(b, size - a) for (b, a), size in zip(self.cut, self.canvas, strict=True)))

    def forward(self) -> np.ndarray:
        """Stamp the groups side by side, cut the border away, add each filter's bias."""
        groups = zip(np.split(self.x, self.groups, axis=1), np.split(self.weight, self.groups), strict=True)
        y = np.concatenate([scatter(x, weight, self.slide, self.canvas) for x, weight in groups], axis=1)[self.kept]
        return y if self.bias is None else y + self.bias.reshape(-1, *(1 for _ in self.cut))

    def backward(self, gradient: np.ndarray) -> Gradients:
        """The gradients; what was scattered is gathered again, so the gradient for x is a plain convolution."""
        on_canvas = np.zeros((*gradient.shape[:2], *self.canvas))
        on_canvas[self.kept] = gradient
        shares = [np.split(array, self.groups, axis=1) for array in (on_canvas, self.x)]
        weights = np.split(self.weight, self.groups)
        to_x = [correlate(g, weight, self.slide) for g, weight in zip(shares[0], weights, strict=True)]
        to_weight = [weight_gradient(x, g, self.slide) for g, x in zip(*shares, strict=True)]
        return {
            "x": np.concatenate(to_x, axis=1)[(..., *(slice(n) for n in self.x.shape[2:]))],
            "weight": np.concatenate(to_weight),
            "bias": gradient.sum(axis=(0, *range(2, gradient.ndim))),
        }

    def trace(self, out: Index, x_axes: int, weight_axes: int) -> Trace:
        """Every stamp that touched the output at `out`."""
        dims = len(self.cut)
        n, o, *at = (0,) * (dims + 2 - len(out)) + out
        channels, own = self.x.shape[1] // self.groups, self.weight.shape[1]
        first = o // own * channels
        terms = []
        for c, *tap in np.ndindex(channels, *self.slide.kernel):
            before = (b for b, _ in self.cut)
            steps = [i + b - a * d for i, b, a, d in zip(at, before, tap, self.slide.dilation, strict=True)]
            cell = [step // s for step, s in zip(steps, self.slide.stride, strict=True)]
            between = any(step % s for step, s in zip(steps, self.slide.stride, strict=True))
            if between or any(not 0 <= i < size for i, size in zip(cell, self.x.shape[2:], strict=True)):
                continue
            here, weight = (n, first + c, *cell), (first + c, o % own, *tap)
            term = Term(here[-x_axes:], self.x[here].item(), weight[-weight_axes:], self.weight[weight].item())
            terms.append(term)
        total = sum(term.product for term in terms)
        sums: list[tuple[str, Number]] = [(f"sum of {len(terms)} products", total)]
        if self.bias is not None:
            sums.append((f"bias[{o}]", self.bias[o].item()))
        equation = self._equation(len(out), x_axes, weight_axes)
        return Trace("conv_transpose2d", out, equation, sum(v for _, v in sums), tuple(terms), tuple(sums))

    def _equation(self, y_axes: int, x_axes: int, weight_axes: int) -> str:
        dims = len(self.cut)
        _, stride, dilation = self.slide
        cells = []
        for letter, tap, s, d, (b, _) in zip(POSITIONS[dims], TAPS[dims], stride, dilation, self.cut, strict=True):
            cell = f"{letter}{f' + {b}' if b else ''} - {d if d > 1 else ''}{tap}"
            cells.append(f"({cell})/{s}" if s > 1 else cell)
        y, x = ", ".join(["n", "o", *POSITIONS[dims]][-y_axes:]), ", ".join(["n", "c", *cells][-x_axes:])
        weight = ", ".join(["c", "o", *TAPS[dims]][-weight_axes:])
        bias = " + bias[o]" if self.bias is not None else ""
        return f"y[{y}] = sum of weight[{weight}] * x[{x}]{bias}, wherever that is a cell of x"


def keras_cut(slide: Slide, padding: str, output_padding: Index) -> tuple[tuple[Pair, ...], Index]:
    """What "same" and "valid" cut away before and after, and the cells they add, along each axis.

    A convolution that leads back with the same word adds max(d (h - 1) + 1 - s, 0) zeros to a map of H s.

    Example:
        >>> keras_cut(Slide((4, 2), (1, 3), (1, 1)), "same", (0, 0))
        (((1, 2), (0, 0)), (0, 1))

    Raises:
        ConfigError: there is no such word, or the size is asked for twice.
    """
    if padding not in ("same", "valid"):
        raise ConfigError(f"padding is 'same', 'valid' or a number of cells; got {padding!r}.")
    if any(output_padding):
        raise ConfigError(
            f"padding={padding!r} decides the size; got output_padding={output_padding} too. Leave it out."
        )
    over = [effective_kernel(k, d) - s for k, s, d in zip(*slide, strict=True)]
    surplus = [max(cells, 0) if padding == "same" else 0 for cells in over]
    return tuple((cells // 2, cells - cells // 2) for cells in surplus), tuple(max(-cells, 0) for cells in over)


def conv_transpose2d(
    x_NCHW: ArrayLike,
    weight_IOHW: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Each = 1,
    padding: Each | str = 0,
    output_padding: Each = 0,
    dilation: Each = 1,
    groups: int = 1,
) -> Result:
    """Transposed convolution: every input number stamps the filter, times itself, on the output.

    Shapes:
        x (N, C, H, W), (C, H, W) or (H, W); weight (C, O / groups, h, w), or (h, w) for one channel and one filter.
        H' = (H - 1) s - 2p + d (h - 1) + output_padding + 1.

    Args:
        padding: how many cells are cut from each side of the output: what a convolution that leads back would add. Or
            as in Keras: "same" for H' = H s, an odd cell cut at the bottom and right, and "valid" for
            H' = H s + max(d (h - 1) + 1 - s, 0); where the stride is the larger, both add the cells no filter reaches.
        output_padding: rows and columns added at the bottom and right; a convolution back would never have read them.

    Raises:
        ShapeError: the shapes do not go together, or nothing is left of the output.

    Example:
        >>> conv_transpose2d([[1, 2], [3, 4]], [[1, 0], [1, -1]]).tolist()
        [[1, 2, 0], [4, 5, -2], [3, 1, -4]]
        >>> conv_transpose2d([[1, 2], [3, 4]], [[1, 0], [1, -1]], stride=2).tolist()
        [[1, 0, 2, 0], [1, -1, 2, -2], [3, 0, 4, 0], [3, -3, 4, -4]]
        >>> conv_transpose2d([[1, 2], [3, 4]], [[1, 0], [1, -1]], padding="same").tolist()
        [[1, 2], [4, 5]]
    """
    x, weight = numbers(x_NCHW, "x"), numbers(weight_IOHW, "weight")
    x_full, weight_full = with_axes(x, 2, "x"), with_axes(weight, 2, "weight")
    channels, own, *kernel = weight_full.shape
    if x_full.shape[1] != channels or groups < 1 or channels % groups:
        raise ShapeError(
            f"The weight's first axis must be the {x_full.shape[1]} channels of x, and groups must divide them; "
            f"got {channels} and groups={groups}. It is (C, O / groups, h, w), the other way round than in conv2d."
        )
    slide = Slide(tuple(kernel), each(stride, 2, "stride"), each(dilation, 2, "dilation"))
    extra = each(output_padding, 2, "output_padding", least=0)
    if isinstance(padding, str):
        cut, extra = keras_cut(slide, padding, extra)
    else:
        cells = each(padding, 2, "padding", least=0)
        for n, k, s, d, p, more in zip(x_full.shape[2:], *slide, cells, extra, strict=True):
            transposed_size(n, k, s, p, more, d)  # an error that names the sizes as they were given
        cut = tuple((p, p) for p in cells)
    made = Transposed(x_full, weight_full, bias_of(bias, own * groups), slide, cut, extra, groups)

    y = made.forward()
    left_out = 2 if x.ndim == weight.ndim == 2 else 4 - x.ndim
    shapes = {"x": x.shape, "weight": weight.shape, "bias": (own * groups,)}

    def differentiate(gradient: np.ndarray) -> Gradients:
        return {name: g.reshape(shapes[name]) for name, g in made.backward(gradient.reshape(y.shape)).items()}

    return Result(y.reshape(y.shape[left_out:]), lambda out: made.trace(out, x.ndim, weight.ndim), differentiate)
