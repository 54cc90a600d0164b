"""What is each pixel? A softmax over K classes at every pixel, and everything said about the label map it makes.

Pixels of mask value 255 count nowhere: not in the loss, not in a score. Scores are of the stored size; answers are
brought back to the size of each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from convlens.data.fitting import unfit
from convlens.data.mask_map import IGNORED
from convlens.errors import ConfigError, ShapeError
from convlens.metrics.otsu import otsu_map, otsu_polarity
from convlens.metrics.pixel_tally import PixelTally
from convlens.metrics.segmentation import segmentation_report
from convlens.nn.losses import PIXEL_LOSSES, cross_entropy, mixed_loss
from convlens.tasks.task import Seen

LOSSES = {name: {name: 1.0} for name in PIXEL_LOSSES} | {
    f"{name}+dice": {name: 1.0, "dice": 1.0} for name in ("cross_entropy", "focal")
}
BACKGROUND = 0


@dataclass(frozen=True)
class Segmentation:
    """The answer for one image.

    Attributes:
        mask: (h, w) uint8, the class of each pixel of the image as it lies in its file; 255 where the network did not
            look.
        shares: of the image that each class covers.
        objects: connected regions of each class, background left out.
        error: why there is no answer.
    """

    name: str
    mask: np.ndarray | None = None
    shares: tuple[tuple[str, float], ...] = ()
    objects: tuple[tuple[str, int], ...] = ()
    error: str | None = None


@dataclass
class Segment:
    """A class for every pixel.

    Targets are (N, H, W) class indices, 255 where nothing counts; outputs (N, K, H, W) logits.

    Attributes:
        names: the K classes; the first is the background.
        card: holds the training pixels of each class, and on which side of a threshold objects lie (`otsu_bright`).
        loss_name: `cross_entropy`, `dice`, `focal`, or the sum of the first or the last with `dice`.
        class_weights: a weight for each class (K,), in cross-entropy and focal loss.
    """

    names: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=dict)
    loss_name: str = "cross_entropy+dice"
    class_weights: Tensor | None = None
    name: str = field(default="segment", init=False)
    figure: str = field(default="dice", init=False)
    promised: ClassVar[str] = "abstain"
    unsettled: ClassVar[str] = "it always answers"

    def __post_init__(self) -> None:
        common = {"ignore_index": IGNORED}
        weighted = common if self.class_weights is None else {**common, "class_weights": self.class_weights}
        options = {"dice": common, "cross_entropy": weighted, "focal": weighted}
        shares = LOSSES[self.loss_name]
        self._loss = mixed_loss(shares, **{name: options[name] for name in shares})

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The chosen loss over the pixels that count."""
        return self._loss(outputs, targets)

    def meter(self) -> SegmentMeter:
        """A fresh meter of plain cross-entropy and of the foreground's Dice."""
        return SegmentMeter(len(self.names))

    def require(self, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> None:
        """An output for each class at each pixel of the input."""
        wanted = (1, len(self.names), *inputs[2:])
        if outputs != wanted:
            raise ShapeError(
                f"For the task segment the network must give {wanted} for an input of {inputs}, a logit for each class "
                f"({', '.join(self.names)}) at each pixel; it gives {outputs or 'no tensor'}. Choose unet or fcn8s."
            )

    def keep(self, outputs: Tensor) -> Tensor:
        """The most probable class of each pixel, (N, H, W) uint8."""
        return outputs.argmax(1).to(torch.uint8)

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, promise: float | None, level: float
    ) -> None:
        """See on which side of a threshold the objects lie, for the baseline."""
        if promise is not None:
            raise ConfigError("evaluate.abstain is for classes of whole images; leave it out for segment.")
        pairs = ((grey(seen.images[row]), mask) for row, mask in zip(seen.samples, targets, strict=True))
        self.card["otsu_bright"] = otsu_polarity(pairs, BACKGROUND, IGNORED)

    def report(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        """Pixel accuracy, IoU, Dice and boundary F1 with intervals over images, beside Otsu's threshold."""
        tally, bright = self.tally(outputs, targets), self.card.get("otsu_bright")
        baselines = {}
        if bright is not None:
            otsu = PixelTally(2, ignore_index=-1, tolerance_px=tally.tolerance_px)
            for row, mask in zip(seen.samples, targets, strict=True):
                truth = np.where(mask == IGNORED, -1, (mask != BACKGROUND).astype(np.int64))
                otsu.add(truth, otsu_map(grey(seen.images[row]), bright=bright))
            baselines["Otsu threshold"] = otsu
        return segmentation_report(tally, self.names, background=BACKGROUND, baselines=baselines, level=level)

    def tally(self, outputs: np.ndarray, targets: np.ndarray) -> PixelTally:
        """The counts of label maps (N, H, W) against their masks (N, H, W)."""
        tally = PixelTally(len(self.names), ignore_index=IGNORED)
        for predicted, mask in zip(outputs, targets, strict=True):
            tally.add(mask, predicted)
        return tally

    def headline(self, report: dict[str, Any], asked: str) -> dict[str, Any]:
        """The Dice of the foreground, or the mean over the classes where there are several kinds of object."""
        if asked != "auto":
            raise ConfigError(f"evaluate.headline={asked} is for classes of whole images; segment has the Dice.")
        name = "foreground_dice" if len(self.names) == 2 else "mean_dice"
        comparable = [row for row in report["baselines"] if name in row]
        best = max(comparable, key=lambda row: row[name]["value"] or 0.0)
        return {"name": name, "value": report[name], "against": {"words": best["name"], "value": best[name]}}

    def answers(self, names: Sequence[str], outputs: np.ndarray, seen: Seen, top: int) -> list[Segmentation]:
        """The label map of each image at its own size, with the share and the number of regions of each class."""
        found = []
        for name, classes, frame in zip(names, outputs, seen.frames, strict=True):
            mask = unfit(classes, frame.size_px, frame.preprocess, fill=IGNORED)
            pixels = max(1, int((mask != IGNORED).sum()))
            shares = tuple((label, float((mask == k).sum()) / pixels) for k, label in enumerate(self.names))
            objects = tuple((label, regions(mask == k)) for k, label in enumerate(self.names) if k != BACKGROUND)
            found.append(Segmentation(name, mask, shares, objects))
        return found

    def unreadable(self, name: str, reason: str) -> Segmentation:
        """No mask, and why."""
        return Segmentation(name, error=reason)


class SegmentMeter:
    """Sums of plain cross-entropy over pixels, and the confusion matrix of all pixels."""

    def __init__(self, classes: int) -> None:
        self.matrix, self.loss_sum, self.pixels = np.zeros((classes, classes), np.int64), 0.0, 0
        self._waiting: list[tuple[Tensor, Tensor]] = []  # on the device, until somebody asks

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits (N, K, H, W) and targets (N, H, W)."""
        outputs, k, counts = outputs.detach(), len(self.matrix), targets != IGNORED
        both = (k * targets.long() + outputs.argmax(1)).where(counts, k * k).flatten()
        cells = torch.zeros(k * k + 1, dtype=torch.int64, device=both.device)
        cells.scatter_add_(0, both, torch.ones_like(both))  # unlike bincount, it does not wait for the device
        self._waiting.append((cells[:-1], cross_entropy(outputs, targets, ignore_index=IGNORED)))

    def _add_up(self) -> None:
        for cells, loss in self._waiting:
            found = cells.cpu().numpy()
            self.matrix += found.reshape(self.matrix.shape)
            self.pixels += int(found.sum())
            self.loss_sum += int(found.sum()) * float(loss)
        self._waiting = []

    def compute(self) -> dict[str, float]:
        """Mean cross-entropy in nats a pixel, and the Dice of all that is not background."""
        self._add_up()
        objects = self.matrix.copy()
        objects[BACKGROUND] = 0
        right = float(np.trace(objects))
        wholes = float(self.matrix[:, 1:].sum() + self.matrix[1:].sum())
        return {"loss": self.loss_sum / max(self.pixels, 1), "dice": 2 * right / wholes if wholes else 0.0}

    def state(self) -> dict[str, Any]:
        """The sums as plain numbers."""
        self._add_up()
        return {"loss_sum": self.loss_sum, "pixels": self.pixels, "matrix": self.matrix.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._waiting = []
        self.loss_sum, self.pixels = state["loss_sum"], int(state["pixels"])
        self.matrix = np.array(state["matrix"], np.int64)


def grey(image: np.ndarray) -> np.ndarray:
    """The mean of the channels, (H, W, C) -> (H, W)."""
    return image.mean(2)


def regions(mask: np.ndarray) -> int:
    """How many connected regions there are, pixels that touch at a corner included.

    Example:
        >>> regions(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)), regions(np.zeros((2, 2), bool))
        (1, 0)
    """
    from scipy.ndimage import label

    return int(label(mask, np.ones((3, 3)))[1])  # type: ignore[index]
