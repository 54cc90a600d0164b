"""What the values of masks probably mean, told from their histogram alone; what could mean two things is asked.

Every answer is a `MaskMap` and a finding that says it in words. This file sees counts, never a mask.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from convlens.data.findings import Finding, shorten
from convlens.data.mask_map import COLOUR, CSS, IGNORED, OPTION, OTHERS, MaskMap, as_colour, read_option, value_text
from convlens.data.masks import ValueCounts
from convlens.errors import ConfigError, DataError

BLACK, WHITE = COLOUR, COLOUR + 0xFFFFFF
NEAR = 48  # levels from 0 and 255 within which JPEG and scaling leave most pixels of a black and white mask
FEW, MANY = 10, 64
MAX_COLOURS = 64
RUNNING = 0.9  # share of masks whose values are 1, 2, .., n
RARE = 0.2  # share of masks that hold the largest of such values
DRAWN = 0.5  # share of equal neighbours, above which a mask is no photograph
Meaning = tuple[MaskMap, tuple[Finding, ...]]


def choose(counts: ValueCounts, option: Any = None) -> Meaning:
    """The meaning of the values in some masks: as the user said, or as their histogram tells.

    Args:
        option: as `MaskMap.parse` takes it; a list of names goes to the values in their order.

    Raises:
        ConfigError: the option cannot be read.
        DataError: the masks hold values the option does not name, or their meaning cannot be told.
    """
    if option is None:
        return propose(counts)
    said = read_option(option)
    if isinstance(said, list):
        return propose(counts, said)
    meaning = MaskMap.parse(said)
    colours = counts.coloured or any(value >= COLOUR for value in meaning.listed)
    present = {as_colour(value) if colours else value for value in counts.pixels}
    listed = {as_colour(value) if colours else value for value in meaning.listed}
    unknown = [value_text(value) for value in sorted(present - listed)]
    if unknown and meaning.rest == "error":
        raise DataError(
            f"{OPTION} says nothing of {shorten(unknown)}. The masks hold {counts.describe()}. Add them, or say with "
            f"'{OTHERS}' what all others are."
        )
    classes = meaning.apply(np.array(list(counts.pixels)), OPTION).tolist()
    shares = dict.fromkeys([*meaning.names, "what does not count"], 0.0)
    for value, index in zip(counts.pixels, classes, strict=True):
        shares["what does not count" if index == IGNORED else meaning.names[index]] += 100 * counts.share(value)
    told = ", ".join(f"{name} has {share:.3g} %" for name, share in shares.items() if share or name in meaning.names)
    findings = [_told(counts, f"as {OPTION} says, {told} of the pixels")]
    if unused := [value_text(value) for value in sorted(listed - present)]:
        message = f"{OPTION} names values that occur in no mask: {', '.join(unused)}. They hold {counts.describe()}."
        findings.append(Finding("unused-mask-value", "warning", message))
    return meaning, tuple(findings)


def propose(counts: ValueCounts, names: Sequence[str] | None = None) -> Meaning:
    """The meaning that the values themselves suggest.

    - 0 and one other value: background and foreground.
    - 0, 1, .., or a few other greys with 0: a class each, 0 the background; 255 beside small ones does not count.
    - 1, 2, .., n in every mask, with another n each time: numbered objects, all of one class.
    - most pixels near 0 and near 255, few between: black and white, blurred by JPEG or scaling; 128 divides them.
    - a few colours: a class each, named by colour, black the background.

    Args:
        names: of the classes, in the order of their values.

    Raises:
        DataError: it cannot be told; the message holds the histogram and shows what to write.
    """
    if names is not None and len(names) < 2:
        raise ConfigError(f"{OPTION} must name at least two classes; got {len(names)}. The background is one of them.")
    if len(counts.pixels) < 2:
        raise DataError(f"The masks hold {counts.describe() or 'nothing'}; expected at least two values to tell apart.")
    if counts.coloured:
        return _colours(counts, names)
    if _is_smeared(counts):
        return _smeared(counts, names)
    if min(counts.pixels) < 0:
        raise _unclear(counts, "what values below 0 mean")
    if 0 not in counts.pixels:
        if names and len(names) == len(counts.pixels):
            return _classes(counts, names, tuple(counts.pixels), ())
        raise _unclear(counts, "which value is the background, for none is 0")
    return _greys(counts, names)


def _greys(counts: ValueCounts, names: Sequence[str] | None) -> Meaning:
    values = tuple(counts.pixels)
    above = values[1:]
    if len(above) == 1 and not (names and len(names) > 2):
        return _classes(counts, names or ("background", "foreground"), values, ())
    aside = above[-1] == 255 and 254 not in above
    rest = above[:-1] if aside else above
    if counts.running >= RUNNING * counts.drawn and len(rest) >= 3 and len(names or ()) != len(rest) + 1:
        uneven = counts.images[rest[-1]] <= RARE * counts.drawn
        wished = names is not None and len(names) == 2
        if not aside and counts.alike >= DRAWN and (wished or (len(rest) >= FEW and uneven)):
            return _objects(counts, names)
        if uneven or len(rest) >= FEW:
            raise _unclear(counts, "whether these are classes, numbered objects or no masks at all")
    if len(rest) > MANY and (names is None or len(rest) >= IGNORED):
        raise _unclear(counts, "which of so many values are classes")
    if not aside:
        return _classes(counts, names, values, ())
    if not _is_beside(counts, rest) or (names and len(names) == len(values)):
        raise _unclear(counts, "whether 255 is a class or marks pixels that do not count")
    return _classes(counts, names, (0, *rest), (255,))


def _is_beside(counts: ValueCounts, rest: Sequence[int]) -> bool:
    """Whether 255 marks what does not count: beside small indices, in the same masks, on fewer pixels than they."""
    small = rest and (rest[-1] <= 40 or rest[-1] <= 2 * len(rest))
    return bool(small) and counts.beside_255 > 0 and counts.share(255) <= counts.share(*rest)


def _classes(
    counts: ValueCounts, names: Sequence[str] | None, values: tuple[int, ...], ignore: tuple[int, ...]
) -> Meaning:
    """One class for each value; names given for more classes than occur go to 0, 1, .."""
    if names is None:
        names = ["background", *(f"class {value}" for value in values[1:])]
    if len(names) != len(values):
        if values[-1] >= len(names):
            raise DataError(
                f"{OPTION} names {len(names)} classes, but the masks hold {counts.describe()}. Name each value: "
                f"{_example(counts)}."
            )
        values = tuple(range(len(names)))
    meaning = MaskMap({value: index for index, value in enumerate(values)}, tuple(names), ignore)
    present = [value for value in values if value in counts.pixels]
    told = [f"{value} is {names[meaning.values[value]]} ({_percent(counts, value)})" for value in present]
    left = f"; 255 does not count ({_percent(counts, 255)})" if ignore else ""
    return meaning, (_told(counts, f"{', '.join(told)}{left}"),)


def _objects(counts: ValueCounts, names: Sequence[str] | None) -> Meaning:
    names = _two(counts, names)
    meaning = MaskMap({0: 0}, names, rest="foreground")
    what = (
        f"they number their objects, up to {max(counts.pixels):,} in one mask, so every value above 0 is {names[1]} "
        f"({_percent(counts, *list(counts.pixels)[1:])}); objects that touch become one region"
    )
    return meaning, (_told(counts, what),)


def _is_smeared(counts: ValueCounts) -> bool:
    """Black and white with levels between, as lossy files and scaling leave them along the edges."""
    values = list(counts.pixels)
    if len(values) < 4 or values[0] < 0 or values[-1] > 255 or not any(255 - NEAR <= value < 255 for value in values):
        return False
    low = sum(counts.share(value) for value in values if value <= NEAR)
    high = sum(counts.share(value) for value in values if value >= 255 - NEAR)
    between = max(0.0, 1 - low - high)
    return low > 0 and high > 0 and between <= 0.1 and between <= 0.5 * high


def _smeared(counts: ValueCounts, names: Sequence[str] | None) -> Meaning:
    names = _two(counts, names)
    meaning = MaskMap({0: 0, 255: 1}, names, rest="nearest")
    other = counts.share(*(value for value in counts.pixels if value not in (0, 255)))
    high = [value for value in counts.pixels if value >= 128]
    message = (
        f"{100 * other:.2g} % of the pixels of {counts.masks:,} masks lie between black and white, as JPEG or scaling "
        f"leaves them; 128 and more was read as {names[1]} ({_percent(counts, *high)}). Save masks as PNG, unscaled."
    )
    return meaning, (Finding("smeared-mask", "warning", message),)


def _colours(counts: ValueCounts, names: Sequence[str] | None) -> Meaning:
    values = list(counts.pixels)
    if values[0] < COLOUR:
        raise _unclear(counts, "how colours and numbers above 255 belong together")
    if len(values) > MAX_COLOURS:
        raise _unclear(counts, f"which of {len(values):,} colours are classes (lossy or scaled masks have many)")
    if names is not None and not (len(names) == len(values) == 2 and BLACK in values):
        raise _unclear(counts, "which name belongs to which colour")
    called = {code: name for name, code in CSS.items()}
    colours = [called.get(value - COLOUR, value_text(value)) for value in values]
    chosen = list(
        names or ["background" if value == BLACK else name for value, name in zip(values, colours, strict=True)]
    )
    meaning = MaskMap({value: index for index, value in enumerate(values)}, tuple(chosen))
    told = [
        f"{colour} is {'class ' if colour == name else ''}{name} ({_percent(counts, value)})"
        for value, colour, name in zip(values, colours, chosen, strict=True)
    ]
    none = "" if BLACK in values else "; none is black, so none is the background"
    return meaning, (_told(counts, ", ".join(told) + none),)


# Words ----------------------------------------------------------------------------------------------------------------


def _two(counts: ValueCounts, names: Sequence[str] | None) -> tuple[str, str]:
    background, foreground, *more = names or ("background", "foreground")
    if more:
        raise _unclear(counts, f"which values are the {len(more) + 2} classes named")
    return background, foreground


def _percent(counts: ValueCounts, *values: int) -> str:
    return f"{100 * counts.share(*values):.3g} %"


def _told(counts: ValueCounts, what: str) -> Finding:
    return Finding("mask-values", "note", f"The values of {counts.masks:,} masks: {what}.")


def _unclear(counts: ValueCounts, what: str) -> DataError:
    return DataError(
        f"It cannot be told {what}. The masks hold {counts.describe()}. Say what each value means: {_example(counts)}; "
        f"'ignore' for pixels that do not count, '{OTHERS}' for all other values."
    )


def _example(counts: ValueCounts) -> str:
    """What the user could write, with values that occur."""
    often = sorted(sorted(counts.pixels, key=lambda value: -counts.pixels[value])[:3])
    said = {value_text(value): f"class {index}" if index else "background" for index, value in enumerate(often)}
    return f"{OPTION} = {json.dumps(said | ({OTHERS: 'class 3'} if len(counts.pixels) > 3 else {}))}"
