"""Ctrl-C and SIGTERM as a request: finish this step, save, say how to resume. A second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from convlens.errors import ConvlensError


class Interrupted(ConvlensError):
    """Training was asked to stop and has saved its state.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM, as a shell expects.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 128 + number


class Interrupt:
    """A context in which SIGINT and SIGTERM only set `number`; outside the main thread it does nothing."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
