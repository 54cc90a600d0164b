"""Each schedule against its closed formula."""

from __future__ import annotations

import math

import pytest

from convlens.options import TrainConfig
from convlens.training.schedule import rate_factor


def factors(warmup: float = 0.0, total: int = 20, per_epoch: int = 5, **settings: object) -> list[float]:
    config = TrainConfig(**settings)  # type: ignore[arg-type]
    return [rate_factor(config, step, total, per_epoch, warmup) for step in range(total + 1)]


def test_constant() -> None:
    assert set(factors(schedule="constant")) == {1.0}


def test_step() -> None:
    assert factors(schedule="step", step_epochs=2, gamma=0.1)[::5] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_exponential() -> None:
    assert factors(schedule="exponential", gamma=0.5)[::5] == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625])


def test_time() -> None:
    assert factors(schedule="time", decay=1.0)[::5] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_ends_at_exactly_zero_and_peaks_once(schedule: str) -> None:
    found = factors(schedule=schedule, warmup=0.25)
    assert found[20] == 0.0
    assert max(found) == found[5] == 1.0
    assert found[:6] == sorted(found[:6])
    assert found[5:] == sorted(found[5:], reverse=True)
    assert found[0] > 0


def test_cosine() -> None:
    assert factors(schedule="cosine")[5] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
