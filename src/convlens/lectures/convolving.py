"""The examples of convolution: padding, strides, several channels and filters, named kernels, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from convlens import reference, shapes
from convlens.lectures.backward import gradients_of_conv2d
from convlens.lectures.record import Example, Solve, Workings
from convlens.reference import KERNELS, conv2d


def plain(example: Example, keep: Workings) -> Any:
    """One convolution, with whatever stride, padding and bias it has."""
    inputs = example.inputs
    return keep(conv2d(inputs["x"], inputs["kernel"], inputs.get("bias"), **example.parameters)).tolist()


def several_kernels(example: Example, keep: Workings) -> Any:
    kernels = example.inputs["kernels"].items()
    return {name: keep(conv2d(example.inputs["x"], matrix, **example.parameters), name).tolist()
            for name, matrix in kernels}  # fmt: skip


def one_value(example: Example, keep: Workings) -> Any:
    """One number of a map, its products, and the map it belongs to with and without a border."""
    x, kernel, out = example.inputs["x"], example.inputs["kernel"], example.parameters["out"]
    result = keep(conv2d(x, kernel, stride=example.parameters["stride"]))
    trace = result.trace(out)
    return {
        "value": trace.result,
        "products": _list(trace.products),
        "map": result.tolist(),
        "map with a border of zeros": keep(conv2d(x, kernel, padding=1), "with a border of zeros").tolist(),
    }


def step_by_step(example: Example, keep: Workings) -> Any:
    x, kernel = example.inputs["x"], example.inputs["kernel"]
    return {
        "map": keep(conv2d(x, kernel, **example.parameters)).tolist(),
        "numbers in the order of the slides": [step.value for step in reference.windows(x, kernel)],
        "if the filter were turned": conv2d(x, np.flip(kernel), **example.parameters).tolist(),
    }


def same_and_explicit(example: Example, keep: Workings) -> Any:
    x, kernel, stride = np.array(example.inputs["x"]), np.array(example.inputs["kernel"]), example.parameters["stride"]
    return {
        "same": keep(conv2d(x, kernel, **example.parameters), "same").tolist(),
        "zeros before and after": list(shapes.same_padding(len(x), len(kernel), stride)),
        "one zero on every side": keep(conv2d(x, kernel, stride=stride, padding=1), "one zero on every side").tolist(),
    }


def over_channels(example: Example, keep: Workings) -> Any:
    x, kernel = np.array(example.inputs["x"]), np.array(example.inputs["kernel"])
    volume = reference.conv3d(x, kernel[0], **example.parameters)
    planes = zip(x, kernel[0], strict=True)
    return {
        "map": keep(conv2d(x, kernel, example.inputs["bias"], **example.parameters)).tolist(),
        "each channel by itself": [conv2d(*pair, **example.parameters).tolist() for pair in planes],
        "as a 3-D convolution": keep(volume, "as a 3-D convolution").tolist(),
    }


def pointwise(example: Example, keep: Workings) -> Any:
    return keep(reference.pointwise_conv2d(example.inputs["x"], example.inputs["kernel"])).tolist()


def separable(example: Example, keep: Workings) -> Any:
    x, depthwise, mix = (np.array(example.inputs[name]) for name in ("x", "depthwise", "pointwise"))
    return {
        "depthwise": keep(reference.depthwise_conv2d(x, depthwise)).tolist(),
        "separable": keep(reference.separable_conv2d(x, depthwise, mix)).tolist(),
        "as one ordinary convolution": conv2d(x, mix * depthwise).tolist(),
    }


def transposed(example: Example, keep: Workings) -> Any:
    def case(options: dict[str, int]) -> Any:
        label = ", ".join(f"{name} {value}" for name, value in options.items())
        return keep(reference.conv_transpose2d(example.inputs["x"], example.inputs["kernel"], **options), label)

    return [case(options).tolist() for options in example.parameters["cases"]]


def padded(example: Example, keep: Workings) -> Any:
    x, border = example.inputs["x"], example.parameters["padding"]
    return {mode: reference.pad(x, [(border, border)] * 2, mode).tolist() for mode in example.parameters["modes"]}


def dilated_and_grouped(example: Example, keep: Workings) -> Any:
    x, kernel, dilation = example.inputs["x"], example.inputs["kernel"], example.parameters["dilation"]
    groups = example.parameters["groups"]
    channels, filters, side = groups["in"], groups["out"], groups["kernel"]
    return {
        "map": keep(conv2d(x, kernel, dilation=dilation)).tolist(),
        "reach of the filter": shapes.effective_kernel(len(kernel), dilation),
        "weights in 2 groups": shapes.conv_parameters(channels, filters, side, groups=groups["groups"], bias=False),
        "weights without": shapes.conv_parameters(channels, filters, side, bias=False),
    }


def named_kernels(example: Example, keep: Workings) -> Any:
    """Each named kernel as whole numbers over a divisor, its sum, and what it makes of the image."""

    def facts(name: str, divisor: int) -> dict[str, Any]:
        matrix = KERNELS[name]
        return {
            "matrix": (matrix * divisor).tolist(),
            "divisor": divisor,
            "sum": matrix.sum().item(),
            "response times the divisor": (keep(conv2d(example.inputs["x"], matrix), name).value * divisor).tolist(),
            "unchanged by half a turn": bool((np.flip(matrix) == matrix).all()),
        }

    return {name: facts(name, divisor) for name, divisor in example.parameters["divisors"].items()}


def named_kernel(example: Example, keep: Workings) -> Any:
    name, other = example.parameters["kernel"], example.parameters["other sign"]
    return {
        "matrix": KERNELS[name].tolist(),
        "map": keep(conv2d(example.inputs["x"], KERNELS[name]), name).tolist(),
        f"map of {other}": keep(conv2d(example.inputs["x"], KERNELS[other]), other).tolist(),
    }


def horizontal(example: Example, keep: Workings) -> Any:
    """The exercise: the vertical detector transposed, tried on a step of either direction."""
    own = KERNELS["edge_detector"].T
    vertical_step = np.repeat([[0, 0, 0, 1, 1, 1]], 6, axis=0)
    return {
        "matrix": own.tolist(),
        "map": keep(conv2d(example.inputs["x"], own)).tolist(),
        "largest answer to a vertical step": np.abs(conv2d(vertical_step, own)).max().item(),
        "largest answer to a horizontal step": np.abs(conv2d(vertical_step.T, own)).max().item(),
    }


def backward(example: Example, keep: Workings) -> Any:
    x, kernel, gradient = (example.inputs[name] for name in ("x", "kernel", "gradient"))
    found = keep(conv2d(x, kernel, 0, **example.parameters))
    gradients = found.backward(gradient)
    for name, result in gradients_of_conv2d(x, kernel, gradient).items():
        keep(result, name)
    return {
        "O": found.tolist(),
        "dL/dF": gradients["weight"].tolist(),
        "dL/dX": gradients["x"].tolist(),
        "dL/db": gradients["bias"].sum().item(),
        "dL/dX if F is not turned": conv2d(gradient, kernel, padding=len(kernel) - 1).tolist(),
    }


def _list(array: np.ndarray | None) -> Any:
    return None if array is None else array.tolist()


OPERATIONS: dict[str, Solve] = {
    "conv2d": plain,
    "conv2d by several kernels": several_kernels,
    "one value of conv2d": one_value,
    "conv2d and its steps": step_by_step,
    "same padding and explicit padding": same_and_explicit,
    "conv2d over channels": over_channels,
    "pointwise_conv2d": pointwise,
    "separable_conv2d": separable,
    "conv_transpose2d": transposed,
    "pad": padded,
    "dilation and groups": dilated_and_grouped,
    "named kernels": named_kernels,
    "named kernel": named_kernel,
    "horizontal edge kernel": horizontal,
    "conv2d_backward": backward,
}
