"""What a layer adds to the loss: for large weights, for a large bias, for a large output.

A penalty of a weight is a note on an ordinary torch module; nothing is wrapped. A training loop collects the penalties
of a network once and adds them to the loss of every batch:

    found = penalties(network)
    ...
    loss = loss_function(network(x), targets) + sum(penalty() for penalty in found)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convlens.nn.named import look_up, require_number

Regulariser = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class L1:
    """l1 * sum of |w|: pulls every weight to 0 with the same force, and small ones all the way.

    Example:
        >>> L1(0.25)(torch.tensor([1.0, -2.0]))
        tensor(0.7500)
    """

    l1: float = 0.01

    def __post_init__(self) -> None:
        require_number("l1", "l1", self.l1, least=0)

    def __call__(self, weight: Tensor) -> Tensor:
        return self.l1 * weight.abs().sum()


@dataclass(frozen=True)
class L2:
    """l2 * sum of w^2: pulls large weights harder. Its gradient is 2 * l2 * w.

    Example:
        >>> L2(0.25)(torch.tensor([1.0, -2.0]))
        tensor(1.2500)
    """

    l2: float = 0.01

    def __post_init__(self) -> None:
        require_number("l2", "l2", self.l2, least=0)

    def __call__(self, weight: Tensor) -> Tensor:
        return self.l2 * weight.square().sum()


@dataclass(frozen=True)
class L1L2:
    """l1 * sum of |w| + l2 * sum of w^2. By its name both are 0.01, as in Keras; made here, what is not given is 0."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        require_number("l1_l2", "l1", self.l1, least=0)
        require_number("l1_l2", "l2", self.l2, least=0)

    def __call__(self, weight: Tensor) -> Tensor:
        return self.l1 * weight.abs().sum() + self.l2 * weight.square().sum()


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """The penalty that the name "l1_l2" means."""
    return L1L2(l1, l2)


REGULARISERS: dict[str, Callable[..., Regulariser]] = {"l1": L1, "l2": L2, "l1_l2": l1_l2}


def regulariser(wanted: str | Mapping[str, Any] | Regulariser) -> Regulariser:
    """The penalty of a name, of a table, or as it is: any function from a tensor to one number.

    Example:
        >>> regulariser("l2"), regulariser({"name": "l1_l2", "l1": 0.1})
        (L2(l2=0.01), L1L2(l1=0.1, l2=0.01))

    Raises:
        ConfigError: there is none of that name, or it has no such option.
    """
    return look_up("a penalty", wanted, REGULARISERS)


class ActivityRegularization(nn.Module):
    """Passes its input on, and penalises it while training: the penalty of the batch, divided by its samples.

    `penalty()` is that of the last batch. Evaluation leaves no penalty.

    Example:
        >>> layer = ActivityRegularization(L2(0.5))
        >>> _ = layer(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
        >>> layer.penalty()
        tensor(3.5000)

    Differs: Keras 3 documents the division and leaves it out; tf.keras divides.
    """

    def __init__(self, regularizer: str | Mapping[str, Any] | Regulariser) -> None:
        super().__init__()
        self.regularizer = regulariser(regularizer)
        self._last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._last = None
        if self.training and torch.is_grad_enabled():
            exact = x if x.dtype == torch.float64 else x.float()
            self._last = self.regularizer(exact) / len(x)
        return x

    def penalty(self) -> Tensor:
        """What the last batch adds to the loss; 0 when there was none."""
        return torch.zeros(()) if self._last is None else self._last

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}  # it hangs on a graph, which cannot be copied

    def extra_repr(self) -> str:
        return str(self.regularizer)


def penalise(module: nn.Module, name: str, regularizer: Regulariser) -> None:
    """Note on a module that one of its parameters costs something.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> penalise(layer, "weight", L2(0.1))
        >>> len(penalties(nn.Sequential(layer, nn.ReLU())))
        1
    """
    module.penalised = {**getattr(module, "penalised", {}), name: regularizer}  # type: ignore[assignment]


def penalties(network: nn.Module) -> list[Callable[[], Tensor]]:
    """All penalties of a network, each a function to be called after the forward pass.

    They are those noted by `penalise`, which are 0 while the parameter is not trained, and the method `penalty` of any
    module that has one.
    """
    found: list[Callable[[], Tensor]] = []
    for module in network.modules():
        if callable(own := getattr(module, "penalty", None)):
            found.append(own)  # type: ignore[arg-type]
        for name, regularizer in getattr(module, "penalised", {}).items():
            if (parameter := getattr(module, name)) is not None:
                found.append(partial(_cost, parameter, regularizer))
    return found


def _cost(parameter: Tensor, regularizer: Regulariser) -> Tensor:
    return regularizer(parameter) if parameter.requires_grad else torch.zeros(())
