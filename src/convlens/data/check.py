"""A look at the health of a data set before any training: every file is decoded, nothing is kept or changed.

It needs no torch, and knows nothing of networks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from convlens.data.facts import scan
from convlens.data.health import Health, inspect
from convlens.data.mask_targets import check_masks
from convlens.data.opening import open_all
from convlens.data.policy import ImagePolicy
from convlens.data.record import Source
from convlens.request import read_request


def check(
    source: Any, *, progress: Callable[[str, int, int], None] | None = None, **options: Any
) -> tuple[Source, Health]:
    """Look at the health of a data set without training.

    Args:
        source, options: as for `convlens.train`.
        progress: called with (stage, done, all) while images are decoded.

    Returns:
        the source that was opened, and what was found.

    Raises:
        DataError: the source cannot be opened.
    """
    config, arrays = read_request(source, None, options)
    opened = open_all(config, arrays)
    policy = ImagePolicy(max_pixels=config.data.max_pixels)
    decoding = None if progress is None else lambda done, total: progress("decoding", done, total)
    facts = scan(opened, policy, threads=os.cpu_count() or 1, progress=decoding)
    health = inspect(
        opened, facts, near_duplicates=config.data.near_duplicates, max_bad_fraction=config.data.max_bad_fraction
    )
    if opened.kind == "mask":
        wrong = check_masks(opened, facts, config.data.max_pixels)
        health = replace(health, findings=(*health.findings, *wrong))
    return opened, health
