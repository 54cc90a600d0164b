"""How many images a second a network answers, one at a time, as it would in front of a camera."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

MOST_IMAGES, MOST_SECONDS = 30, 2.0
UNCOUNTED = 2  # the first answers, which warm up


def one_at_a_time(
    answer: Callable[[np.ndarray, np.ndarray], object], images: np.ndarray, device: str
) -> dict[str, Any]:
    """Time single images, in turn, for at most about two seconds.

    Args:
        answer: called with the stored images and one row; must return when the answer is there.
        images: as stored (N, H, W, C).
        device: the network is on.

    Returns:
        `images_per_s` by the median, `n` images that were timed, and `where`, in words.
    """
    took: list[float] = []
    started = time.perf_counter()
    for number in range(MOST_IMAGES + UNCOUNTED):
        before = time.perf_counter()
        answer(images, np.array([number % len(images)]))
        now = time.perf_counter()
        if number >= UNCOUNTED:
            took.append(now - before)
        if took and now - started > MOST_SECONDS:
            break
    threads = torch.get_num_threads()
    machine = f"{platform.processor() or platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
    where = machine if device == "cpu" else device
    return {"images_per_s": round(1.0 / float(np.median(took)), 1), "n": len(took), "where": where}
