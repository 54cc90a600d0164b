"""What is asked of a network, as one small protocol: the loss, the running figures, the prediction.

The engine knows a task only through `Task` and `Meter`. A task knows nothing of files, epochs or devices.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


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


class Task(Protocol):
    """Loss, figures and the width of the output for one kind of question."""

    name: str
    outputs: int

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean training loss of a batch."""
        ...

    def meter(self) -> Meter:
        """A fresh meter."""
        ...
