"""Every operation that can be explained number by number, and what each needs: from a worked example, or typed in.

The operations are those of `convlens.reference`; this file only says which words stand for what they take.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from convlens import reference
from convlens.errors import ConfigError, DataError, did_you_mean
from convlens.lectures.backward import NAME as BACKWARD
from convlens.lectures.backward import gradients_of_conv2d
from convlens.lectures.descent import RULES, descend
from convlens.lectures.examples import workings
from convlens.lectures.matrices import read_kernel, read_matrix
from convlens.lectures.record import Example, Working, Workings
from convlens.reference import Result

INPUTS = ("input", "kernel", "bias", "gradient", "target")
ONLY_IN_EXAMPLES = ("conv3d", "depthwise_conv2d", "pointwise_conv2d", "separable_conv2d")
SLIDING = ("stride", "padding", "dilation", "padding_mode")
FLAGS = ("partial", "count_padding", "averaged")
WORDS = ("padding", "padding_mode")
POOLING = ("window", "stride", "padding", "partial")


class Operation(NamedTuple):
    """An operation as it is typed.

    Attributes:
        function: called with the inputs in the order of `needs` and `may`, and the options.
        needs: the matrices it cannot do without.
        may: those it takes besides.
        options: names of its other options.
        line: whether one row is a vector and not a matrix of one row.
    """

    function: Callable[..., Result | dict[str, Result]]
    needs: tuple[str, ...] = ("input",)
    options: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    line: bool = False


def _dropout(x: Any, *, rate: float = 0.5, seed: int = 0) -> Result:
    return reference.dropout(x, rate, reference.draw_kept(np.shape(x), rate, seed))


def _cross_entropy(logits: Any, target: np.ndarray) -> Result:
    """Targets are typed as a row of class indices, or as a probability for each class."""
    indices = target.size == math.prod(logits.shape[:-1]) and target.shape != logits.shape
    return reference.cross_entropy(logits, target.reshape(logits.shape[:-1]) if indices else target)


def _descent(name: str) -> Operation:
    options = tuple(list(signature(RULES[name].update).parameters)[2:])

    def run(w: np.ndarray, **given: Any) -> Result:
        return descend(name, w.item() if w.size == 1 else w, **given)

    return Operation(run, options=(*options, "steps"), line=True)


OPERATIONS: dict[str, Operation] = {
    "conv2d": Operation(reference.conv2d, ("input", "kernel"), SLIDING, ("bias",)),
    "conv1d": Operation(reference.conv1d, ("input", "kernel"), SLIDING, ("bias",), line=True),
    "full_conv2d": Operation(reference.full_conv2d, ("input", "kernel"), (), ("bias",)),
    "conv_transpose2d": Operation(
        reference.conv_transpose2d, ("input", "kernel"), ("stride", "padding", "output_padding", "dilation"), ("bias",)
    ),
    BACKWARD: Operation(gradients_of_conv2d, ("input", "kernel", "gradient"), ("stride", "padding", "dilation")),
    "max_pool2d": Operation(reference.max_pool2d, options=POOLING),
    "min_pool2d": Operation(reference.min_pool2d, options=POOLING),
    "sum_pool2d": Operation(reference.sum_pool2d, options=POOLING),
    "avg_pool2d": Operation(reference.avg_pool2d, options=(*POOLING, "count_padding")),
    "max_pool1d": Operation(reference.max_pool1d, options=POOLING, line=True),
    "min_pool1d": Operation(reference.min_pool1d, options=POOLING, line=True),
    "sum_pool1d": Operation(reference.sum_pool1d, options=POOLING, line=True),
    "avg_pool1d": Operation(reference.avg_pool1d, options=(*POOLING, "count_padding"), line=True),
    "adaptive_max_pool2d": Operation(partial(reference.adaptive_max_pool2d, size=1), options=("size",)),
    "adaptive_avg_pool2d": Operation(partial(reference.adaptive_avg_pool2d, size=1), options=("size",)),
    "relu": Operation(reference.relu, line=True),
    "leaky_relu": Operation(reference.leaky_relu, options=("slope",), line=True),
    "prelu": Operation(reference.prelu, options=("slope",), line=True),
    "sigmoid": Operation(reference.sigmoid, line=True),
    "tanh": Operation(reference.tanh, line=True),
    "softmax": Operation(reference.softmax, line=True),
    "flatten": Operation(reference.flatten),
    "dense": Operation(reference.dense, ("input", "kernel"), (), ("bias",), line=True),
    "batch_norm": Operation(reference.batch_norm, options=("scale", "shift", "eps"), line=True),
    "dropout": Operation(_dropout, options=("rate", "seed"), line=True),
    "cross_entropy": Operation(_cross_entropy, ("input", "target"), line=True),
    "binary_cross_entropy": Operation(reference.binary_cross_entropy, ("input", "target"), line=True),
    "squared_error": Operation(reference.squared_error, ("input", "target"), line=True),
    "absolute_error": Operation(reference.absolute_error, ("input", "target"), line=True),
    "l1_penalty": Operation(reference.l1_penalty, options=("strength",), line=True),
    "l2_penalty": Operation(reference.l2_penalty, options=("strength",), line=True),
    **{name: _descent(name) for name in RULES},
}


def from_example(name: str, example: Example) -> list[Working]:
    """What a worked example computes with an operation.

    Raises:
        ConfigError: the operation is unknown, or the example does without it.
    """
    _require_known(name)
    found = workings(example)
    chosen = [working for working in found if working.operation == name]
    if not chosen:
        there = sorted({working.operation for working in found})
        has = f"It has {', '.join(there)}." if there else "It counts, and has nothing to explain number by number."
        raise ConfigError(f"The example '{example.id}' has no {name}. {has}")
    return chosen


def typed(name: str, inputs: Mapping[str, str], options: Mapping[str, str]) -> list[Working]:
    """An operation on matrices and options as they are typed.

    Example:
        >>> (working,) = typed("max_pool2d", {"input": "1 2; 3 4"}, {"window": "2"})
        >>> working.result.tolist()
        [[4]]

    Raises:
        ConfigError: the operation or an option is unknown, or an input is missing or has no part in it.
        DataError: an input is no matrix.
        ShapeError: the shapes do not go together.
    """
    _require_known(name)
    if name in ONLY_IN_EXAMPLES:
        raise ConfigError(
            f"{name} works on several channels, which cannot be typed in. Give --example; '001-D-more-filters' and "
            f"its neighbours have channels."
        )
    operation = OPERATIONS[name]
    takes = (*operation.needs, *operation.may)
    for given in inputs:
        if given not in takes:
            raise ConfigError(f"{name} takes no --{given}. It takes {', '.join(f'--{one}' for one in takes)}.")
    missing = [f"--{one}" for one in operation.needs if one not in inputs]
    if missing:
        raise ConfigError(f"{name} needs {' and '.join(missing)}, such as '1 2; 3 4', or an --example.")
    for given in options:
        if given not in operation.options:
            listing = f"Its options: {', '.join(operation.options)}." if operation.options else "It has none."
            hint = did_you_mean(given, operation.options)
            raise ConfigError(
                f"{name} has no option '{given}'. {f'{hint} ' if hint.startswith('Did') else ''}{listing}"
            )
    read = {given: _read(given, text, operation.line) for given, text in inputs.items()}
    values = {given: read_option(given, text) for given, text in options.items()}
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            made = operation.function(*(read[one] for one in operation.needs), **_besides(read, operation), **values)
    except (FloatingPointError, OverflowError, ZeroDivisionError) as error:
        raise DataError(f"{name} leads to a number that cannot be held: {error}. Give other numbers.") from None
    keep = Workings()
    for label, result in made.items() if isinstance(made, dict) else [("", made)]:
        keep(result, label)
    return keep.noted


def rows() -> list[tuple[str, str, str]]:
    """Every operation with the inputs and options it takes, as words."""
    listed = []
    for name, operation in OPERATIONS.items():
        inputs = [f"--{one}" for one in operation.needs] + [f"[--{one}]" for one in operation.may]
        listed.append((name, " ".join(inputs), ", ".join(operation.options)))
    return [*listed, *((name, "--example", "") for name in ONLY_IN_EXAMPLES)]


def read_option(name: str, text: str) -> Any:
    """The value of an option: true or false, a number, two of them, or a word.

    Example:
        >>> read_option("stride", "2"), read_option("stride", "1,2"), read_option("padding", "same")
        (2, (1, 2), 'same')
        >>> read_option("rate", "0.5"), read_option("partial", "true")
        (0.5, True)

    Raises:
        ConfigError: it is of another kind.
    """
    if name in FLAGS:
        if text not in ("true", "false"):
            raise ConfigError(f"{name} is true or false; got '{text}'.")
        return text == "true"
    parts = [_option_number(part) for part in text.split(",")]
    if all(part is not None for part in parts):
        return parts[0] if len(parts) == 1 else tuple(parts)
    if name not in WORDS:
        raise ConfigError(f"{name} must be a number; got '{text}'.")
    return text


def _option_number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else None
    return None


def _require_known(name: str) -> None:
    known = (*OPERATIONS, *ONLY_IN_EXAMPLES)
    if name not in known:
        near = [f"'{one}'" for one in sorted(difflib.get_close_matches(name, known, n=3))]
        hint = f"Did you mean {' or '.join(near)}?" if near else "'convlens explain-op' lists them."
        raise ConfigError(f"There is no operation '{name}'. {hint}")


def _read(name: str, text: str, line: bool) -> np.ndarray:
    matrix = read_kernel(text) if name == "kernel" else read_matrix(text, name)
    flat = name == "bias" or (line and len(matrix) == 1 and name != "kernel")
    return matrix.reshape(-1) if flat else matrix


def _besides(read: Mapping[str, np.ndarray], operation: Operation) -> dict[str, np.ndarray]:
    return {name: read[name] for name in operation.may if name in read}
