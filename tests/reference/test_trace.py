"""Traces as text and as JSON, and the result object that hands them out."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from convlens.errors import ShapeError
from convlens.reference import conv2d, dense, max_pool2d, relu, softmax
from convlens.reference.trace import Term, Trace


def test_the_text_of_a_convolution() -> None:
    text = str(conv2d([[[1, 2], [3, 4]]] * 2, [[[[1, 0], [0, -1]]] * 2], [5]).trace((0, 0, 0)))
    assert text.splitlines() == [
        "conv2d: result[0, 0, 0]",
        "  y[o, i, j] = sum over c, a, b of weight[o, c, a, b] * x[c, i + a, j + b] + bias[o]",
        "",
        "  1 2  *   1  0  =   1  0",
        "  3 4      0 -1      0 -4",
        "",
        "  1 2  *   1  0  =   1  0",
        "  3 4      0 -1      0 -4",
        "",
        "  weight[0, 0, 0, 0] * x[0, 0, 0] = 1 * 1 = 1",
        "  weight[0, 0, 0, 1] * x[0, 0, 1] = 0 * 2 = 0",
        "  weight[0, 0, 1, 0] * x[0, 1, 0] = 0 * 3 = 0",
        "  weight[0, 0, 1, 1] * x[0, 1, 1] = -1 * 4 = -4",
        "  weight[0, 1, 0, 0] * x[1, 0, 0] = 1 * 1 = 1",
        "  weight[0, 1, 0, 1] * x[1, 0, 1] = 0 * 2 = 0",
        "  weight[0, 1, 1, 0] * x[1, 1, 0] = 0 * 3 = 0",
        "  weight[0, 1, 1, 1] * x[1, 1, 1] = -1 * 4 = -4",
        "",
        "  sum of 8 products = -6",
        "  bias[0] = 5",
        "  result[0, 0, 0] = -1",
    ]


def test_json_holds_what_the_text_says() -> None:
    trace = conv2d([[1, 2], [3, 4]], [[1, 0], [0, -1]], [5], padding=1).trace((0, 0))
    data = json.loads(json.dumps(trace.to_json(), allow_nan=False))
    assert data["operation"] == "conv2d"
    assert data["window"] == [[0, 0], [0, 1]]
    assert data["products"] == [[0, 0], [0, -1]]
    assert data["terms"][3] == {
        "index": [0, 0], "value": 1, "weight_index": [1, 1], "weight": -1, "product": -1, "mark": "",
    }  # fmt: skip
    assert data["terms"][0]["mark"] == "padding"
    assert data["steps"] == [{"name": "sum of 4 products", "value": -1}, {"name": "bias[0]", "value": 5}]
    assert data["result"] == sum(term["product"] for term in data["terms"]) + 5 == 4


def test_rounding_is_disclosed() -> None:
    assert "Shown to 6 digits; result[0] is exactly 0.30000000000000004." in str(dense([0.1, 0.2], [[1, 1]]).trace(0))
    assert "Shown" not in str(dense([1, 2], [[1, 1]]).trace(0))


def test_numbers_that_json_lacks_become_text() -> None:
    with np.errstate(invalid="ignore"):
        data = relu([float("nan"), float("inf")]).trace(1).to_json()
    assert data["result"] == "inf"
    json.dumps(data, allow_nan=False)


def test_leading_axes_of_size_1_may_be_left_out_or_given() -> None:
    y = conv2d(np.arange(9).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2), int))
    assert y.trace((1, 1)).result == y.trace((0, 0, 1, 1)).result == 24
    assert conv2d(np.arange(9).reshape(3, 3), [[1]]).trace((0, 2, 2)).result == 8


@pytest.mark.parametrize("out", [(3, 0), (-1, 0), (1, 0, 0), (0,), ()])
def test_an_index_that_is_not_there(out: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"index into the result of shape \(2, 2\); got .* the last is \(1, 1\)"):
        max_pool2d(np.zeros((4, 4))).trace(out)


def test_a_result_is_read_like_an_array() -> None:
    y = conv2d([[1.5, 2], [3, 4]], [[1]])
    assert np.array_equal(np.asarray(y), y.value)
    assert np.asarray(y, dtype=np.float32).dtype == np.float32
    assert softmax(y).shape == y.shape == (2, 2)
    assert repr(conv2d([[1]], [[2]])) == "Result([[2]])"


def test_a_term_without_weight_is_its_own_product() -> None:
    assert Term((0,), 4).product == 4
    assert str(Trace("flatten", (), "y = x", 4, (Term((0,), 4, mark="padding"),))).count("x[0] = 4   (padding)") == 1


def test_the_definitions_need_no_torch() -> None:
    code = "import sys, convlens.reference as r; assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
