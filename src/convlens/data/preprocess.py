"""The one way from an image to a network's input, versioned, and carried by the model file.

Training's store, validation, `predict`, export and server all call this object; there is no second one. It knows
nothing of classes, networks or random changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, Self, get_args

import numpy as np
import torch

from convlens.data.fitting import place
from convlens.data.image import decode
from convlens.data.image_file import ImageLike
from convlens.data.pixels import resize
from convlens.data.policy import Decoded, ImagePolicy
from convlens.errors import ArtefactError, ConfigError, ConvlensError, ShapeError, did_you_mean

VERSION = 1
Fit = Literal["crop", "pad", "squash"]


@dataclass(frozen=True)
class Preprocess:
    """Decode, fit to the storage size, take the centre, normalise.

    Version 1 resizes with `image.resize`, keeps whole levels 0..255, and normalises to (level / 255 - mean) / std.

    Attributes:
        policy: how a file becomes pixels.
        size_px: height and width of the network's input.
        store_px: height and width kept in the store; where larger than `size_px`, the input is its centre.
        fit: how an image of other proportions becomes `store_px`. `crop` keeps the largest centred window of the wanted
            proportions, `pad` shows all of the image on the policy's background, `squash` gives up the proportions.
        mean: of each channel, on the 0..1 scale.
        std: of each channel, on the 0..1 scale.

    Raises:
        ConfigError: the fields do not fit together.
    """

    policy: ImagePolicy
    size_px: tuple[int, int]
    store_px: tuple[int, int]
    fit: Fit
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for size in (self.size_px, self.store_px):
            if len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
                raise ConfigError(f"A size is (height, width) in whole pixels, at least 1; got {size}.")
        if self.store_px[0] < self.size_px[0] or self.store_px[1] < self.size_px[1]:
            raise ConfigError(f"store_px must be at least size_px; got {self.store_px} for an input of {self.size_px}.")
        if self.fit not in get_args(Fit):
            raise ConfigError(f"There is no fit '{self.fit}'. {did_you_mean(str(self.fit), get_args(Fit))}")
        channels = self.policy.channels
        if len(self.mean) != channels or len(self.std) != channels:
            raise ConfigError(
                f"mean and std need one value for each of {channels} channels; got {self.mean} and {self.std}."
            )
        if not all(math.isfinite(m) and math.isfinite(s) and s > 0 for m, s in zip(self.mean, self.std, strict=True)):
            raise ConfigError(f"mean and std must be finite and std above 0; got {self.mean} and {self.std}.")

    @property
    def offset_px(self) -> tuple[int, int]:
        """Top left corner of the network's input within the stored image."""
        return (self.store_px[0] - self.size_px[0]) // 2, (self.store_px[1] - self.size_px[1]) // 2

    def decode(self, image: ImageLike, name: str | None = None) -> Decoded:
        """Read one image under the policy; `name` is what errors call it.

        A JPEG more than twice as large as needed is decoded at 1/2, 1/4 or 1/8 scale, which is much faster.

        Raises:
            BadImage: the image cannot be used.
        """
        return decode(image, self.policy, name, reduce_to_px=2 * max(self.store_px))

    def pixels(self, decoded: Decoded) -> np.ndarray:
        """Bring a decoded image to the storage size, resizing once.

        Shapes:
            (h, w, C) uint8 -> (store height, store width, C) uint8.
        """
        pixels = decoded.pixels
        placed = place((pixels.shape[0], pixels.shape[1]), self)  # cut before it is enlarged: a strip might be long
        shown = resize(pixels[placed.source.slices], (placed.target.height, placed.target.width))
        if shown.shape[:2] == self.store_px:
            return shown
        canvas = np.empty((*self.store_px, pixels.shape[2]), np.uint8)
        canvas[:] = self._background()
        canvas[placed.target.slices] = shown
        return canvas

    def tensor(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn stored pixels into the network's input, on the device where they are.

        Shapes:
            (N, store height, store width, C) uint8 -> (N, C, H, W) float32, its memory in channels_last order.

        Raises:
            ShapeError: the batch is not made of stored images.
        """
        self.require_stored(batch)
        (top, left), (height, width) = self.offset_px, self.size_px
        levels = batch[:, top : top + height, left : left + width].to(
            torch.float32, memory_format=torch.contiguous_format
        )
        return scale_levels(levels, *self.normalisation)

    def __call__(self, image: ImageLike, name: str | None = None) -> torch.Tensor:
        """One image, from its file, bytes, array or Pillow image, as a batch of one.

        Shapes:
            -> (1, C, H, W) float32.

        Raises:
            BadImage: the image cannot be used.
        """
        return self.tensor(torch.from_numpy(self.pixels(self.decode(image, name))[None]))

    def picture(self, x: torch.Tensor) -> np.ndarray:
        """Turn network inputs back into levels a person can look at; what lies outside 0..255 is cut off.

        Shapes:
            (N, C, H, W) float -> (N, H, W, C) uint8.
        """
        scale, bias = self.normalisation
        levels = (x.detach().float().cpu().permute(0, 2, 3, 1).numpy() - bias) / scale
        return np.rint(levels).clip(0, 255).astype(np.uint8)

    def levels(self, x: torch.Tensor) -> torch.Tensor:
        """Network inputs as levels 0..1, where they are; what lies outside is kept.

        Shapes:
            (N, C, H, W) -> (N, C, H, W)
        """
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return torch.addcmul(mean, x, std)

    def normalised(self, levels: torch.Tensor) -> torch.Tensor:
        """Levels 0..1 as network inputs: the inverse of `levels`.

        Shapes:
            (N, C, H, W) -> (N, C, H, W)
        """
        mean, std = (levels.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (levels - mean) / std

    @property
    def whole(self) -> Self:
        """The same with all of the stored image as the input, for networks that take any size."""
        return replace(self, size_px=self.store_px)

    @cached_property
    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Factor and summand of each channel that turn a level 0..255 into the network's input, each (1, C)."""
        mean, std = np.array([self.mean]), np.array([self.std])
        return 1.0 / (255.0 * std), -mean / std

    def require_stored(self, batch: torch.Tensor) -> None:
        """Check that a batch holds stored images.

        Raises:
            ShapeError: it does not.
        """
        wanted = (*self.store_px, self.policy.channels)
        if batch.dtype != torch.uint8 or batch.ndim != 4 or tuple(batch.shape[1:]) != wanted:
            raise ShapeError(
                f"Preprocessing expects stored images (N, {', '.join(map(str, wanted))}) uint8; "
                f"got {tuple(batch.shape)} {str(batch.dtype).removeprefix('torch.')}. Bring them there with pixels()."
            )

    def _background(self) -> np.ndarray:
        red, green, blue = self.policy.background
        if self.policy.channels == 3:
            return np.array([red, green, blue], np.uint8)
        return np.array([(299 * red + 587 * green + 114 * blue + 500) // 1000], np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the version that says what they mean."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
        return {"version": VERSION, **lists, "policy": self.policy.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read back what `to_json` wrote.

        Raises:
            ArtefactError: another version, or a field is unknown, missing or impossible.
        """
        if not isinstance(data, dict):
            raise ArtefactError(f"The stored preprocess must be an object; got {type(data).__name__}.")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        if (version := values.pop("version", None)) != VERSION:
            raise ArtefactError(
                f"The stored preprocess has version {version}; this program reads version {VERSION}. "
                f"Use the convlens that wrote the file, or a newer one."
            )
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ArtefactError(
                f"The stored preprocess has an unknown field '{unknown[0]}'. It holds: {sorted(known)}."
            )
        if missing := sorted(known - values.keys()):
            raise ArtefactError(f"The stored preprocess lacks the field '{missing[0]}'. The file is incomplete.")
        try:
            values["policy"] = ImagePolicy.from_json(values["policy"])
            return cls(**values)
        except (ConvlensError, TypeError, ValueError) as error:
            raise ArtefactError(f"The stored preprocess cannot be used: {error}") from None


def scale_levels(levels: torch.Tensor, scale: np.ndarray, bias: np.ndarray) -> torch.Tensor:
    """Multiply and add per channel, in place, and show the result as (N, C, H, W).

    The factors are repeated along a row of the image, so that the inner loop runs over whole rows instead of C values:
    six times faster on a processor. Product and sum are rounded one after the other, because a fused instruction
    rounds once, and whether there is one depends on the machine.

    Shapes:
        levels (N, H, W, C) float32 contiguous, overwritten; scale and bias (N or 1, C) -> (N, C, H, W).
    """
    n, height, width, channels = levels.shape
    rows = levels.view(n, height, width * channels)
    for factors, change in ((scale, rows.mul_), (bias, rows.add_)):
        sent = torch.from_numpy(factors.astype(np.float32)).to(levels.device, non_blocking=True)
        change((sent if channels == 1 else sent.repeat(1, width))[:, None])
    return levels.permute(0, 3, 1, 2)
