"""A network from the user's own list of layers, as TOML tables or Python dicts.

    [[network.layers]]
    layer = "conv"
    filters = 32
    kernel_size = 3
    padding = "same"
    activation = "relu"

All shapes are walked first, and nothing is built until every layer fits. What each kind of layer does is in `kinds.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.models.kinds import LAYERS, Shape, Step
from convlens.models.options import resolve
from convlens.shapes import pair, smallest_size

Asked = tuple[int, str, dict[str, Any]]


class Planned(NamedTuple):
    """A row of the plan: the number and kind of a layer, and its step."""

    number: int
    kind: str
    step: Step


def plan(
    layers: Sequence[Mapping[str, Any]], *, in_channels: int, outputs: int, size_px: int | tuple[int, int]
) -> list[Planned]:
    """Walk the shapes of a list of layers without building anything.

    Args:
        layers: tables, each with `layer`, the kind, and that kind's options; `filters` or `units` may be "classes".
        in_channels: channels of the image.
        outputs: what the list must end in.
        size_px: side of the image, or height and width.

    Example:
        >>> layers = [{"layer": "conv", "filters": 8, "padding": "same"}, {"layer": "max_pool"},
        ...           {"layer": "flatten"}, {"layer": "dense", "units": "classes"}]
        >>> [row.step.shape for row in plan(layers, in_channels=1, outputs=10, size_px=28)]
        [(8, 28, 28), (8, 14, 14), (1568,), (10,)]

    Raises:
        ConfigError: a kind or an option is unknown, or has a value of the wrong kind.
        ShapeError: a layer does not fit what reaches it, or the list does not end in the right number of outputs.
    """
    asked = [_read(number, table) for number, table in enumerate(layers, 1)]
    if not asked:
        raise ConfigError("The list of layers is empty. Give at least flatten and dense with units='classes'.")
    try:
        planned = _walk(asked, (in_channels, *pair(size_px)), outputs)
    except ShapeError as error:
        smallest = smallest_size(lambda n: _walk(asked, (in_channels, n, n), outputs))
        repair = (
            f" An image of {smallest} x {smallest} fits all layers: set data.size_px={smallest}." if smallest else ""
        )
        raise ShapeError(f"{error}{repair}") from None
    _require_outputs(planned[-1], outputs)
    return planned


def build(
    layers: Sequence[Mapping[str, Any]], *, in_channels: int, outputs: int, size_px: int | tuple[int, int]
) -> nn.Sequential:
    """Build the network of a list of layers; its modules are named by number and kind, such as `1_conv`, `1_relu`.

    Raises:
        ConfigError: a kind or an option is unknown, or has a value of the wrong kind.
        ShapeError: a layer does not fit what reaches it, or the list does not end in the right number of outputs.
    """
    planned = plan(layers, in_channels=in_channels, outputs=outputs, size_px=size_px)
    return nn.Sequential(
        OrderedDict((f"{row.number}_{name}", make()) for row in planned for name, make in row.step.parts)
    )


def _read(number: int, table: Mapping[str, Any]) -> Asked:
    if not isinstance(table, Mapping) or not isinstance(table.get("layer"), str):
        raise ConfigError(f'Layer {number} must be a table that says its kind, such as layer = "conv"; got {table!r}.')
    kind = table["layer"]
    if kind not in LAYERS:
        raise ConfigError(f"Layer {number}: there is no layer '{kind}'. {did_you_mean(kind, LAYERS)}")
    options = {name: value for name, value in table.items() if name != "layer"}
    return number, kind, resolve(LAYERS[kind], options, f"Layer {number} ({kind})")


def _walk(asked: list[Asked], shape: Shape, outputs: int) -> list[Planned]:
    planned = []
    for number, kind, options in asked:
        try:
            step = LAYERS[kind](shape, outputs, **options)
        except ShapeError as error:
            raise ShapeError(f"Layer {number} ({kind}) receives {_describe(shape)}. {error}") from None
        except ConfigError as error:
            raise ConfigError(f"Layer {number} ({kind}): {error}") from None
        planned.append(Planned(number, kind, step))
        shape = step.shape
    return planned


def _require_outputs(last: Planned, outputs: int) -> None:
    if last.step.shape == (outputs,):
        return
    ending = '{"layer": "dense", "units": "classes"}'
    repair = f"End with {ending}"
    if len(last.step.shape) == 3:
        repair = f'Go on with {{"layer": "flatten"}} or {{"layer": "global_avg_pool"}}, then {ending}'
    elif last.kind == "dense":
        repair = 'Give it units="classes"'
    raise ShapeError(
        f"The network must end in {outputs} outputs, one for each class; its last layer, {last.number} ({last.kind}), "
        f"gives {_describe(last.step.shape)}. {repair}."
    )


def _describe(shape: Shape) -> str:
    if len(shape) == 1:
        return f"a vector of {shape[0]:,} values"
    return f"a map of {' x '.join(str(n) for n in shape)} (channels x height x width)"
