"""Batch normalisation and dropout: the lectures' numbers, parity with torch in both modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convlens.errors import ConfigError, ShapeError
from convlens.reference import Statistics, batch_norm, batch_statistics, draw_kept, dropout, running_statistics
from parity import assert_close, assert_parity, assert_traced

RANDOM = np.random.default_rng(0)
INPUTS = {
    "x": RANDOM.standard_normal((4, 3, 5, 2)) * 3 + 1,
    "scale": RANDOM.standard_normal(3),
    "shift": RANDOM.standard_normal(3),
}
RUNNING = Statistics(np.array([0.5, -1.0, 2.0]), np.array([0.5, 1.0, 4.0]))


def test_the_lectures_values() -> None:
    y = batch_norm([1.0, 2.0, 3.0, 4.0])
    expected = [-1.3416354199689269, -0.447211806656309, 0.447211806656309, 1.3416354199689269]
    assert y.value == pytest.approx(expected, abs=1e-15)
    assert batch_statistics([1.0, 2.0, 3.0, 4.0]) == (2.5, 1.25)
    assert_traced(y)


def test_parity_in_training() -> None:
    assert_parity(batch_norm, lambda x, s, b: F.batch_norm(x, None, None, s, b, training=True), INPUTS)


def test_parity_in_use() -> None:
    mean, variance = (torch.tensor(array) for array in RUNNING)
    assert_parity(
        lambda x, s, b: batch_norm(x, s, b, RUNNING), lambda x, s, b: F.batch_norm(x, mean, variance, s, b), INPUTS
    )


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5)])
def test_parity_for_other_numbers_of_axes(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape)
    assert_parity(batch_norm, lambda x, s, b: F.batch_norm(x, None, None, s, b, training=True), {**INPUTS, "x": x})


def test_running_statistics_are_torchs() -> None:
    layer = torch.nn.BatchNorm2d(3, dtype=torch.float64)
    ours = Statistics(np.zeros(3), np.ones(3))
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((4, 3, 5, 2))
        layer(torch.tensor(x))
        ours = running_statistics(ours, x)
    assert_close(ours.mean, layer.running_mean, 1e-12, "mean")
    assert_close(ours.variance, layer.running_var, 1e-12, "variance")


def test_in_use_a_sample_does_not_see_its_neighbours() -> None:
    together = batch_norm(INPUTS["x"], running=RUNNING).value
    assert np.array_equal(batch_norm(INPUTS["x"][:1], running=RUNNING).value, together[:1])
    assert not np.allclose(batch_norm(INPUTS["x"][:2]).value, batch_norm(INPUTS["x"]).value[:2])


def test_dropout_keeps_the_mean_and_is_nothing_in_use() -> None:
    x = np.ones(100_000)
    kept = draw_kept(x.shape, 0.3, seed=1)
    y = dropout(x, 0.3, kept)
    assert set(y.value.tolist()) == {0.0, 1 / 0.7}
    assert y.value.mean() == pytest.approx(1, abs=0.01)
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    assert np.array_equal(draw_kept(x.shape, 0.3, seed=1), kept)
    assert not np.array_equal(draw_kept(x.shape, 0.3, seed=2), kept)
    assert dropout([1, 2], 0.3).tolist() == [1, 2]


def test_the_gradient_of_dropout_goes_where_the_value_went() -> None:
    y = dropout([1.0, 2.0, 3.0], 0.5, [True, False, True])
    assert y.backward([1, 1, 1])["x"].tolist() == [2, 0, 2]
    assert [term.mark for out in range(3) for term in y.trace(out).terms] == ["", "dropped", ""]
    assert_traced(y)


def test_errors() -> None:
    with pytest.raises(ShapeError, match="scale must hold one number for each of the 3 channels; got 2"):
        batch_norm(INPUTS["x"], [1, 2])
    with pytest.raises(ShapeError, match=r"A variance needs at least 2 numbers a channel; got shape \(1, 3\)"):
        running_statistics(RUNNING, [[1, 2, 3]])
    with pytest.raises(ConfigError, match="rate must be at least 0 and below 1; got 1"):
        dropout([1.0], 1)
    with pytest.raises(ShapeError, match=r"kept must have the shape of x, \(1,\); got \(2,\)"):
        dropout([1.0], 0.5, [True, False])
