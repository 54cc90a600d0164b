"""Every task by its name; adding one is its file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convlens.config import Config
from convlens.errors import ConfigError, did_you_mean
from convlens.options import KINDS
from convlens.tasks import detect, pictures, regress, segment
from convlens.tasks.classify import Classify
from convlens.tasks.detect import Detect
from convlens.tasks.pictures import Anomaly, Denoise, Reconstruct
from convlens.tasks.regress import Regress
from convlens.tasks.segment import Segment
from convlens.tasks.task import Task

TASKS: dict[str, type[Any]] = {
    "classify": Classify,
    "regress": Regress,
    "segment": Segment,
    "reconstruct": Reconstruct,
    "denoise": Denoise,
    "anomaly": Anomaly,
    "detect": Detect,
}
LOSSES_OF = {
    "regress": regress.LOSSES,
    "segment": segment.LOSSES,
    "detect": detect.LOSSES,
    **dict.fromkeys(("reconstruct", "denoise", "anomaly"), pictures.LOSSES),
}


OPTIONS_OF = {  # those that not every task has a use for
    "data.label_column": tuple(name for name in KINDS if name != "segment"),
    "data.bounds": ("regress",),
    "data.masks": ("segment",),
    "data.mask_values": ("segment",),
    "data.corruption": ("denoise",),
    "data.clean": ("denoise",),
    "data.normal": ("anomaly",),
    "data.format": ("detect",),
    "augment.mosaic": ("detect",),
    "train.loss": tuple(name for name in KINDS if name != "classify"),
    "train.label_smoothing": ("classify",),
    "train.class_weights": ("classify", "segment"),
    "evaluate.headline": ("classify",),
    "evaluate.false_alarms": ("anomaly",),
    "evaluate.abstain": ("classify", "regress"),
    "evaluate.overlap": ("detect",),
}


def require_options(config: Config) -> None:
    """Refuse what was asked for and has no effect on the task, before anything is read.

    Raises:
        ConfigError: it names the option and the tasks it is for.
    """
    plain = Config()
    for option, tasks in OPTIONS_OF.items():
        if config.task not in tasks and config[option] != plain[option]:
            raise ConfigError(
                f"{option} has no effect on the task {config.task}; it is for {', '.join(tasks)}. Leave it out."
            )


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
    losses = LOSSES_OF.get(name, ())
    if (asked := settings.get("loss_name")) is not None and asked not in losses:
        repair = did_you_mean(asked, losses) if losses else "It has one loss; leave train.loss out."
        raise ConfigError(f"train.loss={asked} is no loss of the task {name}. {repair}")
    return TASKS[name](tuple(names), card, **settings)
