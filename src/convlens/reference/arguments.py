"""From what a person types to what the definitions calculate with: missing axes, one number for all axes, a bias.

A student types a matrix and a small filter; the formulas speak of samples, channels and filters. This file stands
between the two, and says what does not go together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import ShapeError
from convlens.reference.result import Index, numbers
from convlens.shapes import Padding, Pair

Each = int | Sequence[int]
Pads = Padding | Sequence[int | Pair]


def with_axes(array: np.ndarray, dims: int, name: str) -> np.ndarray:
    """Add the two leading axes where they were left out: (N, C, ...) of an input, (O, C, ...) of a filter.

    Example:
        >>> with_axes(np.zeros((4, 5)), 2, "x").shape, with_axes(np.zeros((3, 4, 5)), 2, "x").shape
        ((1, 1, 4, 5), (1, 3, 4, 5))

    Raises:
        ShapeError: it has fewer than `dims` axes, or more than `dims + 2`.
    """
    if not dims <= array.ndim <= dims + 2:
        raise ShapeError(
            f"{name} must have {dims} axes, or one or two more in front; got shape {array.shape}. "
            "Add the missing axes, or take out one sample."
        )
    return array.reshape((1,) * (dims + 2 - array.ndim) + array.shape)


def each(value: Each, dims: int, name: str, least: int = 1) -> Index:
    """A whole number for each axis, from one for all or one for each.

    Example:
        >>> each(2, 3, "stride"), each((1, 2), 2, "stride")
        ((2, 2, 2), (1, 2))
    """
    all_axes = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(all_axes) != dims or any(not isinstance(one, int) or one < least for one in all_axes):
        raise ShapeError(
            f"{name} must be a whole number of at least {least}, or {dims} of them; got {value!r}. "
            "Give one for all axes or one for each."
        )
    return all_axes


def each_pads(padding: Pads, dims: int) -> tuple[Padding, ...]:
    """The padding of each axis: a word or a number for all, or for each axis a number or (before, after).

    Example:
        >>> each_pads("same", 2), each_pads(1, 2), each_pads(((0, 1), 2), 2)
        (('same', 'same'), (1, 1), ((0, 1), 2))
    """
    if isinstance(padding, int | str):
        return (padding,) * dims
    if len(padding) != dims:
        raise ShapeError(
            f"padding must be 'valid', 'same', a number, or {dims} entries, one for each axis; got {padding!r}. "
            "An entry is a number for both sides or (before, after)."
        )
    return tuple(padding)


def bias_of(bias: ArrayLike | None, filters: int) -> np.ndarray | None:
    """One bias for each filter, or none."""
    array = None if bias is None else numbers(bias, "bias").reshape(-1)
    if array is not None and len(array) != filters:
        raise ShapeError(
            f"bias must hold one number for each of the {filters} filters; got {len(array)}. Leave it out for none."
        )
    return array


def require_channels(channels: int, weight_OI: Index, groups: int) -> None:  # noqa: N803
    """The filters must be as deep as the channels of their group, and the groups must divide both."""
    filters, depth = weight_OI
    if groups < 1 or channels % groups or filters % groups:
        raise ShapeError(
            f"groups must divide the {channels} channels and the {filters} filters; got groups={groups}. "
            "Choose a common divisor of both, or 1."
        )
    if depth != channels // groups:
        share = f"{channels} channels" if groups == 1 else f"{channels} channels / {groups} groups"
        raise ShapeError(
            f"A filter must be as deep as its input: {share} = {channels // groups}; got a filter of depth {depth}. "
            f"Give the filter {channels // groups} planes, or choose groups that fit."
        )


def position_text(letter: str, factor: int, tap: str, dilation: int, before: int) -> str:
    """Where a tap reads, for the equation of a trace.

    Example:
        >>> position_text("i", 2, "a", 1, 1), position_text("j", 1, "b", 3, 0)
        ('2i + a - 1', 'j + 3b')
    """
    times = [f"{number if number > 1 else ''}{name}" for number, name in ((factor, letter), (dilation, tap))]
    return " + ".join(times) + (f" - {before}" if before else "")
