"""Which layers are trained, from which epoch on, and at which share of the learning rate.

    freeze       layers that keep their starting weights: all but the head, or some by name
    gradual      the head first, then one stage after another, from the top down to the first
    depth decay  each stage learns at a fixed share of the rate of the one above it

A layer that is not trained is in evaluation mode even while the others train, so that its batch normalisation neither
uses nor changes the statistics of the new images. All of it is a function of the config and the epoch: a resumed run
needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from convlens.config import Config
from convlens.errors import ConfigError, did_you_mean
from convlens.models.depth import Stage, below, head_of, in_head, stages_of

NONE, BACKBONE = "none", "backbone"


@dataclass(frozen=True)
class Group:
    """Parameters that learn together.

    Attributes:
        name: of the stage, for a person.
        parameters: their names.
        factor: their share of the learning rate.
        first_epoch: the epoch, from 0, in which they begin to learn.
    """

    name: str
    parameters: tuple[str, ...]
    factor: float = 1.0
    first_epoch: int = 0


@dataclass(frozen=True)
class Transfer:
    """What is trained when.

    Attributes:
        groups: from the head down.
        frozen: names of parameters that would be trained but for `network.freeze` and `train.finetune`.
        head: names of the layers that give the answer.
    """

    groups: tuple[Group, ...]
    frozen: tuple[str, ...] = ()
    head: tuple[str, ...] = ()

    @property
    def only_head(self) -> bool:
        """Whether a frozen backbone gives the same features in every epoch."""
        trained = [name for group in self.groups for name in group.parameters]
        return bool(self.frozen) and all(any(below(name, head) for head in self.head) for name in trained)

    def begin(self, network: nn.Module, epoch: int) -> None:
        """Make a network ready to train in an epoch: what requires a gradient, and which layers are in which mode."""
        parameters = dict(network.named_parameters())
        for name in self.frozen:
            parameters[name].requires_grad_(False)
        for group in self.groups:
            for name in group.parameters:
                parameters[name].requires_grad_(epoch >= group.first_epoch)
        set_modes(network, self.head)

    @contextmanager
    def holding(self, network: nn.Module) -> Iterator[None]:
        """Afterwards, whatever was held back is trainable again."""
        try:
            yield
        finally:
            parameters = dict(network.named_parameters())
            for name in (*self.frozen, *(name for group in self.groups for name in group.parameters)):
                parameters[name].requires_grad_(True)

    def optimiser_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """The groups as torch's optimisers take them, each with its `factor`."""
        parameters = dict(network.named_parameters())
        return [{"params": [parameters[n] for n in group.parameters], "factor": group.factor} for group in self.groups]

    def joining(self, epoch: int) -> list[str]:
        """The names of the groups that begin to learn in an epoch, other than the first."""
        return [group.name for group in self.groups if group.first_epoch == epoch > 0]


def whole(network: nn.Module) -> Transfer:
    """Everything that requires a gradient is trained, from the start, at the full rate."""
    names = tuple(name for name, parameter in network.named_parameters() if parameter.requires_grad)
    return Transfer((Group("all", names),))


def make_transfer(network: nn.Module, input_shape: Sequence[int], config: Config) -> Transfer:
    """What a config asks for, for one network; the network is not changed.

    What does not require a gradient to begin with is never trained.

    Args:
        input_shape: (N, C, H, W).
        config: with `train.epochs` and `train.depth_decay` decided.

    Raises:
        ConfigError: nothing would be trained, a name is unknown, or two options contradict each other.
    """
    frozen = frozen_by(network, config)
    free = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    trained = [name for name in free if name not in frozen]
    if not trained:
        raise ConfigError("network.freeze and train.finetune leave nothing to train. Freeze fewer layers.")
    held, head = tuple(name for name in free if name in frozen), head_of(network)
    decay, gradual = float(config.train.depth_decay), config.train.finetune == "gradual"
    if decay == 1.0 and not gradual:
        return Transfer((Group("all", tuple(trained)),), held, head)
    stages = [Stage(s.name, tuple(n for n in s.parameters if n in trained)) for s in stages_of(network, input_shape)]
    depths = [(depth, stage) for depth, stage in enumerate(stages) if stage.parameters]
    starts = first_epochs(len(depths), int(config.train.epochs)) if gradual else [0] * len(depths)
    groups = [
        Group(stage.name, stage.parameters, decay**depth, start)
        for (depth, stage), start in zip(depths, starts, strict=True)
    ]
    return Transfer(tuple(groups), held, head)


