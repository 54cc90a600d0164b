"""A trained network on an image of any size at the image's own scale: in tiles, each shown as images in training.

For tasks whose answer at a pixel is about that pixel. This file knows networks and tasks; it must not know model files.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.preprocess import Preprocess
from convlens.data.tiles import tiled_strips
from convlens.errors import ConfigError, ShapeError
from convlens.models.walk import walk
from convlens.tasks.task import Task
from convlens.training.transfer import in_evaluation

COARSEST = 32  # by which networks shrink an image, unless they say otherwise
PIXELS_AT_ONCE = 2**20  # of networks that keep their maps as large as the image
WHOLE = {
    "classify": "a class is of the whole image",
    "regress": "a number is of the whole image",
    "anomaly": "a score, and the threshold of its alarm, are of the whole image as it was stored in training",
    "detect": "boxes reach across tiles",
}


def choose_tiles(network: nn.Module, asks: Task, preprocess: Preprocess, tiles: bool | int) -> int:
    """The side of the tiles, once it is sure that the network can be asked in tiles.

    Args:
        tiles: the side asked for, or True for that of the stored images, on which the network was scored.

    Raises:
        ConfigError: the task is not about pixels, the network does not take every size, or the tiles are too small.
    """
    if asks.name in WHOLE:
        raise ConfigError(f"Tiles are for answers about pixels; of {asks.name}, {WHOLE[asks.name]}. Leave tiles out.")
    align = alignment(network)
    side = max(*preprocess.store_px, 2 * align) if tiles is True else int(tiles)
    if side < 2 * align:
        raise ConfigError(
            f"Tiles of {side} px are too small for this network, which shrinks images by up to {align}: "
            f"neighbours overlap by half a tile. Take tiles of {2 * align} px or more."
        )
    odd = (1, preprocess.policy.channels, side - 1, side - 3)
    try:
        asks.require(walk(network, odd)[-1].output_shape, odd)
    except ShapeError as error:
        raise ConfigError(
            f"Tiles need a network that takes images of every size, such as unet, fcn8s or dncnn; this one fails at "
            f"{side - 1} x {side - 3} px: {error}"
        ) from None
    return side


def alignment(network: nn.Module) -> int:
    """What the places of tiles must be multiples of, so that strides meet the same pixels as in the whole image."""
    return int(getattr(network, "multiple", COARSEST))


def answer_in_tiles(
    network: nn.Module, asks: Task, preprocess: Preprocess, pixels: np.ndarray, side: int
) -> np.ndarray:
    """What the task keeps of a network's answer to a whole image, such as the class of each pixel.

    Neighbours overlap by half a tile.

    Shapes:
        (h, w, C) uint8 -> (1, ..., h, w)

    Source: the step of half a tile is that of Isensee et al. 2021, "nnU-Net", doi 10.1038/s41592-020-01008-z.
    """
    device = next(network.parameters()).device

    def answer(tiles: Tensor) -> Tensor:
        own = at_own_scale(preprocess, (tiles.shape[2], tiles.shape[3]))
        x = own.tensor(tiles.permute(0, 2, 3, 1).to(device))
        return network(x.contiguous(memory_format=torch.channels_last)).float()

    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    batch_size = max(1, PIXELS_AT_ONCE // side**2)
    with in_evaluation(network), torch.inference_mode():
        strips = tiled_strips(answer, image, side, side // 2, align=alignment(network), batch_size=batch_size)
        return np.concatenate([asks.keep(strip).cpu().numpy() for strip in strips], axis=-2)


def at_own_scale(preprocess: Preprocess, size_px: tuple[int, int]) -> Preprocess:
    """The same preprocessing with nothing resized: what is stored, and shown, is the image as it is."""
    return replace(preprocess, size_px=size_px, store_px=size_px)
