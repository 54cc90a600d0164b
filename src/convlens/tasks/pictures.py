"""Tasks whose answer is a picture of the same size: reconstruct it, free it of noise, or tell what is not normal in it.

The network answers in the scale of its own input; `decode` makes levels 0..1 of that, and all that is said to a person
is in levels. The target of a picture is the clean picture itself.
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

from convlens.data.fitting import unfit
from convlens.data.noise import Noise, noise_keys
from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.anomaly import AlarmThreshold, alarm_threshold, anomaly_report
from convlens.metrics.reconstruction import (
    NonLocalMeans,
    fit_non_local_means,
    image_scores,
    non_local_means_available,
    reconstruction_report,
)
from convlens.tasks.task import Seen

LOSSES = {"squared": mse_loss, "absolute": l1_loss, "huber": huber_loss}
FITTED_ON = 24  # images on which the strength of non-local means is chosen
MOST_VALUES = 20_000_000  # of the images that non-local means answers; it takes about a minute for these
HEAT_PX = 5


@dataclass(frozen=True)
class Picture:
    """The answer for one image.

    Attributes:
        levels: (h, w, C) uint8 at the size of the image.
        error: why there is no answer.
    """

    name: str
    levels: np.ndarray | None = None
    error: str | None = None


@dataclass(frozen=True)
class Inspection:
    """What is not normal in one image.

    Attributes:
        score: larger is less normal.
        abnormal: whether the score is above the threshold of the promised rate of false alarms; None without one.
        heat: (h, w) float32, the part of the score that each pixel gives.
        error: why there is no answer.
    """

    name: str
    score: float | None = None
    abnormal: bool | None = None
    heat: np.ndarray | None = None
    error: str | None = None


@dataclass
class Reconstruct:
    """Give back the picture that was shown, through a code that is smaller.

    Targets are levels 0..1 (N, C, H, W); outputs the same in the scale of the input.

    Attributes:
        names: of the channels.
        card: holds mean and deviation of the input, and a small mean picture of the training images, under `data`.
        loss_name: `squared`, `absolute` or `huber`, of the difference in deviations of the data.
    """

    names: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=dict)
    loss_name: str = "squared"
    name: ClassVar[str] = "reconstruct"
    figure: ClassVar[str] = "psnr"
    promised: ClassVar[str] = "abstain"
    unsettled: ClassVar[str] = "it always answers"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over all values, in the scale of the input, in which the deviation of the data is about 1."""
        mean, std = self._scale(outputs)
        return LOSSES[self.loss_name](outputs, (targets - mean) / std)

    def decode(self, outputs: Tensor) -> Tensor:
        """Levels 0..1, not cut off: (N, C, H, W) -> (N, C, H, W)."""
        mean, std = self._scale(outputs)
        return torch.addcmul(mean, outputs, std)

    def meter(self) -> PictureMeter:
        """A fresh meter of the squared error in levels."""
        return PictureMeter(self)

    def require(self, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> None:
        """A picture like the input."""
        if outputs != inputs:
            raise ShapeError(
                f"For the task {self.name} the network must give a picture as large as its input, {inputs}; it gives "
                f"{outputs or 'no tensor'}. Choose autoencoder, dense_autoencoder, dncnn or unet."
            )

    def keep(self, outputs: Tensor) -> Tensor:
        """Levels as a picture has them, cut off at 0 and 1."""
        return self.decode(outputs).clamp(0.0, 1.0)

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, promise: float | None, level: float
    ) -> None:
        """Nothing is fitted."""
        if promise is not None:
            raise ConfigError(f"evaluate.abstain is for classes; leave it out for {self.name}.")

    def report(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        """Errors, PSNR and SSIM with intervals, beside always answering the mean picture of training."""
        clean = self.clean(seen)
        ours = image_scores(outputs, clean, 1.0)
        mean = np.broadcast_to(self.mean_picture(clean.shape[2:]), clean.shape)
        return reconstruction_report(ours, {"mean picture": image_scores(mean, clean, 1.0)}, level=level)

    def headline(self, report: dict[str, Any], asked: str) -> dict[str, Any]:
        """The mean PSNR beside that of the best baseline."""
        if asked != "auto":
            raise ConfigError(f"evaluate.headline={asked} is for classes; {self.name} has the PSNR.")
        best = max(report["baselines"], key=lambda row: row["psnr"]["value"])
        return {"name": "psnr", "value": report["psnr"], "against": {"words": best["name"], "value": best["psnr"]}}

    def answers(self, names: Sequence[str], outputs: np.ndarray, seen: Seen, top: int) -> list[Any]:
        """The picture of each image at its own size."""
        found = []
        for name, levels, frame in zip(names, outputs, seen.frames, strict=True):
            back = unfit(levels.astype(np.float32), frame.size_px, frame.preprocess, fill=0.0)
            found.append(Picture(name, np.rint(255 * back).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)))
        return found

    def unreadable(self, name: str, reason: str) -> Any:
        """No picture, and why."""
        return Picture(name, error=reason)

    def clean(self, seen: Seen, targets: np.ndarray | None = None) -> np.ndarray:
        """The images as levels 0..1, or the pictures that belong to them, (N, C, H, W) float32.

        Args:
            targets: where these are pictures (N, H, W, C), they are the clean ones.
        """
        pictures = targets if targets is not None and targets.ndim == 4 else seen.images[seen.samples]
        return pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255.0

    def mean_picture(self, size_px: tuple[int, ...]) -> np.ndarray:
        """The mean of the training images, (C, H, W) in levels, smooth where it was kept smaller."""
        small = torch.tensor(self.card["data"]["mean_picture"], dtype=torch.float32).permute(2, 0, 1)[None] / 255.0
        return torch.nn.functional.interpolate(small, size_px, mode="bilinear", antialias=False)[0].numpy()

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (like.new_tensor(self.card["data"][name])[:, None, None] for name in ("mean", "std"))
        return mean, std


