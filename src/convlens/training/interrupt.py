"""Ctrl-C and SIGTERM as a request: finish this step, save, say how to resume. A second one ends at once.

Where there is nothing to finish, before training and after it, the first one ends the work too.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from convlens.errors import ConvlensError


class Interrupted(ConvlensError):
    """The work was asked to stop; training has saved its state.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM, as a shell expects.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 128 + number


class Interrupt:
    """A context in which SIGINT and SIGTERM only set `number`; outside the main thread it does nothing.

    Args:
        at_once: the work inside is broken off instead, and the context raises `Interrupted`. A context within this
            one, such as that of training, takes the signals over for as long as it lasts.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.number: int | None = None
        self.at_once = at_once
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.at_once and self.number is not None and kind is KeyboardInterrupt:
            raise Interrupted(f"Stopped by signal {self.number}.", self.number) from None

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        if self.at_once:
            raise KeyboardInterrupt
