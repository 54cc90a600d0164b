"""Every value remembers where it came from, and a wrong option is an error with a suggestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from convlens.config import Config, by_leaf, describe_options, option_names, parse_assignment, read_toml
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
    ],
)
def test_a_wrong_option_is_one_sentence(layer: dict, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.build(layer, origin="--set")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_round_trip() -> None:
    config = Config.build({"network.options": {"width": 8}, "train.epochs": 2}).choose("seed", 7, "why not")
    assert Config.from_json(config.to_json()) == config
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.from_json({"train": {"epochs": -1}})


def test_toml(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('\ufeff[train]\nepochs = 4\n[[network.layers]]\nlayer = "flatten"\n', "utf-8")
    config = Config.build(read_toml(tmp_path / "run.toml"))
    assert config.train.epochs == 4
    assert config.network.layers == [{"layer": "flatten"}]
    (tmp_path / "bad.toml").write_text("epochs = = 4")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        read_toml(tmp_path / "bad.toml")
    with pytest.raises(ConfigError, match="There is no config file"):
        read_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.epochs=20", ("train.epochs", 20)),
        ("train.rate=1e-3", ("train.rate", 0.001)),
        ("train.nesterov=false", ("train.nesterov", False)),
        ("network.name=timm:resnet18", ("network.name", "timm:resnet18")),
        ("data.source=a=b", ("data.source", "a=b")),
        ("data.background=[0,0,0]", ("data.background", [0, 0, 0])),
    ],
)
def test_set(text: str, expected: tuple) -> None:
    assert parse_assignment(text) == expected


def test_set_without_equals() -> None:
    with pytest.raises(ConfigError, match="expects option=value"):
        parse_assignment("train.epochs")


def test_keyword_arguments_find_their_section() -> None:
    layer = by_leaf({"network": "lenet5", "options": {"width": 4}, "train": {"epochs": 2}, "name": "a"})
    config = Config.build(layer)
    assert (config.network.name, config.network.options, config.train.epochs, config.run.name) == (
        "lenet5",
        {"width": 4},
        2,
        "a",
    )
    with pytest.raises(ConfigError, match="no option 'epoch'"):
        Config.build(by_leaf({"epoch": 1}))


def test_every_option_is_explained_and_has_one_name() -> None:
    rows = describe_options()
    assert [name for name, _, _ in rows] == option_names()
    assert all(meaning for _, _, meaning in rows)
    leaves = [name.rpartition(".")[2] for name in option_names() if name not in ("network.name", "run.name")]
    assert len(set(leaves)) == len(leaves), "an option's last name must be unique, because Python callers use it"
