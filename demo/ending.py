"""A polite kill ends a server as Ctrl-C does: what was begun is put in order, and the exit code tells the signal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def ends_at_sigterm() -> Iterator[None]:
    """Within it SIGTERM raises `SystemExit` in the main thread.

    uvicorn takes the signal while it serves, and sends it again when it has ended; without a handler of the program's
    own the process would go then, and nothing behind the server would be closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
