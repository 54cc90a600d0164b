"""What can go wrong, each as one sentence: what was expected, what came, what to do.

Every error a user can cause is a `ConvlensError`. The command line prints its message without a traceback and exits
with `exit_code`; a program catches the class. This file knows nothing of the rest of the house.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConvlensError(ValueError):
    """The root of every error convlens raises on purpose."""

    exit_code = 2


class ConfigError(ConvlensError):
    """An option is unknown, of the wrong kind, out of range, or has no effect here."""


class ShapeError(ConvlensError):
    """A shape does not fit: names the layer, the formula with its numbers, and the repair."""


class DataError(ConvlensError):
    """A source, a table, a split or a class map is not what training or evaluation needs."""


class BadImage(DataError):
    """One image that cannot be used.

    Attributes:
        name: the file (or sample) as the user knows it.
        kind: a short stable word for tables and tests: `empty`, `truncated`, `not-an-image`, `vector`, `too-large`, ...
        reason: one clause a person can act on.
    """

    def __init__(self, name: str, kind: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.kind, self.reason = name, kind, reason


class ClassMismatch(DataError):
    """Two ordered class maps that should be one."""


class ArtefactError(ConvlensError):
    """A model file or checkpoint is damaged, foreign, incomplete or from a newer version."""


class RunError(ConvlensError):
    """A run directory cannot be used: locked, read-only, changed, or not a run."""


class TrainingError(ConvlensError):
    """Training cannot go on: the loss is not finite, memory ran out, or the disk is full."""

    exit_code = 1


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A closing sentence naming the nearest option, or listing all when none is near.

    Example:
        >>> did_you_mean("epoch", ["epochs", "seed"])
        "Did you mean 'epochs'?"
        >>> did_you_mean("zzz", ["epochs", "seed"])
        'Choose from: epochs, seed.'
    """
    known = sorted(options)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else f"Choose from: {', '.join(known)}."
