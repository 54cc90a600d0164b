"""Options checked against a signature."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from convlens.errors import ConfigError
from convlens.models.options import resolve


def layer(
    shape: int, *, units: Annotated[int, Field(ge=1)], sizes: tuple[int, ...] = (1,), name: str | None = None
) -> None:
    """A function with options."""


def bare(shape: int) -> None:
    """A function without."""


def test_gives_values_as_the_function_wants_them() -> None:
    assert resolve(layer, {"units": 3, "sizes": [4, 5]}, "x") == {"units": 3, "sizes": (4, 5)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": 1}, r"x has no option 'unit'. Did you mean 'units'\? Options: units, sizes=\(1,\), name=None."),
        ({"zzz": 1}, r"x has no option 'zzz'. Options: units,"),
        ({"shape": 1}, "x has no option 'shape'."),
        ({}, r"x needs 'units'. Options: units,"),
        ({"units": 0}, "x: units does not accept 0. .*greater than or equal to 1"),
        ({"units": "many"}, "x: units does not accept 'many'"),
        ({"units": 1, "sizes": "big"}, "x: sizes does not accept 'big'"),
        ({"units": 1, "name": 3}, "x: name does not accept 3"),
    ],
)
def test_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(layer, options, "x")


def test_a_function_without_options() -> None:
    assert resolve(bare, {}, "x") == {}
    with pytest.raises(ConfigError, match=r"x has no option 'a'. It takes no options."):
        resolve(bare, {"a": 1}, "x")
