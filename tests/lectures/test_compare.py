"""Comparing: where two values differ, and how a printed number is meant."""

from __future__ import annotations

import math

from convlens.lectures.compare import about, cut_to_2_decimals, differences, exact


def test_every_cell_that_differs_is_found() -> None:
    given, right = [[1, 2], [3, 4]], [[0, 2], [3, 5]]
    assert list(differences(given, right, exact)) == [(0, 0), (1, 1)]
    assert list(differences({"a": {"b": given}}, {"a": {"b": right}}, exact)) == [("a", "b", 0, 0), ("a", "b", 1, 1)]


def test_another_shape_differs_as_a_whole() -> None:
    assert list(differences([[1], [2]], [[1]], exact)) == [()]
    assert list(differences([1, [2]], [1, 2], exact)) == [(1,)]
    assert list(differences({"a": 1}, [1], exact)) == [()]


def test_what_is_given_may_be_less_but_not_more() -> None:
    assert list(differences({"a": 1}, {"a": 1, "b": 2}, exact)) == []
    assert list(differences({"a": 1, "b": 2}, {"a": 1}, exact)) == [("b",)]


def test_whole_numbers_are_equal_or_not() -> None:
    assert exact(16_384_000_000, 16_384_000_000)
    assert not exact(16_384_000_001, 16_384_000_000)
    assert exact(1, 1.0)
    assert exact(0.1 + 0.2, 0.3)
    assert not exact(0.3, 0.3 + 1e-8)


def test_words_are_equal_or_not() -> None:
    assert exact("nan", math.nan)
    assert exact(math.nan, math.nan)
    assert not exact("nan", 1.0)
    assert not exact("same", "valid")
    assert not exact(None, 0)


def test_cutting_goes_towards_zero() -> None:
    for printed, right in ((0.77, 7 / 9), (-0.77, -7 / 9), (1.0, 1.0), (-0.11, -1 / 9), (0.95, 0.9577), (0.29, 0.29)):
        assert cut_to_2_decimals(printed, right)
    assert not cut_to_2_decimals(0.78, 7 / 9)
    assert not cut_to_2_decimals(-0.12, -1 / 9)
    assert cut_to_2_decimals("back", "back")


def test_about_is_a_twentieth() -> None:
    assert about(40_000_000, 40_960_000)
    assert not about(40_000_000, 43_000_000)
