"""A few steps of an optimiser on f(w) = w^2, each of which can be explained like any other result."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convlens import reference
from convlens.errors import ConfigError
from convlens.reference import Result, State, Term, Trace
from convlens.reference.result import Gradients, Index

Steps = list[tuple[str, np.ndarray]]
MOST_STEPS = 1000


class Rule(NamedTuple):
    """An update rule, its formula, and the numbers between a gradient and the next weight."""

    update: Callable[..., State]
    formula: str
    between: Callable[[State, State, dict[str, Any]], Steps]


def _adam(before: State, after: State, option: dict[str, Any]) -> Steps:
    v, s = np.asarray(after.velocity), np.asarray(after.square)
    return [
        ("v", v),
        ("s", s),
        (f"v^ = v / (1 - beta1^{after.step})", v / (1 - option["beta1"] ** after.step)),
        (f"s^ = s / (1 - beta2^{after.step})", s / (1 - option["beta2"] ** after.step)),
    ]


def _adamw(before: State, after: State, option: dict[str, Any]) -> Steps:
    shrunk = before.weight * (1 - option["rate"] * option["weight_decay"])
    return [*_adam(before, after, option), ("w (1 - rate * weight_decay)", shrunk)]


def _velocity(before: State, after: State, option: dict[str, Any]) -> Steps:
    return [("v", np.asarray(after.velocity))]


def _square(before: State, after: State, option: dict[str, Any]) -> Steps:
    return [("s", np.asarray(after.square)), ("root of s", np.sqrt(after.square))]


_ADAM = "v = beta1 v + (1 - beta1) g, s = beta2 s + (1 - beta2) g^2, w = w - rate * v^ / (root of s^ + eps)"
RULES: dict[str, Rule] = {
    "sgd": Rule(reference.sgd, "w = w - rate * g", lambda before, after, option: []),
    "momentum": Rule(reference.momentum, "v = beta v + g, w = w - rate * v", _velocity),
    "nesterov": Rule(reference.nesterov, "v = beta v + g, w = w - rate * (g + beta v)", _velocity),
    "rmsprop": Rule(reference.rmsprop, "s = beta s + (1 - beta) g^2, w = w - rate * g / (root of s + eps)", _square),
    "adam": Rule(reference.adam, _ADAM, _adam),
    "adamw": Rule(reference.adamw, f"w shrinks by rate * weight_decay, then {_ADAM}", _adamw),
}


def descend(name: str, w: ArrayLike = 1.0, *, steps: int = 3, **options: Any) -> Result:
    """The weights after each step of an optimiser on f(w) = w^2, whose gradient is 2w.

    Shapes:
        w (...) -> (steps, ...)

    Args:
        options: those of the rule: rate, beta, eps, ...

    Example:
        >>> descend("momentum", 1.0).value.round(3).tolist()
        [0.8, 0.46, 0.062]
        >>> print(descend("momentum", 1.0).trace(0))
        momentum: result[0]
          g = 2w; v = beta v + g, w = w - rate * v
        <BLANKLINE>
          w[0] = 1
        <BLANKLINE>
          rate = 0.1
          beta = 0.9
          g = 2
          v = 2
          result[0] = 0.8

    Raises:
        ConfigError: the number of steps is not from 1 to 1000.
    """
    if not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise ConfigError(f"steps must be a whole number from 1 to {MOST_STEPS}; got {steps!r}.")
    rule = RULES[name]
    states = [reference.start(w)]
    for _ in range(steps):
        states.append(rule.update(states[-1], 2 * states[-1].weight, **options))
    defaults = {key: given.default for key, given in signature(rule.update).parameters.items()}
    option: dict[str, Any] = {key: options.get(key, value) for key, value in list(defaults.items())[2:]}
    weights = np.array([state.weight for state in states[1:]])

    def explain(out: Index) -> Trace:
        step, *at = out
        before, after = states[step], states[step + 1]
        named: Steps = [(key, np.asarray(value)) for key, value in option.items() if not isinstance(value, bool)]
        between = [("g", 2 * before.weight), *rule.between(before, after, option)]
        shown = [(key, value.item()) for key, value in named]
        shown += [(key, value[tuple(at)].item()) for key, value in between]
        term = Term(out, before.weight[tuple(at)].item())
        formula = rule.formula
        if option.get("averaged"):
            formula = formula.replace("+ g,", "+ (1 - beta) g,")
        return Trace(name, out, f"g = 2w; {formula}", weights[out].item(), (term,), tuple(shown), names=("w", ""))

    def differentiate(gradient: np.ndarray) -> Gradients:
        raise ConfigError("The steps of an optimiser have no gradient here; explain them one by one.")

    return Result(weights, explain, differentiate)
