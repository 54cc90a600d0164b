"""What a user may give where an object is wanted: its name, a table with its name and options, or the object itself.

    "l2"    {"name": "l2", "l2": 0.001}    L2(0.001)

Initialisers, penalties and constraints are looked up here. The parameters of what stands behind a name are its options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, TypeVar

from convlens.errors import ConfigError, did_you_mean

T = TypeVar("T", bound=Callable[..., Any])


def look_up(kind: str, wanted: str | Mapping[str, Any] | T, known: Mapping[str, Callable[..., T]]) -> T:
    """The object that a name or a table means; an object passes as it is.

    Args:
        kind: what to call it in an error, with its article.
        known: what may be named.

    Example:
        >>> def power(exponent=2):
        ...     return lambda x: x**exponent
        >>> look_up("a power", {"name": "power", "exponent": 3}, {"power": power})(2)
        8
        >>> look_up("a power", "powre", {"power": power})
        Traceback (most recent call last):
        ...
        convlens.errors.ConfigError: 'powre' is not the name of a power. Did you mean 'power'?

    Raises:
        ConfigError: there is none of that name, or it has no such option.
    """
    table = {"name": wanted} if isinstance(wanted, str) else wanted
    if not isinstance(table, Mapping):
        if not callable(wanted) or isinstance(wanted, type):
            raise ConfigError(
                f"Give {kind} as a name ({', '.join(known)}), as a table such as "
                f'{{"name": "{next(iter(known))}"}}, or as an object; got {wanted!r}.'
            )
        return wanted
    options = dict(table)
    name = options.pop("name", None)
    if name not in known:
        raise ConfigError(f"{name!r} is not the name of {kind}. {did_you_mean(str(name), known)}")
    own = signature(known[name]).parameters
    for option in options:
        if option not in own:
            hint = did_you_mean(option, own) if own else "It has none."
            raise ConfigError(f"'{name}' has no option '{option}'. {hint}")
    return known[name](**options)


def require_number(owner: str, name: str, value: object, least: float = -math.inf) -> None:
    """Check that an option is a finite number that is not too small.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        bound = f" of at least {least:g}" if least > -math.inf else ""
        raise ConfigError(f"{owner}: {name} must be a number{bound}; got {value!r}.")
