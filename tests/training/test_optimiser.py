"""The update rules on f(w) = w^2, worked by hand; decay, penalties and averages against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convlens.options import TrainConfig
from convlens.training.optimiser import (
    AveragedWeights,
    build_optimiser,
    decay_weights,
    decayed_parameters,
    penalty,
)


class OneWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))


def descend(settings: TrainConfig, steps: int = 3) -> list[float]:
    network = OneWeight()
    optimiser = build_optimiser(network, settings, rate=0.1)
    path = []
    for _ in range(steps):
        optimiser.zero_grad()
        network.w.square().sum().backward()
        optimiser.step()
        path.append(network.w.item())
    return path


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (TrainConfig(optimiser="sgd", momentum=0.0), [0.8, 0.64, 0.512]),
        (TrainConfig(optimiser="sgd", momentum=0.9, nesterov=False), [0.8, 0.46, 0.062]),
        (TrainConfig(optimiser="rmsprop", momentum=0.0, alpha=0.9), [0.683772238983162, 0.498870613507054, 0.36918056]),
        (TrainConfig(optimiser="adam"), [0.9000000005, 0.8004122286917927, 0.70158627294603]),
        (TrainConfig(optimiser="adamw"), [0.9000000005, 0.8004122286917927, 0.70158627294603]),
    ],
)
def test_three_steps_on_a_parabola(settings: TrainConfig, expected: list[float]) -> None:
    assert descend(settings) == pytest.approx(expected, abs=1e-8)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 36, 2)).double()


def test_decay_spares_norms_and_biases() -> None:
    network = small_network()
    names = {id(p): name for name, p in network.named_parameters()}
    assert [names[id(p)] for p in decayed_parameters(network)] == ["0.weight", "3.weight"]


def test_decoupled_decay_with_adam_is_adamw() -> None:
    ours, theirs = small_network(), small_network()
    optimiser = build_optimiser(ours, TrainConfig(optimiser="adamw"), rate=0.01)
    decayed = decayed_parameters(theirs)
    rest = [p for p in theirs.parameters() if all(p is not d for d in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01)
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    for _ in range(4):
        for network, update in ((ours, optimiser), (theirs, reference)):
            update.zero_grad()
            network(x).square().mean().backward()
        decay_weights(decayed_parameters(ours), 0.01, 0.3)
        optimiser.step()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_decay_equals_an_l2_penalty_under_plain_sgd() -> None:
    """w - rate (g + 2 l2 w) = w - rate g - rate (2 l2) w: the two differ only with momentum or adaptive rates."""
    plain = TrainConfig(optimiser="sgd", momentum=0.0)
    decayed, penalised = OneWeight(), OneWeight()
    for network, decay, l2 in ((decayed, 0.5, 0.0), (penalised, 0.0, 0.25)):
        optimiser = build_optimiser(network, plain, rate=0.1)
        for _ in range(5):
            optimiser.zero_grad()
            loss = (network.w - 3).square().sum() + penalty([network.w], 0.0, l2)
            loss.backward()
            decay_weights([network.w], 0.1, decay)
            optimiser.step()
    # the decay acts before the step, the penalty within it; with a plain gradient both give the same weight
    direct = 1.0
    for _ in range(5):
        direct = direct - 0.1 * (2 * (direct - 3) + 0.5 * direct)
    assert penalised.w.item() == pytest.approx(direct, abs=1e-12)
    assert decayed.w.item() == pytest.approx(direct, abs=1e-12)


def test_penalties_have_their_value() -> None:
    w = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    assert penalty([w], l1=0.1, l2=0.01).item() == pytest.approx(0.1 * 3 + 0.01 * 5)


def test_averaged_weights_follow_and_step_aside() -> None:
    network = nn.BatchNorm2d(1)
    average = AveragedWeights(network, decay=0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(1.0)
    average.update()  # decay is min(0.5, 2/11)
    with average.applied():
        assert network.weight.item() == pytest.approx(1 + 2 * (1 - 2 / 11))
        assert network.running_mean.item() == pytest.approx(1 - 2 / 11)
    assert network.weight.item() == 3.0
    assert network.running_mean.item() == 1.0
