"""Steps of an optimiser: those of the reference, one trace for each number."""

from __future__ import annotations

import numpy as np
import pytest

from convlens import reference
from convlens.errors import ConfigError
from convlens.lectures.descent import RULES, descend


@pytest.mark.parametrize("name", RULES)
def test_the_steps_are_those_of_the_rule(name: str) -> None:
    state, weights = reference.start([1.0, -2.0]), []
    for _ in range(4):
        state = RULES[name].update(state, 2 * state.weight, rate=0.05)
        weights.append(state.weight)
    found = descend(name, [1.0, -2.0], steps=4, rate=0.05)
    assert np.array_equal(found.value, weights)
    for at in np.ndindex(found.shape):
        trace = found.trace(at)
        assert trace.result == found.value[at]
        steps = dict(trace.steps)
        assert steps["rate"] == 0.05
        before = 1.0 if at == (0, 0) else -2.0 if at == (0, 1) else found.value[at[0] - 1, at[1]]
        assert trace.terms[0].value == before
        assert steps["g"] == 2 * before


def test_the_numbers_in_between_lead_to_the_weight() -> None:
    steps = dict(descend("adam", 1.0, rate=0.1).trace(2).steps)
    before = descend("adam", 1.0, rate=0.1).value[1]
    mean, square = steps["v^ = v / (1 - beta1^3)"], steps["s^ = s / (1 - beta2^3)"]
    after = before - steps["rate"] * mean / (square**0.5 + steps["eps"])
    assert after == pytest.approx(descend("adam", 1.0, rate=0.1).value[2], rel=1e-12)

    shrunk = dict(descend("adamw", 1.0, rate=0.1, weight_decay=0.5).trace(0).steps)["w (1 - rate * weight_decay)"]
    assert shrunk == pytest.approx(0.95)
    rms = dict(descend("rmsprop", 1.0).trace(0).steps)
    assert rms["root of s"] == pytest.approx(rms["s"] ** 0.5)


def test_the_averaged_momentum_says_so() -> None:
    assert "(1 - beta) g" in descend("momentum", 1.0, averaged=True).trace(0).equation
    assert "(1 - beta) g" not in descend("momentum", 1.0).trace(0).equation


@pytest.mark.parametrize("steps", [0, 1001, 2.0])
def test_the_number_of_steps_is_checked(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"from 1 to 1000; got {steps}"):
        descend("sgd", 1.0, steps=steps)


def test_there_is_no_gradient() -> None:
    with pytest.raises(ConfigError, match="explain them one by one"):
        descend("sgd", 1.0).backward([1, 1, 1])