def first_epochs(groups: int, epochs: int) -> list[int]:
    """When each group begins to learn: the head at once, one more in every epoch, all of them by half of the epochs.

    Example:
        >>> first_epochs(6, 20), first_epochs(6, 5), first_epochs(6, 1)
        ([0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0])
    """
    pace = min(1.0, (epochs // 2) / max(groups - 1, 1))
    return [math.ceil(round(group * pace, 6)) for group in range(groups)]


def trains_head_alone(config: Config) -> bool:
    """Whether a config freezes everything but the head."""
    asked = config.network.freeze
    return config.train.finetune == "head" or BACKBONE in ([asked] if isinstance(asked, str) else asked)


def frozen_by(network: nn.Module, config: Config) -> set[str]:
    """The names of the parameters that a config freezes for good.

    Raises:
        ConfigError: a name is unknown, or two options contradict each other.
    """
    asked = config.network.freeze
    names = [asked] if isinstance(asked, str) else asked
    names = [] if names == [NONE] else names
    if BACKBONE in names and config.train.finetune == "gradual":
        raise ConfigError(
            "network.freeze=backbone trains the head alone, train.finetune=gradual the backbone too. Give one of them."
        )
    parameters = [name for name, _ in network.named_parameters()]
    frozen: set[str] = set()
    for name in names:
        if name == BACKBONE:
            continue
        found = [parameter for parameter in parameters if below(parameter, name)] if name else []
        if not found:
            layers = [layer for layer, module in network.named_modules() if layer and [*module.parameters()]]
            raise ConfigError(
                f"network.freeze: {config.network.name} has no layer '{name}' with parameters. "
                f"{did_you_mean(name, [*layers[:40], BACKBONE, NONE])}"
            )
        frozen.update(found)
    if trains_head_alone(config):
        if not head_of(network):
            raise ConfigError("The network has no dense layer and no convolution that could be its head.")
        frozen.update(set(parameters) - in_head(network))
    return frozen


def require_weights(config: Config) -> None:
    """Check that a network with random weights is not asked to keep them.

    Raises:
        ConfigError: it is.
    """
    asked = [f"network.freeze={config.network.freeze}"] if config.network.freeze != NONE else []
    asked += [f"train.finetune={config.train.finetune}"] if config.train.finetune != "all" else []
    if asked and not (config.network.weights or config.network.pretrained):
        raise ConfigError(
            f"{asked[0]} builds on trained weights, and there are none. Give network.weights=PATH.safetensors, "
            f"or network.pretrained=true for a network of timm."
        )


def idle_dropout(network: nn.Module) -> list[str]:
    """The dropouts of a network that are off while only its head is trained, by their names."""
    layers = [name for name, m in network.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    return layers + (["drop_rate"] if float(getattr(network, "drop_rate", 0.0) or 0.0) > 0 else [])


def set_modes(network: nn.Module, head: Sequence[str]) -> None:
    """Training mode for what is trained, evaluation mode for what is not.

    Where only the head is trained, everything else is in evaluation mode, dropout included: the features are those of
    a prediction. Else a layer is, if it has parameters and none of them is trained.
    """
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    if len(trained) == sum(1 for _ in network.parameters()):
        network.train()
    elif head and all(any(below(name, one) for one in head) for name in trained):
        network.eval()
        for name in head:
            network.get_submodule(name).train()
    else:
        network.train()
        for module in network.modules():
            own = [parameter.requires_grad for parameter in module.parameters()]
            if own and not any(own):
                module.eval()


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then every layer is in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
