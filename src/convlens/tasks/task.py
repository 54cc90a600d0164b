"""What is asked of a network, as one protocol: the loss, the running figures, the score, the answer.

The engine knows a task only by `loss` and `meter`; the model knows it by the rest. What a task fits on validation
(temperature, thresholds) is plain JSON and travels in the card. A task knows nothing of files, epochs or devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from convlens.data.preprocess import Preprocess


class Meter(Protocol):
    """Running sums over batches; the result does not depend on how samples were batched."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add one batch. May keep tensors and sum them later; must not wait for the device."""
        ...

    def compute(self) -> dict[str, float]:
        """The figures so far, by history name without its prefix, such as `loss` and `accuracy`."""
        ...

    def state(self) -> dict[str, float]:
        """The sums as plain numbers, for a checkpoint in the middle of an epoch."""
        ...

    def restore(self, state: dict[str, float]) -> None:
        """Continue from `state`."""
        ...


class Answer(Protocol):
    """What a task says about one image.

    Attributes:
        name: of the image.
        error: why there is no answer.
    """

    @property
    def name(self) -> str: ...
    @property
    def error(self) -> str | None: ...


@dataclass(frozen=True)
class Frame:
    """An image that was answered: how large it is, and how it was brought before the network."""

    size_px: tuple[int, int]
    preprocess: Preprocess


@dataclass(frozen=True)
class Seen:
    """What was put before the network.

    Attributes:
        images: as stored (N, H, W, C) uint8.
        samples: which of them (n,), as rows; they decide the noise that is shown in validation.
        frames: of each, where an answer has to be brought back to the image it came from.
    """

    images: np.ndarray
    samples: np.ndarray
    frames: Sequence[Frame] = ()


class Task(Protocol):
    """One kind of question.

    Attributes:
        name: as `task` in the config and in the card.
        names: of the network's outputs, in order: classes, or what the numbers are called.
        card: the model's; what is fitted is kept in it.
        figure: the history name of the figure to show beside the loss.
        promised: the option of `evaluate` that `settle` is to keep as a promise.
        unsettled: what the model does where it could not be kept, in words.
    """

    name: str
    names: tuple[str, ...]
    card: dict[str, Any]
    figure: str
    promised: ClassVar[str]
    unsettled: ClassVar[str]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean training loss of a batch."""
        ...

    def meter(self) -> Meter:
        """A fresh meter."""
        ...

    def require(self, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> None:
        """Check that the network's answer to one image has the right shape.

        Raises:
            ShapeError: it has not.
        """
        ...

    def keep(self, outputs: Tensor) -> Tensor:
        """What is kept of a batch's outputs for scores and answers, such as the class of each pixel."""
        ...

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, promise: float | None, level: float
    ) -> None:
        """Fit on validation what answers need, and keep it in the card.

        Args:
            outputs: as kept.

        Raises:
            DataError: a promise cannot be kept.
        """
        ...

    def report(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, level: float, seed: int
    ) -> dict[str, Any]:
        """All figures of some images, each with n, interval and baseline; plain JSON."""
        ...

    def headline(self, report: dict[str, Any], asked: str) -> dict[str, Any]:
        """The one score of a report, as a dict.

        Args:
            asked: `evaluate.headline`.

        Returns:
            `name`; `value`, an interval; `against`, None or the `words` and the `value` of the trivial answer.
        """
        ...

    def answers(self, names: Sequence[str], outputs: np.ndarray, seen: Seen, top: int) -> list[Any]:
        """One `Answer` for each image.

        Args:
            top: how many classes to list, where there are classes to list.
        """
        ...

    def unreadable(self, name: str, reason: str) -> Any:
        """The `Answer` for an image that could not be read."""
        ...
