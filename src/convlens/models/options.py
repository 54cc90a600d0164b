"""Options a user gives by name, checked against the signature of the function that takes them.

The signature is the interface: its keyword-only parameters are the options, their annotations what is accepted, their
defaults the defaults. This file knows no network and no layer.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from convlens.errors import ConfigError, did_you_mean


def resolve(function: Callable[..., Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options as the function wants them, such as a TOML list where it takes a tuple.

    Args:
        function: its keyword-only parameters are the options.
        options: what the user gave.
        where: what to call the function in an error.

    Raises:
        ConfigError: an option is unknown, missing, or has a value of the wrong kind.

    Example:
        >>> def layer(shape, *, units: int, bias: bool = True): ...
        >>> resolve(layer, {"units": 3}, "dense")
        {'units': 3}
        >>> resolve(layer, {"unit": 3}, "dense")
        Traceback (most recent call last):
        ...
        convlens.errors.ConfigError: dense has no option 'unit'. Did you mean 'units'? Options: units, bias=True.
    """
    adapters, known = _adapters(function), _parameters(function)
    listing = f"Options: {', '.join(known.values())}." if known else "It takes no options."
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(
                f"{where} has no option '{name}'. {f'{hint} ' if hint.startswith('Did') else ''}{listing}"
            )
    missing = [name for name, text in known.items() if name == text and name not in options]
    if missing:
        raise ConfigError(f"{where} needs '{missing[0]}'. {listing}")
    resolved = {}
    for name, value in options.items():
        try:
            resolved[name] = adapters[name].validate_python(value)
        except ValidationError as error:
            wants = "; or ".join(dict.fromkeys(e["msg"] for e in error.errors()))
            raise ConfigError(f"{where}: {name} does not accept {value!r}. {wants}.") from None
    return resolved


@functools.cache
def _parameters(function: Callable[..., Any]) -> dict[str, str]:
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = parameter.default
            found[name] = name if default is parameter.empty else f"{name}={default!r}"
    return found


@functools.cache
def _adapters(function: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(function, include_extras=True)
    return {name: TypeAdapter(hints.get(name, Any)) for name in _parameters(function)}
