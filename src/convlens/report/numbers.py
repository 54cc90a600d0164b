"""Columns of the history as numbers, and numbers as short labels; shared by the figures and the words beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One history column as floats, NaN where a row has no value."""
    values = (row.get(name) for row in rows)
    return np.array([math.nan if v is None else float(v) for v in values], dtype=float)


def last(values: np.ndarray) -> float:
    """The last value that is a number."""
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else math.nan


def short(value: float, digits: int = 3) -> str:
    """A number for a label: as many digits as matter.

    Example:
        >>> short(0.001234), short(12345), short(99.5), short(2.0), short(0.0997, 2), short(302, 2)
        ('0.00123', '12k', '99.5', '2', '0.1', '302')
    """
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= 10_000:
        unit, word = (1_000_000, "M") if size >= 1_000_000 else (1000, "k")
        return f"{value / unit:.3g}{word}" if size / unit < 10 else f"{value / unit:.0f}{word}"
    if 0 < size < 0.001:
        shown, _, power = f"{value:.1e}".partition("e")
        return f"{shown.removesuffix('.0')}e{int(power)}"
    return f"{value:.{digits}g}" if size < 10**digits else f"{value:.0f}"
