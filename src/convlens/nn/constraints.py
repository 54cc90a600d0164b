"""Where a weight must stay: projections that a training loop applies after every update.

A constraint maps a weight (O, I, h, w) to an allowed one. It is noted on an ordinary torch module; nothing is
wrapped. A training loop collects the constraints of a network once and calls each after `optimiser.step()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convlens.errors import ConfigError, ShapeError
from convlens.nn.named import look_up, require_number

Constraint = Callable[[Tensor], Tensor]
Axis = int | Sequence[int] | None


@dataclass(frozen=True)
class MinMaxNorm:
    """The norm of each filter is brought between two numbers; a filter of zeros, without direction, stays.

    Args:
        rate: how much of the way is gone at once; below 1 the constraint is only approached.
        axis: the norm is taken along these axes of the kernel as Keras lays it out, (h, w, I, O) or (I, O). None, the
            default, takes all but the last, which is one norm for each filter or unit; of a bias, the norm of it all.

    Example:
        >>> MinMaxNorm(1.0, 2.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])).tolist()
        [[1.2..., 1.6...], [0.6..., 0.8...], [0.0, 0.0]]

    Differs: Keras takes axis 0 when none is given. For a dense kernel that is the same; for a convolution it is the
        norm down one column of one plane, instead of which its own documentation asks for [0, 1, 2]. It also adds 1e-7
        to each norm, so that weights shrink a little at every step even where they are allowed.
    """

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Axis = None

    def __post_init__(self) -> None:
        require_number("min_max_norm", "min_value", self.min_value, least=0)
        require_number("min_max_norm", "max_value", self.max_value, least=self.min_value)
        require_number("min_max_norm", "rate", self.rate, least=0)
        if self.rate > 1:
            raise ConfigError(f"min_max_norm: rate is the share of the way, from 0 to 1; got {self.rate}.")
        _require_axis("min_max_norm", self.axis)

    def __call__(self, weight: Tensor) -> Tensor:
        return _scaled(weight, self.min_value, self.max_value, self.axis, self.rate)


@dataclass(frozen=True)
class MaxNorm:
    """Each filter whose norm is above the limit is scaled down to it; the others stay. `axis` as for `MinMaxNorm`.

    Example:
        >>> MaxNorm(1.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]])).tolist()
        [[0.6..., 0.8...], [0.3..., 0.4...]]

    Source: Srivastava et al. 2014, "Dropout", JMLR 15.
    """

    max_value: float = 2.0
    axis: Axis = None

    def __post_init__(self) -> None:
        require_number("max_norm", "max_value", self.max_value, least=0)
        _require_axis("max_norm", self.axis)

    def __call__(self, weight: Tensor) -> Tensor:
        return _scaled(weight, 0.0, self.max_value, self.axis)


@dataclass(frozen=True)
class UnitNorm:
    """Each filter is scaled to norm 1; a filter of zeros stays. `axis` as for `MinMaxNorm`."""

    axis: Axis = None

    def __post_init__(self) -> None:
        _require_axis("unit_norm", self.axis)

    def __call__(self, weight: Tensor) -> Tensor:
        return _scaled(weight, 1.0, 1.0, self.axis)


@dataclass(frozen=True)
class NonNeg:
    """Negative weights become 0."""

    def __call__(self, weight: Tensor) -> Tensor:
        return weight.clamp(min=0)


CONSTRAINTS: dict[str, Callable[..., Constraint]] = {
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}


def constraint(wanted: str | Mapping[str, Any] | Constraint) -> Constraint:
    """The constraint of a name, of a table, or as it is: any function from a weight to an allowed one.

    Example:
        >>> constraint({"name": "max_norm", "max_value": 3, "axis": [0, 1]})
        MaxNorm(max_value=3, axis=[0, 1])

    Raises:
        ConfigError: there is none of that name, or it has no such option.
    """
    return look_up("a constraint", wanted, CONSTRAINTS)


def constrain(module: nn.Module, name: str, wanted: Constraint) -> None:
    """Note on a module where one of its parameters must stay.

    Raises:
        ShapeError: the parameter does not have the axes of the constraint.
    """
    if (axis := getattr(wanted, "axis", None)) is not None:
        _dims(getattr(module, name), axis)
    module.constrained = {**getattr(module, "constrained", {}), name: wanted}  # type: ignore[assignment]


def constraints(network: nn.Module) -> list[Callable[[], None]]:
    """All constraints of a network, each a function to be called after an update.

    They are those noted by `constrain`, which do nothing while the parameter is not trained, and the method `constrain`
    of any module that has one.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> constrain(layer, "weight", NonNeg())
        >>> layer.weight.data = torch.tensor([[-1.0, 2.0]])
        >>> for project in constraints(layer):
        ...     project()
        >>> layer.weight.tolist()
        [[0.0, 2.0]]
    """
    found: list[Callable[[], None]] = []
    for module in network.modules():
        if callable(own := getattr(module, "constrain", None)):
            found.append(own)  # type: ignore[arg-type]
        for name, wanted in getattr(module, "constrained", {}).items():
            if (parameter := getattr(module, name)) is not None:
                found.append(partial(_project, parameter, wanted))
    return found


@torch.no_grad()
def _project(parameter: Tensor, wanted: Constraint) -> None:
    if parameter.requires_grad:
        parameter.copy_(wanted(parameter))


def _scaled(weight: Tensor, low: float, high: float, axis: Axis, rate: float = 1.0) -> Tensor:
    norm = weight.square().sum(dim=_dims(weight, axis), keepdim=True).sqrt()
    aim = rate * norm.clamp(low, high) + (1 - rate) * norm
    return weight * (aim / torch.where(norm > 0, norm, 1))


def _dims(weight: Tensor, axis: Axis) -> list[int]:
    """Axes of Keras's kernel (h, w, I, O) as axes of torch's weight (O, I, h, w)."""
    if axis is None:
        return list(range(1, weight.ndim)) or [0]
    order = [*range(2, weight.ndim), *([1] if weight.ndim > 1 else []), 0]
    axes = [axis] if isinstance(axis, int) else axis
    if any(not -len(order) <= one < len(order) for one in axes):
        raise ShapeError(
            f"The kernel has {len(order)} axes, as Keras lays it out (taps, in, out); a norm along {axis} is none of "
            f"it. Leave axis out for one norm a filter."
        )
    return [order[one] for one in axes]


def _require_axis(owner: str, axis: object) -> None:
    several = [axis] if isinstance(axis, int) else axis
    if axis is not None and not (
        isinstance(several, list | tuple) and several and all(type(a) is int for a in several)
    ):
        raise ConfigError(f"{owner}: axis must be a whole number or a list of them; got {axis!r}.")
