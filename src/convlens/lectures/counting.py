"""The examples that count: sizes that come out, weights, parameters of whole networks, receptive fields."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convlens import reference, shapes
from convlens.lectures.record import Example, Solve, Workings
from convlens.shapes import Window


def output_sizes(example: Example, keep: Workings) -> Any:
    """Height and width for each padding and stride."""
    axes = list(zip(example.inputs["input_size"], example.inputs["kernel_size"], strict=True))
    return [[shapes.conv_size(n, k, **case) for n, k in axes] for case in example.parameters["cases"]]


def formula_sizes(example: Example, keep: Workings) -> Any:
    """One axis for each case of size n, window m and stride k, with the floor."""
    padding = example.parameters["padding"]
    return [shapes.conv_size(case["n"], case["m"], case["k"], padding) for case in example.inputs["cases"]]


def dense_weights(example: Example, keep: Workings) -> Any:
    inputs, units = math.prod(example.inputs["image"]), example.inputs["units"]
    return {
        "layer": shapes.dense_parameters(inputs, units, bias=False),
        "each unit": shapes.dense_parameters(inputs, 1, bias=False),
        "with biases": shapes.dense_parameters(inputs, units),
    }


def convolution(example: Example, keep: Workings) -> Any:
    channels, kernel, n = (example.inputs[name] for name in ("in_channels", "kernel", "n"))
    return {
        "per_filter": shapes.conv_parameters(channels, 1, kernel, bias=False),
        "per_filter_with_bias": shapes.conv_parameters(channels, 1, kernel),
        "n_filters": shapes.conv_parameters(channels, n, kernel, bias=False),
        "n_filters_with_bias": shapes.conv_parameters(channels, n, kernel),
    }


def depthwise(example: Example, keep: Workings) -> Any:
    channels, kernel = example.inputs["in_channels"], example.inputs["kernel"]
    multiplier = example.parameters["depth_multiplier"]
    return {
        "weights": shapes.depthwise_parameters(channels, kernel, multiplier=multiplier, bias=False),
        "with_bias": shapes.depthwise_parameters(channels, kernel, multiplier=multiplier),
    }


def separable(example: Example, keep: Workings) -> Any:
    channels, kernel, n = (example.inputs[name] for name in ("in_channels", "kernel", "n"))
    first, second = shapes.depthwise_parameters, shapes.conv_parameters
    weights = first(channels, kernel, bias=False) + second(channels, n, 1, bias=False)
    return {
        "weights": weights,
        "with a bias a map": first(channels, kernel, bias=False) + second(channels, n, 1),
        "with biases in both": first(channels, kernel) + second(channels, n, 1),
        "share of an ordinary convolution": weights / second(channels, n, kernel, bias=False),
    }


def chain(example: Example, keep: Workings) -> Any:
    """Convolutions one after the other: each filter is as deep as the filters before it are many."""
    side, filters = example.parameters["kernel"], example.parameters["filters"]
    shape = list(example.inputs["input"])
    passed, weights, parameters, kernels = [shape], [], [], []
    for count in filters:
        weights.append(shapes.conv_parameters(shape[0], count, side, bias=False))
        parameters.append(shapes.conv_parameters(shape[0], count, side))
        kernels.append([count, shape[0], side, side])
        shape = [count, *(shapes.conv_size(n, side) for n in shape[1:])]
        passed.append(shape)
    return {
        "filters": kernels,
        "shapes": passed,
        "weights": weights,
        "with biases": parameters,
        "total": sum(parameters),
        "receptive fields": [field.size for field in shapes.receptive_fields([Window(side)] * len(filters))],
    }


def tutorial_network(example: Example, keep: Workings) -> Any:
    """The network itself, built and walked; and the sizes of image that leave it the same dense layers."""
    from torch import nn

    from convlens.models.toy import tutorial
    from convlens.models.walk import walk

    channels, *size = example.inputs["input"]
    outputs = example.parameters["outputs"]
    network = tutorial(channels, outputs, (size[0], size[1]))
    *layers, whole = walk(network, (1, channels, *size))
    dense = [module for module in network.modules() if isinstance(module, nn.Linear)]
    windows = [Window(5), Window(2, stride=2), Window(5), Window(2, stride=2)]
    named = {str(number): window for number, window in enumerate(windows)}
    side = shapes.size_after(size[0], named)
    return {
        "dense layers": [[layer.in_features, layer.out_features] for layer in dense],
        "shapes": [list(row.output_shape[1:]) for row in layers],
        "parameters": {row.name: row.parameters for row in layers if row.parameters},
        "total": sum(row.parameters for row in [*layers, whole]),
        "sizes that fit": [n for n in range(16, 65) if shapes.size_after(n, named) == side],
        "receptive fields": [field.size for field in shapes.receptive_fields(windows)],
    }


def lenet5_network(example: Example, keep: Workings) -> Any:
    from convlens.models.lenet import lenet5
    from convlens.models.walk import walk

    channels, *size = example.inputs["input"]
    rows = walk(lenet5(channels, 10, (size[0], size[1])), (1, channels, *size))
    return {
        "total": sum(row.parameters for row in rows),
        "parameters": {row.name: row.parameters for row in rows if row.parameters},
    }


def inception(example: Example, keep: Workings) -> Any:
    """The module of the catalog's network, without batch normalisation, so that its convolutions have biases."""
    from convlens.models.inception import Inception
    from convlens.models.walk import walk

    channels, *size = example.inputs["x"]
    module = Inception(channels, list(example.parameters["widths"].values()), batch_norm=False)
    counts = {name: parameter.numel() for name, parameter in module.named_parameters()}
    biases = sum(count for name, count in counts.items() if name.endswith("bias"))
    return {
        "out": list(walk(module, (1, channels, *size))[-1].output_shape[1:]),
        "weights": sum(counts.values()) - biases,
        "biases": biases,
        "total": sum(counts.values()),
    }


def glorot(example: Example, keep: Workings) -> Any:
    """The limit between which the starting weights really lie, from the draws they are stretched from."""
    shape = example.inputs["shape"]
    drawn = 2 * np.random.default_rng(0).random(shape) - 1
    limit = np.abs(reference.glorot_uniform(shape, seed=0)).max() / np.abs(drawn).max()
    return {"fan in and out": list(reference.fans(shape)), "limit": limit.item(), "variance": limit.item() ** 2 / 3}


def steps_per_epoch(example: Example, keep: Workings) -> Any:
    from convlens.data.batch import Batches

    samples = example.inputs["M"]
    images, steps, full = np.zeros((samples, 1, 1, 1), np.uint8), [], []
    for size in example.inputs["X"]:
        rows = np.arange(samples)
        sizes = [len(b.samples) for b in Batches(images, rows, rows, batch_size=size, seed=0, shuffle=False).epoch(0)]
        steps.append(len(sizes))
        full.append(sizes.count(size))
    return {"steps": steps, "full batches": full}


OPERATIONS: dict[str, Solve] = {
    "output sizes": output_sizes,
    "sizes by the printed formula": formula_sizes,
    "weights of a dense layer": dense_weights,
    "parameters of a convolution": convolution,
    "parameters of a depthwise convolution": depthwise,
    "parameters of a separable convolution": separable,
    "chain of convolutions": chain,
    "tutorial network": tutorial_network,
    "lenet5": lenet5_network,
    "inception module": inception,
    "glorot uniform": glorot,
    "steps per epoch": steps_per_epoch,
}
