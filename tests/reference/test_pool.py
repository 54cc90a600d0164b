"""Pooling: the lectures' numbers with and without partial windows, ties, and parity with torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from convlens import reference
from convlens.errors import ConfigError, ShapeError
from convlens.reference import (
    Result,
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    conv2d,
    flatten,
    global_avg_pool2d,
    global_max_pool2d,
    kernel,
    max_pool2d,
    min_pool2d,
    relu,
    sum_pool2d,
)
from convlens.reference.pool import spans
from lectures import BACK_MAP, CROSS_MAP, FORWARD_MAP, PADDED_MAP, POOL_4X4
from parity import assert_parity, assert_traced

FEATURE_MAP = [[0, 1, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 1, 2, 1], [1, 4, 2, 1, 0], [0, 0, 1, 2, 1]]

LECTURES: dict[str, tuple[Result, Any]] = {
    "5x5 partial": (max_pool2d(FEATURE_MAP, partial=True), [[1, 1, 0], [4, 2, 1], [0, 2, 1]]),
    "5x5 whole": (max_pool2d(FEATURE_MAP), [[1, 1], [4, 2]]),
    "5x5 same": (max_pool2d(FEATURE_MAP, padding="same"), [[1, 1, 0], [4, 2, 1], [0, 2, 1]]),
    "stride 1": (
        max_pool2d(PADDED_MAP, stride=1),
        [[2, 119, 119, 251], [48, 133, 133, 260], [48, 190, 190, 260], [-109, 190, 190, 152]],
    ),
    "min stride 1": (
        min_pool2d(PADDED_MAP, stride=1),
        [[-370, -44, -44, 57], [-393, 2, 30, 30], [-393, -130, 30, 30], [-313, -152, 27, 82]],
    ),
    "average stride 1": (
        avg_pool2d(PADDED_MAP, stride=1),
        [
            [-138.5, 14.25, 60.75, 157.25],
            [-178.25, 75.5, 98.25, 163.0],
            [-197.0, 60.25, 126.25, 141.25],
            [-176.0, -16.25, 116.75, 113.75],
        ],
    ),
    "sum stride 1": (
        sum_pool2d(PADDED_MAP, stride=1),
        [[-554, 57, 243, 629], [-713, 302, 393, 652], [-788, 241, 505, 565], [-704, -65, 467, 455]],
    ),
    "back": (max_pool2d(BACK_MAP, partial=True), [[9, 3, 5, 3], [3, 9, 3, 5], [5, 3, 9, 1], [3, 5, 1, 7]]),
    "forward": (max_pool2d(FORWARD_MAP, partial=True), [[3, 5, 9, 7], [5, 5, 9, 3], [9, 9, 1, 5], [7, 3, 5, 3]]),
    "cross": (max_pool2d(CROSS_MAP, partial=True), [[5, 3, 5, 3], [3, 9, 5, 1], [5, 5, 5, 1], [3, 1, 1, 3]]),
    "well-known figure": (max_pool2d([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]), [[6, 8], [3, 4]]),
    "4x4 max": (max_pool2d(POOL_4X4), [[100, 184], [12, 45]]),
    "4x4 mean": (avg_pool2d(POOL_4X4), [[36.0, 80.0], [12.0, 15.0]]),
    "4x4 sum": (sum_pool2d(POOL_4X4), [[144, 320], [48, 60]]),
    "4x4 min": (min_pool2d(POOL_4X4), [[0, 28], [12, 2]]),
    "4x4 mean with 31": (avg_pool2d([[31, *POOL_4X4[0][1:]], *POOL_4X4[1:]]), [[36.5, 80.0], [12.0, 15.0]]),
}


@pytest.mark.parametrize("name", LECTURES)
def test_the_lectures_maps(name: str) -> None:
    result, expected = LECTURES[name]
    assert result.tolist() == expected
    assert_traced(result)


def test_the_lectures_48_votes() -> None:
    pooled = max_pool2d([BACK_MAP, FORWARD_MAP, CROSS_MAP], partial=True)
    votes = flatten(relu(pooled)).tolist()
    assert votes == [
        9, 3, 5, 3, 3, 9, 3, 5, 5, 3, 9, 1, 3, 5, 1, 7,
        3, 5, 9, 7, 5, 5, 9, 3, 9, 9, 1, 5, 7, 3, 5, 3,
        5, 3, 5, 3, 3, 9, 5, 1, 5, 5, 5, 1, 3, 1, 1, 3,
    ]  # fmt: skip


def test_a_tie_goes_to_the_first() -> None:
    pooled = max_pool2d([[7, 7], [7, 7]])
    assert pooled.backward([[1]])["x"].tolist() == [[1, 0], [0, 0]]
    assert [term.mark for term in pooled.trace().terms] == ["largest"] + ["tie: the first counts"] * 3
    assert min_pool2d([[7, 7], [7, 7]]).backward([[1]])["x"].tolist() == [[1, 0], [0, 0]]


def test_an_average_divides_by_the_cells_present() -> None:
    corner = avg_pool2d([[-1, -1], [-1, -1]], 3, 1, 1)
    assert corner.value[0, 0] == -1
    assert corner.trace((0, 0)).steps == (("sum", -4), ("divided by", 4))
    assert avg_pool2d([[-1, -1], [-1, -1]], 3, 1, 1, count_padding=True).value[0, 0] == -4 / 9


def test_global_pooling_forgets_where() -> None:
    x = np.zeros((2, 5, 5), int)
    x[0, 1, 2], x[1, 3, 3] = 4, 9
    for pool in (global_max_pool2d, global_avg_pool2d):
        assert pool(x).tolist() == pool(np.roll(x, (1, -1), axis=(1, 2))).tolist()
    assert global_max_pool2d(x).tolist() == [[[4]], [[9]]]


def test_average_pooling_is_the_box_blur() -> None:
    np.testing.assert_allclose(avg_pool2d(PADDED_MAP, 3, 1).value, conv2d(PADDED_MAP, kernel("box_blur")).value)


TORCH: dict[str, tuple[Callable[..., Result], Callable[..., torch.Tensor]]] = {
    "max": (max_pool2d, lambda x, k, s, p, c: F.max_pool2d(x, k, s, p, ceil_mode=c)),
    "min": (min_pool2d, lambda x, k, s, p, c: -F.max_pool2d(-x, k, s, p, ceil_mode=c)),
    "avg": (avg_pool2d, lambda x, k, s, p, c: F.avg_pool2d(x, k, s, p, ceil_mode=c, count_include_pad=False)),
    "avg with padding": (
        lambda *a, **o: avg_pool2d(*a, **o, count_padding=True),
        lambda x, k, s, p, c: F.avg_pool2d(x, k, s, p, ceil_mode=c),
    ),
    "sum": (sum_pool2d, lambda x, k, s, p, c: F.avg_pool2d(x, k, s, p, ceil_mode=c, divisor_override=1)),
}


@settings(max_examples=12, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", TORCH)
def test_parity_with_torch(name: str, data: st.DataObject) -> None:
    ours, theirs = TORCH[name]

    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    window, stride = pair(1, 3), pair(1, 3)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in window)
    size = tuple(k + data.draw(st.integers(0, 4)) for k in window)
    partial = data.draw(st.booleans())
    x = np.random.default_rng(data.draw(st.integers(0, 2**32))).standard_normal((2, 2, *size))
    if data.draw(st.booleans()):
        x = x.round()  # many ties
    assert_parity(
        lambda x: ours(x, window, stride, padding, partial=partial),
        lambda x: theirs(x, window, stride, padding, partial),
        {"x": x},
    )


@settings(max_examples=6, deadline=None)
@given(st.data())
@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("rule", ["max", "min", "avg", "sum"])
def test_parity_with_torch_along_one_and_three_axes(rule: str, dims: int, data: st.DataObject) -> None:
    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(dims))

    window, stride, partial = each(1, 3), each(1, 3), data.draw(st.booleans())
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in window)
    size = tuple(k + more for k, more in zip(window, each(0, 2), strict=True))
    x = np.random.default_rng(data.draw(st.integers(0, 2**32))).standard_normal((2, 1, *size))

    def theirs(x: torch.Tensor) -> torch.Tensor:
        largest, mean = getattr(F, f"max_pool{dims}d"), getattr(F, f"avg_pool{dims}d")
        if rule in ("max", "min"):
            sign = 1 if rule == "max" else -1
            return sign * largest(sign * x, window, stride, padding, ceil_mode=partial)
        if rule == "avg":
            return mean(x, window, stride, padding, partial, count_include_pad=False)
        return mean(x, window, stride, padding, partial) * _cells_with_padding(size, window, stride, padding, partial)

    ours = getattr(reference, f"{rule}_pool{dims}d")
    assert_parity(lambda x: ours(x, window, stride, padding=padding, partial=partial), theirs, {"x": x})


def _cells_with_padding(size: Any, window: Any, stride: Any, padding: Any, partial: bool) -> torch.Tensor:
    """What torch's mean divides by: the cells of each window, as many as lie on the padded map."""
    axes = zip(size, window, stride, padding, strict=True)
    counts = [torch.tensor([span.with_padding for span in spans(*axis, partial=partial)]) for axis in axes]
    return torch.cartesian_prod(*counts).reshape(*map(len, counts), -1).prod(-1)


