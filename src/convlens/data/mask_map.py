"""Which values of masks mean which class: the map a model keeps, and how people write it.

This file knows values, names and arrays of values; not how masks are stored or what their values might mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import numpy as np

from convlens.data.findings import shorten
from convlens.data.labels import label_text
from convlens.errors import ArtefactError, BadImage, ConfigError, DataError

VERSION = 1
IGNORED = 255  # the class of pixels that do not count
COLOUR = 1 << 24  # added to 0xRRGGBB, so that blue is not grey 255
OPTION = "data.mask_values"
OTHERS = "*"
CSS = {
    "black": 0x000000,
    "white": 0xFFFFFF,
    "red": 0xFF0000,
    "lime": 0x00FF00,
    "blue": 0x0000FF,
    "yellow": 0xFFFF00,
    "cyan": 0x00FFFF,
    "magenta": 0xFF00FF,
    "silver": 0xC0C0C0,
    "gray": 0x808080,
    "maroon": 0x800000,
    "green": 0x008000,
    "navy": 0x000080,
    "olive": 0x808000,
    "teal": 0x008080,
    "purple": 0x800080,
}
Rest = Literal["error", "ignore", "foreground", "nearest"]


@dataclass(frozen=True)
class MaskMap:
    """Which values of masks mean which class.

    Attributes:
        values: raw value -> class index.
        names: of the classes; the first is the background where there is one.
        ignore: raw values of pixels that do not count.
        rest: what any other value becomes: an `error`; `ignore`, it does not count; `foreground`, the last class if it
            is above 0; `nearest`, what the nearest listed value becomes (between 0 and 255: 128 is nearer to 255).

    Raises:
        ConfigError: the fields do not fit together.

    Example:
        >>> MaskMap({0: 0, 9: 1}, ("background", "cell"), ignore=(255,)).apply(np.array([[0, 9, 255]]))
        array([[  0,   1, 255]], dtype=uint8)
    """

    values: Mapping[int, int]
    names: tuple[str, ...]
    ignore: tuple[int, ...] = ()
    rest: Rest = "error"
    _tables: tuple[np.ndarray, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORED:
            raise ConfigError(f"Masks need 2 to {IGNORED} classes; got {len(self.names)}: {shorten(self.names)}.")
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"The classes of masks need different names; got {', '.join(self.names)}.")
        if self.rest not in get_args(Rest):
            raise ConfigError(f"Other values of masks become one of {', '.join(get_args(Rest))}; got '{self.rest}'.")
        if odd := [value for value, index in self.values.items() if not 0 <= index < len(self.names)]:
            raise ConfigError(f"The mask values {shorten(map(value_text, odd))} have a class that has no name.")
        if not self.values:
            raise ConfigError("At least one value of the masks must have a class; got none.")
        if both := set(self.ignore) & set(self.values):
            raise ConfigError(f"The mask values {shorten(map(value_text, both))} have a class and are ignored too.")
        every = {**self.values, **dict.fromkeys(self.ignore, IGNORED)}
        if any(value >= COLOUR for value in every):
            every = {as_colour(value): index for value, index in every.items()}
        keys = np.array(sorted(every), np.int64)
        object.__setattr__(self, "_tables", (keys, np.array([every[key] for key in keys.tolist()], np.int16)))

    @property
    def listed(self) -> tuple[int, ...]:
        """All values with a meaning of their own, in order; greys as colours where any is a colour."""
        return tuple(self._tables[0].tolist())

    def apply(self, raw: np.ndarray, name: str = "mask") -> np.ndarray:
        """Class indices of a mask; `IGNORED`, 255, where pixels do not count.

        Args:
            raw: as `read_mask` gives it.
            name: what errors call it.

        Shapes:
            (h, w) of whole numbers -> (h, w) uint8

        Raises:
            BadImage: mask-value: a value has no meaning.
        """
        if raw.dtype.kind == "u" and raw.dtype.itemsize <= 2:
            found = np.flatnonzero(np.bincount(raw.ravel()))
            table = np.zeros(found[-1] + 1, np.uint8)
            table[found] = self._meaning(found, name)
            return table[raw]
        found, where = np.unique(raw, return_inverse=True)
        return self._meaning(found.astype(np.int64), name)[where].reshape(raw.shape)

    def _meaning(self, found: np.ndarray, name: str) -> np.ndarray:
        keys, classes = self._tables
        if keys[-1] >= COLOUR:
            found = np.where((found >= 0) & (found < 256), COLOUR + found * 0x010101, found)
        else:  # greys beside colours in one mask
            grey = (found >= COLOUR) & ((found - COLOUR) % 0x010101 == 0)
            found = np.where(grey, (found - COLOUR) // 0x010101, found)
        at = np.searchsorted(keys, found).clip(max=len(keys) - 1)
        other = np.full(len(found), -1)
        if self.rest == "ignore":
            other[:] = IGNORED
        elif self.rest == "foreground":
            other[found % COLOUR > 0] = len(self.names) - 1
            other[found < 0] = -1
        elif self.rest == "nearest":
            other = classes[_nearest(found, keys)]
        meaning = np.where(keys[at] == found, classes[at], other)
        if (meaning < 0).any():
            odd = shorten((value_text(value) for value in found[meaning < 0].tolist()), most=8)
            raise BadImage(
                name,
                "mask-value",
                f"the mask holds values that have no class: {odd}; known are {shorten(map(value_text, self.listed), 8)}"
                f"; add them to {OPTION}, where '{OTHERS}' stands for all others",
            )
        return meaning.astype(np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the version that says what they mean."""
        values = {value_text(value): index for value, index in self.values.items()}
        ignore = [value_text(value) for value in self.ignore]
        return {"version": VERSION, "values": values, "names": list(self.names), "ignore": ignore, "rest": self.rest}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read back what `to_json` wrote.

        Raises:
            ArtefactError: another version, or something is missing, unknown or impossible.
        """
        fields = {"version", "values", "names", "ignore", "rest"}
        if not isinstance(data, dict) or data.keys() != fields:
            raise ArtefactError(f"The stored mask values must be an object of {', '.join(sorted(fields))}.")
        if data["version"] != VERSION:
            raise ArtefactError(
                f"The stored mask values have version {data['version']}; this program reads version {VERSION}. "
                "Use the convlens that wrote the file, or a newer one."
            )
        try:
            values = {text_value(text): int(index) for text, index in data["values"].items()}
            names, ignore = map(str, data["names"]), map(text_value, data["ignore"])
            return cls(values, tuple(names), tuple(ignore), data["rest"])
        except (ConfigError, AttributeError, TypeError, ValueError) as error:
            raise ArtefactError(f"The stored mask values cannot be used: {error}") from None

    @classmethod
    def parse(cls, option: Mapping[str, str | None] | Sequence[str] | str) -> Self:
        """What the user said, as an object or as JSON.

        Args:
            option: `{"0": "background", "255": "cell"}`: the class of each value. Several values may have one class;
                null or `ignore` leaves a value out; `*` is the class of all others, or `ignore` or `nearest`.
                `["background", "cell"]`: the classes of the values 0, 1, ...

        Raises:
            ConfigError: it is neither, or contradicts itself.

        Example:
            >>> MaskMap.parse({"0": "background", "*": "cell"})
            MaskMap(values={0: 0}, names=('background', 'cell'), ignore=(), rest='foreground')
        """
        given = read_option(option)
        if not isinstance(given, dict):
            return cls(dict(enumerate(range(len(given)))), tuple(given))
        said = {text: None if name in (None, "ignore", "ignored") else name for text, name in given.items()}
        other = said.pop(OTHERS, None)
        names = list(dict.fromkeys(name for name in said.values() if name is not None))
        names.sort(key=lambda name: name.lower() != "background")  # keeps the order of the others
        rest: Rest = "error" if OTHERS not in given else "ignore" if other is None else "nearest"
        if other not in (None, "nearest"):  # the last class
            names, rest = [*(name for name in names if name != other), other], "foreground"
        values, ignore = dict[int, int](), list[int]()
        for text, name in said.items():
            value = text_value(text)
            if value in values or value in ignore:
                raise ConfigError(f"{OPTION} says twice what {value_text(value)} means. Keep one of the two.")
            if name is None:
                ignore.append(value)
            else:
                values[value] = names.index(name)
        return cls(values, tuple(names), tuple(ignore), rest)


# As people write it ---------------------------------------------------------------------------------------------------


def as_colour(value: int) -> int:
    """A grey level as the colour it is; other values stay."""
    return COLOUR + value * 0x010101 if 0 <= value < 256 else value


def value_text(value: int) -> str:
    """A value as people write it.

    Example:
        >>> value_text(255), value_text(COLOUR + 0xFF0000)
        ('255', '#ff0000')
    """
    return f"#{value - COLOUR:06x}" if value >= COLOUR else str(value)


def text_value(text: str) -> int:
    """The value that people write as a number, as `#rrggbb` or as one of CSS's basic colours.

    Raises:
        ConfigError: it is none of these.
    """
    word = text.strip().lower()
    if word in CSS:
        return COLOUR + CSS[word]
    if re.fullmatch("#[0-9a-f]{6}", word):
        return COLOUR + int(word[1:], 16)
    if re.fullmatch("-?[0-9]{1,8}", word):
        return int(word)
    raise ConfigError(
        f"'{text}' is not a value of a mask; expected a whole number, a colour such as #ff0000 or red, or '{OTHERS}' "
        "for all others."
    )


def read_option(option: Any) -> dict[str, str | None] | list[str]:
    """What the user said of values, checked for its form.

    Raises:
        ConfigError: it is neither an object nor a list of names.
    """
    expected = f'{OPTION} must be like {{"0": "background", "255": "cell"}} or ["background", "cell"]'
    if isinstance(option, str):
        try:
            option = json.loads(option, object_pairs_hook=_pairs)
        except ValueError as error:
            raise ConfigError(f"{expected}; got {option[:80]!r} ({error}).") from None
    if isinstance(option, Mapping):
        return {str(key): None if name is None else _class_name(name) for key, name in option.items()}
    if not isinstance(option, Sequence) or isinstance(option, str | bytes):
        raise ConfigError(f"{expected}; got {option!r}.")
    return [_class_name(name) for name in option]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a value is named twice")
    return dict(pairs)


def _class_name(name: Any) -> str:
    try:
        text = label_text(name, OPTION)
    except DataError as error:
        raise ConfigError(str(error)) from None
    if text is None:
        raise ConfigError(f"{OPTION}: a class needs a name; got {name!r}. Write 'ignore' for values that do not count.")
    return text


def _nearest(found: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Position of the key that is nearest to each value; colours are compared as points of RGB."""
    shifts = (16, 8, 0) if keys[-1] >= COLOUR else (0,)
    mask = 0xFF if len(shifts) == 3 else -1
    sides = [[(one >> shift) & mask for shift in shifts] for one in (found, keys)]
    squares = [(a[:, None] - b[None, :]) ** 2 for a, b in zip(*sides, strict=True)]
    return np.sum(squares, axis=0).argmin(axis=1)
