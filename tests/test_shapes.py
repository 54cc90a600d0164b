"""The formulas against torch, against the lectures' numbers, and their errors."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch
from torch import nn

from convlens.errors import ShapeError
from convlens.shapes import (
    Field,
    Window,
    conv_parameters,
    conv_size,
    dense_parameters,
    depthwise_parameters,
    norm_parameters,
    pair,
    pool_size,
    receptive_fields,
    same_padding,
    size_after,
    smallest_size,
    transposed_size,
)


def torch_size(layer: nn.Module, size: int) -> int | None:
    try:
        return layer(torch.zeros(1, 1, size, size)).shape[-1]
    except RuntimeError:
        return None


def our_size(function: object, *arguments: object, **options: object) -> int | None:
    try:
        return function(*arguments, **options)  # type: ignore[operator]
    except ShapeError:
        return None


def test_conv_size_is_that_of_torch() -> None:
    for kernel, stride, padding, dilation in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2)):
        layer = nn.Conv2d(1, 1, kernel, stride, padding, dilation)
        for size in (1, 2, 5, 6, 7, 12):
            expected = torch_size(layer, size)
            assert our_size(conv_size, size, kernel, stride, padding, dilation) == expected, (size, layer)


def test_pool_size_is_that_of_torch() -> None:
    for kernel, stride, partial in itertools.product((1, 2, 3, 5), (1, 2, 3, 4), (False, True)):
        for padding, size in itertools.product(range(kernel // 2 + 1), (1, 2, 3, 5, 6, 7, 12)):
            layer = nn.MaxPool2d(kernel, stride, padding, ceil_mode=partial)
            expected = torch_size(layer, size)
            assert our_size(pool_size, size, kernel, stride, padding, partial=partial) == expected, (size, layer)


def test_transposed_size_is_that_of_torch() -> None:
    for kernel, stride, padding, extra, dilation in itertools.product((1, 2, 3), (1, 2, 3), (0, 1), (0, 1, 2), (1, 2)):
        if extra >= max(stride, dilation):
            continue
        layer = nn.ConvTranspose2d(1, 1, kernel, stride, padding, extra, dilation=dilation)
        for size in (1, 2, 5):
            expected = torch_size(layer, size)
            found = our_size(transposed_size, size, kernel, stride, padding, extra, dilation)
            assert found == (expected or None), (size, layer)


@pytest.mark.parametrize(("size", "stride"), [*itertools.product((1, 2, 5, 6, 7, 12), (1, 2, 3))])
def test_same_gives_the_ceiling_and_at_most_one_zero_more_at_the_end(size: int, stride: int) -> None:
    for kernel, dilation in itertools.product((1, 2, 3, 5), (1, 2)):
        before, after = same_padding(size, kernel, stride, dilation)
        assert conv_size(size, kernel, stride, "same", dilation) == -(-size // stride)
        assert after - before in (0, 1)
        if before + after:  # no zero too many
            assert (our_size(conv_size, size, kernel, stride, (before, after - 1), dilation) or 0) < -(-size // stride)


def test_the_sizes_of_the_lectures() -> None:
    assert [conv_size(5, 3), conv_size(5, 3, 1, "same"), conv_size(5, 3, 2, "same")] == [3, 5, 3]
    cases = [(5, 3, 1), (5, 3, 2), (6, 3, 1), (6, 3, 2), (4, 2, 1), (4, 2, 2), (7, 3, 1)]
    assert [conv_size(*case) for case in cases] == [3, 2, 4, 2, 3, 2, 5]
    assert [pool_size(7, 2, partial=True), pool_size(5, 2, partial=True), pool_size(5, 2, 1)] == [4, 3, 4]
    assert [size_after(32, {str(n): Window(5) for n in range(layers)}) for layers in (1, 2, 3)] == [28, 24, 20]


def test_the_parameter_counts_of_the_lectures() -> None:
    dense = [dense_parameters(16 * 5 * 5, 120), dense_parameters(120, 84), dense_parameters(84, 10)]
    tutorial = [conv_parameters(3, 6, 5), conv_parameters(6, 16, 5), *dense]
    assert (tutorial, sum(tutorial)) == ([456, 2416, 48120, 10164, 850], 62006)
    assert sum(conv_parameters(c, f, 5) for c, f in [(3, 5), (5, 8), (8, 12)]) == 3800
    sides = (200, 1000, 4000)
    assert [dense_parameters(n * n, 1024, bias=False) for n in sides] == [40_960_000, 1_024_000_000, 16_384_000_000]
    assert dense_parameters(75, 3) == 228
    inception = [(192, 64, 1), (192, 96, 1), (96, 128, 3), (192, 16, 1), (16, 32, 5), (192, 32, 1)]
    assert sum(conv_parameters(*layer) for layer in inception) == 163_696


def test_parameter_counts_are_those_of_torch() -> None:
    def count(layer: nn.Module) -> int:
        return sum(parameter.numel() for parameter in layer.parameters())

    assert conv_parameters(4, 8, (3, 5), groups=2) == count(nn.Conv2d(4, 8, (3, 5), groups=2))
    assert depthwise_parameters(6, 3, multiplier=2) == count(nn.Conv2d(6, 12, 3, groups=6))
    assert dense_parameters(7, 3, bias=False) == count(nn.Linear(7, 3, bias=False))
    assert norm_parameters(5) == count(nn.BatchNorm2d(5))


def test_receptive_fields_of_the_lectures() -> None:
    tutorial = [Window(5), Window(2, 2), Window(5), Window(2, 2)]
    assert [field.size for field in receptive_fields(tutorial)] == [5, 6, 14, 16]
    assert [field.size for field in receptive_fields([Window(5)] * 3)] == [5, 9, 13]


def test_the_receptive_field_is_where_the_gradient_is() -> None:
    windows = [Window(3, 2, 1), Window(3, 1, 2, 2), Window(2, 2)]
    layers = [nn.Conv2d(1, 1, w.kernel, w.stride, w.padding, w.dilation) for w in windows]
    network = nn.Sequential(*layers)
    for layer in layers:
        nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, 41, 41, requires_grad=True)
    network(x)[0, 0, 4, 4].backward()
    assert x.grad is not None
    seen = x.grad[0, 0].abs().sum(0).nonzero().flatten().tolist()
    size, jump, start = receptive_fields(windows)[-1]
    assert (seen[0], seen[-1]) == (start + 4 * jump, start + 4 * jump + size - 1)
    assert receptive_fields([]) == []
    assert receptive_fields([Window(1)]) == [Field(1, 1, 0)]


def test_size_after_names_the_layer_and_the_smallest_input() -> None:
    layers = {"conv1": Window(5), "pool1": Window(2, 2), "conv2": Window(5), "pool2": Window(2, 2)}
    assert size_after(16, layers) == 1
    with pytest.raises(ShapeError, match=r"pool2: .*floor\(\(1 \+ 0 - 2\) / 2\) \+ 1 = 0.*from an input of 16 on"):
        size_after(15, layers)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: conv_size(3, 5),
            r"window of 5 .* into 3: floor\(\(3 \+ 0 - 5\) / 1\) \+ 1 = -1.* is 5; or pad with 1",
        ),
        (lambda: conv_size(3, 5, padding=0, dilation=2), r"window of 9 .* is 9; or pad with 3 on each side"),
        (lambda: conv_size(5, 3, padding="full"), "'valid', 'same', or a number of zeros; got 'full'"),
        (lambda: conv_size(5, 3, padding=-1), "at least 0; got -1"),
        (lambda: conv_size(5, 3, stride=0), "stride must be a whole number of at least 1; got 0"),
        (lambda: pool_size(1, 2), r"does not fit into 1: floor\(\(1 \+ 0 - 2\) / 2\) \+ 1 = 0"),
        (lambda: pool_size(1, 4, 1, partial=True), r"ceil\(\(1 \+ 0 - 4\) / 1\) \+ 1 = -2"),
        (lambda: pool_size(5, 3, padding=2), "takes a padding from 0 to 1; got 2"),
        (lambda: transposed_size(1, 2, 2, padding=1), r"\(1 - 1\) x 2 - 2 x 1 .* = 0.* from 0 to 0"),
        (lambda: transposed_size(2, 2, output_padding=1), r"smaller than the stride or the dilation \(1\); got 1"),
        (lambda: conv_parameters(3, 4, 3, groups=2), "groups=2 must divide the 3 channels"),
        (lambda: pair([1, 2, 3]), r"got 3 numbers: \[1, 2, 3\]"),
    ],
)
def test_errors_say_the_formula_and_the_repair(call: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()  # type: ignore[operator]


def test_the_repairs_work() -> None:
    assert conv_size(5, 5) == 1
    assert conv_size(3, 5, padding=1) == 1
    assert conv_size(3, 5, padding=3, dilation=2) == 1
    with pytest.raises(ShapeError, match="pad with 1 on each side"):
        conv_size(4, 5)
    assert conv_size(4, 5, padding=1) == 2
    assert transposed_size(1, 2, 2, padding=0) == 2


def test_smallest_size() -> None:
    assert smallest_size(lambda n: conv_size(n, 7)) == 7
    assert smallest_size(lambda n: pool_size(n, 3, padding=9), most=20) is None


def test_needs_no_torch() -> None:
    code = "import convlens.shapes, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
