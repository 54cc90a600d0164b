"""Penalties and constraints in training: they are in the loss, hold after every step, and survive an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rig
from convlens.nn.constraints import constraints
from convlens.nn.keras import L1, L2, Conv2D, Dense, Flatten, GaussianNoise, MaxNorm, NonNeg, UnitNorm
from convlens.nn.keras_layer import waits_for_input
from convlens.nn.penalties import penalties
from convlens.training.callbacks import Callback
from convlens.training.checkpoint import Checkpoints
from convlens.training.engine import Engine
from convlens.training.history import Events
from convlens.training.interrupt import Interrupted

PLAIN = {"preset": "none", "optimiser": "sgd", "momentum": 0.0, "schedule": "constant", "warmup": 0.0, "ema": 0.0}


def network(**rules: Any) -> nn.Sequential:
    """A convolution and a dense layer that wait for their first input."""
    return nn.Sequential(
        Conv2D(4, 3, strides=2, padding="same", activation="relu", **rules), GaussianNoise(0.1), Flatten(), Dense(3)
    )


class Watch(Callback):
    """Look at the first layer after every step."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.least: list[float] = []

    def on_batch_end(self, engine: Engine) -> None:
        kernel, bias = engine.network[0].conv.weight, engine.network[0].conv.bias  # type: ignore[index, union-attr]
        self.norms.append(kernel.flatten(1).norm(dim=1).max().item())
        self.least.append(bias.min().item())


