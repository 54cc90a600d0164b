"""The examples of what follows a convolution: pooling, activations, flattening, dense layers; and the X of deck 002."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convlens import reference
from convlens.lectures.compare import cut_to_2_decimals, differences
from convlens.lectures.record import Example, Solve, Workings
from convlens.reference import Result, conv2d, dense, flatten, max_pool2d, relu, softmax

POOLINGS: dict[str, Callable[..., Result]] = {
    "max": max_pool2d,
    "min": reference.min_pool2d,
    "average": reference.avg_pool2d,
    "sum": reference.sum_pool2d,
}
ACTIVATIONS: dict[str, Callable[..., Result]] = {
    "relu": relu,
    "leaky_relu": reference.leaky_relu,
    "prelu": reference.prelu,
    "sigmoid": reference.sigmoid,
    "tanh": reference.tanh,
}


def max_pooling(example: Example, keep: Workings) -> Any:
    """The pooled map; where its windows may run over the edge, also the map without those windows."""
    x, options = example.inputs["x"], example.parameters
    answer = {"pooled": keep(max_pool2d(x, **options)).tolist()}
    if options.get("partial"):
        whole = max_pool2d(x, **{**options, "partial": False})
        answer["without partial windows"] = keep(whole, "without partial windows").tolist()
    if "x as printed" in example.inputs:
        printed = max_pool2d(example.inputs["x as printed"], **options)
        answer["from the map as printed"] = keep(printed, "from the map as printed").tolist()
    return answer


def poolings(example: Example, keep: Workings) -> Any:
    window, stride = example.parameters["window"], example.parameters["stride"]
    rules = example.parameters["rules"]
    return {rule: keep(POOLINGS[rule](example.inputs["x"], window, stride), rule).tolist() for rule in rules}


def activations(example: Example, keep: Workings) -> Any:
    """Each activation by its name; for one whose slope is learned also the slope's gradient."""
    x, answer = example.inputs["x"], {}
    for name, options in example.parameters.items():
        result = keep(ACTIVATIONS[name](x, **options), name)
        answer[name] = result.tolist()
        if name == "prelu":
            answer["gradient of prelu's slope"] = result.backward(np.ones(len(x)))["slope"].item()
    return answer


def flattened(example: Example, keep: Workings) -> Any:
    return keep(flatten(example.inputs["x"])).tolist()


def relu_pool_flatten(example: Example, keep: Workings) -> Any:
    active = keep(relu(example.inputs["x"]))
    pooled = keep(max_pool2d(active, **example.parameters))
    return {"relu": active.tolist(), "pooled": pooled.tolist(), "flat": keep(flatten(pooled)).tolist()}


def dense_layer(example: Example, keep: Workings) -> Any:
    weight, bias = example.inputs["weight"], example.inputs["bias"]
    return {
        "from A1 as printed": keep(dense(example.inputs["x"], weight, bias), "from A1 as printed").tolist(),
        "from the right A1": keep(dense(example.inputs["right x"], weight, bias), "from the right A1").tolist(),
    }


def dense_relu(example: Example, keep: Workings) -> Any:
    summed = keep(dense(example.inputs["x"], example.inputs["weight"], example.inputs["bias"]))
    return keep(relu(summed)).tolist()


def probabilities(example: Example, keep: Workings) -> Any:
    return {
        "from O as printed": keep(softmax(example.inputs["x"]), "from O as printed").tolist(),
        "from the right O": keep(softmax(example.inputs["right x"]), "from the right O").tolist(),
    }


def image_facts(example: Example, keep: Workings) -> Any:
    x = np.array(example.inputs["x"])
    return {
        "shape": list(x.shape),
        "min": x.min().item(),
        "max": x.max().item(),
        "count": x.size,
        "first row scaled to 0..1": (x[0, 0] / 255).tolist(),
    }


# the X and the O of deck 002 ------------------------------------------------------------------------------------------


def without_repeated_row(example: Example, keep: Workings) -> Any:
    """The image, read with one row twice, without the repetition."""
    rows = example.inputs["x with a row twice"]
    x = np.array([row for row, before in zip(rows, [None, *rows], strict=False) if row != before])
    mirrors = (x[::-1], x[:, ::-1], x.T)
    return {"x": x.tolist(), "equal to its mirror images": all(np.array_equal(x, mirror) for mirror in mirrors)}


def from_marks(example: Example, keep: Workings) -> Any:
    """Another image, from one and the marks where the two differ; and how well they match as a whole."""
    x, marked = np.array(example.inputs["x"]), np.array(example.inputs["marks"]) == "X"
    deformed = np.where(marked, -x, x)
    match = keep(conv2d(deformed, x), "sum of the products of all pixels")
    return {
        "deformed x": deformed.tolist(),
        "pixels that differ": marked.sum().item(),
        "mean product": match.value.item() / x.size,
    }


def cut_outs(example: Example, keep: Workings) -> Any:
    x, size = np.array(example.inputs["x"]), example.parameters["size"]
    corners = example.parameters["corners"].items()
    return {name: x[row : row + size, column : column + size].tolist() for name, (row, column) in corners}


def mean_product(example: Example, keep: Workings) -> Any:
    kernel = np.array(example.inputs["kernel"])
    return keep(conv2d(example.inputs["x"], kernel), "sum of the products").value.item() / kernel.size


def mean_products(example: Example, keep: Workings) -> Any:
    x, kernel = example.inputs["x"], example.inputs["kernel"]
    sums = keep(conv2d(x, kernel), f"sums, not yet divided by {example.parameters['divide_by']}")
    return (sums.value / example.parameters["divide_by"]).tolist()


def feature_of_map(example: Example, keep: Workings) -> Any:
    """Which of the features gives a map that is printed, cut to two decimals."""
    printed, maps, missed = example.inputs["map"], {}, {}
    for name, feature in example.inputs["features"].items():
        sums = keep(conv2d(example.inputs["x"], feature), f"{name}, not yet divided")
        maps[name] = (sums.value / example.parameters["divide_by"]).tolist()
        missed[name] = len(list(differences(printed, maps[name], cut_to_2_decimals)))
    best = min(missed, key=lambda name: missed[name])
    shown = maps[example.parameters["shown"]]
    return {"feature": best, "map": maps[best], "map of the feature shown": shown, "cells that differ": missed}


def votes(example: Example, keep: Workings) -> Any:
    """The maps of all features, pooled, through ReLU, in one vector."""
    features, options = example.inputs["features"].items(), example.parameters
    maps = {name: conv2d(example.inputs["x"], feature) for name, feature in features}
    pooled = {name: keep(max_pool2d(sums, **options), name).value for name, sums in maps.items()}
    active = keep(relu(np.stack(list(pooled.values()))))
    return {
        "pooled": {name: values.tolist() for name, values in pooled.items()},
        "flat": keep(flatten(active)).tolist(),
        "largest of the deformed x": {
            name: conv2d(example.inputs["deformed x"], feature).value.max().item() for name, feature in features
        },
    }


OPERATIONS: dict[str, Solve] = {
    "max_pool2d": max_pooling,
    "poolings": poolings,
    "activations": activations,
    "flatten": flattened,
    "relu, pool, flatten": relu_pool_flatten,
    "dense": dense_layer,
    "dense and relu": dense_relu,
    "softmax": probabilities,
    "image facts": image_facts,
    "one row twice": without_repeated_row,
    "image from marks": from_marks,
    "cut-outs": cut_outs,
    "mean product": mean_product,
    "conv2d divided by 9": mean_products,
    "feature of a map": feature_of_map,
    "pool, relu, flatten of several maps": votes,
}