@dataclass
class Denoise(Reconstruct):
    """Give back the picture without the noise it was shown with.

    Attributes:
        card: holds the noise and its seed under `data`, and the fitted `non_local_means`.
    """

    name: ClassVar[str] = "denoise"

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, promise: float | None, level: float
    ) -> None:
        """Bring the baseline to its best: the strength of non-local means is chosen on some validation images."""
        super().settle(outputs, targets, seen, promise=promise, level=level)
        if non_local_means_available():
            every = slice(None, None, max(1, len(seen.samples) // FITTED_ON))
            some = Seen(seen.images, seen.samples[every][:FITTED_ON])
            clean = self.clean(some, targets[every][:FITTED_ON])
            fitted = fit_non_local_means(list(self.noisy(some)), list(clean))
            self.card["non_local_means"] = {"sigma": fitted.sigma, "strength": fitted.strength}

    def report(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        """Errors, PSNR and SSIM, beside the noisy input and non-local means, all cut off at 0 and 1 as in a file."""
        clean, noisy = self.clean(seen, targets), self.noisy(seen)
        baselines = {"noisy input": image_scores(noisy.clip(0.0, 1.0), clean, 1.0)}
        fitted, left_out = self.card.get("non_local_means"), ""
        if fitted is None:
            left_out = "it was not fitted, for which it takes scikit-image and validation images"
        elif clean.size > MOST_VALUES:
            left_out = f"it would take too long for {len(clean):,} images of this size"
        else:
            method = NonLocalMeans(**fitted)
            restored = np.stack([method.restore(one) for one in noisy]).clip(0.0, 1.0)
            baselines["non-local means"] = image_scores(restored, clean, 1.0)
        return {
            **reconstruction_report(image_scores(outputs, clean, 1.0), baselines, level=level),
            "noise": self.card["data"].get("noise", "as in the files"),
            "left_out": f"Non-local means, the usual baseline, was left out: {left_out}." if left_out else "",
        }

    def noisy(self, seen: Seen) -> np.ndarray:
        """The images as the network was shown them, (N, C, H, W) in levels."""
        facts = self.card["data"]
        if "noise" not in facts:  # the images are noisy, and their clean pictures are the targets
            return self.clean(seen)
        keys = noise_keys(facts["noise_seed"], 0, seen.samples, "still")
        return Noise.parse(facts["noise"]).add(torch.from_numpy(self.clean(seen)), keys).numpy()


@dataclass
class Anomaly(Reconstruct):
    """Tell what is not normal: what a network that saw only normal pictures cannot give back.

    Attributes:
        card: holds the classes, the normal one first, as `groups` under `data`, and the fitted `alarm`.
    """

    name: ClassVar[str] = "anomaly"
    promised: ClassVar[str] = "false_alarms"
    unsettled: ClassVar[str] = "it gives scores, no alarms"

    def settle(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, promise: float | None, level: float
    ) -> None:
        """Choose the threshold of the promised rate of false alarms on normal validation images."""
        normal, share = self.scores(outputs, seen)[np.asarray(targets) <= 0], promise or 0.05
        needed = math.ceil((1 - share) / share - 1e-9)
        if len(normal) < needed:
            raise DataError(
                f"A threshold for at most {100 * share:g} % false alarms needs {needed} normal validation images; got "
                f"{len(normal)}. Hold out more (data.valid_fraction), or allow more (evaluate.false_alarms)."
            )
        self.card["alarm"] = alarm_threshold(normal, share).to_json()

    @property
    def alarm(self) -> AlarmThreshold | None:
        """The fitted threshold."""
        found = self.card.get("alarm")
        return None if found is None else AlarmThreshold.from_json(found)

    def report(
        self, outputs: np.ndarray, targets: np.ndarray, seen: Seen, *, level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        """ROC AUC, alarms and what was missed, beside the distance from the mean picture of training."""
        clean, groups = self.clean(seen), self.card["data"]["groups"]
        kinds = [groups[max(0, int(group))] for group in targets] if groups else None
        distance = ((clean - self.mean_picture(clean.shape[2:])) ** 2).mean((1, 2, 3))
        report = anomaly_report(
            self.scores(outputs, seen),
            np.asarray(targets) > 0,
            self.alarm,
            kinds=kinds,
            baselines={"distance from the mean picture": distance},
            level=level,
        )
        return {**report, "groups": groups}

    def headline(self, report: dict[str, Any], asked: str) -> dict[str, Any]:
        """The ROC AUC; where no anomaly was seen, the rate of false alarms beside the promise."""
        if asked != "auto":
            raise ConfigError(f"evaluate.headline={asked} is for classes; anomaly has the ROC AUC.")
        if report["abnormal"] and report["normal"]:
            best = max((row for row in report["baselines"] if "gain" in row), key=lambda row: row["auc"]["value"])
            return {"name": "auc", "value": report["auc"], "against": {"words": best["name"], "value": best["auc"]}}
        if report["alarm"] is None:
            return {"name": "auc", "value": report["auc"], "against": None}
        promised = {"words": "what was promised", "value": {"value": report["alarm"]["threshold"]["promise"]}}
        return {"name": "false_alarms", "value": report["alarm"]["false_alarms"], "against": promised}

    def answers(self, names: Sequence[str], outputs: np.ndarray, seen: Seen, top: int) -> list[Any]:
        """The score of each image, whether it raises an alarm, and where."""
        alarm, scores = self.alarm, self.scores(outputs, seen)
        found = []
        for name, score, heat, frame in zip(names, scores, self.heat(outputs, seen), seen.frames, strict=True):
            back = unfit(heat, frame.size_px, frame.preprocess, fill=0.0)
            found.append(Inspection(name, float(score), None if alarm is None else bool(score > alarm.value), back))
        return found

    def heat(self, outputs: np.ndarray, seen: Seen) -> np.ndarray:
        """Where images were badly given back: squared error, smoothed over 5 x 5 pixels, (N, H, W)."""
        error = torch.from_numpy(((outputs - self.clean(seen)) ** 2).mean(1, keepdims=True))
        near = torch.nn.functional.avg_pool2d(error, HEAT_PX, 1, HEAT_PX // 2, count_include_pad=False)
        return near[:, 0].numpy()

    def scores(self, outputs: np.ndarray, seen: Seen) -> np.ndarray:
        """How badly each image was given back: its mean squared error in levels, (N,)."""
        return ((outputs - self.clean(seen)) ** 2).mean((1, 2, 3), dtype=np.float64)

    def unreadable(self, name: str, reason: str) -> Inspection:
        """No score, and why."""
        return Inspection(name, error=reason)


def as_codes(codes: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Codes as a network decodes them.

    Args:
        shape: of one code.

    Shapes:
        (N, *shape) -> the same, float32

    Raises:
        ShapeError: they are no numbers, or of another shape.
        DataError: a number is not finite.
    """
    wanted = f"Expected codes (N, {', '.join(map(str, shape))}), as encode gives them; got"
    try:
        found = np.asarray(codes)
    except ValueError:
        raise ShapeError(f"{wanted} rows of several lengths.") from None
    if found.dtype.kind not in "biuf" or found.ndim == 0 or found.shape[1:] != shape:
        raise ShapeError(f"{wanted} {found.shape} {found.dtype}.")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise DataError("Expected codes of finite float32 numbers; got nan or infinity. Leave those rows out.")
    return found


class PictureMeter:
    """Sums of squared errors in levels."""

    def __init__(self, task: Reconstruct) -> None:
        self.task, self.squares, self.count = task, 0.0, 0
        self._waiting: list[Tensor] = []  # on the device, until somebody asks

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add outputs (N, C, H, W) and levels (N, C, H, W)."""
        error = self.task.decode(outputs.detach().float()) - targets
        self._waiting.append(error.square().sum(dtype=torch.float32 if error.device.type == "mps" else torch.float64))
        self.count += error.numel()

    def _add_up(self) -> None:
        for squares in self._waiting:
            self.squares += float(squares)
        self._waiting = []

    def compute(self) -> dict[str, float]:
        """`loss`, the mean squared error in levels, and `psnr`, the same in decibels under a peak of 1."""
        self._add_up()
        mean = self.squares / max(self.count, 1)
        return {"loss": mean, "psnr": -10.0 * float(np.log10(max(mean, 1e-12)))}

    def state(self) -> dict[str, float]:
        """The sums as plain numbers."""
        self._add_up()
        return {"squares": self.squares, "count": self.count}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from `state`."""
        self.squares, self.count, self._waiting = state["squares"], int(state["count"]), []
