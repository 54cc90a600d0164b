"""Short videos, and a stand-in for what OpenCV reads from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SIZE = (48, 64)  # height and width
RATE = 10.0
REAL = cv2.VideoCapture


def coloured(colour: Sequence[int]) -> np.ndarray:
    """A picture of one RGB colour."""
    return np.full((*SIZE, 3), colour, np.uint8)


def square(number: int) -> np.ndarray:
    """A bright square on dark ground, 2 px further to the right in every frame."""
    picture = coloured((40, 40, 40))
    picture[16:32, 8 + 2 * number : 24 + 2 * number] = 230
    return picture


def film(path: Path, pictures: Sequence[np.ndarray], rate: float = RATE, codec: str = "mp4v") -> Path:
    """A video of RGB pictures, written by OpenCV itself."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    return path


def street(folder: Path, n: int = 8) -> Path:
    """A moving square, as `street.mp4`."""
    return film(folder / "street.mp4", [square(i) for i in range(n)])


def cut(path: Path, share: float) -> Path:
    """The file without its end."""
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def stand_in(monkeypatch: pytest.MonkeyPatch, capture: StandIn) -> list[Any]:
    """Let OpenCV open this instead of any camera, and of files too small to be films; returns what it was asked for."""
    asked = list[Any]()

    def opened(*words: Any) -> Any:
        asked.append(words)
        return capture if isinstance(words[0], int) or Path(words[0]).stat().st_size < 100 else REAL(*words)

    monkeypatch.setattr(cv2, "VideoCapture", opened)
    return asked


class StandIn:
    """A capture that gives pictures from memory.

    Attributes:
        grabbed, released: what was done with it so far.
    """

    def __init__(self, n: int, *, rate: float = RATE, promised: float = 0.0, **more: Any) -> None:
        self.n, self.rate, self.promised = n, rate, promised
        self.stamps: Callable[[int], float] = more.get("stamps", lambda number: 1000 * number / RATE)
        self.before: Callable[[int], None] = more.get("before", lambda number: None)
        self.opened: bool = more.get("opened", True)
        self.grabbed, self.released, self.retrieved = 0, 0, 0

    def isOpened(self) -> bool:  # noqa: N802, OpenCV's name
        return self.opened

    def grab(self) -> bool:
        if self.grabbed == self.n:
            return False
        self.before(self.grabbed)
        self.grabbed += 1
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.retrieved += 1
        return True, square((self.grabbed - 1) % 16)[..., ::-1].copy()

    def get(self, what: int) -> float:
        known = {cv2.CAP_PROP_FPS: self.rate, cv2.CAP_PROP_FRAME_COUNT: self.promised}
        known[cv2.CAP_PROP_POS_MSEC] = self.stamps(self.grabbed - 1)
        return known[what]

    def set(self, what: int, value: float) -> bool:
        return False

    def release(self) -> None:
        self.released += 1
