"""Features computed once: the numbers the whole network would give, and the training it would get."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rig
import sweep
from convlens.config import Config
from convlens.data.augment import resolve
from convlens.data.prepare import Prepared
from convlens.errors import ConfigError
from convlens.options import AugmentConfig
from convlens.training import features as module
from convlens.training.engine import Engine
from convlens.training.features import Features, compute_features, extract, hindrance
from convlens.training.hardware import Hardware
from convlens.training.plan import make_engine, make_plan
from convlens.training.transfer import Transfer, make_transfer

STILL = resolve(AugmentConfig(), "none")
MOVING = resolve(AugmentConfig(), "digits")


def plan(folder: Path, network: nn.Module, **options: Any) -> tuple[Config, Hardware, Prepared]:
    config, data = rig.prepared(folder, **{"finetune": "head", **options})
    return *make_plan(network, config, data, from_scratch=False), data


def engine(folder: Path, network: nn.Module, **options: Any) -> Engine:
    config, hardware, data = plan(folder, network, **options)
    return make_engine(network, config, data, hardware)


def scattered(network: nn.Module) -> nn.Module:
    """Running statistics away from 0 and 1."""
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            m.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network


@pytest.mark.parametrize("views", [None, 3])
def test_the_head_on_features_answers_as_the_whole_network(tmp_path: Path, views: int | None) -> None:
    network = scattered(rig.network())
    config, hardware, data = plan(tmp_path, network, **({"views": views, "preset": "digits"} if views else {}))
    assert config.train.cache_features is True
    found = compute_features(network, config, data, hardware)
    assert len(found.views) == (views or 1)
    network.eval()
    with torch.no_grad():
        rows = data.split.valid
        x = data.preprocess.tensor(torch.from_numpy(data.store.images[rows]))
        torch.testing.assert_close(found.head(found.tensor(torch.from_numpy(found.plain[rows]))), network(x))
        rows = np.sort(data.split.train)[:7]
        made = make_engine(network, config.choose("train.cache_features", False, "test"), data, hardware)
        for epoch in range(4):
            images, targets = torch.from_numpy(data.store.images[rows]), torch.from_numpy(data.targets[rows])
            x, _ = made.present.changed(images, targets, rows, epoch)
            cached = found.views[epoch % len(found.views)][rows]
            torch.testing.assert_close(found.head(found.tensor(torch.from_numpy(cached))), network.eval()(x))
    if views:
        assert not np.array_equal(found.views[0], found.views[1])


@pytest.mark.parametrize("options", [{"preset": "none"}, {"views": 2, "preset": "digits"}], ids=str)
def test_training_on_features_is_training_with_the_backbone(tmp_path: Path, options: dict[str, Any]) -> None:
    once, again = scattered(rig.network()), scattered(rig.network())
    for ours, theirs in zip(once.buffers(), again.buffers(), strict=True):
        ours.copy_(theirs)
    cached = engine(tmp_path, once, **options, epochs=4)
    running = engine(tmp_path, again, **options, epochs=4, cache_features=False)
    assert isinstance(cached.present, Features)
    assert cached.network is not once
    assert running.network is again
    cached.fit()
    running.fit()
    for ours, theirs in zip(once.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(cached.history, running.history, strict=True):
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)
        assert ours["train_accuracy"] == pytest.approx(theirs["train_accuracy"])
    (told,) = [event for event in cached.events if event["kind"] == "features"]
    assert "64 features of" in told["message"]
    assert ("2 views of each" in told["message"]) == ("views" in options)
    assert not [event for event in running.events if event["kind"] == "features"]


def test_the_backbone_runs_once_over_each_picture(tmp_path: Path) -> None:
    network, seen = rig.network(), []
    network[0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    config, hardware, data = plan(tmp_path, network)
    seen.clear()
    told: list[tuple[int, int]] = []
    made = make_engine(network, config, data, hardware, progress=lambda *news: told.append(news))
    made.fit()
    pictures = len(data.split.train) + len(data.split.valid)
    assert sum(seen) == pictures + 1, "and once over one picture, for the shape"
    assert told[-1] == (pictures, pictures)
    assert network.training, "the modes are as they were"


class Doubled(nn.Module):
    """Uses its only dense layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 3, 10), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.last(self.first(x).flatten(1)))


