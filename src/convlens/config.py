"""The whole of a run in one frozen value, and where every part of it came from.

A `Config` is built from layers, later ones winning: the defaults of `options.py`, a TOML file, the caller's own
arguments. Each value remembers its layer in `origins`; what the program decides itself (`"auto"`) is filled in by
`Config.choose`, with the reason. An unknown option, or a value of the wrong kind, is a `ConfigError` that names the
layer and the nearest option. Where the layers come from, and what is done with the values, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from convlens.errors import ConfigError, did_you_mean
from convlens.options import (
    AugmentConfig,
    DataConfig,
    EvaluateConfig,
    NetworkConfig,
    RunConfig,
    Section,
    TaskName,
    TrainConfig,
)

DEFAULT = "default"


class Config(Section):
    """Everything one run was asked to do.

    Example:
        >>> config = Config.build({"train.epochs": 3}, origin="--epochs")
        >>> config.train.epochs, config.origins["train.epochs"], config.origins["train.rate"]
        (3, '--epochs', 'default')
        >>> Config.build({"train.epoch": 3}, origin="--set")
        Traceback (most recent call last):
        ...
        convlens.errors.ConfigError: --set: there is no option 'train.epoch'. Did you mean 'train.epochs'?
    """

    task: TaskName = Field(default="classify", description="what is asked of the network")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(default=0, description="decides every random draw")
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    run: RunConfig = RunConfig()
    origins: dict[str, str] = Field(default_factory=dict, repr=False)

    @classmethod
    def build(cls, *layers: Mapping[str, Any], origin: str | tuple[str, ...] = "argument") -> Self:
        """Merge layers of options, later ones winning, and remember which layer each value came from.

        Args:
            layers: nested or dotted mappings, such as `{"train": {"epochs": 3}}` or `{"train.epochs": 3}`.
            origin: what to call the layers in `origins` and in errors; one name, or one for each layer.

        Raises:
            ConfigError: an unknown option or a value of the wrong kind.
        """
        names = (origin,) * len(layers) if isinstance(origin, str) else origin
        nested: dict[str, Any] = {}
        origins = dict.fromkeys(option_names(), DEFAULT)
        for layer, name in zip(layers, names, strict=True):
            for option, value in flatten(layer, name).items():
                origins[option] = name
                section, _, key = option.rpartition(".")
                (nested.setdefault(section, {}) if section else nested)[key] = value
        try:
            return cls(**nested, origins=origins)
        except ValidationError as error:
            raise ConfigError(_explain(error, origins)) from None

    def choose(self, option: str, value: Any, reason: str) -> Self:
        """Fill in an option the program decided itself, with the reason as its origin."""
        section, _, key = option.rpartition(".")
        origins = {**self.origins, option: f"chosen: {reason}"}
        if not section:
            return self.model_copy(update={key: value, "origins": origins})
        changed = getattr(self, section).model_copy(update={key: value})
        return self.model_copy(update={section: changed, "origins": origins})

    def rows(self) -> list[tuple[str, Any, str]]:
        """Every option as (dotted name, value, origin), in the order they are declared."""
        return [(name, self[name], self.origins.get(name, DEFAULT)) for name in option_names()]

    def __getitem__(self, option: str) -> Any:
        value: Any = self
        for part in option.split("."):
            value = getattr(value, part)
        return value

    def to_json(self) -> dict[str, Any]:
        """The config and its origins as plain JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read back what `to_json` wrote.

        Raises:
            ConfigError: the data is not a config of this version.
        """
        try:
            return cls(**data)
        except (ValidationError, TypeError) as error:
            raise ConfigError(f"The stored config cannot be read: {error}") from None


def option_names() -> list[str]:
    """Every dotted option name, in the order of declaration."""
    names: list[str] = []
    for key, field in Config.model_fields.items():
        if key == "origins":
            continue
        kind = field.annotation
        inner = list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, Section) else []
        names += [f"{key}.{name}" for name in inner] or [key]
    return names


def describe_options() -> list[tuple[str, Any, str]]:
    """Every option as (dotted name, default, what it means): the table the command line prints."""
    rows: list[tuple[str, Any, str]] = []
    for name in option_names():
        field = _field(name)
        rows.append((name, field.get_default(call_default_factory=True), field.description or ""))
    return rows


def flatten(layer: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Turn a nested or dotted layer into dotted options that exist.

    Raises:
        ConfigError: an option does not exist.
    """
    known, flat = option_names(), {}
    sections = {name.partition(".")[0] for name in known if "." in name}

    def visit(prefix: str, value: Any) -> None:
        if prefix in known:
            flat[prefix] = value
        elif prefix in sections and isinstance(value, Mapping):
            for key, inner in value.items():
                visit(f"{prefix}.{key}", inner)
        else:
            raise ConfigError(f"{origin}: there is no option '{prefix}'. {did_you_mean(prefix, known)}")

    for key, value in layer.items():
        visit(key, value)
    return flat


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    first = error.errors()[0]
    known = option_names()
    parts = [str(part) for part in first["loc"]]
    option = next((".".join(parts[:n]) for n in (2, 1) if ".".join(parts[:n]) in known), ".".join(parts))
    said = [e["msg"].removeprefix("Value error, ") for e in error.errors() if e["loc"][:2] == first["loc"][:2]]
    wants = "; ".join(dict.fromkeys(said))
    if option in known:  # some options say in words what they take
        wants = next((f"It takes {words}" for words in _field(option).metadata if isinstance(words, str)), wants)
    return f"{origins.get(option, 'config')}: {option} does not accept {first['input']!r}. {wants}."


def _field(option: str) -> FieldInfo:
    section, _, key = option.rpartition(".")
    model = type(getattr(Config(), section)) if section else Config
    return model.model_fields[key]
