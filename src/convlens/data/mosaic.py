"""Mosaic: a picture made of quarters of four, each with its boxes, so that few images give many surroundings.

Each quarter stays where it was and as large as it was, and the point where the four meet is drawn. Which pictures meet
depends on who is in the batch, as in mixup; all else on the sample alone.

Source: Bochkovskiy, Wang, Liao 2020, "YOLOv4", arXiv 2004.10934, section 3.3.
Differs: the pictures are not made smaller, so that objects keep their size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convlens.data.box_targets import LEAST_SHARE, NOTHING
from convlens.data.draws import bits, uniform

MEETING = (0.25, 0.75)  # where the four meet, as a share of each side
QUARTERS = 4


@dataclass(frozen=True)
class Mosaic:
    """What was drawn for each picture of a batch.

    Attributes:
        partner: (N, 4) int; position in the batch of the picture of each quarter, the rows of the upper ones first; the
            first is the picture itself.
        meeting: (N, 2) int; row and column where the four meet. Where there is no mosaic it is the size of the picture.
    """

    partner: np.ndarray
    meeting: np.ndarray


def draw_mosaic(share: float, seed: int, epoch: int, samples: np.ndarray, size_px: tuple[int, int]) -> Mosaic:
    """Draw for which samples, with which others, and where they meet.

    Args:
        share: of the pictures that become one of four.
    """
    n, order = len(samples), np.argsort(bits(seed, epoch, samples, "mosaic-order"))
    partner = np.empty((n, QUARTERS), np.int64)
    for quarter in range(QUARTERS):
        partner[order, quarter] = np.roll(order, quarter)
    low, high = MEETING
    at = np.stack([uniform(seed, epoch, samples, f"mosaic-{axis}") for axis in ("rows", "columns")], 1)
    meeting = np.rint((low + (high - low) * at) * size_px).astype(np.int64)
    meeting[uniform(seed, epoch, samples, "mosaic") >= share] = size_px
    return Mosaic(partner, meeting)


def mosaic_pictures(x: Tensor, mosaic: Mosaic) -> Tensor:
    """The pictures of a batch with the quarters of others in them.

    Shapes:
        (N, C, H, W) -> (N, C, H, W)
    """
    made = x.clone()
    for number, (row, column) in enumerate(mosaic.meeting.tolist()):
        places = np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:]
        for quarter, (rows, columns) in enumerate(places, 1):
            made[number, :, rows, columns] = x[int(mosaic.partner[number, quarter]), :, rows, columns]
    return made


def mosaic_boxes(targets: Tensor, mosaic: Mosaic, size_px: tuple[int, int], least: float = LEAST_SHARE) -> Tensor:
    """The boxes of all four pictures, as far as they lie in their quarter.

    Args:
        least: of a box's area that must be left for it to stay.

    Shapes:
        (N, M, 5) -> (N, 4 M, 5)
    """
    height, width = size_px
    row, column = torch.from_numpy(mosaic.meeting.astype(np.float32)).to(targets.device).unbind(1)  # (N,) each
    zero, high, wide = torch.zeros_like(row), torch.full_like(row, height), torch.full_like(row, width)
    windows = (  # x1, y1, x2, y2 of each quarter
        (zero, zero, column, row),
        (column, zero, wide, row),
        (zero, row, column, high),
        (column, row, wide, high),
    )
    partner, found = torch.from_numpy(mosaic.partner).to(targets.device), []
    for quarter, window in enumerate(windows):
        rows = targets[partner[:, quarter]]
        low, top = (torch.stack(pair, 1).unsqueeze(1).repeat(1, 1, 2) for pair in (window[:2], window[2:]))
        boxes = rows[..., 1:].maximum(low).minimum(top)
        before, after = ((b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (rows[..., 1:], boxes))
        stays = (rows[..., 0] != NOTHING) & (after > 0) & (after >= least * before)
        label = torch.where(stays, rows[..., 0], NOTHING)
        found.append(torch.cat([label.unsqueeze(2), boxes * stays.unsqueeze(2)], 2))
    return torch.cat(found, 1)
