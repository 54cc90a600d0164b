"""Traces and values as text: every number is there, and it lines up."""

from __future__ import annotations

import numpy as np
import pytest

from convlens.errors import ConfigError, ShapeError
from convlens.lectures import layout
from convlens.lectures.record import Workings
from convlens.reference import Result, conv2d, max_pool2d, softmax

X, F = [[5, 2, 3], [6, 7, 8], [4, 5, 4]], [[1, 0], [1, -1]]


def told(result: Result, out: tuple[int, ...] | None = None, label: str = "") -> str:
    keep = Workings()
    keep(result, label)
    return layout.explained(keep.noted[0], out)


def test_a_convolution_shows_window_products_and_sum() -> None:
    text = told(conv2d(X, F, [10]), label="with a bias")
    head, equation, *numbers = text.split("\n\n")
    assert head == "conv2d, with a bias gives\n  14 11\n  15 18"
    assert equation == "y[i, j] = sum over a, b of weight[a, b] * x[i + a, j + b] + bias"
    assert len(numbers) == 4
    lines = ["result[0, 1]", "  2 3  *   1  0  =   2  0", "  7 8      1 -1      7 -8", "  2 + 0 + 7 - 8 + 10 = 11"]
    assert numbers[1].splitlines() == lines


def test_channels_stand_below_each_other() -> None:
    x = np.arange(18).reshape(2, 3, 3)
    text = told(conv2d(x, np.ones((1, 2, 2, 2), int)))
    first = text.split("\n\n")[2].splitlines()
    assert first[1:] == [
        "  0 1  *  1 1  =  0 1",
        "  3 4     1 1     3 4",
        "   9 10  *  1 1  =   9 10",
        "  12 13     1 1     12 13",
        "  0 + 1 + 3 + 4 + 9 + 10 + 12 + 13 = 52",
    ]


def test_other_operations_say_what_their_traces_say() -> None:
    text = told(max_pool2d(X, 2, 1))
    assert text.count("largest of x[") == 4
    assert "  x[1, 1] = 7   (largest)\n  result[0, 0] = 7" in text
    text = told(softmax([1.0, 2.0]))
    assert text.count("y[k] = e^(x[k] - m)") == 1
    assert text.count("Shown to 6 digits") == 1
    assert text.endswith("Shown to 6 digits.")
    assert "e^(x[0] - m) = 0.367879" in text


def test_one_number_is_told_term_by_term() -> None:
    text = told(conv2d(X, F), out=(1, 0))
    assert text.count("result[1, 0]") == 2
    assert "weight[1, 1] * x[2, 1] = -1 * 5 = -5" in text
    with pytest.raises(ShapeError, match=r"the last is \(1, 1\)"):
        told(conv2d(X, F), out=(2, 0))


def test_of_several_results_those_with_the_number_are_taken() -> None:
    keep = Workings()
    keep(conv2d(X, F))
    keep(conv2d(X, F, padding=1))
    assert [len(layout.having(keep.noted, out)) for out in (None, (1, 1), (3, 3))] == [2, 2, 1]
    with pytest.raises(ShapeError, match=r"shape \(2, 2\); got \(9, 9\)"):
        layout.having(keep.noted, (9, 9))


def test_too_many_numbers_are_not_told() -> None:
    result = max_pool2d(np.zeros((21, 20), int), 1)
    with pytest.raises(ConfigError, match=r"420 numbers here, too many .* Choose one with --out, up to 20,19"):
        told(result)
    assert "result[20, 19] = 0" in told(result, out=(20, 19))


def test_long_sums_are_wrapped() -> None:
    text = told(conv2d(np.full((7, 7), 1000), np.ones((7, 7), int)))
    assert max(map(len, text.splitlines())) <= 110
    assert text.count("1000 +") + text.count("1000\n") + text.count("+ 1000") >= 49


def test_numbers_json_lacks_are_words() -> None:
    assert layout.plain({"a": (1, float("inf"))}) == {"a": [1, "inf"]}


def test_values_line_up() -> None:
    assert layout.value_lines([[1, -10], [200, 3]]) == ["  1 -10", "200   3"]
    assert layout.value_lines([[[1, 2]], [[3, 4]]]) == ["1 2", "", "3 4"]
    assert layout.value_lines([[1, 2], [3]]) == ["1, 2", "3"]
    assert layout.value_lines([{"n": 5, "k": 1}]) == ["n 5, k 1"]
    assert layout.value_lines({"a": {"b": [[1]], "c": True}}) == ["a", "  b  1", "  c  yes"]
    assert layout.value_lines([["-1", "X"], ["X", "1"]]) == ["-1, X", "X, 1"]


def test_short_values() -> None:
    assert layout.short([[[1, 2]]]) == "1 x 1 x 2"
    assert layout.short([1] * 7) == "7 numbers"
    assert layout.short([[[1]], [[1, 2], [3, 4]]]) == "2 parts"
    assert layout.short(1.5e9) == "1,500,000,000"
    assert layout.short(True) == "yes"
