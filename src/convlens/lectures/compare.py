"""Where two values differ: nested lists and dictionaries of numbers and words, cell by cell.

Slides cut decimals, or say "about"; a printed number is compared the way it is meant. Computed numbers are compared
with what is right to nine digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from convlens.lectures.record import CellPath

NINE_DIGITS = 1e-9
ABOUT = 0.05
Same = Callable[[Any, Any], bool]


def differences(given: Any, right: Any, same: Same) -> Iterator[CellPath]:
    """The cells of `given` that are not those of `right`; a list of another length differs as a whole.

    A dictionary that is given may leave keys out: a slide does not print everything that can be worked out.

    Example:
        >>> list(differences([[1, 2], [3, 5]], [[1, 2], [3, 4]], exact))
        [(1, 1)]
        >>> list(differences({"map": [1, 2]}, {"map": [1], "sum": 1}, exact))
        [('map',)]
    """
    if isinstance(given, dict) and isinstance(right, dict):
        for key, value in given.items():
            yield from _under(key, differences(value, right[key], same) if key in right else iter([()]))
    elif isinstance(given, list) and isinstance(right, list) and len(given) == len(right):
        for index, pair in enumerate(zip(given, right, strict=True)):
            yield from _under(index, differences(*pair, same))
    elif isinstance(given, dict | list) or isinstance(right, dict | list) or not same(given, right):
        yield ()


def exact(given: Any, right: Any) -> bool:
    """Equal, or to nine digits where one has decimals; `nan` is a word, equal to itself alone.

    Example:
        >>> exact(1 / 3, 0.333333333333), exact(0.33, 1 / 3), exact("nan", float("nan"))
        (True, False, True)
    """
    given, right = _word(given), _word(right)
    if isinstance(given, bool | str | None) or isinstance(right, bool | str | None):
        return given == right
    if isinstance(given, int) and isinstance(right, int):
        return given == right
    return math.isclose(given, right, rel_tol=NINE_DIGITS, abs_tol=1e-12)


def cut_to_2_decimals(given: Any, right: Any) -> bool:
    """Whether `given` is `right` without its third and later decimals, as some slides print.

    Example:
        >>> cut_to_2_decimals(0.77, 7 / 9), cut_to_2_decimals(0.78, 7 / 9), cut_to_2_decimals(-0.11, -1 / 9)
        (True, False, True)
    """
    if isinstance(given, str | None) or isinstance(right, str | None):
        return given == right
    return exact(given, math.trunc(right * 100 + math.copysign(NINE_DIGITS, right)) / 100)


def about(given: Any, right: Any) -> bool:
    """Whether `given` is within a twentieth of `right`, as "about 40 million" is.

    Example:
        >>> about(40e6, 40_960_000), about(130e6, 1_024_000_000)
        (True, False)
    """
    return math.isclose(given, right, rel_tol=ABOUT)


READINGS: dict[str, Same] = {"exact": exact, "cut to 2 decimals": cut_to_2_decimals, "about": about}


def at(value: Any, path: CellPath) -> Any:
    """What stands at a path.

    Example:
        >>> at({"map": [[1, 2], [3, 4]]}, ("map", 1, 0))
        3
    """
    for step in path:
        value = value[step]
    return value


def covers(wide: CellPath, cell: CellPath) -> bool:
    """Whether a path means a cell, or something around it.

    Example:
        >>> covers(("map",), ("map", 1, 0)), covers(("map", 1), ("map", 0, 1))
        (True, False)
    """
    return cell[: len(wide)] == wide


def _under(step: str | int, paths: Iterator[CellPath]) -> Iterator[CellPath]:
    return ((step, *path) for path in paths)


def _word(value: Any) -> Any:
    return "nan" if isinstance(value, float) and math.isnan(value) else value
