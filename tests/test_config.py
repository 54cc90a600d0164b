"""Every value remembers where it came from, and a wrong option is an error with a suggestion."""

from __future__ import annotations

import pytest

from convlens.config import Config
from convlens.errors import ConfigError


def test_later_layers_win_and_origins_say_who() -> None:
    config = Config.build(
        {"train": {"epochs": 3, "rate": 0.1}, "seed": 4}, {"train.epochs": 5}, origin=("run.toml", "--epochs")
    )
    assert (config.train.epochs, config.train.rate, config.seed) == (5, 0.1, 4)
    assert config.origins["train.epochs"] == "--epochs"
    assert config.origins["train.rate"] == "run.toml"
    assert config.origins["train.momentum"] == "default"


def test_a_choice_keeps_its_reason() -> None:
    config = Config().choose("train.epochs", 12, "60,000 images")
    assert config.train.epochs == 12
    assert config["train.epochs"] == 12
    assert config.origins["train.epochs"] == "chosen: 60,000 images"
    assert Config().train.epochs == "auto"


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"train.epoch": 1}, "no option 'train.epoch'. Did you mean 'train.epochs'?"),
        ({"trian": {"epochs": 1}}, "no option 'trian'"),
        ({"train": {"epochs": {"a": 1}}}, "train.epochs does not accept"),
        ({"train.epochs": "ten"}, "--set: train.epochs does not accept 'ten'"),
        ({"train.epochs": 0}, "greater than or equal to 1"),
        ({"train.rate": -1}, "greater than 0"),
        ({"augment.flip": "sideways"}, "'none', 'horizontal', 'vertical' or 'both'"),
        ({"task": "guess"}, "task does not accept 'guess'"),
        ({"train.rate": float("inf")}, "train.rate does not accept inf. Input should be a finite number"),
        ({"augment.mixup": float("inf")}, "augment.mixup does not accept inf. Input should be a finite number"),
        ({"train.epochs": True}, "train.epochs does not accept True. Input should be a number, not true or false"),
        ({"train.rate": True}, "train.rate does not accept True. Input should be a number"),
        ({"train.momentum": False}, "train.momentum does not accept False. Input should be a number"),
        ({"data.fold": True}, "data.fold does not accept True"),
        ({"seed": True}, "seed does not accept True"),
        ({"data.background": 300}, "does not accept 300. It takes three whole numbers from 0 to 255, such as"),
        ({"data.background": [1, 2]}, "does not accept [1, 2]. It takes three whole numbers from 0 to 255"),
        ({"data.background": [300, 2, 3]}, "does not accept 300. It takes three whole numbers from 0 to 255"),
        ({"data.background": [True, 2, 3]}, "does not accept [True, 2, 3]. It takes three whole numbers"),
        ({"data.bounds": 5}, "does not accept 5. It takes two numbers, such as [0, 100]"),
        ({"run.name": "../a"}, "run.name does not accept '../a'. It takes the name of one folder"),
        ({"run.name": "a\\b"}, "run.name does not accept"),
        ({"run.name": ".."}, "run.name does not accept '..'"),
        ({"run.name": "."}, "run.name does not accept '.'"),
    ],
)
def test_a_wrong_option_is_one_sentence(layer: dict, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.build(layer, origin="--set")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_true_is_accepted_where_it_means_something() -> None:
    config = Config.build({"train.compile": True, "augment.turn": True, "network.options": {"norm": True}})
    assert (config.train.compile, config.augment.turn, config.network.options) == (True, True, {"norm": True})
    assert Config.build({"run.name": "a.b c"}).run.name == "a.b c"


def test_json_round_trip() -> None:
    config = Config.build({"network.options": {"width": 8}, "train.epochs": 2}).choose("seed", 7, "why not")
    assert Config.from_json(config.to_json()) == config
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.from_json({"train": {"epochs": -1}})
