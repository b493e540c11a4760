"""How a program that watches ends when it is told to: files closed, within seconds, without a traceback.

The first signal raises `KeyboardInterrupt` in the main thread, between two writes. A thread of its own sees that the
program really ends, even while the main thread waits for a camera or loads a network and runs no Python.
"""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

# A polite kill ends within three seconds; this leaves time to go.
KILL_GRACE_S = 1.8
# Whoever presses Ctrl-C again does not want to wait.
IMPATIENT_GRACE_S = 1.0
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


class Ending:
    """What to do about signals; `install` it once, in the main thread.

    Attributes:
        number: of the first signal that came, 0 before.
    """

    def __init__(self, leave: Callable[[int], object] | None = None) -> None:
        """
        Args:
            leave: ends the process with an exit code, at once; tests replace it.
        """
        self.number = 0
        self._held, self._raised = 0, False
        self._leave = leave or leave_now
        self._done = threading.Event()
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._before: dict[int, object] = {}
        self._wakeup_before = -1

    @property
    def exit_code(self) -> int:
        """Of a program that a signal ended, as shells count; 0 if none did."""
        return 128 + self.number if self.number else 0

    def install(self) -> None:
        """Take over the signals, but for those that whoever started the program had ignored (nohup)."""
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        threading.Thread(target=self._watch, name="ending", daemon=True).start()

    def finished(self) -> None:
        """All is done: no signal interrupts what is left, which is Python's own end."""
        self._raised = True

    def uninstall(self) -> None:
        """Give the signals back."""
        self._done.set()
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._writer is not None:
            self._writer.close()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """No signal interrupts what stands in here; one that comes meanwhile counts at the end of it."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self.number and not self._held:
            self._interrupt()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Later signals change nothing here: files are being closed. The watching thread counts them.
        self.number = self.number or number
        if not self._held:
            self._interrupt()

    def _interrupt(self) -> None:
        if not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        assert self._reader is not None
        number = 0
        while not self._done.is_set():
            try:
                got = self._reader.recv(64)
            except OSError:
                return
            if not got:
                return
            asked = [n for n in got if n in self._before]
            impatient = bool(number and asked) or len(asked) > 1
            number = number or (asked[0] if asked else 0)
            if not number:
                continue
            if number == signal.SIGINT and not impatient:
                continue
            threading.Thread(
                target=self._force, args=(number, IMPATIENT_GRACE_S if impatient else KILL_GRACE_S), daemon=True,
                name="last call",
            ).start()

    def _force(self, number: int, grace_s: float) -> None:
        if not self._done.wait(grace_s):
            print("stopped", file=sys.stderr, flush=True)
            self._leave(128 + number)


def leave_now(code: int) -> NoReturn:
    """End this process and those that it started, without waiting for anything."""
    for listing in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(OSError, ValueError), open(listing, encoding="ascii") as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGTERM)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
