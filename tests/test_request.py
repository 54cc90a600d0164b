"""Whatever way an option is asked for, it means the same; what cannot be read is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

import convlens as cl
import rig
import small
from convlens.config import Config
from convlens.errors import ConfigError
from convlens.request import ARRAYS, by_leaf, parse_assignment, read_request, read_toml


def test_arguments_or_a_config_or_a_file_say_the_same(tmp_path: Path) -> None:
    toml = tmp_path / "run.toml"
    toml.write_text("[train]\nepochs = 3\n", encoding="utf-8")
    source = str(small.shared_photos())
    one, _ = read_request(source, toml, {"seed": 1})
    assert (one.train.epochs, one.seed, one.data.source) == (3, 1, source)
    assert (one.origins["train.epochs"], one.origins["seed"]) == (str(toml), "argument")
    given = Config.build({"train.epochs": 3})
    two, arrays = read_request(source, given, {})
    assert (two.data.source, two.train.epochs, arrays) == (source, 3, None)
    assert read_request(None, given, {})[0] == given
    with pytest.raises(ConfigError, match="either a Config or options, not both"):
        cl.train(source, config=given, epochs=3)
    with pytest.raises(ConfigError, match="There is no config file"):
        cl.train(source, config=tmp_path / "none.toml")


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
        (" train.rate = 1e-3", ("train.rate", 0.001)),
        ("augment.flip = none ", ("augment.flip", "none")),
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


def test_what_has_no_name_is_handed_on() -> None:
    given = rig.pictures()
    config, arrays = read_request(given, None, {"epochs": 3})
    assert arrays is given
    assert (config.data.source, config.origins["data.source"]) == (ARRAYS, "chosen: given in memory")
    beside, none = read_request("photos", Config.build({"data.source": "digits"}), {})
    assert (beside.data.source, beside.origins["data.source"]) == ("photos", "chosen: given beside the config")
    assert none is None


def test_noise_for_the_task_denoise_is_corruption() -> None:
    hint = r'corruption="gaussian:0\.1"; got noise=.* augment__noise=0\.1'
    for options in ({"noise": "gaussian:0.1"}, {"noise": 0.3, "task": "denoise"}):
        with pytest.raises(ConfigError, match=hint):
            by_leaf(options)
    with pytest.raises(ConfigError, match=hint):
        read_request("photos", None, {"task": "denoise", "noise": 0.3})
    said, _ = read_request("photos", None, {"task": "denoise", "augment__noise": 0.3, "corruption": "poisson:30"})
    assert (said.augment.noise, said.data.corruption) == (0.3, "poisson:30")
    assert by_leaf({"noise": 0.3}) == {"augment.noise": 0.3}


def test_a_config_file_may_say_that_the_task_is_denoise(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('task = "denoise"\n', "utf-8")
    with pytest.raises(ConfigError, match="is corruption="):
        read_request("photos", tmp_path / "run.toml", {"noise": 0.3})
    assert read_request("photos", tmp_path / "run.toml", {"noise": 0.3, "task": "classify"})[0].augment.noise == 0.3
