"""Which of K classes is it? Softmax and cross-entropy over logits (N, K), and everything said about the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from convlens.errors import DataError, ShapeError
from convlens.metrics.calibration import calibration_error_interval, fit_temperature, reliability, softmax
from convlens.metrics.classification import classification_report, headline
from convlens.metrics.decision import abstain_threshold, choose_threshold
from convlens.tasks.task import Seen

FLUSH_SAMPLES = 8192


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        label: the class, or None when the model is unsure or the image cannot be read.
        top: classes with their probabilities, the most probable first.
        unsure: the probability is under the level at which the model was told to abstain.
        error: why there is no answer.
    """

    name: str
    label: str | None = None
    probability: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    unsure: bool = False
    error: str | None = None


@dataclass
class Classify:
    """Single-label classification.

    Targets are class indices (N,), or soft targets (N, K) where mixup or cutmix made them.

    Attributes:
        names: the K classes.
        card: holds what was fitted (`calibration`, `threshold`, `abstain`) and the training images of each class.
        label_smoothing: share of each target spread evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567).
        class_weights: a weight for each class (K,), against imbalance.
    """

    names: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=dict)
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    name: str = field(default="classify", init=False)
    figure: str = field(default="accuracy", init=False)
    promised: ClassVar[str] = "abstain"
    unsettled: ClassVar[str] = "it always answers"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy with label smoothing and class weights."""
        weights = None if self.class_weights is None else self.class_weights.to(outputs.device, outputs.dtype)
        return cross_entropy(outputs, targets, weight=weights, label_smoothing=self.label_smoothing)

    def meter(self) -> ClassifyMeter:
        """A fresh meter of plain cross-entropy and accuracy."""
        return ClassifyMeter()

    def require(self, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> None:
        """One output for each class."""
        if outputs != (1, len(self.names)):
            raise ShapeError(
                f"The network must give (1, {len(self.names)}) for one image, an output for each class "
                f"({', '.join(self.names[:5])}{', ...' if len(self.names) > 5 else ''}); for an input of "
                f"{inputs} it gives {outputs or 'no tensor'}. Change its last layer, or choose another network, "
                f"such as compact."
            )

    def keep(self, outputs: Tensor) -> Tensor:
        """All of them."""
        return outputs

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen | None = None, *, promise: float | None, level: float
    ) -> None:
        """Fit temperature, threshold and abstain rule on validation outputs.

        Shapes:
            outputs (N, K), targets (N,)
        """
        self.card["calibration"] = {"temperature": fit_temperature(outputs, targets), "n": len(targets)}
        probabilities = self.probabilities(outputs)
        if outputs.shape[1] == 2 and len(np.unique(targets)) == 2:
            self.card["threshold"] = choose_threshold(probabilities[:, 1], targets).to_json()
        if promise is not None:
            rule = abstain_threshold(probabilities, targets, promise, threshold=self.threshold, level=level)
            if rule is None:
                raise DataError(
                    f"No confidence keeps the promise evaluate.abstain={promise}: with {len(targets)} validation "
                    f"images the answers that are surest are not right often enough. Lower it, or hold out more images."
                )
            self.card["abstain"] = rule.to_json()

    @property
    def threshold(self) -> float | None:
        """Two classes: the probability from which the second is answered; None where the larger one wins."""
        return (self.card.get("threshold") or {}).get("value")

    @property
    def abstain_below(self) -> float | None:
        """The probability under which the model says it is unsure; None where it always answers."""
        return (self.card.get("abstain") or {}).get("confidence")

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (N, K) from logits (N, K)."""
        return softmax(outputs, float(self.card.get("calibration", {}).get("temperature", 1.0)))

    def report(
        self,
        outputs: np.ndarray,
        targets: np.ndarray,
        seen: Seen | None = None,
        *,
        level: float = 0.95,
        seed: int = 0,
    ) -> dict[str, Any]:
        """The metrics under the fitted calibration, threshold and abstain rule; `uncalibrated` is how it was before."""
        found = classification_report(
            self.probabilities(outputs),
            targets,
            self.names,
            threshold=self.threshold,
            abstain=self.abstain_below,
            train_counts=self.card.get("data", {}).get("train_counts"),
            level=level,
            seed=seed,
        )
        if "calibration" in self.card:
            raw = softmax(outputs)
            error = calibration_error_interval(raw, targets, level=level, seed=seed)
            bins = [one.to_json() for one in reliability(raw, targets, level=level)]
            found["uncalibrated"] = {"error": error.to_json(), "bins": bins}
        return found

    def headline(self, report: dict[str, Any], asked: str) -> dict[str, Any]:
        """Accuracy, or balanced accuracy where the training classes are unbalanced, or what was asked for."""
        name = headline(report, self.card["data"]["train_counts"]) if asked == "auto" else asked
        always = report["baseline"]
        words = {"words": f"always answering '{always['class']}'", "value": always.get(name) or always["accuracy"]}
        return {"name": name, "value": report[name], "against": words if always["class"] is not None else None}

    def answers(self, names: Sequence[str], outputs: np.ndarray, seen: Seen, top: int) -> list[Prediction]:
        """The class of each image, and the next most probable ones."""
        probabilities, floor = self.probabilities(outputs), self.abstain_below or 0.0
        found = []
        for name, row in zip(names, probabilities, strict=True):
            order = np.argsort(-row, kind="stable")
            chosen = int(order[0]) if self.threshold is None else int(row[1] >= self.threshold)
            unsure = float(row.max()) < floor
            listed = tuple((self.names[i], float(row[i])) for i in order[:top])
            label = None if unsure else self.names[chosen]
            found.append(Prediction(name, label, float(row[chosen]), listed, unsure))
        return found

    def unreadable(self, name: str, reason: str) -> Prediction:
        """No class, and why."""
        return Prediction(name, error=reason)


class ClassifyMeter:
    """Sums of plain cross-entropy and of right answers.

    The loss it reports has no smoothing and no weights, so that training and validation can be compared. Batches are
    kept until a few thousand samples have come together, so that a small network is not slowed by its own figures.
    """

    def __init__(self) -> None:
        self.loss_sum, self.right, self.count = 0.0, 0, 0
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._kept_samples = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits (N, K) and targets (N,) or (N, K)."""
        self._kept.append((outputs.detach(), targets))
        self._kept_samples += len(outputs)
        if self._kept_samples >= FLUSH_SAMPLES:
            self._flush()

    def compute(self) -> dict[str, float]:
        """Mean cross-entropy in nats, and accuracy."""
        self._flush()
        return {"loss": self.loss_sum / max(self.count, 1), "accuracy": self.right / max(self.count, 1)}

    def state(self) -> dict[str, float]:
        """The sums as plain numbers."""
        self._flush()
        return {"loss_sum": self.loss_sum, "right": self.right, "count": self.count}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from `state`."""
        self.loss_sum, self.right, self.count = state["loss_sum"], int(state["right"]), int(state["count"])

    @torch.no_grad()
    def _flush(self) -> None:
        # batch by batch, so that the sum does not depend on when it was flushed
        for outputs, targets in self._kept:
            logits = outputs.float()
            hard = targets if targets.ndim == 1 else targets.argmax(1)
            self.loss_sum += float(cross_entropy(logits, targets, reduction="sum"))
            self.right += int((logits.argmax(1) == hard).sum())
            self.count += len(logits)
        self._kept, self._kept_samples = [], 0