def convolutional(*after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1), *after)


@pytest.mark.parametrize(
    ("network", "augment", "words"),
    [
        (rig.network(), STILL, ""),
        (rig.network(), MOVING, r"augmentation \(rotate_deg, translate, scale\) makes new pictures"),
        (rig.network(), MOVING.model_copy(update={"views": 2}), ""),
        (rig.network(), STILL.model_copy(update={"noise": 0.1}), r"augmentation \(noise\)"),
        (rig.network(), STILL.model_copy(update={"mixup": 0.2}), "mixup and cutmix"),
        (rig.network(), MOVING.model_copy(update={"views": 2, "cutmix": 0.2}), "mixup and cutmix"),
        (nn.Sequential(*rig.network(), nn.ReLU()), STILL, "goes on after its last layer"),
        (convolutional(nn.Flatten()), STILL, ""),
        (convolutional(nn.Flatten(), nn.Tanh()), STILL, "goes on after its last layer"),
        (Doubled(), STILL, "used more than once"),
    ],
)
def test_why_features_cannot_be_computed_once(network: nn.Module, augment: AugmentConfig, words: str) -> None:
    config = Config.build({"train.finetune": "head", "train.epochs": 2, "train.depth_decay": 1.0})
    transfer = make_transfer(network, (1, 1, 10, 10), config)
    for parameter in network.get_submodule(transfer.head[0]).parameters():
        parameter.detach().zero_()  # as a fresh head starts: it must not hide what comes after it
    found = hindrance(network, transfer, augment, torch.rand(4, 1, 10, 10))
    assert re.search(words or "^$", found), found


def test_several_heads_and_a_trained_backbone_are_hindrances() -> None:
    network = rig.network()
    whole = Transfer((), (), ("6",))
    assert hindrance(network, whole, STILL, torch.rand(2, 1, 10, 10)) == "layers below the head are trained"
    two = Transfer((), ("0.weight",), ("5", "6"))
    assert hindrance(network, two, STILL, torch.rand(2, 1, 10, 10)) == "the head is of 2 layers (5, 6)"


@pytest.mark.parametrize("name", ["unet", "fcn8s", "autoencoder", "dense_autoencoder", "dncnn"])
def test_a_map_is_no_answer_for_a_head_on_features(name: str) -> None:
    network = sweep.build(name, 32, 1, 1)
    config = Config.build({"train.finetune": "head", "train.depth_decay": 1.0})
    transfer = make_transfer(network, (1, 1, 32, 32), config)
    assert transfer.only_head
    found = hindrance(network, transfer, STILL, torch.rand(2, 1, 32, 32))
    assert found == "the network answers with more than a row of numbers"


def test_a_head_of_parts_that_are_called_one_by_one_gives_no_features() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.head = nn.Conv2d(1, 2, 10), nn.ModuleDict({"answer": nn.Linear(2, 3)})

        def forward(self, x: Tensor) -> Tensor:
            return self.head["answer"](self.below(x).flatten(1))

        def get_classifier(self) -> nn.Module:
            return self.head

    transfer = Transfer((), ("below.weight",), ("head",))
    assert hindrance(Parts(), transfer, STILL, torch.rand(2, 1, 10, 10)) == "head is no layer that is called as a whole"


