"""Any network of timm, by name. The only file that knows timm, imported when the first `timm:NAME` is asked for.

A name is an architecture of timm's own registry, with or without a tag (`mobilenetv2_100.ra_in1k`). Paths, addresses
and options that would read a file are refused: a name stored in a model file must not fetch or open anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import nn

from convlens.errors import ConfigError, ConvlensError
from convlens.models.depth import in_head, start_head_at_zero
from convlens.shapes import pair

# options of timm that open files, fetch, or give something other than a classifier
REFUSED = frozenset(
    [
        "cache_dir",
        "checkpoint_path",
        "exportable",
        "feature_cfg",
        "feature_cls",
        "features_only",
        "in_chans",
        "kwargs_filter",
        "model_cfg",
        "no_jit",
        "num_classes",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_custom_load",
        "pretrained_filter_fn",
        "pretrained_model_args",
        "pretrained_strict",
        "pruned",
        "scriptable",
    ]
)
LOCAL = "Give a local file instead: network.weights=PATH.safetensors."


@dataclass(frozen=True)
class ExpectedInput:
    """The images published weights were trained on.

    Attributes:
        size_px: side of the network's input.
        mean, std: per channel, for pixels from 0 to 1.
        crop_share: the input's share of the side of the image it is cut from.
    """

    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_share: float

    @property
    def store_px(self) -> int:
        """Side of the image the input is cut from."""
        return round(self.size_px / self.crop_share)


def build(
    name: str,
    *,
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    pretrained: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a network of timm with a head of its own.

    Args:
        name: of timm's registry, without `timm:`.
        in_channels: channels of the image.
        outputs: numbers the network answers with.
        size_px: used by networks made for one size only, such as vision transformers.
        pretrained: fetch the published weights; the head stays fresh where it is of another size.
        options: arguments of timm's builder, such as `pad_type="same"` or `drop_rate=0.2`; plain values only.

    Raises:
        ConfigError: timm is not installed, or does not know the name or an option.
        ConvlensError: the published weights cannot be fetched.
    """
    timm = _timm()
    cfg = _config(timm, name)
    _require_plain(name, options)
    if pretrained and not cfg.hf_hub_id:
        raise ConfigError(f"There are no published weights for timm:{name} in a safe format. {LOCAL}")
    arguments = {"in_chans": in_channels, "num_classes": outputs, **options}
    if cfg.fixed_input_size:
        arguments = {"img_size": pair(size_px), **arguments}
    try:
        network = timm.create_model(name, **arguments)
    except (TypeError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"
        raise ConfigError(f"timm:{name} cannot be built with {given} at {pair(size_px)} px: {error}.") from None
    if not pretrained:
        return network
    return _fetch(timm, name, cfg, arguments)


def expected_input(network: nn.Module | str) -> ExpectedInput | None:
    """What timm says of the images a network's published weights were trained on; None for other networks.

    Args:
        network: one built here, or its name.
    """
    if isinstance(network, str):
        cfg: Mapping[str, Any] = _config(_timm(), network).to_dict()
    elif isinstance(found := getattr(network, "pretrained_cfg", None), Mapping):
        cfg = found
    else:
        return None
    from timm.data.config import resolve_data_config

    data = resolve_data_config(pretrained_cfg=dict(cfg))
    mean, std = tuple(map(float, data["mean"])), tuple(map(float, data["std"]))
    return ExpectedInput(int(data["input_size"][1]), mean, std, float(data["crop_pct"]))


def published_weights(network: nn.Module) -> dict[str, Any]:
    """Origin and licence of the published weights of a network built here, and what of it they do not cover.

    timm leaves the head fresh where it is of another size, and sums or repeats the first kernels where the images have
    another number of channels.
    """
    cfg = getattr(network, "pretrained_cfg", {})
    origin = cfg.get("hf_hub_id") or cfg.get("architecture")
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    fresh = [name for name in names if name in in_head(network)] if _other_head(network, cfg) else []
    parts = [f"{len(names) - len(fresh)} of {len(names)} tensors from {origin}"]
    parts += [f"left fresh: {', '.join(fresh)}"] if fresh else []
    first, channels = cfg.get("first_conv"), (cfg.get("input_size") or (3,))[0]
    if isinstance(first, str) and (mine := network.get_parameter(f"{first}.weight").shape[1]) != channels:
        parts += [f"{first}.weight adapted from {channels} channels to {mine}"]
    return {"origin": origin, "licence": cfg.get("license"), "fresh": fresh, "summary": "; ".join(parts)}


def _other_head(network: nn.Module, cfg: Mapping[str, Any]) -> bool:
    return getattr(network, "num_classes", None) != cfg.get("num_classes")


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise ConfigError("Networks named timm:NAME need the timm library: pip install 'convlens[timm]'.") from None
    return timm


def _config(timm: ModuleType, name: str) -> Any:
    """timm's facts about a name of its registry."""
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f"The nearest are {', '.join(near)}." if near else f"It has {len(known)}, such as resnet18."
        raise ConfigError(f"timm has no network '{architecture}'. {hint}")
    try:
        return timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", include_tags=True)]
        hint = f"It has {', '.join(filter(None, tags))}." if any(tags) else f"It has none; use timm:{architecture}."
        raise ConfigError(f"timm has no weights '{tag}' for {architecture}. {hint}") from None


def _require_plain(name: str, options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if option in REFUSED:
            raise ConfigError(
                f"timm:{name} does not take '{option}' here: channels and outputs come from the data, and weights "
                "from network.weights (a local file) or network.pretrained."
            )
        plain = value if isinstance(value, list | tuple) else [value]
        if not all(item is None or isinstance(item, bool | int | float | str) for item in plain):
            raise ConfigError(f"timm:{name}: {option} must be a plain value or a list of them; got {value!r}.")


def _fetch(timm: ModuleType, name: str, cfg: Any, arguments: dict[str, Any]) -> nn.Module:
    # one file in the safe format, and no way back to a pickled one
    safe = {"hf_hub_filename": "model.safetensors", "url": "", "file": None}
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=safe, **arguments)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConvlensError(
            f"The published weights of timm:{name} ({cfg.hf_hub_id}) cannot be fetched: {reason}. {LOCAL}"
        ) from None
    if _other_head(network, cfg.to_dict()):
        start_head_at_zero(network)
    return network
