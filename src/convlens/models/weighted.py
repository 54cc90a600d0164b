"""The options that all kinds of layers with weights share: how weights begin, what they cost, where they must stay.

They are Keras's: an initialiser, a penalty and a constraint for the kernel and for the bias, and a penalty of what the
layer gives. Each is a name, or a table with the name and its options: `{ name = "l2", l2 = 0.001 }`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from convlens.errors import ConfigError
from convlens.nn.penalties import ActivityRegularization, regulariser
from convlens.nn.rules import Rules, ruled

Wish = str | dict[str, Any] | None


def with_weight_options(kind: Callable[..., Any], *weighted: str) -> Callable[..., Any]:
    """The function of a kind with seven more options.

    Args:
        kind: a function of `kinds.py`.
        weighted: the parts of its step whose weights they are about.

    Raises:
        ConfigError: there is no such initialiser, penalty or constraint, or a wish has no effect.
    """

    @wraps(kind)
    def with_options(
        shape: tuple[int, ...],
        outputs: int,
        *,
        kernel_initializer: Wish = None,
        bias_initializer: Wish = None,
        kernel_regularizer: Wish = None,
        bias_regularizer: Wish = None,
        activity_regularizer: Wish = None,
        kernel_constraint: Wish = None,
        bias_constraint: Wish = None,
        **options: Any,
    ) -> Any:
        kernel = Rules.of(kernel_initializer, kernel_regularizer, kernel_constraint)
        bias = Rules.of(bias_initializer, bias_regularizer, bias_constraint)
        if any(bias) and not options.get("bias", True):
            raise ConfigError("bias_initializer, bias_regularizer and bias_constraint have no effect with bias=False.")
        step = kind(shape, outputs, **options)
        parts = step.parts
        if any(kernel) or any(bias):
            parts = [(n, partial(ruled, m, weight=kernel, bias=bias) if n in weighted else m) for n, m in parts]
        if activity_regularizer is not None:
            parts = [*parts, ("penalty", partial(ActivityRegularization, regulariser(activity_regularizer)))]
        return step._replace(parts=parts)

    own = inspect.signature(kind).parameters
    more = inspect.signature(with_options, follow_wrapped=False).parameters
    more = {name: parameter for name, parameter in more.items() if name not in (*own, "options")}
    with_options.__signature__ = inspect.Signature([*own.values(), *more.values()])  # type: ignore[attr-defined]
    with_options.__annotations__ = {**kind.__annotations__, **dict.fromkeys(more, Wish)}
    return with_options
