"""Where are the objects, and what are they? A box, a class and a score for each, and everything said about them.

What is kept of an image are its best detections down to a low score, one for each object; which of them are shown is
decided by a threshold chosen on validation. Scores are of the stored size, and so are the sizes of objects; answers
are brought back to the pixels of each image.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from convlens.data.box_targets import area, clip, true_boxes, unfit_boxes
from convlens.errors import ConfigError, ShapeError
from convlens.metrics.centre_box import CentreBox
from convlens.metrics.detection import ScoreThreshold, choose_threshold, detection_report
from convlens.metrics.detection_errors import detection_errors
from convlens.metrics.detection_tally import DetectionTally
from convlens.nn.detection import decode_rows
from convlens.nn.detection_loss import detection_loss
from convlens.tasks.task import Seen

LOSSES: dict[str, Callable[[Tensor, Tensor], dict[str, Tensor]]] = {"yolo": detection_loss}
LOWEST_SCORE = 0.01  # below it nothing is kept
MOST = 100  # detections of an image that are kept
UNSETTLED = 0.3  # the threshold where there was no validation to choose one on
OVERLAP = 0.5
BASELINE = "one box of the mean size in the middle"


@dataclass(frozen=True)
class FoundObject:
    """One object.

    Attributes:
        score: from 0 to 1; the threshold is the model's.
        x1, y1, x2, y2: edges in pixels of the image as it lies in its file.
    """

    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Detection:
    """The answer for one image.

    Attributes:
        objects: the most certain first.
        size_px: height and width of the image.
        error: why there is no answer.
    """

    name: str
    objects: tuple[FoundObject, ...] = ()
    size_px: tuple[int, int] | None = None
    error: str | None = None


@dataclass
class Detect:
    """A box, a class and a score for every object.

    Targets are rows `class, x1, y1, x2, y2` (N, M, 5), outputs predictions (N, A, 8 + K), see `nn/detection.py`.

    Attributes:
        names: the K classes.
        card: holds the threshold on the score, how many training boxes there were, and the box of the baseline.
        loss_name: `yolo`.
    """

    names: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=dict)
    loss_name: str = "yolo"
    name: str = field(default="detect", init=False)
    figure: str = field(default="map50", init=False)
    promised: ClassVar[str] = "abstain"
    unsettled: ClassVar[str] = f"it shows what has a score of {UNSETTLED} or more"

    def __post_init__(self) -> None:
        self._last: tuple[Callable[[], Tensor | None], Tensor] | None = None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the loss's terms."""
        total = LOSSES[self.loss_name](outputs, targets)["total"]
        self._last = weakref.ref(outputs), total.detach()
        return total

    def known_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss without its gradient; not worked out again for the very outputs that `loss` saw last."""
        if self._last is not None and self._last[0]() is outputs:
            return self._last[1]
        with torch.no_grad():
            return LOSSES[self.loss_name](outputs, targets)["total"]

    def meter(self) -> DetectMeter:
        """A fresh meter of the loss and, on validation, of the mean average precision at IoU 0.5."""
        return DetectMeter(self)

    def require(self, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> None:
        """Predictions of a box, its cell, an objectness and K classes."""
        wanted = 8 + len(self.names)
        if len(outputs) != 3 or outputs[0] != 1 or outputs[2] != wanted:
            raise ShapeError(
                f"For the task detect the network must give (1, A, {wanted}) for an input of {inputs}: a box, its "
                f"cell, an objectness and a logit for each class ({', '.join(self.names)}); it gives "
                f"{outputs or 'no tensor'}. Choose yolo."
            )

    def keep(self, outputs: Tensor) -> Tensor:
        """The best detections of each image, (N, 100, 6): rows `x1, y1, x2, y2, score, class`, class -1 after them."""
        return decode_rows(outputs, LOWEST_SCORE, self.overlap, MOST)

    @property
    def overlap(self) -> float:
        """Of two boxes of one class with a larger IoU the better one stays."""
        return float(self.card.get("data", {}).get("overlap", OVERLAP))

    @property
    def threshold(self) -> float:
        """The score from which a detection is shown."""
        stored = self.card.get("score_threshold")
        return UNSETTLED if stored is None else ScoreThreshold.from_json(stored).value

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, promise: float | None, level: float
    ) -> None:
        """Choose the threshold of the best F1."""
        if promise is not None:
            raise ConfigError("evaluate.abstain is for classes of whole images; leave it out for detect.")
        tally = self.tally(outputs, targets, seen.images.shape[1:3])
        self.card["score_threshold"] = choose_threshold(tally).to_json()

    def report(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        """Average precision, precision and recall at the threshold, counts and kinds of errors, beside the baseline."""
        size = seen.images.shape[1:3]
        tally, learned = self.tally(outputs, targets, size), self.card.get("data", {})
        found = detection_report(
            tally,
            self.names,
            threshold=self.threshold,
            level=level,
            baseline=self._baseline(targets, size),
            mean_count=learned.get("mean_count"),
        )
        errors = detection_errors(tally, self.names, threshold=self.threshold)
        return {**found, "errors": errors, "overlap": self.overlap, "stored_px": list(size)}

    def tally(self, rows: np.ndarray, targets: np.ndarray, size_px: Sequence[float]) -> DetectionTally:
        """Detections as kept against true boxes.

        Args:
            size_px: height and width to cut the detections off at.

        Shapes:
            rows (N, D, 6), targets (N, M, 5)
        """
        tally = DetectionTally(len(self.names), max_detections=MOST)
        for kept, objects in zip(rows, targets, strict=True):
            kept, true = kept[kept[:, 5] >= 0], true_boxes(objects, len(self.names))
            boxes = clip(kept[:, :4], (0, 0, size_px[1], size_px[0]))
            labels = kept[:, 5].astype(np.int64)
            tally.add(true.boxes, true.labels, boxes, labels, kept[:, 4], ignore=true.ignore, crowd=true.crowd)
        return tally

    def _baseline(self, targets: np.ndarray, size_px: tuple[int, ...]) -> DetectionTally | None:
        """The tally of one box for every image, where training told its class and its sides."""
        learned, (height, width) = self.card.get("data", {}), size_px
        if not (box := learned.get("centre_box")):
            return None
        shares = box["width_px"] / width, box["height_px"] / height
        centre = CentreBox(box["label"], *shares, learned["mean_count"], learned["box_images"])
        boxes, labels, scores = centre.detect(height, width)
        tally = DetectionTally(len(self.names), max_detections=MOST)
        for objects in targets:
            true = true_boxes(objects, len(self.names))
            tally.add(true.boxes, true.labels, boxes, labels, scores, ignore=true.ignore, crowd=true.crowd)
        return tally

    def headline(self, report: dict[str, Any], asked: str) -> dict[str, Any]:
        """The mean average precision at IoU 0.5."""
        if asked != "auto":
            raise ConfigError(f"evaluate.headline={asked} is for classes of whole images; detect has the mAP at 0.5.")
        against = report["baseline"] and {"words": BASELINE, "value": report["baseline"]["map50"]}
        return {"name": "map50", "value": report["map50"], "against": against}

    def answers(self, names: Sequence[str], outputs: np.ndarray, seen: Seen, top: int) -> list[Detection]:
        """The objects from the threshold on, in pixels of each image."""
        found = []
        for name, rows, frame in zip(names, outputs, seen.frames, strict=True):
            rows = rows[(rows[:, 5] >= 0) & (rows[:, 4] >= self.threshold)]
            boxes = unfit_boxes(rows[:, :4], frame.size_px, frame.preprocess)
            inside = area(boxes) > 0
            objects = tuple(
                FoundObject(self.names[int(label)], float(score), *map(float, box))
                for box, score, label in zip(boxes[inside], rows[inside, 4], rows[inside, 5], strict=True)
            )
            found.append(Detection(name, objects, frame.size_px))
        return found

    def unreadable(self, name: str, reason: str) -> Detection:
        """No boxes, and why."""
        return Detection(name, error=reason)


class DetectMeter:
    """The sum of the loss over images; where nothing is trained, also the detections beside the true boxes.

    Decoding takes as long as learning does, so training figures are of the loss alone.
    """

    def __init__(self, task: Detect) -> None:
        self.task, self.losses, self.images = task, list[Tensor](), 0
        self.loss_sum, self.tally = 0.0, DetectionTally(len(task.names), max_detections=MOST)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add predictions (N, A, 8 + K) and objects (N, M, 5)."""
        self.losses.append(self.task.known_loss(outputs, targets) * len(outputs))
        self.images += len(outputs)
        if not outputs.requires_grad:
            unlimited = (np.inf, np.inf)
            self.tally.merge(self.task.tally(self.task.keep(outputs).cpu().numpy(), targets.cpu().numpy(), unlimited))

    def compute(self) -> dict[str, float]:
        """Mean loss, and the mean average precision where there was something to find."""
        self._sum()
        found = {"loss": self.loss_sum / max(self.images, 1)}
        if self.tally.n and self.tally.truths.any():
            found["map50"] = self.tally.scores()["map50"]
        return found

    def state(self) -> dict[str, float]:
        """The sums as plain numbers; detections are only kept on validation, which is never interrupted half-way."""
        self._sum()
        return {"loss_sum": self.loss_sum, "images": self.images}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from `state`."""
        self.loss_sum, self.images, self.losses = state["loss_sum"], int(state["images"]), []

    def _sum(self) -> None:
        for value in torch.stack(self.losses).tolist() if self.losses else ():
            self.loss_sum += value
        self.losses = []
