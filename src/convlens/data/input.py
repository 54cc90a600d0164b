"""What goes into the network: the size, the channels and the scale of its input, and so how an image is prepared.

What starting weights were trained with decides, where there are any; else the images themselves, by their headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from convlens.config import Config
from convlens.data.image_file import read_header
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.record import Source
from convlens.errors import BadImage, ConfigError, DataError
from convlens.options import IMAGENET_MEAN, IMAGENET_STD

LARGEST_SCRATCH_PX = 64
LARGEST_OF = {"segment": 128, "detect": 416, "denoise": 128, "reconstruct": 64, "anomaly": 128}
LARGEST_STORED_PX = 512
LOOKED_AT = 400

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Wanted:
    """What a network expects of its input, where it says so; None where it does not mind."""

    size_px: int | None = None
    store_px: int | None = None
    smallest_px: int = 1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    reason: str = "the network's own size"


def choose_input(config: Config, source: Source, wanted: Wanted) -> Config:
    """Fill in channels, size, stored size and fit from the network's wish, or else from the images' headers.

    Raises:
        ConfigError: a stored size with which the task cannot be done.
    """
    shapes = look(source, ImagePolicy(max_pixels=config.data.max_pixels))
    side = int(np.median([min(height, width) for height, width, _ in shapes])) if shapes else LARGEST_SCRATCH_PX
    if source.kind == "boxes" and wanted.mean is not None:
        wanted = replace(wanted, size_px=None, store_px=None)  # a detector's is not that of the classifier it is from
    config = _choose_channels(config, shapes, wanted)
    config = _choose_size(config, side, wanted)
    config = _choose_stored_size(config, source, side, wanted)
    if config.data.fit == "auto" and source.kind in ("mask", "boxes"):
        config = config.choose("data.fit", "pad", "keeps proportions and cuts nothing off")
    elif config.data.fit == "auto":
        config = config.choose("data.fit", "crop", "keeps proportions; the longer side is cut at both ends")
    return config


def _choose_channels(config: Config, shapes: Sequence[Shape], wanted: Wanted) -> Config:
    if config.data.channels != "auto":
        return config
    if wanted.mean is not None:
        return config.choose("data.channels", len(wanted.mean), "as the weights were trained")
    return config.choose("data.channels", max((shape[2] for shape in shapes), default=3), "as the images are")


def _choose_size(config: Config, side: int, wanted: Wanted) -> Config:
    if config.data.size_px != "auto":
        return config
    if wanted.size_px:
        return config.choose("data.size_px", wanted.size_px, wanted.reason)
    size = max(min(side, LARGEST_OF.get(config.task, LARGEST_SCRATCH_PX)), wanted.smallest_px)
    return config.choose("data.size_px", size, f"the median side of the images is {side} px")


def _choose_stored_size(config: Config, source: Source, side: int, wanted: Wanted) -> Config:
    size = int(config.data.size_px)
    if config.data.store_px == "auto":
        stored, reason = size, "as large as the input"
        if source.kind == "mask":
            stored = max(size, min(side, LARGEST_STORED_PX))
            reason = f"the median side of the images is {side} px; training sees windows of {size} px"
        elif wanted.store_px and wanted.size_px:
            stored, reason = round(size * wanted.store_px / wanted.size_px), wanted.reason
        config = config.choose("data.store_px", stored, reason)
    if source.kind == "picture" and config.data.store_px != size:
        raise ConfigError(
            f"The task {config.task} gives back whole pictures, so data.store_px must equal data.size_px; got "
            f"{config.data.store_px} and {size}. Leave data.store_px out."
        )
    return config


def look(source: Source, policy: ImagePolicy) -> list[Shape]:
    """(height, width, channels) of some images, spread evenly over the source; unreadable ones are met later."""
    found = []
    for record in source.records[:: max(1, len(source.records) // LOOKED_AT)]:
        image = source.image(record)
        if isinstance(image, np.ndarray):
            found.append((*image.shape[:2], image.shape[2] if image.ndim == 3 else 1))
            continue
        try:
            header = read_header(image, policy)
        except BadImage:
            continue
        found.append((header.height, header.width, header.channels))
    return found


def make_preprocess(config: Config, wanted: Wanted) -> Preprocess:
    """The preprocessing for a config whose input is chosen.

    Where `learns_normalisation` says so, mean and deviation stand for what the training images will say.

    Raises:
        DataError: the scale of ImageNet for images without its three channels.
    """
    size, channels, store = int(config.data.size_px), int(config.data.channels), int(config.data.store_px)
    white = 65535 if config.data.white_level == "auto" else config.data.white_level
    policy = ImagePolicy(
        channels=channels, background=config.data.background, white_level=white, max_pixels=config.data.max_pixels
    )
    match config.data.normalise:
        case "imagenet":
            mean, std = IMAGENET_MEAN[:channels], IMAGENET_STD[:channels]
        case "auto" if wanted.mean and wanted.std:
            mean, std = wanted.mean, wanted.std
        case _:
            mean, std = (0.5,) * channels, (0.5,) * channels
    if len(mean) != channels:
        raise DataError(f"data.normalise=imagenet needs 3 channels; the images have {channels}. Use data or half.")
    fit = "crop" if config.data.fit == "auto" else config.data.fit
    return Preprocess(policy=policy, size_px=(size, size), store_px=(store, store), fit=fit, mean=mean, std=std)


def learns_normalisation(config: Config, wanted: Wanted) -> bool:
    """Whether mean and deviation of the input are those of the training images."""
    return config.data.normalise == "data" or (config.data.normalise == "auto" and wanted.mean is None)
