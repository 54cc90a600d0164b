"""Boxes that follow their images through augmentation: the inverse of the map that images are sampled by.

An augmented image asks, for each of its pixels, where in the stored image it comes from (`augment.py`); a box is moved
the other way, by its four corners. Of a turned box the box around it is kept, and cut off where the input ends, which
makes it larger than what is to be seen: a reason to turn pictures of boxes little. This file knows boxes and draws, no
pixels and no files.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from convlens.data.box_targets import LEAST_SHARE, NOTHING
from convlens.data.draws import Draw


def move_boxes(
    targets: Tensor, drawn: Draw, stored_px: tuple[int, int], size_px: tuple[int, int], least: float = LEAST_SHARE
) -> Tensor:
    """Do to the boxes of each image what is done to the image.

    A box is cut off where the input ends; one of which less than `least` of the area is left becomes a row that only
    fills up.

    Args:
        targets: rows `class, x1, y1, x2, y2` in pixels of the stored images.
        stored_px: height and width of these.
        size_px: height and width of the network's input.

    Shapes:
        (N, M, 5) -> (N, M, 5), in pixels of the input
    """
    matrix, middle = _forward(drawn, stored_px, size_px)
    to_input = torch.from_numpy(matrix.astype(np.float32)).to(targets.device, non_blocking=True)  # (N, 2, 2) as y, x
    centre = torch.from_numpy(middle.astype(np.float32)).to(targets.device, non_blocking=True)  # (N, 2)
    x1, y1, x2, y2 = targets[..., 1:].unbind(2)
    corners = torch.stack([torch.stack([y1, y1, y2, y2], 2), torch.stack([x1, x2, x1, x2], 2)], 3)  # (N, M, 4, 2)
    moved = torch.einsum("nij,nmcj->nmci", to_input, corners - centre[:, None, None])
    moved = moved + moved.new_tensor(size_px) / 2
    low, high = moved.amin(2), moved.amax(2)  # (N, M, 2) as y, x
    limit = moved.new_tensor(size_px)
    cut_low, cut_high = low.clamp(min=0).minimum(limit), high.clamp(min=0).minimum(limit)
    before, after = (high - low).prod(2), (cut_high - cut_low).prod(2)
    stays = (targets[..., 0] != NOTHING) & (after > 0) & (after >= least * before)
    label = torch.where(stays, targets[..., 0], NOTHING)
    boxes = torch.cat([cut_low.flip(2), cut_high.flip(2)], 2) * stays.unsqueeze(2)
    return torch.cat([label.unsqueeze(2), boxes], 2)


def _forward(drawn: Draw, stored_px: tuple[int, int], size_px: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (N, 2, 2) from steps in the stored image to those in the input, and the place (N, 2) its centre is from.

    Both in axes (rows, columns) and in edges: the outer corner of the first pixel is 0. An image is sampled at
    `middle + mirror * rotation / zoom * step`; the inverse of a rotation is its transpose, that of a mirror the mirror.
    Where rows and columns change places, so do the two steps in the input.
    """
    angle = np.deg2rad(drawn.angle_deg)
    cos, sin = np.cos(angle) * drawn.zoom, np.sin(angle) * drawn.zoom
    turned_back = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)  # (N, 2, 2)
    mirror = np.where(drawn.flip, -1.0, 1.0)
    stored, size = np.array(stored_px), np.array(size_px)
    middle = (stored - size) // 2 + size / 2 + drawn.shift + drawn.translate
    matrix = turned_back * mirror[:, None, :]
    return np.where(drawn.turn[:, None, None], matrix[:, ::-1], matrix), middle