def test_a_map_is_a_volume_of_one_layer_and_a_signal_a_map_of_one_row() -> None:
    x = np.array(PADDED_MAP)
    assert reference.sum_pool3d(x[None], (1, 2, 2)).tolist() == [sum_pool2d(x).tolist()]
    assert reference.avg_pool1d(x[0], 3, 1, padding="same").tolist() == avg_pool2d(x[:1], (1, 3), 1, "same").tolist()[0]


def test_a_trace_along_three_axes() -> None:
    trace = reference.max_pool3d(np.arange(16).reshape(2, 2, 4)).trace((0, 0, 1))
    assert trace.operation == "max_pool3d"
    assert trace.equation == "y[t, i, j] = largest of x[0..1, 0..1, 2..3]"
    assert [term.index for term in trace.terms if term.mark] == [(1, 1, 3)]


@pytest.mark.parametrize("size", [1, 2, (3, 5), (7, 4)])
def test_adaptive_parity_with_torch(size: Any) -> None:
    inputs = {"x": np.random.default_rng(0).standard_normal((2, 3, 7, 5))}
    assert_parity(lambda x: adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size), inputs)
    assert_parity(lambda x: adaptive_max_pool2d(x, size), lambda x: F.adaptive_max_pool2d(x, size), inputs)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 3}, ShapeError, "A pooling window of 3 does not fit into 2: .* smallest size that works here is 3"),
        ({"padding": 2}, ShapeError, "takes a padding from 0 to 1; got 2"),
        ({"padding": "same", "partial": True}, ConfigError, "partial windows need a padding that is one number; got"),
        ({"padding": ((3, 0), 0)}, ShapeError, "must hold a cell of the input; window 0 of size 2 lies wholly"),
        ({"stride": 0}, ShapeError, "stride must be a whole number of at least 1"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        max_pool2d([[1, 2], [3, 4]], **options)


@pytest.mark.parametrize(("dims", "axes"), [(1, "L"), (3, "D, H, W")])
def test_too_few_axes_are_an_error(dims: int, axes: str) -> None:
    with pytest.raises(ShapeError, match=rf"Pooling takes maps \(\.\.\., {axes}\)"):
        getattr(reference, f"avg_pool{dims}d")(np.zeros([2] * (dims - 1)))


def test_pooling_a_vector_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"Pooling takes maps \(\.\.\., H, W\)"):
        global_avg_pool2d([1, 2, 3])
