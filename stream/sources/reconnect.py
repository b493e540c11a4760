"""Live cameras that are connected again when they are lost."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from detector.errors import UserError
from detector.types import Frame
from stream.gaps import FROZEN, Repeats
from stream.sources.decode import ConnectionLost
from stream.sources.live_clock import LiveClock
from stream.sources.source import SourceStatus, StatusLog


class Connection(Protocol):
    """A camera that is connected: iterate it for (picture, time stamp or None)."""

    fps: float | None

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Give pictures; ends or raises `ConnectionLost` when there are no more."""
        ...

    def close(self) -> None:
        """Let go of the camera."""
        ...


class Backoff:
    """How long to wait before each attempt to connect again: 0.5 s, doubling, less up to a quarter.

    Up to `early_s` after the last picture it is 2 s at most, so that a camera that is back is soon found, and 1 s after
    a connection that gave pictures, so that one that blinks stays in sight; after that up to 15 s. A connection that
    has held for `stable_s` starts from the beginning. Pure: time is handed in.
    """

    def __init__(
        self, first_s: float = 0.5, most_s: float = 15.0, stable_s: float = 10.0,
        jitter: Callable[[], float] = random.random, early_most_s: float = 2.0, early_s: float = 120.0,
        blink_most_s: float = 1.0,
    ) -> None:
        self._first_s, self._most_s, self._stable_s, self._jitter = first_s, most_s, stable_s, jitter
        self._early_most_s, self._early_s, self._blink_most_s = early_most_s, early_s, blink_most_s
        self._attempts = 0
        self._connected_s: float | None = None
        self._picture_s: float | None = None

    def connected(self, now_s: float) -> None:
        """The connection gave a picture."""
        if self._connected_s is None:
            self._connected_s = now_s
        self._picture_s = now_s

    def next_wait_s(self, now_s: float) -> float:
        """Seconds to wait before the next attempt."""
        if self._connected_s is not None and now_s - self._connected_s >= self._stable_s:
            self._attempts = 0
        blinked, self._connected_s = self._connected_s is not None, None
        if self._picture_s is None:
            self._picture_s = now_s
        wait_s = min(self._first_s * 2**self._attempts, self._most_s)
        self._attempts = min(self._attempts + 1, 30)
        if now_s - self._picture_s < self._early_s:
            wait_s = min(wait_s, self._blink_most_s if blinked else self._early_most_s)
        # Jitter keeps a hundred clients from knocking at a restarted server in step.
        return wait_s * (1 - 0.25 * self._jitter())


class LiveCamera:
    """A source that is connected again whenever it is lost, until it is closed."""

    live = True

    def __init__(
        self, name: str, connect: Callable[[], Connection], *, backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic, wait: Callable[[threading.Event, float], bool] | None = None,
    ) -> None:
        """
        Args:
            name: for people; no credentials.
            connect: makes a connection or raises `UserError`; called once now, so that a mistake shows at once.
            backoff: waits between attempts.
            clock: seconds, monotonic.
            wait: waits on an event for some seconds, True if it was set; tests replace it.
        """
        self.name, self._connect, self._clock = name, connect, clock
        self._backoff = backoff or Backoff()
        self._wait = wait or (lambda event, seconds: event.wait(seconds))
        self._stop = threading.Event()
        self._first: Connection | None = connect()
        self.fps = self._first.fps
        self.reconnects = 0
        self._log = StatusLog()
        self._reason = ""  # why it is offline
        self._next_s: float | None = None  # when it is tried again; None while that is being done

    @property
    def status(self) -> SourceStatus:
        """Whether pictures are coming now."""
        reason, next_s = self._reason, self._next_s
        if not reason:
            return SourceStatus()
        if reason == FROZEN:
            return SourceStatus(False, f"camera frozen: {reason}", reason)
        doing = "connecting"
        if next_s is not None:
            doing = f"next attempt in {max(math.ceil(next_s - self._clock()), 1)} s"
        return SourceStatus(False, f"camera offline: {reason}; {doing}", reason)

    def changes(self) -> list[SourceStatus]:
        """What the status became since this was last called."""
        return self._log.take()

    def __iter__(self) -> Iterator[Frame]:
        media: LiveClock | None = None
        index = 0
        while not self._stop.is_set():
            connection = self._take_connection()
            if connection is None:
                continue
            if media is None:
                media = self._create_clock(connection)
            media.restart()
            reason, repeats = "the stream ended", Repeats()
            try:
                for image, pts_s in connection:
                    now = self._clock()
                    if repeats.frozen(image, pts_s, now):
                        self._become(FROZEN)
                        continue
                    self._become("")
                    self._backoff.connected(now)
                    time_s = media.next(pts_s, now)
                    early_s = media.due_in_s(now)
                    if early_s > 0 and self._wait(self._stop, early_s):
                        return
                    yield Frame(image, index, time_s, self._clock(), media.segment)
                    index += 1
                    if self._stop.is_set():
                        return
            except ConnectionLost as lost:
                reason = str(lost).removeprefix(f"{self.name}: ")
            finally:
                connection.close()
            self._offline(reason)

    def close(self) -> None:
        self._stop.set()

    def _create_clock(self, connection: Connection) -> LiveClock:
        # What a connection does not say is what a camera on a cable does: the newest picture, as it comes.
        return LiveClock(
            self.fps, self._clock(), paced=getattr(connection, "paced", False),
            may_burst=getattr(connection, "may_burst", False),
        )

    def _take_connection(self) -> Connection | None:
        connection, self._first = self._first, None
        if connection is not None:
            return connection
        self._next_s = None
        try:
            connection = self._connect()
        except UserError as error:
            self._offline(str(error).removeprefix(f"{self.name}: ").split(";")[0])
            return None
        self.reconnects += 1
        return connection

    def _offline(self, reason: str) -> None:
        now = self._clock()
        wait_s = self._backoff.next_wait_s(now)
        self._next_s = now + wait_s
        self._become(reason)
        self._wait(self._stop, wait_s)

    def _become(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self._log.note(self.status)
