"""Which of K classes is it? Softmax and cross-entropy over logits (N, K)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

FLUSH_SAMPLES = 8192


@dataclass
class Classify:
    """Single-label classification.

    Targets are class indices (N,), or soft targets (N, K) where mixup or cutmix made them.

    Attributes:
        outputs: number of classes K.
        label_smoothing: share of each target spread evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567).
        class_weights: a weight for each class (K,), against imbalance.
    """

    outputs: int
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    name: str = field(default="classify", init=False)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy with label smoothing and class weights."""
        weights = None if self.class_weights is None else self.class_weights.to(outputs.device, outputs.dtype)
        return cross_entropy(outputs, targets, weight=weights, label_smoothing=self.label_smoothing)

    def meter(self) -> ClassifyMeter:
        """A fresh meter of plain cross-entropy and accuracy."""
        return ClassifyMeter()


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
