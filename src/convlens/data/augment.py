"""Random changes to a whole batch of training images, on the device where they are.

What changes is drawn in `draws.py`, as functions of (seed, epoch, sample); here it is done to the pixels: first the
geometry, then the levels, and normalisation in the same multiplication. Nothing here waits for the device. Only
training uses it: everything else calls `Preprocess` alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from convlens.data.draws import Draw, Mix, draw, draw_mix
from convlens.data.preprocess import Preprocess, scale_levels
from convlens.errors import ConfigError, ShapeError, did_you_mean
from convlens.options import AugmentConfig

_STILL: dict[str, Any] = {
    "flip": "none",
    "turn": False,
    "crop": 0.0,
    "rotate_deg": 0.0,
    "translate": 0.0,
    "scale": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
}
_LIT = {"brightness": 0.1, "contrast": 0.1}
PRESETS: dict[str, dict[str, Any]] = {
    "none": _STILL,
    "digits": _STILL | {"rotate_deg": 10.0, "translate": 0.06, "scale": 0.1},
    "objects": _STILL | {"flip": "horizontal", "crop": 1 / 14},
    "photos": _STILL | {"flip": "horizontal", "crop": 1 / 14, "scale": 0.15} | _LIT,
    "scans": _STILL | {"flip": "both", "turn": True, "rotate_deg": 15.0, "scale": 0.2} | _LIT,
    "boxes": _STILL | {"flip": "horizontal", "scale": 0.3, "translate": 0.1, "brightness": 0.2, "contrast": 0.2},
}


def resolve(augment: AugmentConfig, preset: str) -> AugmentConfig:
    """Fill every `auto` from a preset: the one the user named, else the one given here. What the user set stays.

    Example:
        >>> resolve(AugmentConfig(crop=0.25), "objects").flip, resolve(AugmentConfig(crop=0.25), "objects").crop
        ('horizontal', 0.25)

    Raises:
        ConfigError: there is no such preset.
    """
    chosen = preset if augment.preset == "auto" else augment.preset
    if chosen not in PRESETS:
        raise ConfigError(f"There is no augmentation preset '{chosen}'. {did_you_mean(chosen, PRESETS)}")
    filled = {key: value for key, value in PRESETS[chosen].items() if getattr(augment, key) == "auto"}
    return augment.model_copy(update={**filled, "preset": chosen})


def changing(augment: AugmentConfig) -> list[str]:
    """The options that make a picture differ from the stored image.

    Example:
        >>> changing(resolve(AugmentConfig(noise=0.1), "objects"))
        ['flip', 'crop', 'noise']
    """
    return [name for name in (*_STILL, "noise", "erase") if getattr(augment, name) not in ("none", 0.0)]


class Augment:
    """Change, normalise and, where asked, mix a batch.

    Where an image is moved over its border, its mirror image shows: no colour is invented that the network would take
    for a sign of training. Where the store is larger than the input, the window moves over real pixels first.

    Args:
        config: with no `auto` left.
        preprocess: sizes, mean and standard deviation.
        seed: of the run.
        classes: K, the width of mixed targets.

    Raises:
        ConfigError: an option is still `auto`, or pictures that are not square shall be turned.
    """

    def __init__(self, config: AugmentConfig, preprocess: Preprocess, *, seed: int, classes: int) -> None:
        open_options = [name for name in AugmentConfig.model_fields if getattr(config, name) == "auto"]
        if open_options:
            raise ConfigError(f"augment.{open_options[0]} is still auto. Fill it in with resolve().")
        if config.turn and len({*preprocess.size_px}) + len({*preprocess.store_px}) > 2:
            raise ConfigError(
                f"augment.turn needs square pictures; these are stored as {preprocess.store_px} and seen as "
                f"{preprocess.size_px}. Set augment.turn=false."
            )
        self.config, self.preprocess, self.seed, self.classes = config, preprocess, seed, classes

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, samples: np.ndarray, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch as the network shall see it in this epoch, and its targets.

        Shapes:
            images (N, store height, store width, C) uint8, targets (N,) int64, samples (N,) int
            -> (N, C, H, W) float32 in channels_last order; targets as they came, with mixup or cutmix (N, K) float32.

        Raises:
            ShapeError: the parts do not fit together.
        """
        self.preprocess.require_stored(images)
        if not len(images) == len(targets) == len(samples):
            raise ShapeError(
                f"Images, targets and samples must be equally many; got {len(images)}, {len(targets)}, {len(samples)}."
            )
        x = self.apply(images, self.draw(samples, epoch))
        if not self.config.mixup and not self.config.cutmix:
            return x, targets
        mix = draw_mix(self.config, self.seed, self._view(epoch), samples, self.preprocess.size_px)
        return mixed(x, mix), mixed_targets(targets, mix, self.classes)

    def draw(self, samples: np.ndarray, epoch: int) -> Draw:
        """What is done to some samples in an epoch."""
        return draw(self.config, self.seed, self._view(epoch), samples, self.preprocess.size_px)

    def _view(self, epoch: int) -> int:
        return epoch % self.config.views if self.config.views else epoch

    def apply(self, images: torch.Tensor, drawn: Draw) -> torch.Tensor:
        """Do to each image what was drawn for it, and normalise.

        Shapes:
            (N, store height, store width, C) uint8 -> (N, C, H, W) float32.
        """
        move = moved if drawn.whole_pixels else warped
        levels = move(images, drawn, self.preprocess.size_px).to(torch.float32, memory_format=torch.contiguous_format)
        scale, bias = self.preprocess.normalisation
        if not drawn.same_levels:
            scale, bias = scale * (drawn.gain * drawn.contrast)[:, None], bias * drawn.contrast[:, None]
        x = scale_levels(levels, scale, bias)
        rows = _rows(x)
        if self.config.noise:
            deviation = (self.preprocess.normalisation[0] * 255.0 * self.config.noise).astype(np.float32)
            noise = hashed_normal(drawn.noise, rows[0].numel(), x.device).view_as(rows)
            rows.add_(noise.mul_(_sent(deviation, x.device).repeat(1, x.shape[3])))
        if self.config.erase:
            rows.masked_fill_(_inside(drawn.erase, x), 0.0)  # 0 is the mean of the training set
        return x

    def move_masks(self, masks: torch.Tensor, drawn: Draw) -> torch.Tensor:
        """Do to each mask what is done to its image; every pixel keeps a class that was there.

        Shapes:
            (N, store height, store width) uint8 -> (N, H, W) uint8.
        """
        planes, size_px = masks[..., None], self.preprocess.size_px
        if drawn.whole_pixels:
            return moved(planes, drawn, size_px)[..., 0]
        return warped(planes, drawn, size_px, nearest=True)[..., 0].to(masks.dtype)


