"""An answer for every pixel of an image too large to be shown to a network at once: overlapping tiles, blended.

Near the edge of a tile a network has seen padding in place of the image, so what it says there is thrown away: the
weight of a tile is zero in an outer margin of a third of the overlap, rises linearly over the next third, and is one
inside. At the borders of the image itself nothing lies beyond, for the whole image as for a tile, and the weight is
one up to the last pixel.

Tiles begin at multiples of `align`, so that pooling and strides cut a tile where they cut the whole image. A network
whose answer at a pixel depends on no more than the margin to each side of it therefore says the same in tiles as at
once. This file knows tensors and callables; it must not know networks, tasks or files.

Source: Ronneberger, Fischer, Brox 2015, "U-Net", arXiv 1505.04597, figure 2, the overlap-tile strategy.
Differs: there tiles do not overlap in what they say, and the borders of the image are mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from convlens.errors import ConfigError, ShapeError

Answer = Callable[[Tensor], Tensor]


def tiled(answer: Answer, x: Tensor, tile_px: int, overlap_px: int, *, align: int = 1, batch_size: int = 1) -> Tensor:
    """The answer for a whole image from answers for its tiles.

    Args:
        answer: (N, C, h, w) -> (N, K, h, w), for every h and w up to `tile_px`.
        tile_px: side of a tile; smaller at the lower and the right border, and where the image is smaller.
        overlap_px: what two neighbours have in common at least; a third of it is the margin.
        align: tiles begin at multiples of it, such as what the network shrinks the image by, or a multiple of that.
        batch_size: tiles shown at a time.

    Shapes:
        (1, C, H, W) -> (1, K, H, W)

    Example:
        >>> x = torch.arange(30.0).view(1, 1, 5, 6)
        >>> torch.allclose(tiled(lambda tiles: 2 * tiles, x, 4, 2), 2 * x)
        True

    Raises:
        ConfigError: an overlap that leaves no way forward.
        ShapeError: not one image, or an answer of another size than its tile.
    """
    strips = tiled_strips(answer, x, tile_px, overlap_px, align=align, batch_size=batch_size)
    return torch.cat(list(strips), dim=2)


def tiled_strips(
    answer: Answer, x: Tensor, tile_px: int, overlap_px: int, *, align: int = 1, batch_size: int = 1
) -> Iterator[Tensor]:
    """The same as strips from top to bottom, each as soon as no further tile reaches it: memory for one row of tiles.

    Shapes:
        (1, C, H, W) -> (1, K, rows, W), of H rows in all

    Raises:
        ConfigError, ShapeError: as `tiled`.
    """
    if x.ndim != 4 or len(x) != 1 or 0 in x.shape:
        raise ShapeError(f"Tiles are cut from one image, (1, C, H, W); got {tuple(x.shape)}.")
    height, width = x.shape[2:]
    tops, lefts = (starts(side, tile_px, overlap_px, align) for side in (height, width))
    downward, across = (_weights(first, side, tile_px, overlap_px) for first, side in ((tops, height), (lefts, width)))
    pending: Tensor | None = None  # of the rows that more tiles will reach
    for number, (top, down) in enumerate(zip(tops, downward, strict=True)):
        row = _row(answer, x[:, :, top : top + tile_px], lefts, across, tile_px, batch_size)
        row *= torch.from_numpy(down).to(row)[:, None]
        if pending is not None:
            row[:, :, : pending.shape[2]] += pending
        done = tops[number + 1] - top if number + 1 < len(tops) else row.shape[2]
        yield row[:, :, :done]
        pending = row[:, :, done:]


def starts(side: int, tile_px: int, overlap_px: int, align: int = 1) -> list[int]:
    """Where the tiles along a side begin: at multiples of `align`, each overlapping the next by `overlap_px` or more.

    Example:
        >>> starts(100, 64, 16, align=16), starts(60, 64, 16, align=16)
        ([0, 48], [0])

    Raises:
        ConfigError: a tile less its overlap is smaller than `align`.
    """
    step = (tile_px - overlap_px) // align * align
    if overlap_px < 0 or align < 1 or step < 1:
        raise ConfigError(
            f"Tiles of {tile_px} px that overlap by {overlap_px} cannot move on by {align} px, by which the network "
            f"shrinks images. Take tiles of {max(overlap_px, 0) + align} px or more."
        )
    last = -(-max(side - tile_px, 0) // align) * align
    return [*range(0, last, step), last]


def _row(
    answer: Answer, band: Tensor, lefts: Sequence[int], across: Sequence[np.ndarray], tile_px: int, batch_size: int
) -> Tensor:
    """One row of tiles blended sideways, (1, C, h, W) -> (1, K, h, W)."""
    blended = torch.zeros(0)  # until the first answer says how many channels there are
    for batch in _batches(lefts, band.shape[3], tile_px, batch_size):
        tiles = torch.cat([band[..., lefts[i] : lefts[i] + tile_px] for i in batch])
        found = answer(tiles)
        if found.ndim != 4 or len(found) != len(tiles) or found.shape[2:] != tiles.shape[2:]:
            raise ShapeError(
                f"In tiles a network must answer (N, K, h, w) for (N, C, h, w); it gives {tuple(found.shape)} for "
                f"{tuple(tiles.shape)}."
            )
        if not blended.numel():
            blended = found.new_zeros(1, found.shape[1], *band.shape[2:])
        for i, one in zip(batch, found, strict=True):
            weight = torch.from_numpy(across[i]).to(found)
            blended[0, :, :, lefts[i] : lefts[i] + tile_px] += one * weight
    return blended


def _batches(lefts: Sequence[int], width: int, tile_px: int, batch_size: int) -> Iterator[range]:
    """Tiles to show together: as many as asked for, of one width; only the last one can be narrower."""
    full = sum(left + tile_px <= width for left in lefts)
    for first in range(0, full, batch_size):
        yield range(first, min(first + batch_size, full))
    if full < len(lefts):
        yield range(full, len(lefts))


def _weights(first: Sequence[int], side: int, tile_px: int, overlap_px: int) -> list[np.ndarray]:
    """The weight of each tile along a side, float32; where tiles overlap, those of all add up to one."""
    margin = overlap_px // 3
    rise = max(overlap_px - 2 * margin, 1)
    total, found = np.zeros(side), []
    for start in first:
        length = min(tile_px, side - start)
        inwards = np.arange(length) + 0.5
        begin = np.ones(length) if start == 0 else (inwards - margin) / rise
        end = np.ones(length) if start + length == side else (inwards[::-1] - margin) / rise
        weight = np.minimum(begin, end).clip(0.0, 1.0)
        total[start : start + length] += weight
        found.append(weight)
    return [
        (weight / total[start : start + len(weight)]).astype(np.float32)
        for start, weight in zip(first, found, strict=True)
    ]
