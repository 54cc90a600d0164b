"""First values: the limits and spreads of the definitions, and a generator that decides everything."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convlens import reference
from convlens.errors import ConfigError, ShapeError
from convlens.nn.initialisers import INITIALISERS, ByChannel, GlorotUniform, HeNormal, fans, initialiser

SHAPES = [(60, 30, 3, 3), (200, 90), (50, 40, 7), (16, 12, 2, 3, 3)]
BY_FANS = ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"]


@pytest.mark.parametrize("shape", SHAPES)
def test_fans_are_the_definitions(shape: tuple[int, ...]) -> None:
    assert fans(torch.empty(shape)) == reference.fans(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", BY_FANS)
def test_limits_and_spread_are_the_definitions(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = initialiser(name)(torch.empty(shape, dtype=torch.float64)).numpy()
    theirs = getattr(reference, name)(shape, seed=0)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
    assert abs(ours.mean()) < 4 * theirs.std() / math.sqrt(ours.size)
    if "uniform" in name:
        fan_in, fan_out = reference.fans(shape)
        limit = math.sqrt(6 / (fan_in + fan_out if "glorot" in name else fan_in))
        assert 0.99 * limit < abs(ours).max() <= limit
        assert abs(theirs).max() <= limit


def test_the_simple_ones() -> None:
    weight = torch.empty(3, 50, 50)
    assert initialiser("zeros")(weight).unique().tolist() == [0.0]
    assert initialiser("ones")(weight).unique().tolist() == [1.0]
    assert initialiser("constant")(weight).unique().tolist() == [0.0]
    assert initialiser({"name": "constant", "value": 0.5})(weight).unique().tolist() == [0.5]
    torch.manual_seed(0)
    assert initialiser("random_normal")(weight).std().item() == pytest.approx(0.05, rel=0.05)  # Keras's defaults
    assert initialiser("random_uniform")(weight).abs().max().item() == pytest.approx(0.05, rel=0.01)
    shifted = initialiser({"name": "random_normal", "mean": 3, "stddev": 0.1})(weight)
    assert shifted.mean().item() == pytest.approx(3, abs=0.01)
    positive = initialiser({"name": "random_uniform", "minval": 1, "maxval": 2})(weight)
    assert positive.min() >= 1
    assert positive.max() <= 2


@pytest.mark.parametrize("name", [*BY_FANS, "random_normal", "random_uniform"])
def test_a_generator_decides_everything(name: str) -> None:
    def drawn(seed: int) -> torch.Tensor:
        make = initialiser({"name": name, "generator": torch.Generator().manual_seed(seed)})
        return make(torch.empty(4, 3, 2, 2))

    before = torch.get_rng_state()
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_fills_in_place_and_leaves_no_gradient() -> None:
    weight = nn.Parameter(torch.zeros(4, 4))
    assert HeNormal()(weight) is weight
    assert weight.grad_fn is None
    assert weight.abs().sum() > 0


def test_a_function_of_torch_serves_as_well() -> None:
    weight = torch.empty(3, 3)
    initialiser(nn.init.eye_)(weight)
    assert torch.equal(weight, torch.eye(3))
    initialiser(partial(nn.init.constant_, val=2.0))(weight)
    assert weight.unique().tolist() == [2.0]


def test_by_channel_the_fans_are_those_of_kerass_layout() -> None:
    seen = []

    def number(weight: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(weight.shape))
        return weight.copy_(torch.arange(float(weight.numel())).reshape(weight.shape))

    weight = ByChannel(number, multiplier=2)(torch.empty(6, 1, 1, 1))
    assert seen == [(2, 3, 1, 1)]  # (m, C, h, w): fan_in C h w, fan_out m h w
    assert weight.flatten().tolist() == [0, 3, 1, 4, 2, 5]  # the two filters of a channel side by side


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("glorot", "'glorot' is not the name of an initialiser. Did you mean 'glorot_"),
        ({"name": "random_normal", "std": 1}, "'random_normal' has no option 'std'. Did you mean 'stddev'"),
        ({"name": "random_normal", "stddev": -1}, "random_normal: stddev must be a number of at least 0; got -1"),
        ({"name": "random_uniform", "minval": 1}, "random_uniform: maxval must be a number of at least 1; got 0.05"),
        ({"name": "constant", "value": "one"}, "constant: value must be a number; got 'one'"),
        ({"name": "zeros", "value": 1}, "'zeros' has no option 'value'. It has none"),
    ],
)
def test_errors(wanted: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        initialiser(wanted)


def test_a_bias_has_no_fans() -> None:
    for name in BY_FANS:
        with pytest.raises(ShapeError, match=r"fans of a weight \(O, I, \.\.\.\); got shape \(3,\). For a bias choose"):
            initialiser(name)(torch.empty(3))


def test_every_name_gives_an_initialiser() -> None:
    for name in INITIALISERS:
        assert np.isfinite(initialiser(name)(torch.empty(2, 2)).numpy()).all()
    assert initialiser("glorot_uniform") == GlorotUniform()
