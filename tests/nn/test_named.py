"""Names, tables and objects: what is found, and what is said when nothing is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from convlens.errors import ConfigError
from convlens.nn.named import look_up, require_number


def power(exponent: int = 2) -> Callable[[int], int]:
    return lambda x: x**exponent


KNOWN: dict[str, Any] = {"power": power, "same": lambda: lambda x: x}


@pytest.mark.parametrize(
    ("wanted", "three"), [("power", 9), ({"name": "power", "exponent": 3}, 27), ("same", 3), (abs, 3)]
)
def test_a_name_a_table_and_an_object(wanted: Any, three: int) -> None:
    assert look_up("a power", wanted, KNOWN)(3) == three


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("powre", r"^'powre' is not the name of a power. Did you mean 'power'\?$"),
        ("zzz", r"^'zzz' is not the name of a power. Choose from: power, same.$"),
        ({"exponent": 2}, r"^None is not the name of a power. Choose from: power, same.$"),
        ({"name": "power", "exponnent": 2}, r"^'power' has no option 'exponnent'. Did you mean 'exponent'\?$"),
        ({"name": "same", "exponent": 2}, r"^'same' has no option 'exponent'. It has none.$"),
        (
            3,
            r"^Give a power as a name \(power, same\), as a table such as {\"name\": \"power\"}, or as an object",
        ),
        (dict, "got <class 'dict'>"),
    ],
)
def test_errors(wanted: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        look_up("a power", wanted, KNOWN)


@pytest.mark.parametrize("value", ["1", None, True, math.nan, math.inf, -0.5])
def test_a_number_that_is_none(value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^l2: l2 must be a number of at least 0; got {value!r}\.$"):
        require_number("l2", "l2", value, least=0)


def test_a_number() -> None:
    require_number("l2", "l2", 0, least=0)
    require_number("constant", "value", -3.5)
    with pytest.raises(ConfigError, match="constant: value must be a number; got 'a'"):
        require_number("constant", "value", "a")
