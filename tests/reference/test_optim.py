"""Update rules: the lectures' steps on w^2, many steps beside torch; starting values and constraints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from convlens.errors import ConfigError, ShapeError
from convlens.reference import (
    State,
    adam,
    adamw,
    fans,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    l2_penalty,
    max_norm,
    min_max_norm,
    momentum,
    nesterov,
    non_negative,
    rmsprop,
    sgd,
    start,
    unit_norm,
)

Rule = Callable[..., State]

LECTURES: dict[str, tuple[Rule, list[float]]] = {
    "sgd": (sgd, [0.8, 0.64, 0.512]),
    "heavy ball": (momentum, [0.8, 0.45999999999999996, 0.06199999999999989]),
    "averaged": (partial(momentum, averaged=True), [0.98, 0.9424, 0.8897120000000001]),
    "rmsprop": (rmsprop, [0.683772238983162, 0.498870613507054, 0.36918056029155966]),
    "adam": (adam, [0.9000000005, 0.8004122286917927, 0.70158627294603]),
}


@pytest.mark.parametrize("name", LECTURES)
def test_the_lectures_three_steps(name: str) -> None:
    rule, expected = LECTURES[name]
    state, path = start(1.0), []
    for _ in range(3):
        state = rule(state, 2 * state.weight, rate=0.1)
        path.append(state.weight.item())
    assert path == pytest.approx(expected, abs=1e-12)
    assert state.step == 3


TORCH: dict[str, tuple[Rule, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (partial(sgd, rate=0.05), partial(torch.optim.SGD, lr=0.05)),
    "momentum": (partial(momentum, rate=0.05, beta=0.8), partial(torch.optim.SGD, lr=0.05, momentum=0.8)),
    "nesterov": (
        partial(nesterov, rate=0.05, beta=0.8),
        partial(torch.optim.SGD, lr=0.05, momentum=0.8, nesterov=True),
    ),
    "rmsprop": (partial(rmsprop, rate=0.02, beta=0.95), partial(torch.optim.RMSprop, lr=0.02, alpha=0.95, eps=1e-8)),
    "adam": (partial(adam, rate=0.03, beta1=0.8), partial(torch.optim.Adam, lr=0.03, betas=(0.8, 0.999))),
    "adamw": (
        partial(adamw, rate=0.03, weight_decay=0.2),
        partial(torch.optim.AdamW, lr=0.03, weight_decay=0.2),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_twenty_steps_beside_torch(name: str) -> None:
    rule, make = TORCH[name]
    random = np.random.default_rng(0)
    begin, target = random.standard_normal((3, 4)), random.standard_normal((3, 4))
    state, weight = start(begin), torch.tensor(begin, requires_grad=True)
    optimiser = make([weight])
    for _ in range(20):
        optimiser.zero_grad()
        ((weight - torch.tensor(target)) ** 2).sum().backward()
        optimiser.step()
        state = rule(state, 2 * (state.weight - target))
        np.testing.assert_allclose(state.weight, weight.detach().numpy(), rtol=0, atol=1e-12)


def test_a_rule_changes_nothing_it_was_given() -> None:
    for rule in (sgd, momentum, nesterov, rmsprop, adam, adamw):
        before = start([1.0, -2.0])
        rule(before, [0.5, 0.5])
        assert before.weight.tolist() == [1, -2]
        assert np.all(before.velocity == 0)
        assert np.all(before.square == 0)


def test_weight_decay_is_an_l2_penalty_for_sgd_only() -> None:
    weight, gradient, decay = np.array([1.0, -2.0]), np.array([0.5, 0.1]), 0.2
    with_penalty = gradient + l2_penalty(weight, decay / 2).backward()["weight"]
    shrunk = start(weight * (1 - 0.1 * decay))
    np.testing.assert_allclose(sgd(start(weight), with_penalty).weight, sgd(shrunk, gradient).weight, atol=1e-15)
    by_loss = adam(start(weight), with_penalty, rate=0.1).weight
    assert not np.allclose(by_loss, adamw(start(weight), gradient, rate=0.1, weight_decay=decay).weight)


def test_the_lectures_glorot_limit() -> None:
    shape = (6, 3, 5, 5)
    assert fans(shape) == (75, 150)
    draws = np.concatenate([glorot_uniform(shape, seed) for seed in range(100)])
    assert abs(draws).max() <= 0.16329931618554522
    assert abs(draws).max() == pytest.approx(0.1633, abs=1e-4)
    assert draws.var() == pytest.approx(0.008888888888888889, rel=0.02)


@pytest.mark.parametrize(("draw", "variance"), [(glorot_normal, 2 / 225), (he_uniform, 2 / 75), (he_normal, 2 / 75)])
def test_starting_values_have_the_papers_variance(draw: Callable[..., np.ndarray], variance: float) -> None:
    draws = np.concatenate([draw((6, 3, 5, 5), seed) for seed in range(100)])
    assert draws.var() == pytest.approx(variance, rel=0.02)
    assert draws.mean() == pytest.approx(0, abs=0.003)
    assert np.array_equal(draw((2, 3), 7), draw((2, 3), 7))


def test_constraints_hold_and_leave_the_rest() -> None:
    weight = np.random.default_rng(0).standard_normal((5, 3, 2, 2))
    weight[0], weight[1] = 0, weight[1] / 100
    norms = np.sqrt((max_norm(weight, 1.5) ** 2).sum(axis=(1, 2, 3)))
    assert (norms <= 1.5 + 1e-12).all()
    np.testing.assert_allclose(max_norm(weight, 1.5)[1], weight[1])
    np.testing.assert_allclose((unit_norm(weight)[1:] ** 2).sum(axis=(1, 2, 3)), 1)
    assert not unit_norm(weight)[0].any()
    assert (non_negative(weight) == weight.clip(0)).all()
    norms = np.sqrt((min_max_norm(weight, 0.5, 1.0)[1:] ** 2).sum(axis=(1, 2, 3)))
    assert ((norms >= 0.5 - 1e-12) & (norms <= 1 + 1e-12)).all()


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"must have the shape of the weight, \(2,\); got \(1,\)"):
        sgd(start([1.0, 2.0]), [1.0])
    with pytest.raises(ShapeError, match=r"at least 2 axes, \(O, I, \.\.\.\); got shape \(3,\)"):
        he_normal((3,), 0)
    with pytest.raises(ConfigError, match=r"0 <= low <= high; got 2.* and 1"):
        min_max_norm([[1.0]], 2.0, 1.0)
