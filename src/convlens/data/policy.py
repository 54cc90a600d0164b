"""The numbers of the written image policy (docs/images.md), and what it makes of an image.

Stored in the model file, so that all who use a network read images alike. This file must not know how reading is done.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from convlens.errors import BadImage, ConfigError

VERSION = 1


@dataclass(frozen=True)
class ImagePolicy:
    """How every image becomes 8-bit pixels.

    Attributes:
        channels: 1 grey, 3 RGB; any other number takes arrays only.
        background: the colour under transparent pixels.
        white_level: the 16-bit value that becomes 255; larger values are refused, never clipped.
        max_pixels: larger images are refused from their header.
        max_side_px: longer images are refused from their header.
        max_bytes: larger files are refused unread.

    Raises:
        ConfigError: a value is out of range.
    """

    channels: int = 3
    background: tuple[int, int, int] = (255, 255, 255)
    white_level: int = 65535
    max_pixels: int = 50_000_000
    max_side_px: int = 16_384
    max_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        if len(self.background) != 3 or not all(0 <= level <= 255 for level in self.background):
            raise ConfigError(f"background must be three values of 0..255; got {self.background}.")
        if not 2 <= self.white_level <= 65535:
            raise ConfigError(f"white_level must be 2..65535, the 16-bit value of white; got {self.white_level}.")
        for option in ("channels", "max_pixels", "max_side_px", "max_bytes"):
            if not isinstance(value := getattr(self, option), int) or value < 1:
                raise ConfigError(f"{option} must be a whole number of 1 or more; got {value!r}.")

    def check_size(self, height: int, width: int, name: str) -> None:
        """Refuse an image by its size, before a pixel is decoded.

        Raises:
            BadImage: too-large.
        """
        if height * width > self.max_pixels or max(height, width) > self.max_side_px:
            raise BadImage(
                name,
                "too-large",
                f"the image is {height} x {width} pixels; at most {self.max_pixels:,} pixels and sides of "
                f"{self.max_side_px:,} are read; make it smaller, or raise data.max_pixels",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the version that says what they mean."""
        return {"version": VERSION, **asdict(self), "background": list(self.background)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read back what `to_json` wrote.

        Raises:
            ConfigError: another version of the policy, or a missing, unknown or impossible value.
        """
        values = dict(data)
        if (version := values.pop("version", None)) != VERSION:
            raise ConfigError(
                f"The stored image policy has version {version}; this program reads version {VERSION}. Update convlens."
            )
        if odd := values.keys() ^ cls.__dataclass_fields__.keys():
            raise ConfigError(f"The stored image policy lacks, or does not know, the field '{min(odd)}'.")
        try:
            values["background"] = tuple(values["background"])
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"The stored image policy cannot be read: {error}.") from None


@dataclass(frozen=True)
class Decoded:
    """An image as pixels.

    Attributes:
        pixels: uint8 (H, W, C), upright; not to be written into.
        mode: how it was stored: `1`, `L`, `P`, `RGB`, `RGBA`, `CMYK`, `I;16`, ..., or `array`.
        notes: what was done that a person may want to know, each a fixed phrase fit for counting.
        whole_px: (height, width) of the whole picture where `reduce_to_px` gave a smaller one.
    """

    pixels: np.ndarray
    mode: str
    notes: tuple[str, ...] = ()
    whole_px: tuple[int, int] | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of the whole picture, upright."""
        return self.whole_px or (self.pixels.shape[0], self.pixels.shape[1])


@dataclass(frozen=True)
class Header:
    """What the first bytes say: the stored mode, the upright size; 1 channel for grey, 3 for colour, n for arrays."""

    mode: str
    height: int
    width: int
    channels: int

    @property
    def is_grey(self) -> bool:
        """Whether one channel holds all there is."""
        return self.channels == 1
