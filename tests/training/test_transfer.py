"""What is frozen keeps still to the last bit, what is unfrozen joins in its turn, and each depth has its own rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rig
from convlens.config import Config
from convlens.errors import ConfigError
from convlens.training.callbacks import Callback
from convlens.training.checkpoint import Checkpoints
from convlens.training.engine import Engine
from convlens.training.history import Events
from convlens.training.interrupt import Interrupted
from convlens.training.optimiser import decay_weights
from convlens.training.plan import make_engine, make_plan
from convlens.training.transfer import first_epochs, make_transfer, whole

MOVING = {"preset": "digits"}  # so that the backbone runs in every epoch
SHAPE = (1, 1, 10, 10)


def deep() -> nn.Module:
    """Two stages of maps with norms, a dense layer, a head."""
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(8, 3),
    )


def engine(folder: Path, net: nn.Module | None = None, **options: Any) -> Engine:
    """An engine that starts from trained weights."""
    passed = {key: options.pop(key) for key in ("callbacks", "checkpoints", "events") if key in options}
    freeze = options.pop("freeze", "none")
    config, data = rig.prepared(folder, **options, network__freeze=freeze)
    net = deep() if net is None else net
    config, hardware = make_plan(net, config, data, from_scratch=False)
    return make_engine(net, config, data, hardware, **passed)


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, torch.Tensor], network: nn.Module) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


class Watch(Callback):
    """In each epoch: what was trained, and which norms and dropouts were in training mode."""

    def __init__(self) -> None:
        self.changed: list[set[str]] = []
        self.modes: list[set[str]] = []

    def on_epoch_begin(self, engine: Engine) -> None:
        self.before = state(engine.network)

    def on_batch_end(self, engine: Engine) -> None:
        kinds = nn.BatchNorm2d | nn.Dropout
        self.now = {name for name, m in engine.network.named_modules() if isinstance(m, kinds) and m.training}

    def on_epoch_end(self, engine: Engine, row: dict[str, Any]) -> None:
        self.changed.append(changed(self.before, engine.network))
        self.modes.append(self.now)


HEAD = {"11.weight", "11.bias"}
DENSE = {"8.weight", "8.bias"}
LOWER = {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
UPPER = {name.replace("0.", "4.", 1) if name[0] == "0" else f"5{name[1:]}" for name in LOWER}


@pytest.mark.parametrize("options", [{"freeze": "backbone"}, {"finetune": "head"}], ids=str)
def test_a_frozen_backbone_keeps_still_to_the_last_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    watch = Watch()
    made = engine(tmp_path, **options, **MOVING, ema=0.9, weight_decay=0.1, l2=0.01, callbacks=[watch])
    before = state(made.network)
    made.fit()
    assert changed(before, made.network) == HEAD
    assert watch.modes == [set()] * 3, "its norms and dropout are those of a prediction"
    assert made.history[-1]["train_loss"] < made.history[0]["train_loss"]


def test_dropout_that_is_off_is_told(tmp_path: Path) -> None:
    told = [event["message"] for event in engine(tmp_path, freeze="backbone", **MOVING).events]
    assert told == ["Only the head is trained, so dropout below it is off: 10."]
    without = nn.Sequential(*deep()[:10], nn.Dropout(0.0), nn.Linear(8, 3))
    assert not list(engine(tmp_path, without, freeze="backbone", **MOVING).events)
    assert not list(engine(tmp_path, freeze=["0"], **MOVING).events)


def test_layers_frozen_by_name_keep_still_and_the_others_learn(tmp_path: Path) -> None:
    watch = Watch()
    made = engine(tmp_path, freeze=["0", "1"], **MOVING, callbacks=[watch])
    before = state(made.network)
    made.fit()
    assert changed(before, made.network) == UPPER | DENSE | HEAD
    assert watch.modes == [{"5", "10"}] * 3, "the frozen norm is in evaluation mode, the other is not"


def test_gradual_goes_from_the_head_down_one_stage_after_another(tmp_path: Path) -> None:
    watch = Watch()
    made = engine(tmp_path, finetune="gradual", epochs=6, **MOVING, callbacks=[watch])
    made.fit()
    assert watch.changed[:4] == [HEAD, HEAD | DENSE, HEAD | DENSE | UPPER, HEAD | DENSE | UPPER | LOWER]
    assert watch.changed[4:] == [watch.changed[3]] * 2
    assert watch.modes[:4] == [set(), {"10"}, {"5", "10"}, {"1", "5", "10"}]
    told = [event["message"] for event in made.events if event["kind"] == "layers"]
    assert told == [
        "From epoch 2 on 8 is trained too.",
        "From epoch 3 on 2 x 2 is trained too.",
        "From epoch 4 on 8 x 8 is trained too.",
    ]


def test_gradual_leaves_alone_what_is_frozen_by_name(tmp_path: Path) -> None:
    made = engine(tmp_path, finetune="gradual", freeze=["0", "1"], epochs=4, **MOVING)
    before = state(made.network)
    made.fit()
    assert changed(before, made.network) == UPPER | DENSE | HEAD
    assert [group.first_epoch for group in made.layers.groups] == [0, 1, 2]


def test_all_groups_have_begun_by_half_of_the_epochs() -> None:
    for groups in range(1, 9):
        for epochs in range(1, 30):
            starts = first_epochs(groups, epochs)
            assert starts[0] == 0
            assert starts == sorted(starts)
            assert starts[-1] <= epochs // 2
            if epochs > 1:
                assert starts.count(0) == 1, "the head alone in the first epoch"


@pytest.mark.parametrize("optimiser", ["sgd", "adamw", "rmsprop"])
def test_each_depth_has_exactly_its_share_of_the_rate(tmp_path: Path, optimiser: str) -> None:
    """One step of plain gradient descent moves each layer by its factor times what it would move at the full rate."""
    common = {"optimiser": optimiser, "momentum": 0.0, "rate": 0.01, "epochs": 1, "schedule": "constant", "warmup": 0.0}
    moves = {}
    for decay in (1.0, 0.5):
        made = engine(tmp_path, **common, depth_decay=decay, weight_decay=0.3, **MOVING)
        before = {name: p.detach().clone().double() for name, p in made.network.named_parameters()}
        made.learn(next(made.train.epoch(0)))
        moves[decay] = {name: p.detach().double() - before[name] for name, p in made.network.named_parameters()}
        rates = [group["lr"] for group in made.optimiser.param_groups]
        assert rates == ([0.01] if decay == 1.0 else [0.01, 0.005, 0.0025, 0.00125])
    for depth, layers in enumerate([("11",), ("8",), ("4", "5"), ("0", "1")]):
        for name, full in moves[1.0].items():
            if name.split(".")[0] in layers:
                torch.testing.assert_close(moves[0.5][name], 0.5**depth * full, rtol=2e-2, atol=3e-7)
                assert full.abs().max() > 1e-5 or name.endswith("bias")  # before a norm a bias has no gradient


def test_the_rates_of_all_depths_follow_the_schedule(tmp_path: Path) -> None:
    made = engine(tmp_path, depth_decay=0.5, rate=0.01, **MOVING)
    made.fit()
    last = made.rate_at(made.total_steps - 1)
    assert [group["lr"] for group in made.optimiser.param_groups] == [last * 0.5**depth for depth in range(4)]
    assert last < made.rate_at(made.total_steps // 2)


def test_the_update_stays_fused_and_decay_spares_norms_and_biases_at_every_depth(tmp_path: Path) -> None:
    made = engine(tmp_path, depth_decay=0.5, **MOVING)
    assert all(group["fused"] for group in made.optimiser.param_groups)
    before = state(made.network)
    for group in made.optimiser.param_groups:
        decay_weights(group["params"], group["factor"], 0.5)
    assert changed(before, made.network) == {"0.weight", "4.weight", "8.weight", "11.weight"}
    torch.testing.assert_close(made.network.state_dict()["0.weight"], before["0.weight"] * (1 - 0.5 * 0.125))


MODES: dict[str, dict[str, Any]] = {
    "frozen, its backbone run each time": {"freeze": "backbone", **MOVING},
    "frozen, its features computed once": {"freeze": "backbone", "ema": 0.9},
    "two views in turn": {"finetune": "head", "views": 2, **MOVING},
    "some layers frozen": {"freeze": ["0", "1"], "optimiser": "sgd"},
    "gradual": {"finetune": "gradual", "epochs": 4, "ema": 0.9},
    "gradual, other rules": {"finetune": "gradual", "epochs": 4, "optimiser": "rmsprop", "accumulate": 2, "l2": 1e-3},
    "rates by depth": {"depth_decay": 0.5, "optimiser": "sgd", "patience": 2, "gradient_norms": True},
}


@pytest.mark.parametrize("mode", MODES)
def test_interrupted_three_times_equals_uninterrupted(tmp_path: Path, mode: str) -> None:
    whole_network, last_network = deep(), deep()
    uncut = engine(tmp_path, whole_network, **MODES[mode])
    uncut.fit()
    folder = tmp_path / "checkpoints"
    for batches in (2, 5, 4):
        checkpoints = Checkpoints(folder, Events(), 1e9)
        part = engine(tmp_path, **MODES[mode], callbacks=[rig.StopAt(batches)], checkpoints=checkpoints)
        restore(part, checkpoints)
        with pytest.raises(Interrupted):
            part.fit()
    last = engine(tmp_path, last_network, **MODES[mode], callbacks=[rig.StopAt(10**9)])
    restore(last, Checkpoints(folder, Events(), 1e9))
    assert last.state.step > 0
    last.fit()
    assert rig.same_weights(whole_network, last_network)
    clock = ("seconds", "waiting_s", "validation_s", "images_per_s")
    ours, theirs = ({k: v for k, v in one.history[-1].items() if k not in clock} for one in (uncut, last))
    assert ours == theirs


def restore(engine: Engine, checkpoints: Checkpoints) -> None:
    snapshot = checkpoints.load()
    if snapshot:
        engine.history.rows = [{}] * snapshot[1]["history"]
        engine.restore(snapshot)


def test_afterwards_everything_can_be_trained_again(tmp_path: Path) -> None:
    for options in ({"freeze": "backbone"}, {"finetune": "gradual"}, {"freeze": ["0"]}):
        made = engine(tmp_path, **options, **MOVING, epochs=2)
        assert not all(p.requires_grad for p in made.network.parameters())
        made.fit()
        assert all(p.requires_grad for p in made.network.parameters())


def test_what_the_user_froze_by_hand_stays_frozen(tmp_path: Path) -> None:
    for options in ({}, {"depth_decay": 0.5}, {"finetune": "gradual"}):
        net = deep()
        net[0].requires_grad_(False)
        net[1].requires_grad_(False)
        before = state(net)
        made = engine(tmp_path, net, **options, **MOVING)
        made.fit()
        assert changed(before, net) == UPPER | DENSE | HEAD
        assert not net[0].weight.requires_grad


def test_nothing_is_different_where_nothing_is_asked_for(tmp_path: Path) -> None:
    network = deep()
    config, data = rig.prepared(tmp_path)
    config, _ = make_plan(network, config, data, from_scratch=True)
    assert make_transfer(network, SHAPE, config) == whole(network).__class__(whole(network).groups, (), ("11",))
    assert config.train.depth_decay == 1.0
    assert config.train.cache_features is False


def test_fine_tuning_gives_earlier_layers_lower_rates_by_itself(tmp_path: Path) -> None:
    config, data = rig.prepared(tmp_path)
    config, _ = make_plan(deep(), config, data, from_scratch=False)
    assert 0 < float(config.train.depth_decay) < 1
    assert config.origins["train.depth_decay"] == "chosen: fine-tuning from trained weights"
    factors = [group.factor for group in make_transfer(deep(), SHAPE, config).groups]
    assert factors == [float(config.train.depth_decay) ** depth for depth in range(4)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network.freeze": "8x"}, r"compact has no layer '8x' with parameters\. Did you mean '8'"),
        ({"network.freeze": ["0", "relu"]}, r"has no layer 'relu' with parameters"),
        ({"network.freeze": "2"}, r"has no layer '2' with parameters"),
        ({"network.freeze": ""}, r"has no layer '' with parameters"),
        ({"network.freeze": ["backbone", "11"]}, "leave nothing to train"),
        ({"network.freeze": "backbone", "train.finetune": "gradual"}, r"trains the head alone.*Give one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    config = Config.build(options, {"train.epochs": 2, "train.depth_decay": 1.0})
    with pytest.raises(ConfigError, match=words):
        make_transfer(deep(), SHAPE, config)


def test_a_network_without_a_layer_has_no_head() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3))

    config = Config.build({"train.finetune": "head", "train.epochs": 2, "train.depth_decay": 1.0})
    with pytest.raises(ConfigError, match="no dense layer and no convolution that could be its head"):
        make_transfer(Bare(), SHAPE, config)
