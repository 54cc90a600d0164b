"""How much is it? One number or several for each image, with an honest error bar.

The network answers in standard deviations of the training targets, which suits any unit; or, where bounds are given,
between them by a sigmoid. Everything said to a person is in the unit of the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss, l1_loss, mse_loss

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.conformal import ErrorBar, fit_error_bar
from convlens.metrics.regression import regression_report
from convlens.tasks.task import Seen

PROMISE = 0.9
LOSSES = {"squared": mse_loss, "absolute": l1_loss, "huber": huber_loss}


@dataclass(frozen=True)
class Number:
    """One answered number; `low` and `high` hold the true value as often as the error bar promises."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Estimate:
    """The answer for one image.

    Attributes:
        numbers: one for each target.
        error: why there is no answer.
    """

    name: str
    numbers: tuple[Number, ...] = ()
    error: str | None = None


@dataclass
class Regress:
    """Numbers from images.

    Targets are (N, T) in the unit of the data; so are the outputs once they are decoded.

    Attributes:
        names: of the T targets.
        card: holds the training targets' `mean`, `std` and `median` under `data`, and the fitted `error_bars`.
        loss_name: `squared`, `absolute` or `huber`, of the difference in standard deviations (Huber 1964).
        bounds: every answer lies between them; kept in the card.
    """

    names: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=dict)
    loss_name: str = "huber"
    name: str = field(default="regress", init=False)
    figure: str = field(default="mae", init=False)
    promised: ClassVar[str] = "abstain"
    unsettled: ClassVar[str] = "its numbers have no error bars"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over samples and targets."""
        _, std = self._scale(outputs)
        return LOSSES[self.loss_name](self.decode(outputs) / std, targets / std)

    def decode(self, outputs: Tensor) -> Tensor:
        """What the network says, in the unit of the data: (N, T) -> (N, T)."""
        bounds = self.card["data"].get("bounds")
        if bounds:
            return bounds[0] + (bounds[1] - bounds[0]) * torch.sigmoid(outputs)
        mean, std = self._scale(outputs)
        return mean + std * outputs

    def meter(self) -> RegressMeter:
        """A fresh meter of the squared error in standard deviations, and of the absolute one in units."""
        return RegressMeter(self)

    def require(self, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> None:
        """One output for each target."""
        if outputs != (1, len(self.names)):
            raise ShapeError(
                f"The network must give (1, {len(self.names)}) for one image, a number for each of "
                f"{', '.join(self.names)}; for an input of {inputs} it gives {outputs or 'no tensor'}. "
                f"Change its last layer."
            )

    def keep(self, outputs: Tensor) -> Tensor:
        """All of them."""
        return outputs

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen | None = None, *, promise: float | None, level: float
    ) -> None:
        """Fit an error bar for each target on validation residuals."""
        predicted, kept = self._numbers(outputs), PROMISE if promise is None else promise
        needed = math.ceil(kept / (1 - kept) - 1e-9)
        if len(targets) < needed:
            raise DataError(
                f"Error bars that hold for {100 * kept:.4g} % of new images need {needed} validation images; got "
                f"{len(targets)}. Hold out more (data.valid_fraction), or promise less (evaluate.abstain)."
            )
        bars = [fit_error_bar(predicted[:, i], targets[:, i], kept) for i in range(len(self.names))]
        self.card["error_bars"] = [bar.to_json() for bar in bars]

    @property
    def error_bars(self) -> list[ErrorBar] | None:
        """One for each target, once they have been fitted."""
        found = self.card.get("error_bars")
        return None if found is None else [ErrorBar.from_json(bar) for bar in found]

    def report(
        self,
        outputs: np.ndarray,
        targets: np.ndarray,
        seen: Seen | None = None,
        *,
        level: float = 0.95,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Errors of every target, with intervals, beside always answering the training mean or median."""
        known = self.card["data"]
        constants = {name: np.asarray(known[name]) for name in ("mean", "median")}
        bars = self.error_bars
        return regression_report(
            self._numbers(outputs), targets, self.names, constants=constants, error_bars=bars, level=level
        )

    def headline(self, report: dict[str, Any], asked: str) -> dict[str, Any]:
        """The mean absolute error of one target; of several, by how much it is smaller than that of their medians."""
        if asked != "auto":
            raise ConfigError(f"evaluate.headline={asked} is for classes; a regression has the mean absolute error.")
        if len(self.names) > 1:
            against = {"words": "always answering the training medians", "value": {"value": 0.0}}
            return {"name": "skill", "value": report["overall"]["skill"], "against": against}
        row = report["per_target"][0]
        words = f"always answering the training median, {row['baseline']['median']:.4g}"
        return {"name": "mae", "value": row["mae"], "against": {"words": words, "value": row["baseline"]["mae"]}}

    def answers(self, names: Sequence[str], outputs: np.ndarray, seen: Seen, top: int) -> list[Estimate]:
        """The numbers of each image, with error bars where there are any; `top` is of no use here."""
        bars = self.error_bars or [None] * len(self.names)
        found = []
        for name, row in zip(names, self._numbers(outputs), strict=True):
            numbers = [
                Number(target, float(value))
                if bar is None
                else Number(target, float(value), float(value) - bar.half_width, float(value) + bar.half_width)
                for target, value, bar in zip(self.names, row, bars, strict=True)
            ]
            found.append(Estimate(name, tuple(numbers)))
        return found

    def unreadable(self, name: str, reason: str) -> Estimate:
        """No number, and why."""
        return Estimate(name, error=reason)

    def _numbers(self, outputs: np.ndarray) -> np.ndarray:
        return self.decode(torch.from_numpy(np.asarray(outputs, np.float32))).numpy()

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (like.new_tensor(self.card["data"][name]) for name in ("mean", "std"))
        return mean, std


class RegressMeter:
    """Sums of squared errors in standard deviations and of absolute errors in the unit of the data."""

    def __init__(self, task: Regress) -> None:
        self.task, self.squares, self.absolute, self.count = task, 0.0, 0.0, 0
        self._kept: list[tuple[Tensor, Tensor]] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add outputs (N, T) and targets (N, T)."""
        self._kept.append((outputs.detach(), targets))

    def compute(self) -> dict[str, float]:
        """`loss`, the mean squared error in standard deviations, and `mae`, the mean absolute one in units."""
        self._flush()
        many = max(self.count, 1)
        return {"loss": self.squares / many, "mae": self.absolute / many}

    def state(self) -> dict[str, float]:
        """The sums as plain numbers."""
        self._flush()
        return {"squares": self.squares, "absolute": self.absolute, "count": self.count}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from `state`."""
        self.squares, self.absolute, self.count = state["squares"], state["absolute"], int(state["count"])

    @torch.no_grad()
    def _flush(self) -> None:
        for outputs, targets in self._kept:
            _, std = self.task._scale(outputs.float())
            error = (self.task.decode(outputs.float()) - targets).double()
            self.squares += float((error / std).square().sum())
            self.absolute += float(error.abs().sum())
            self.count += error.numel()
        self._kept = []