def test_asking_for_what_is_impossible_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cache_features=true is not possible: layers below the head are trained"):
        plan(tmp_path, rig.network(), finetune="all", cache_features=True)
    with pytest.raises(ConfigError, match=r"not possible: augmentation \(.*\) makes new pictures .* augment\.views"):
        plan(tmp_path, rig.network(), preset="digits", cache_features=True)
    with pytest.raises(ConfigError, match=r"augment\.views=3 has no effect"):
        plan(tmp_path, rig.network(), preset="none", views=3)


def test_the_choice_and_its_reason_are_in_the_config(tmp_path: Path) -> None:
    config, _, _ = plan(tmp_path, rig.network())
    assert config.origins["train.cache_features"] == "chosen: the backbone is frozen, and its pictures return"
    assert config.augment.preset == "none"
    assert config.origins["augment.preset"].startswith("chosen: only the head is trained")
    config, _, _ = plan(tmp_path, rig.network(), preset="digits")
    assert config.train.cache_features is False
    assert "makes new pictures in every epoch" in config.origins["train.cache_features"]
    config, _, _ = plan(tmp_path, rig.network(), cache_features=False)
    assert config.augment.preset == "digits", "then nothing is gained by leaving the pictures alone"


# on disk --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIB", 1)


def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures go through the backbone."""
    seen: list[int] = []

    def counted(*arguments: Any) -> Any:
        for rows, values in extract(*arguments):
            seen.append(len(rows))
            yield rows, values

    monkeypatch.setattr(module, "extract", counted)
    return seen


@pytest.mark.usefixtures("tiny_memory")
@pytest.mark.parametrize("views", [None, 2])
def test_too_many_features_are_kept_in_a_file_and_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: int | None
) -> None:
    options = {"memory_mb": 2048, "preset": "digits", "views": views} if views else {"memory_mb": 2048}
    config, hardware, data = plan(tmp_path, rig.network(), **options)
    with monkeypatch.context() as patch:
        patch.setattr(module, "MIB", 2**20)
        memory = compute_features(rig.network(), config, data, hardware)
    assert not isinstance(memory.plain, np.memmap)
    seen = ran(monkeypatch)
    first = compute_features(rig.network(), config, data, hardware)
    counted = sum(seen)
    assert counted == len(data.split.train) * (views or 1) + len(data.split.valid)
    for ours, theirs in zip((*first.views, first.plain), (*memory.views, memory.plain), strict=True):
        assert isinstance(ours, np.memmap)
        assert np.array_equal(ours, theirs)
    again = compute_features(rig.network(), config, data, hardware)
    assert sum(seen) == counted, "nothing is computed twice"
    assert np.array_equal(again.plain, first.plain)
    mapped, loaded = rig.network(), rig.network()
    make_engine(mapped, config, data, hardware).fit()
    monkeypatch.setattr(module, "MIB", 2**20)
    make_engine(loaded, config, data, hardware).fit()
    assert rig.same_weights(mapped, loaded)


@pytest.mark.usefixtures("tiny_memory")
def test_other_weights_data_or_damage_mean_another_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, hardware, data = plan(tmp_path, rig.network())
    seen = ran(monkeypatch)
    compute_features(rig.network(), config, data, hardware)
    once = sum(seen)
    headless = rig.network()
    headless[6].weight.detach().add_(1.0)
    compute_features(headless, config, data, hardware)
    assert sum(seen) == once, "the head decides nothing"
    other = rig.network()
    other[1].running_mean.add_(0.5)  # type: ignore[union-attr]
    compute_features(other, config, data, hardware)
    assert sum(seen) == 2 * once
    folder = min((tmp_path / ".store").iterdir(), key=lambda path: (path / "values").stat().st_mtime_ns)
    (folder / "card.json").unlink()
    compute_features(rig.network(), config, data, hardware)
    view = len(data.split.train)
    assert sum(seen) == 2 * once + view
    with (folder / "values").open("r+b") as file:
        file.truncate(100)
    compute_features(rig.network(), config, data, hardware)
    assert sum(seen) == 2 * once + 2 * view
    assert not list(tmp_path.rglob("*.writing"))
