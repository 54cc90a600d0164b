"""The update rule: torch's optimisers, one decoupled weight decay for all, penalties and averaged weights.

Decay is `w <- w - rate * weight_decay * w`, apart from the gradient (Loshchilov and Hutter 2019, arXiv 1711.05101), and
never touches norms and biases. An L1 or L2 penalty is part of the loss and passes through the gradient. This file knows
parameters, not data or epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convlens.options import TrainConfig


def decayed_parameters(network: nn.Module) -> list[Tensor]:
    """The trainable weights that decay and penalties act on: kernels and matrices, not norms and biases."""
    return [p for p in network.parameters() if decays(p)]


def decays(parameter: Tensor) -> bool:
    """Whether decay acts on a parameter now: it is trained, and is a kernel or a matrix."""
    return parameter.requires_grad and parameter.ndim > 1


def build_optimiser(
    parameters: nn.Module | list[dict[str, Any]], settings: TrainConfig, rate: float
) -> torch.optim.Optimizer:
    """An optimiser, fused where torch has it.

    Args:
        parameters: those of a network that require a gradient; or groups of `params`, each with its rate's `factor`.

    Raises:
        ValueError: there is no parameter.
    """
    if isinstance(parameters, nn.Module):
        parameters = [{"params": [p for p in parameters.parameters() if p.requires_grad], "factor": 1.0}]
    betas = (settings.beta1, settings.beta2)
    match settings.optimiser:
        case "sgd" | "auto":
            nesterov = settings.nesterov and settings.momentum > 0
            return torch.optim.SGD(parameters, rate, settings.momentum, nesterov=nesterov, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters, rate, settings.alpha, settings.eps, momentum=settings.momentum, foreach=True
            )
        case "adam" | "adamw":
            return torch.optim.Adam(parameters, rate, betas, settings.eps, fused=True)


@torch.no_grad()
def decay_weights(parameters: list[Tensor], rate: float, weight_decay: float) -> None:
    """Shrink those parameters on which decay acts by `1 - rate * weight_decay`."""
    if weight_decay and (weights := [p for p in parameters if decays(p)]):
        torch._foreach_mul_(weights, 1.0 - rate * weight_decay)


def penalty(weights: list[Tensor], l1: float, l2: float) -> Tensor:
    """`l2 * sum w^2 + l1 * sum |w|`, differentiable."""
    terms = [l2 * w.square().sum() + l1 * w.abs().sum() for w in weights]
    return torch.stack(terms).sum()


class AveragedWeights:
    """Exponential moving average of parameters and buffers (Polyak and Juditsky 1992).

    Early on the decay is lowered to (1 + n) / (10 + n) after n updates, so that the start is forgotten quickly.

    Args:
        constraints: what the averaged weights have to keep too; an average of weights of norm 1 has a smaller norm.
    """

    def __init__(self, network: nn.Module, decay: float, constraints: Sequence[Callable[[], None]] = ()) -> None:
        self.decay, self.updates, self.constraints = decay, 0, constraints
        self._live = [t for t in network.state_dict().values() if t.is_floating_point()]
        self.shadow = [t.clone() for t in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.shadow, self._live, 1.0 - decay)

    def apply(self) -> None:
        """Give the network the averaged weights for good."""
        torch._foreach_copy_(self._live, self.shadow)
        for project in self.constraints:
            project()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network use the averaged weights for a while."""
        kept = [t.clone() for t in self._live]
        self.apply()
        try:
            yield
        finally:
            torch._foreach_copy_(self._live, kept)
