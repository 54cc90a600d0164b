"""What a caller asks for, in words: keyword arguments, a TOML file, `--set option=value`; read into a `Config`.

An option is known here by its name alone. Whether there is one of that name, and what it accepts, is for `config.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlens.config import Config, option_names
from convlens.errors import ConfigError

ARRAYS = "arrays"  # stands for a source without a name: data in memory


def read_request(source: Any, config: Config | str | Path | None, options: dict[str, Any]) -> tuple[Config, Any]:
    """The config a caller asked for, and the source where it is not a name but arrays in memory.

    Raises:
        ConfigError: both a config and options, or an option that does not exist.
    """
    named = isinstance(source, str | Path)
    if not isinstance(config, Config):
        layer = read_toml(config) if config else {}
        asked = by_leaf(options, layer.get("task")) | ({"data.source": str(source)} if named else {})
        config = Config.build(layer, asked, origin=(str(config), "argument"))
    elif options:
        raise ConfigError("Give either a Config or options, not both.")
    elif named and str(source) != config.data.source:
        config = config.choose("data.source", str(source), "given beside the config")
    if source is None or named:
        return config, None
    return config.choose("data.source", ARRAYS, "given in memory"), source


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a config file into a layer for `Config.build`.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"There is no config file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from None


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read one `--set option=value`, the value as TOML, or as plain text where it is not TOML.

    Example:
        >>> parse_assignment("train.epochs=20"), parse_assignment("augment.flip=none")
        (('train.epochs', 20), ('augment.flip', 'none'))

    Raises:
        ConfigError: there is no equals sign.
    """
    option, equals, value = text.partition("=")
    if not equals or not option.strip():
        raise ConfigError(f"--set expects option=value, such as train.epochs=20; got '{text}'.")
    try:
        return option.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return option.strip(), value.strip()


def by_leaf(options: Mapping[str, Any], task: str | None = None) -> dict[str, Any]:
    """Turn keyword arguments such as `epochs=10` into dotted options; dots may be written as two underscores.

    `network="lenet5"` means its name, and `name` the name of the run.

    Args:
        task: what the options are for, where they do not say it themselves.

    Raises:
        ConfigError: `noise`, where it may mean that of the task denoise.

    Example:
        >>> by_leaf({"epochs": 10, "network": "lenet5", "data__seed": 1})
        {'train.epochs': 10, 'network.name': 'lenet5', 'data.seed': 1}
    """
    if "noise" in options and (isinstance(options["noise"], str) or options.get("task", task) == "denoise"):
        raise ConfigError(
            f'The noise that the task denoise takes away is corruption="gaussian:0.1"; got noise={options["noise"]!r}. '
            f"Write corruption=, or augment__noise=0.1 for noise as an augmentation."
        )
    known = option_names()
    leaves: dict[str, str] = {}
    for name in known:
        leaves.setdefault(name.rpartition(".")[2], name)
    leaves |= {"network": "network.name", "name": "run.name", "options": "network.options"}
    sections = {name.partition(".")[0] for name in known if "." in name}
    return {
        leaves[key]
        if key in leaves and not (key in sections and isinstance(value, Mapping))
        else key.replace("__", "."): value
        for key, value in options.items()
    }