def moved(images: torch.Tensor, drawn: Draw, size_px: tuple[int, int]) -> torch.Tensor:
    """Mirror, move by whole pixels and turn: every pixel is copied from one place, none is interpolated.

    Shapes:
        (N, h, w, C) -> (N, H, W, C), of the same type.
    """
    return turned(_mirrored_and_moved(images, drawn, size_px), drawn)


def turned(pictures: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """Let rows and columns of the pictures that are to be turned change places.

    Shapes:
        (N, H, W, C) -> (N, H, W, C), with H = W where any is turned.
    """
    if not drawn.turn.any():
        return pictures
    turn = _sent(drawn.turn, pictures.device)[:, None, None, None]
    return torch.where(turn, pictures.transpose(1, 2), pictures)


def _mirrored_and_moved(images: torch.Tensor, drawn: Draw, size_px: tuple[int, int]) -> torch.Tensor:
    n, h, w, channels = images.shape
    if not drawn.flip.any() and not drawn.shift.any():
        top, left = (h - size_px[0]) // 2, (w - size_px[1]) // 2
        return images[:, top : top + size_px[0], left : left + size_px[1]]
    rows, columns = (
        _source_index(drawn.flip[:, axis], drawn.shift[:, axis], size_px[axis], (h, w)[axis]) for axis in (0, 1)
    )
    rows += h * np.arange(n)[:, None]
    rows, columns = _sent(rows, images.device), _sent(columns, images.device)
    if channels == 1:
        lines = images.reshape(n * h, w).index_select(0, rows.view(-1)).view(n, size_px[0], w)
        return lines.gather(2, columns[:, None].expand(n, *size_px))[..., None]
    index = (w * rows)[:, :, None] + columns[:, None, :]
    return images.reshape(-1, channels).index_select(0, index.view(-1)).view(n, *size_px, channels)


def warped(images: torch.Tensor, drawn: Draw, size_px: tuple[int, int], *, nearest: bool = False) -> torch.Tensor:
    """Mirror, rotate, zoom, move and turn in one affine map with bilinear sampling, rounded to whole levels.

    Rounding, as in any picture file, makes a map that happens to hit whole pixels exact.

    Args:
        nearest: take the nearest pixel instead, for masks.

    Shapes:
        (N, h, w, C) uint8 -> (N, H, W, C) float32 of levels 0..255.
    """
    grid = _grid(drawn, tuple(images.shape[1:3]), size_px, images.device)
    levels = images.permute(0, 3, 1, 2).to(torch.float32)
    mode = "nearest" if nearest else "bilinear"
    sampled = functional.grid_sample(levels, grid, mode=mode, padding_mode="reflection", align_corners=False)
    return sampled.round_().permute(0, 2, 3, 1).contiguous()


def _source_index(flip: np.ndarray, shift: np.ndarray, size: int, stored: int) -> np.ndarray:
    """Where along one axis each output pixel comes from, (N, size); over the border it is mirrored back."""
    place = np.arange(size)[None]
    place = np.where(flip[:, None], size - 1 - place, place) + (stored - size) // 2 + shift[:, None]
    place = place % (2 * stored)
    return np.minimum(place, 2 * stored - 1 - place)


def _grid(drawn: Draw, stored: tuple[int, ...], size_px: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Sampling positions for `grid_sample`, (N, H, W, 2) as (x, y) in -1..1.

    A step in the output is a rotated, shrunk and mirrored step in the source; the centre of the window stays.
    """
    angle = np.deg2rad(drawn.angle_deg)
    cos, sin = np.cos(angle) / drawn.zoom, np.sin(angle) / drawn.zoom
    mirror = np.where(drawn.flip, -1.0, 1.0)
    step = np.array([[cos, sin], [-sin, cos]])  # [axis of the source][axis of the output]
    moves = drawn.shift + drawn.translate
    grid = torch.empty(len(angle), *size_px, 2, device=device)
    for axis in (0, 1):
        to_grid = 2.0 / stored[axis]
        centre = (stored[axis] - size_px[axis]) // 2 + (size_px[axis] - 1) / 2 + moves[:, axis]
        along = [
            mirror[:, axis, None] * step[axis, other][:, None] * (np.arange(side) - (side - 1) / 2) * to_grid
            for other, side in enumerate(size_px)
        ]
        along[0] += ((centre + 0.5) * to_grid - 1.0)[:, None]
        rows, columns = (_sent(a.astype(np.float32), device) for a in along)
        torch.add(rows[:, :, None], columns[:, None, :], out=grid[..., 1 - axis])
    return turned(grid, drawn)


def beyond(drawn: Draw, stored: tuple[int, int], size_px: tuple[int, int], device: torch.device) -> torch.Tensor | None:
    """Which pixels of the augmented pictures come from beyond the border of the stored image; None where none can.

    Shapes:
        -> (N, 1, H, W) bool
    """
    if drawn.whole_pixels and not drawn.shift.any():
        return None
    return (_grid(drawn, stored, size_px, device).abs() > 1.0).any(3).unsqueeze(1)


def hashed_normal(keys: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
    """Standard normal numbers that are a function of a sample's key and the position, on every device.

    A 32-bit hash gives the two 16-bit uniforms of one Box-Muller pair; the largest value is 4.9.

    Shapes:
        keys (N,) uint32 -> (N, size) float32.

    Source: Wellons 2018, "Prospecting for hash functions" (lowbias32); Box, Muller 1958.
    """
    place = _scrambled(torch.arange((size + 1) // 2, dtype=torch.int32, device=device))
    both = _scrambled(place + _sent(keys.view(np.int32), device)[:, None])
    radius = ((both >> 16) & 0xFFFF).float().add_(0.5).mul_(2.0**-16).log_().mul_(-2.0).sqrt_()
    angle = (both & 0xFFFF).float().mul_(2.0 * math.pi * 2.0**-16)
    return torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)], dim=1)[:, :size]


def _scrambled(x: torch.Tensor) -> torch.Tensor:
    x = x ^ ((x >> 16) & 0xFFFF)
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x846CA68B - (1 << 32)  # as a signed number; the product wraps alike
    x ^= (x >> 16) & 0xFFFF
    return x


def mixed(x: torch.Tensor, mix: Mix) -> torch.Tensor:
    """Blend each picture with its partner, or paste the partner's rectangle into it.

    Shapes:
        (N, C, H, W) -> (N, C, H, W).
    """
    rows = _rows(x)
    other = rows.index_select(0, _sent(mix.partner, x.device))
    blend = _sent(mix.blend.astype(np.float32), x.device)[:, None, None]
    out = other.lerp(rows, blend)
    if mix.paste.any():
        out = torch.where(_inside(mix.paste, x), other, out)
    return out.view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)


def mixed_targets(targets: torch.Tensor, mix: Mix, classes: int) -> torch.Tensor:
    """Each class's share in the mixed pictures.

    Shapes:
        (N,) int64 -> (N, K) float32, rows sum to 1.
    """
    own = _sent(mix.own.astype(np.float32), targets.device)[:, None]
    shares = torch.zeros(len(targets), classes, device=targets.device)
    shares.scatter_add_(1, targets[:, None], own)
    return shares.scatter_add_(1, targets[_sent(mix.partner, targets.device)][:, None], 1.0 - own)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """A batch as it lies in memory, (N, H, W*C), so that inner loops are long; a view."""
    n, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).view(n, height, width * channels)


def _inside(boxes: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    """Which values lie in each picture's rectangle, (N, H, W*C) bool."""
    _, channels, height, width = x.shape
    top, left, bottom, right = _sent(boxes.T.copy(), x.device)[:, :, None]
    row = torch.arange(height, device=x.device)
    column = torch.arange(width, device=x.device).repeat_interleave(channels)
    return ((row >= top) & (row < bottom))[:, :, None] & ((column >= left) & (column < right))[:, None, :]


def _sent(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
