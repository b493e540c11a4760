"""Live cameras that are connected again when they are lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from detector.errors import UserError
from detector.types import Frame
from stream.sources.decode import ConnectionLost, MediaClock
from stream.sources.source import SourceStatus

# A live stream's time stamps are believed as long as they stay this close to the clock.
MAX_DRIFT_S = 1.0


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
    """How long to wait before each attempt to connect again: 0.5 s, doubling up to 15 s, less up to a quarter.

    A connection that has held for `stable_s` starts from the beginning. Pure: time is handed in.
    """

    def __init__(
        self, first_s: float = 0.5, most_s: float = 15.0, stable_s: float = 10.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first_s, self._most_s, self._stable_s, self._jitter = first_s, most_s, stable_s, jitter
        self._attempts = 0
        self._connected_s: float | None = None

    def connected(self, now_s: float) -> None:
        """A connection was made and gave a picture."""
        self._connected_s = now_s

    def next_wait_s(self, now_s: float) -> float:
        """Seconds to wait before the next attempt."""
        if self._connected_s is not None and now_s - self._connected_s >= self._stable_s:
            self._attempts = 0
        self._connected_s = None
        wait_s = min(self._first_s * 2**self._attempts, self._most_s)
        self._attempts = min(self._attempts + 1, 30)
        # Jitter keeps a hundred clients from knocking at a restarted server in step.
        return wait_s * (1 - 0.25 * self._jitter())


class LiveClock:
    """Media time of a live stream: its own stamps where they keep step with the clock, else the clock."""

    def __init__(self, fps: float | None, start_s: float) -> None:
        self._media = MediaClock(fps)
        self._start_s, self._shift_s, self._last_s = start_s, 0.0, -1e-3

    def next(self, pts_s: float | None, now_s: float) -> float:
        """Media time of a frame stamped `pts_s` that arrived at `now_s`; always increases."""
        arrived_s = now_s - self._start_s
        time_s = arrived_s if pts_s is None else self._media.next(pts_s) + self._shift_s
        if abs(time_s - arrived_s) > MAX_DRIFT_S:
            self._shift_s += arrived_s - time_s
            time_s = arrived_s
        self._last_s = max(time_s, self._last_s + 1e-3)
        return self._last_s

    def restart(self) -> None:
        """A new connection: its stamps start afresh."""
        self._media.restart()


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
        self._status = SourceStatus()

    @property
    def status(self) -> SourceStatus:
        """Whether pictures are coming now."""
        return self._status

    def __iter__(self) -> Iterator[Frame]:
        media = LiveClock(self.fps, self._clock())
        index = 0
        while not self._stop.is_set():
            reason = "the stream ended"
            connection = self._take_connection()
            if connection is None:
                continue
            try:
                for image, pts_s in connection:
                    now = self._clock()
                    if not self._status.online or not index:
                        self._status = SourceStatus()
                    self._backoff.connected(now)
                    yield Frame(image, index, media.next(pts_s, now), now)
                    index += 1
                    if self._stop.is_set():
                        return
            except ConnectionLost as lost:
                reason = str(lost).removeprefix(f"{self.name}: ")
            finally:
                connection.close()
            media.restart()
            self._offline(reason)

    def close(self) -> None:
        self._stop.set()

    def _take_connection(self) -> Connection | None:
        connection, self._first = self._first, None
        if connection is not None:
            return connection
        try:
            connection = self._connect()
        except UserError as error:
            self._offline(str(error).removeprefix(f"{self.name}: ").split(";")[0])
            return None
        self.reconnects += 1
        return connection

    def _offline(self, reason: str) -> None:
        wait_s = self._backoff.next_wait_s(self._clock())
        self._status = SourceStatus(False, f"camera offline: {reason}; next attempt in {wait_s:.0f} s")
        self._wait(self._stop, wait_s)
