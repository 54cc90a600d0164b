"""Any network of timm, by name. The only file that knows timm, imported when the first `timm:NAME` is asked for.

A name is an architecture of timm's own registry, with or without a tag (`mobilenetv2_100.ra_in1k`). Paths, addresses
and options that would read a file are refused: a name stored in a model file must not fetch or open anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from convlens.errors import ConfigError, ConvlensError
from convlens.models.depth import in_head, start_head_at_zero
from convlens.models.weights import Part
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
    network = _created(timm, name, arguments, options, size_px)
    if not pretrained:
        return network
    return _fetch(timm, name, cfg, arguments)


class Encoder(nn.Module):
    """A network of timm without its head, which gives the maps it makes on the way.

    Of several maps of one size only the last is given.

    Attributes:
        channels: of each map.
        reductions: sides of the input in sides of each map.

    Shapes:
        (N, C, H, W) -> a list of (N, channels[i], H / reductions[i], W / reductions[i]), from fine to coarse
    """

    def __init__(self, body: nn.Module, classifier: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.body, self._classifier = body, classifier
        info: Any = body.feature_info
        kept = {reduction: at for at, reduction in enumerate(info.reduction())}  # the last of each
        self._kept, self.reductions = list(kept.values()), list(kept)
        self.channels: list[int] = [info.channels()[at] for at in self._kept]
        self._channels_last = getattr(body, "output_fmt", "NCHW") == "NHWC"

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.body(x)
        return [maps[at].permute(0, 3, 1, 2) if self._channels_last else maps[at] for at in self._kept]

    def classifier_part(self) -> Part:
        """Names of its tensors in the classifier it is a part of; timm calls some of them otherwise here."""
        with torch.device("meta"):
            whole = self._classifier().state_dict()
        shapes = {name: tuple(tensor.shape) for name, tensor in whole.items()}
        names: dict[str, str] = {}
        for name, tensor in self.state_dict().items():
            spellings = _spellings(name.removeprefix("body."))
            found = [other for other in spellings if shapes.get(other) == tuple(tensor.shape)]
            names |= {name: found[0]} if found else {}
        return Part(names, shapes)


def encoder(name: str, in_channels: int, *, size_px: int | tuple[int, int] = 224, **options: Any) -> Encoder:
    """Build a network of timm that gives its feature maps in place of an answer, with fresh weights.

    Args:
        name: of timm's registry, without `timm:`.
        in_channels: channels of the image.
        size_px: used by networks made for one size only.
        options: arguments of timm's builder, such as `pad_type="same"`, or `out_indices=[0, 1, 2]` for some of the
            maps; plain values only.

    Example:
        >>> found = encoder("resnet18", 3)
        >>> found.channels, found.reductions
        ([64, 64, 128, 256, 512], [2, 4, 8, 16, 32])

    Raises:
        ConfigError: timm is not installed, does not know the name or an option, or the network has no feature maps.
    """
    timm = _timm()
    cfg = _config(timm, name)
    _require_plain(name, options)
    if "pretrained" in options:
        raise ConfigError(f"timm:{name} as an encoder takes no published weights. {LOCAL}")
    arguments = {"in_chans": in_channels, **options}
    if cfg.fixed_input_size:
        arguments = {"img_size": pair(size_px), **arguments}
    body = _created(timm, name, {"features_only": True, **arguments}, options, size_px)
    arguments.pop("out_indices", None)
    return Encoder(body, partial(timm.create_model, name, **arguments))


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


def _created(
    timm: ModuleType, name: str, arguments: dict[str, Any], options: Mapping[str, Any], size_px: int | tuple[int, int]
) -> nn.Module:
    try:
        return timm.create_model(name, **arguments)
    except (TypeError, KeyError, ValueError, RuntimeError, AssertionError, AttributeError, IndexError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"
        what = "cannot give its feature maps" if "features_only" in arguments else "cannot be built"
        raise ConfigError(f"timm:{name} {what} with {given} at {pair(size_px)} px: {error}.") from None


def _spellings(name: str) -> Iterator[str]:
    """Names a tensor may have had before timm took its network apart: `stages_0.x` was `stages.0.x`."""
    yield name
    first, _, rest = name.partition(".")
    yield rest
    for at, sign in enumerate(first):
        if sign == "_":
            yield f"{first[:at]}.{first[at + 1 :]}.{rest}"


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
