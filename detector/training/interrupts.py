"""Ctrl-C between two updates, never in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """While entered, the first Ctrl-C or SIGTERM only sets `requested`; a second one stops at once.

    In other threads than the main one, where Python allows no signal handlers, it does nothing.

    Attributes:
        requested: whether to stop after the update under way.
        at_once: set it where stopping immediately is safe, as during a validation.
    """

    def __init__(self) -> None:
        self.requested = False
        self.at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or self.at_once:
            raise KeyboardInterrupt