def norms(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return tensors[name].flatten(1).norm(dim=1)


def test_constraints_hold_after_each_of_twenty_steps(tmp_path: Path) -> None:
    watch, free = Watch(), Watch()
    rules = {"kernel_constraint": MaxNorm(0.3), "bias_constraint": NonNeg()}
    made = rig.engine(tmp_path, network(**rules), epochs=4, rate=0.5, callbacks=[watch])
    made.fit()
    rig.engine(tmp_path, network(), epochs=4, rate=0.5, callbacks=[free]).fit()
    assert len(watch.norms) >= 20
    assert max(watch.norms) <= 0.3 + 1e-6
    assert min(watch.least) >= 0
    assert max(free.norms) > 0.4  # else nothing was held back
    assert min(free.least) < 0
    assert norms(made.network.state_dict(), "0.conv.weight").max() <= 0.3 + 1e-6


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_every_saved_weight_keeps_them(tmp_path: Path, ema: float) -> None:
    """Averages of weights of norm 1 are shorter: they are brought back before they are used or saved."""
    checkpoints = Checkpoints(tmp_path / "c", Events(), 0.0)
    one = torch.ones(4)
    options = {"epochs": 2, "rate": 0.5, "ema": ema, "restore_best": True, "checkpoints": checkpoints}
    made = rig.engine(tmp_path, network(kernel_constraint=UnitNorm()), **options)
    made.fit()
    snapshot = checkpoints.load()
    assert snapshot is not None
    torch.testing.assert_close(norms(snapshot[0], "network.0.conv.weight"), one)
    torch.testing.assert_close(norms(snapshot[0], "best.0.conv.weight"), one)
    torch.testing.assert_close(norms(made.network.state_dict(), "0.conv.weight"), one)


def test_averaged_weights_at_the_end_keep_them_without_validation(tmp_path: Path) -> None:
    made = rig.engine(tmp_path, network(kernel_constraint="unit_norm"), epochs=2, rate=0.5, ema=0.9, valid_fraction=0.0)
    made.fit()
    torch.testing.assert_close(norms(made.network.state_dict(), "0.conv.weight"), torch.ones(4))


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_penalties_are_in_the_gradient_of_an_update(tmp_path: Path, accumulate: int) -> None:
    """Whatever a batch is divided into, one step moves a weight by rate x the penalty's gradient, and no further."""

    class Deaf(nn.Module):
        """Its loss does not depend on the weights, so that only penalties move them."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = Dense(
                3, input_shape=(100,), kernel_regularizer=L2(0.5), bias_regularizer=L1(0.25), bias_initializer="ones"
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * self.layer(x.flatten(1)) + 1

    net = Deaf()
    before = net.layer.dense.weight.detach().clone()
    options = {**PLAIN, "batch_size": 8, "accumulate": accumulate, "weight_decay": 0.0, "rate": 0.1}
    made = rig.engine(tmp_path, net, **options)
    batches = iter(made.train.epoch(0))
    for _ in range(accumulate):
        made.learn(next(batches))
    assert made.state.step == 1
    torch.testing.assert_close(net.layer.dense.weight.detach(), before * (1 - 0.1 * 2 * 0.5))
    torch.testing.assert_close(net.layer.dense.bias.detach(), torch.full((3,), 1 - 0.1 * 0.25))


@pytest.mark.parametrize("rules", ["kernel_regularizer", "bias_regularizer", "activity_regularizer"])
def test_each_penalty_reaches_the_loss(tmp_path: Path, rules: str) -> None:
    """The loss of the first batch is larger by exactly the penalty of that batch."""

    def first_loss(**given: Any) -> tuple[float, Engine]:
        net = nn.Sequential(nn.Flatten(), Dense(3, bias_initializer="ones", **given))
        made = rig.engine(tmp_path, net, **PLAIN)
        penalty = list(made.penalties)
        made.rate = 0.0  # the weights stay, so that the penalty can be computed once more
        loss = made.learn(next(iter(made.train.epoch(0)))).item()
        return loss - sum(cost().item() for cost in penalty), made

    assert first_loss()[1].penalties == []
    without, made = first_loss(**{rules: L2(0.5)})
    assert len(made.penalties) == 1
    assert made.penalties[0]().item() > 0.1
    assert without == pytest.approx(first_loss()[0], rel=1e-5)


def test_penalties_pull_weights_down(tmp_path: Path) -> None:
    free = rig.engine(tmp_path, network(), **PLAIN, epochs=2, rate=0.05)
    held = rig.engine(tmp_path, network(kernel_regularizer=L2(0.5)), **PLAIN, epochs=2, rate=0.05)
    quiet = rig.engine(tmp_path, network(activity_regularizer=L1(0.5)), **PLAIN, epochs=2, rate=0.05)
    for made in (free, held, quiet):
        made.fit()
    kernels = [made.network[0].conv.weight.abs().mean().item() for made in (free, held)]  # type: ignore[index, union-attr]
    assert kernels[1] < 0.7 * kernels[0]
    x = torch.rand(8, 1, 10, 10)
    loud = [made.network.eval()[0](x).abs().mean().item() for made in (free, quiet)]  # type: ignore[index]
    assert loud[1] < 0.5 * loud[0]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_interrupted_equals_uninterrupted(tmp_path: Path, ema: float) -> None:
    def made(**more: Any) -> Engine:
        net = network(kernel_constraint="unit_norm", kernel_regularizer="l2", activity_regularizer="l1")
        return rig.engine(tmp_path, net, epochs=3, ema=ema, **more)

    whole = made()
    whole.fit()
    checkpoints = Checkpoints(tmp_path / "c", Events(), 1e9)
    with pytest.raises(Interrupted):
        made(callbacks=[rig.StopAt(7)], checkpoints=checkpoints).fit()
    last, snapshot = made(callbacks=[rig.StopAt(10**9)]), checkpoints.load()
    assert snapshot is not None
    last.history.rows = [{}] * snapshot[1]["history"]
    last.restore(snapshot)
    last.fit()
    assert rig.same_weights(whole.network, last.network)


def test_first_values_of_waiting_layers_follow_from_the_seed_alone(tmp_path: Path) -> None:
    nets = []
    for seed, run_seed in ((1, 0), (2, 0), (2, 5)):
        torch.manual_seed(seed)
        net = network()
        state = torch.get_rng_state()
        rig.engine(tmp_path, net, seed=run_seed)
        assert torch.equal(torch.get_rng_state(), state)
        assert not waits_for_input(net)
        nets.append(net)
    assert rig.same_weights(nets[0], nets[1])
    assert not rig.same_weights(nets[1], nets[2])


def test_a_layer_that_is_frozen_is_neither_penalised_nor_projected(tmp_path: Path) -> None:
    net = network(kernel_regularizer="l2", kernel_constraint=MaxNorm(0.01), trainable=False)
    made = rig.engine(tmp_path, net, epochs=1)
    before = net[0].conv.weight.detach().clone()
    made.fit()
    assert torch.equal(net[0].conv.weight, before)
    assert sum(cost().item() for cost in penalties(net)) == 0


def test_without_them_there_is_nothing_to_do(tmp_path: Path) -> None:
    made = rig.engine(tmp_path)
    assert made.penalties == made.constraints == []
    assert penalties(made.network) == constraints(made.network) == []
