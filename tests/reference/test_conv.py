"""Convolution: the lectures' numbers, parity with torch over random shapes, its steps, traces and errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from convlens.errors import ConfigError, ShapeError
from convlens.reference import conv1d, conv2d, conv3d, windows
from lectures import (
    BACK,
    BACK_MAP,
    BLUE,
    CROSS,
    CROSS_MAP,
    F2,
    FORWARD,
    FORWARD_MAP,
    HORIZONTAL,
    LAPLACIAN,
    PADDED_MAP,
    RGB,
    VERTICAL,
    X4,
    X6,
    X8,
    X_IMAGE,
)
from parity import assert_parity, assert_traced

DETECTOR = [[0, 0, 1], [1, 0, 0], [0, 1, 1]]
FACE = [
    [0, 0, 0, 0, 0, 0, 0],
    [0, 1, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 1, 0, 0, 0],
    [0, 1, 0, 0, 0, 1, 0],
    [0, 0, 1, 1, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 0],
]
X5 = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, -1, 1, 1], [0, 0, -1, 1, 0], [0, 1, -1, 0, 0]]
BINARY = [[1, 1, 1, 0, 1], [0, 1, 0, 1, 1], [1, 0, 1, 1, 0], [1, 1, 0, 0, 1], [0, 1, 0, 1, 0]]
DIAGONALS = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
SOURCE = [[-1, 0, 1], [2, 1, 2], [1, -2, 0]]

LECTURES: dict[str, tuple[Any, Any, dict[str, Any], Any]] = {
    "6x6 stride 1": (X6, VERTICAL, {}, [[-14, -1, 10, -1], [-11, -11, 7, 12], [-7, -10, 1, 13], [5, -16, -4, 11]]),
    "6x6 stride 2": (X6, VERTICAL, {"stride": 2}, [[-14, 10], [-7, 1]]),
    "6x6 same stride 2": (X6, VERTICAL, {"stride": 2, "padding": "same"}, [[-14, 10, 7], [-7, 1, 13], [4, -1, 8]]),
    "6x6 one ring stride 2": (X6, VERTICAL, {"stride": 2, "padding": 1}, [[-4, -1, -5], [-8, -11, 12], [-6, -16, 11]]),
    "6x6 dilated": (X6, VERTICAL, {"dilation": 2}, [[-6, 0], [3, -7]]),
    "7x7 detector": (
        FACE,
        DETECTOR,
        {},
        [[0, 1, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 0, 2, 1], [1, 4, 2, 1, 0], [0, 0, 1, 2, 1]],
    ),
    "5x5 binary": (BINARY, [[1, 0, 1], [1, 0, 1], [0, 1, 0]], {}, [[2, 4, 4], [3, 3, 2], [4, 2, 3]]),
    "5x5 binary, other filter": (BINARY, DIAGONALS, {}, [[5, 2, 4], [1, 4, 3], [3, 3, 1]]),
    "5x5 channel": (BLUE, VERTICAL, {}, [[2, 119, 111], [48, 133, 30], [-130, 190, 152]]),
    "5x5 channel stride 2": (BLUE, VERTICAL, {"stride": 2}, [[2, 111], [-130, 152]]),
    "5x5 channel one ring": (BLUE, VERTICAL, {"padding": 1}, PADDED_MAP),
    "4x4": (X4, F2, {}, [[4, 1, 6], [5, 8, 7], [5, 3, 3]]),
    "4x4 stride 2": (X4, F2, {"stride": 2}, [[4, 6], [5, 3]]),
    "4x4 same": (X4, F2, {"padding": "same"}, [[4, 1, 6, 9], [5, 8, 7, 10], [5, 3, 3, 8], [1, 0, 2, 3]]),
    "4x4 one ring": (
        X4,
        F2,
        {"padding": 1},
        [[-5, 3, -1, -1, 4], [-6, 4, 1, 6, 9], [-4, 5, 8, 7, 10], [-1, 5, 3, 3, 8], [0, 1, 0, 2, 3]],
    ),
    "5x5 with -1": (X5, DIAGONALS, {}, [[2, 3, 2], [0, 2, 1], [-2, 1, 0]]),
    "back diagonal": (X_IMAGE, BACK, {}, BACK_MAP),
    "forward diagonal": (X_IMAGE, FORWARD, {}, FORWARD_MAP),
    "cross": (X_IMAGE, CROSS, {}, CROSS_MAP),
}


@pytest.mark.parametrize("name", LECTURES)
def test_the_lectures_maps(name: str) -> None:
    x, kernel, options, expected = LECTURES[name]
    assert conv2d(x, kernel, **options).tolist() == expected


def test_the_lectures_single_value() -> None:
    y = conv2d(X8, SOURCE)
    assert y.value[0].tolist() == [5, 31, 5, 11, 15, 27]
    assert conv2d(X8, SOURCE, padding=1).value[1, 1] == y.value[0, 0] == 5
    products = y.trace((0, 0)).products
    assert products is not None
    assert products.tolist() == [[-5, 0, 6], [8, 3, 8], [3, -18, 0]]


def test_a_match_of_a_feature_is_the_mean_of_products() -> None:
    assert conv2d(BACK, BACK).value.item() / 9 == 1
    assert conv2d(CROSS, FORWARD).value.item() / 9 == pytest.approx(5 / 9)


def test_the_lectures_channels_are_added() -> None:
    one = conv2d(RGB, [VERTICAL] * 3)
    assert one.tolist() == [[[-9, -244, 477], [4, -135, 369], [-307, -2, 814]]]
    two = conv2d(RGB, [[VERTICAL] * 3, [HORIZONTAL] * 3], [10, -10])
    assert two.tolist() == [
        [[1, -234, 487], [14, -125, 379], [-297, 8, 824]],
        [[235, -284, -388], [225, -155, -152], [-146, 356, 573]],
    ]
    assert conv3d(RGB, [VERTICAL] * 3).tolist() == one.tolist()


def test_the_lectures_backward_pass() -> None:
    y = conv2d([[1, 2, 0], [3, 1, 4], [2, 5, 1]], [[1, -1], [2, 3]])
    assert y.tolist() == [[8, 16], [21, 10]]
    gradients = y.backward([[1, 2], [-1, 3]])
    assert gradients["weight"].tolist() == [[5, 13], [18, 7]]
    assert gradients["x"].tolist() == [[1, 1, -2], [1, 11, 3], [-2, 3, 9]]
    assert gradients["bias"].tolist() == [5]


def test_the_sliding_window_takes_nine_steps_row_by_row() -> None:
    steps = list(windows(X4, F2))
    assert [step.value for step in steps] == [4, 1, 6, 5, 8, 7, 5, 3, 3]
    assert [step.position for step in steps] == [(i, j) for i in range(3) for j in range(3)]
    assert steps[1].patch.tolist() == [[2, 3], [7, 8]]
    assert steps[1].products.tolist() == [[2, 0], [7, -8]]


def test_a_larger_stride_only_skips() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 8, 9))
    weight = np.random.default_rng(1).integers(-9, 9, (4, 3, 3, 2))
    every = conv2d(x, weight, padding=1).value
    assert np.array_equal(conv2d(x, weight, padding=1, stride=(2, 3)).value, every[..., ::2, ::3])


def test_a_shift_of_the_input_shifts_the_map() -> None:
    x = np.zeros((9, 9), int)
    x[2:5, 2:6] = np.arange(12).reshape(3, 4)
    moved = np.roll(x, (2, 1), axis=(0, 1))
    assert np.array_equal(conv2d(moved, SOURCE).value, np.roll(conv2d(x, SOURCE).value, (2, 1), axis=(0, 1)))


def test_several_filters_on_a_matrix_give_a_map_each() -> None:
    features = np.array([BACK, FORWARD, CROSS])[:, np.newaxis]
    maps = conv2d(X_IMAGE, features)
    assert maps.tolist() == [BACK_MAP, FORWARD_MAP, CROSS_MAP]
    assert_traced(maps)
    gradients = maps.backward(np.ones(maps.shape))
    assert gradients["x"].shape == (9, 9)
    assert gradients["weight"].shape == features.shape
    assert conv2d(X_IMAGE, features[:1]).tolist() == BACK_MAP
    assert conv1d([1, 2, 4], [[[1, 1]], [[-1, 1]]]).tolist() == [[3, 6], [1, 2]]


def test_a_batch_of_one_equals_the_single_image() -> None:
    single = conv2d(RGB, [[VERTICAL] * 3])
    assert conv2d([RGB], [[VERTICAL] * 3]).value[0].tolist() == single.tolist()


class Case(NamedTuple):
    dims: int
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    options: dict[str, Any]
    pads: list[tuple[int, int]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dims = draw(st.sampled_from([1, 2, 2, 2, 3]))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    whole = st.integers(1, 3 if dims < 3 else 2)
    kernel, stride, dilation = ([draw(whole) for _ in range(dims)] for _ in range(3))
    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [r + draw(st.integers(0, 4)) for r in reach]
    most = {"reflect": min(size) - 1, "circular": min(size)}.get(mode, 3)
    form = draw(st.sampled_from(["number", "same", "sides"]))
    if form == "same":
        totals = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(size, stride, reach, strict=True)]
        pads, padding = [(total // 2, total - total // 2) for total in totals], "same"
        mode = mode if all(after <= most for _, after in pads) else "zeros"
    elif form == "number":
        padding = draw(st.integers(0, min(most, 3)))
        pads = [(padding, padding)] * dims
    else:
        side = st.integers(0, min(most, 3))
        pads = [(draw(side), draw(side)) for _ in range(dims)]
        padding = tuple(pads)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Case(
        dims,
        random.standard_normal((draw(st.integers(1, 2)), groups * channels, *size)),
        random.standard_normal((groups * filters, channels, *kernel)),
        random.standard_normal(groups * filters),
        {
            "stride": tuple(stride),
            "dilation": tuple(dilation),
            "groups": groups,
            "padding": padding,
            "padding_mode": mode,
        },
        pads,
    )


@settings(max_examples=60, deadline=None)
@given(cases())
def test_parity_with_torch(case: Case) -> None:
    ours = {1: conv1d, 2: conv2d, 3: conv3d}[case.dims]
    theirs = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[case.dims]
    torch_mode = {"zeros": "constant"}.get(case.options["padding_mode"], case.options["padding_mode"])
    flat = [side for pair in reversed(case.pads) for side in pair]

    def twin(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        options = {name: case.options[name] for name in ("stride", "dilation", "groups")}
        return theirs(F.pad(x, flat, mode=torch_mode), weight, bias, **options)

    inputs = {"x": case.x, "weight": case.weight, "bias": case.bias}
    assert_parity(lambda *arrays: ours(*arrays, **case.options), twin, inputs)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_parity_with_torchs_own_same_padding(mode: str) -> None:
    layer = torch.nn.Conv2d(2, 3, (3, 2), padding="same", padding_mode=mode, dilation=2, dtype=torch.float64)
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 5))
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr]
    ours = conv2d(x, weight, bias, padding="same", padding_mode=mode, dilation=2)
    np.testing.assert_allclose(ours.value, layer(torch.tensor(x)).detach().numpy(), rtol=0, atol=1e-12)


def test_gradients_are_finite_differences() -> None:
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((1, 2, 5, 6)), random.standard_normal((2, 1, 2, 3))
    options: dict[str, Any] = {"stride": (2, 1), "padding": 1, "groups": 2, "padding_mode": "reflect"}
    toward = random.standard_normal(conv2d(x, weight, **options).shape)
    gradients = conv2d(x, weight, **options).backward(toward)
    for name, array in (("x", x), ("weight", weight)):
        for at in [(0, 0, 0, 0), tuple(size - 1 for size in array.shape)]:
            kept, step = array[at], 1e-6
            array[at] = kept + step
            up = (conv2d(x, weight, **options).value * toward).sum()
            array[at] = kept - step
            down = (conv2d(x, weight, **options).value * toward).sum()
            array[at] = kept
            assert gradients[name][at] == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_every_trace_ends_in_the_value() -> None:
    for options in ({}, {"padding": 1, "stride": 2}, {"padding": "same", "padding_mode": "circular"}):
        assert_traced(conv2d(RGB, [[LAPLACIAN] * 3, [VERTICAL] * 3], [1, 2], **options))


def test_a_trace_marks_the_padding() -> None:
    zeros = conv2d(X4, VERTICAL, padding=1).trace(out=(0, 0, 0))
    assert [term.mark for term in zeros.terms] == ["padding"] * 4 + ["", "", "padding", "", ""]
    assert zeros.terms[1].index == (-1, 0)
    mirrored = conv2d(X4, VERTICAL, padding=1, padding_mode="reflect").trace(out=(0, 0, 0))
    assert mirrored.terms[0].mark == "padding, a copy of x[1, 1]"
    assert mirrored.terms[0].value == X4[1][1]


def test_a_trace_of_a_group_reads_its_own_channels() -> None:
    x, weight = np.arange(4 * 9).reshape(4, 3, 3), np.ones((2, 2, 2, 2), int)
    trace = conv2d(x, weight, groups=2).trace((1, 0, 1))
    assert {term.index[0] for term in trace.terms} == {2, 3}
    assert "c in the group of o (2 groups)" in trace.equation


def test_bytes_do_not_overflow() -> None:
    white = np.full((3, 3), 255, np.uint8)
    assert conv2d(white, np.full((3, 3), 200, np.uint8)).value.item() == 9 * 255 * 200


ERRORS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "window": ((X4, np.ones((5, 5))), {}, r"A window of 5 does not fit into 4: .* expected at least 1\. .* pad with 1"),
    "depth": (
        (RGB, [VERTICAL] * 2),
        {},
        "A filter must be as deep as its input: 3 channels = 3; got a filter of depth 2",
    ),
    "groups": (
        (RGB, np.ones((2, 1, 2, 2))),
        {"groups": 2},
        "must divide the 3 channels and the 2 filters; got groups=2",
    ),
    "bias": ((X4, F2, [1, 2]), {}, "one number for each of the 1 filters; got 2. Leave it out"),
    "stride": ((X4, F2), {"stride": 0}, "stride must be a whole number of at least 1, or 2 of them; got 0"),
    "axes": (([1, 2, 3], F2), {}, r"x must have 2 axes, or one or two more in front; got shape \(3,\)"),
    "padding": ((X4, F2), {"padding": "full"}, "Padding is 'valid', 'same', or a number of zeros; got 'full'"),
    "padding entries": ((X4, F2), {"padding": (1, 1, 1)}, "or 2 entries, one for each axis; got"),
    "reflect": ((X4, F2), {"padding": 4, "padding_mode": "reflect"}, "can add at most 3 cells on a side of 4; got 4"),
    "ragged": (([[1, 2], [3]], F2), {}, "x must be numbers in rows of equal length; got a ragged list"),
    "words": ((X4, [["a"]]), {}, "weight must hold real numbers; got <U1"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_expected_and_what_to_do(name: str) -> None:
    arguments, options, message = ERRORS[name]
    with pytest.raises(ShapeError, match=message):
        conv2d(*arguments, **options)


def test_an_unknown_padding_mode_is_named() -> None:
    with pytest.raises(ConfigError, match=r"There is no padding mode 'reflct'\. Did you mean 'reflect'\?"):
        conv2d(X4, F2, padding=1, padding_mode="reflct")
