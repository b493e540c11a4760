"""Live cameras: devices and network streams that are connected again when they are lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from detector.errors import UserError
from detector.types import Frame
from stream.decode import ConnectionLost, MediaClock, Video, open_video, redact, sane_fps
from stream.sources import Source, SourceStatus, Tap, VideoFile

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 8.0, 5.0
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


class Device:
    """A camera of this machine, through OpenCV."""

    def __init__(self, spec: str) -> None:
        """
        Args:
            spec: its number, or its path under /dev.

        Raises:
            UserError: none there, in use, or not allowed.
        """
        self._name = spec
        path = Path(f"/dev/video{spec}") if spec.isdigit() else Path(spec)
        if path.parent == Path("/dev") and Path("/dev").exists() and not path.exists():
            there = sorted(str(p) for p in Path("/dev").glob("video*"))
            has = ", ".join(there) if there else "no camera; try --source sample"
            raise UserError(f"camera {spec}: there is no {path}; this machine has {has}")
        level = cv2.utils.logging.getLogLevel() if hasattr(cv2, "utils") else None
        if level is not None:
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._capture = cv2.VideoCapture(int(spec) if spec.isdigit() else spec)
        finally:
            if level is not None:
                cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            raise UserError(f"camera {spec}: cannot be opened; is another program using it, may this user read it?")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.fps = sane_fps(self._capture.get(cv2.CAP_PROP_FPS))

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        while True:
            ok, image = self._capture.read()
            if not ok or image is None:
                raise ConnectionLost(f"camera {self._name}: gave no picture")
            yield image, None

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


class NetworkStream:
    """An open RTSP or HTTP stream."""

    def __init__(self, url: str, tap: Tap | None = None) -> None:
        """
        Raises:
            UserError: no answer, refused, no video; without credentials.
        """
        self.video: Video = open_video(
            url, shown_name=redact(url), timeout_s=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), options=_options(url),
            low_delay=True,
        )
        self.video.tap = tap
        self.fps = self.video.fps
        # MJPEG over HTTP has no time stamps; FFmpeg invents 25 a second.
        self._stamped = self.video.format_name not in ("mpjpeg", "mjpeg")

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        for image, pts_s in self.video:
            yield image, pts_s if self._stamped else None

    def close(self) -> None:
        """Hang up."""
        self.video.close()


def _options(url: str) -> dict[str, str]:
    # TCP: a lost UDP packet tears the picture until the next key frame.
    return {"rtsp_transport": "tcp"} if url.lower().startswith(("rtsp:", "rtsps:")) else {}


def open_camera(spec: str, **changes: Any) -> Source:
    """A camera of this machine by number or path.

    Raises:
        UserError: it cannot be opened.
    """
    return LiveCamera(f"camera {spec}", lambda: Device(spec), **changes)


def open_network(
    url: str, *, live: bool = False, loop: bool = False, tap: Tap | None = None, **changes: Any
) -> Source:
    """A stream, or a file on a server (told by its known duration), by its address.

    Raises:
        UserError: it cannot be opened.
    """
    name = redact(url)
    opened = [NetworkStream(url, tap)]
    if opened[0].video.duration_s is not None and not url.lower().startswith("rtsp"):
        opened[0].close()
        return VideoFile(url, live=live, loop=loop, name=name, timeout_s=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), tap=tap)

    def connect() -> NetworkStream:
        return opened.pop() if opened else NetworkStream(url, tap)

    return LiveCamera(name, connect, **changes)
