"""Every task by its name; adding one is its file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convlens.errors import ConfigError, did_you_mean
from convlens.tasks.classify import Classify
from convlens.tasks.regress import Regress
from convlens.tasks.task import Task

TASKS: dict[str, type[Any]] = {"classify": Classify, "regress": Regress}


def make(name: str, names: Sequence[str], card: dict[str, Any], **settings: Any) -> Task:
    """The task of a name.

    Args:
        names: of the network's outputs.
        card: of the model; what is fitted on validation is kept in it.
        settings: of the training loss.

    Raises:
        ConfigError: there is no such task.
    """
    if name not in TASKS:
        raise ConfigError(f"There is no task '{name}'. {did_you_mean(name, TASKS)}")
    return TASKS[name](tuple(names), card, **settings)
