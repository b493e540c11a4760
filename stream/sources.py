"""Where pictures come from: files, cameras, network streams, other programs. One protocol, one way to name them.

Decoding is in `stream.decode`, live cameras in `stream.cameras`. A source's `name` and `status` never hold
credentials.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from detector.errors import UserError
from detector.types import Frame
from stream.decode import ConnectionLost, MediaClock, Video, open_video
from stream.handoff import Closed, Handoff

SAMPLE = Path(__file__).parent / "samples" / "sample.mp4"
Tap = Callable[[Any, Any], None]
# A file that plays as if it were a camera leaves out frames that are later than this, as a camera would.
CAMERA_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Whether pictures are coming; `message` says why not."""

    online: bool = True
    message: str = ""


class Source(Protocol):
    """Gives frames, oldest first.

    Attributes:
        name: for people and files; no credentials.
        live: what is not taken in time is lost; files wait.
        fps: nominal rate, None where it is not known or not believable.
        status: whether pictures are coming.
    """

    name: str
    live: bool
    fps: float | None

    @property
    def status(self) -> SourceStatus:
        """Whether pictures are coming now."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Give frames until the source ends or is closed; waits for them. Iterated once, in one thread."""
        ...

    def close(self) -> None:
        """Make the iterator end soon; from any thread, may be called twice."""
        ...


class VideoFile:
    """A video file: as fast as it is read, or paced by its own clock as if it were a camera."""

    def __init__(
        self, path: str | Path, *, live: bool = False, loop: bool = False, name: str | None = None,
        timeout_s: tuple[float, float] | None = None, clock: Callable[[], float] = time.monotonic,
        tap: Tap | None = None,
    ) -> None:
        """
        Args:
            path: of the file, or the address of one on a server.
            live: pace it by its frame times; frames that come too late are dropped.
            loop: start again at the end, for ever; time goes on.
            name: to be shown; the file's name unless given.
            timeout_s: for opening and each read, of a file on a server.
            clock: seconds, monotonic.
            tap: is shown (packet, stream) of each packet before it is decoded.

        Raises:
            UserError: no such file, not a video, nothing in it.
        """
        self._open = lambda: _tapped(open_video(str(path), shown_name=name, timeout_s=timeout_s), tap)
        self._video: Video | None = self._open()
        self._frames = iter(self._video)
        try:
            self._first: tuple[np.ndarray, float | None] | None = next(self._frames)
        except (StopIteration, ConnectionLost):
            self._video.close()
            raise UserError(f"{name or path}: no picture in it can be read, expected a video") from None
        self.size_hw: tuple[int, int] = self._first[0].shape[:2]
        self.name = name or Path(path).name
        self.live, self._loop, self._clock = live, loop, clock
        self.fps = self._video.fps
        self.duration_s = self._video.duration_s
        self._stop = threading.Event()
        self.status = SourceStatus()

    def __iter__(self) -> Iterator[Frame]:
        index, start_s = 0, None
        media = MediaClock(self.fps)
        try:
            for image, pts_s in self._pictures(media):
                time_s = media.next(pts_s)
                if self.live:
                    if start_s is not None and self._stop.wait(max(start_s + time_s - self._clock(), 0.0)):
                        return
                    if start_s is not None and self._clock() - start_s - time_s > CAMERA_PATIENCE_S:
                        index += 1
                        continue
                yield Frame(image, index, time_s, self._clock())
                # The clock runs from when the second frame is asked for: what the first one set off may take long.
                start_s = self._clock() - time_s if start_s is None else start_s
                index += 1
        finally:
            self.close()

    def close(self) -> None:
        self._stop.set()

    def _pictures(self, media: MediaClock) -> Iterator[tuple[np.ndarray, float | None]]:
        """Pictures and stamps, again and again with `loop`."""
        while not self._stop.is_set():
            if self._video is None:
                self._video = self._open()
                self._frames = iter(self._video)
            try:
                if self._first is not None:
                    first, self._first = self._first, None
                    yield first
                while not self._stop.is_set():
                    try:
                        picture = next(self._frames)
                    except StopIteration:
                        break
                    yield picture
            except ConnectionLost as lost:
                raise UserError(f"{lost}; the video breaks off here, what came before is kept") from None
            finally:
                self._video.close()
                self._video = None
            if not self._loop:
                return
            media.restart()


class PushSource:
    """Frames that another thread hands in, such as a browser's.

    Live: a frame that is not taken before `capacity` newer ones came is dropped.
    """

    live = True

    def __init__(self, name: str = "browser", capacity: int = 4, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.fps = name, None
        self.status = SourceStatus()
        self._clock = clock
        self._frames: Handoff[Frame] = Handoff(capacity, "drop_oldest")
        self._pushed = 0
        self._start_s: float | None = None
        self._last_s = -1.0

    def push(self, image: np.ndarray, time_s: float | None = None) -> bool:
        """Hand in a picture.

        Args:
            image: (H, W, 3) uint8 BGR; not to be changed afterwards.
            time_s: media time in seconds; None takes the clock. A time that does not increase is moved
                to just after the last one.

        Returns:
            False if the source is closed.
        """
        now = self._clock()
        if self._start_s is None:
            self._start_s = now if time_s is None else now - time_s
        moment = max(now - self._start_s if time_s is None else time_s, self._last_s + 1e-3)
        frame = Frame(image, self._pushed, moment, now)
        try:
            self._frames.put(frame)
        except Closed:
            return False
        self._pushed, self._last_s = self._pushed + 1, moment
        return True

    def end(self) -> None:
        """No more frames will come; those handed in are still given."""
        self._frames.close()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            try:
                yield self._frames.get()
            except Closed:
                return

    def close(self) -> None:
        self._frames.close(discard=True)


def _tapped(video: Video, tap: Tap | None) -> Video:
    video.tap = tap
    return video


def open_source(spec: str, *, live: bool = False, loop: bool = False, tap: Tap | None = None) -> Source:
    """Open what a user named.

    Args:
        spec: a camera's number or /dev path, a file, an RTSP or HTTP address, or `sample`.
        live: play a file at its own rate, as if it were a camera.
        loop: play a file for ever.
        tap: is shown (packet, stream) of each packet before it is decoded; devices have none.

    Returns:
        The source, connected.

    Raises:
        UserError: it cannot be opened; one line says why, without credentials.
    """
    from stream.cameras import open_camera, open_network

    spec = spec.strip()
    if spec == "sample":
        if not SAMPLE.exists():
            raise UserError(f"the bundled clip is missing; run: python -m detector.data.render_sample {SAMPLE}")
        return VideoFile(SAMPLE, live=live, loop=loop, name="sample", tap=tap)
    if spec.isdigit() or spec.startswith("/dev/"):
        return open_camera(spec)
    if "://" in spec:
        scheme = urlsplit(spec).scheme.lower()
        if scheme == "file":
            return VideoFile(spec.split("://", 1)[1], live=live, loop=loop, tap=tap)
        return open_network(spec, live=live, loop=loop, tap=tap)
    return VideoFile(spec, live=live, loop=loop, tap=tap)
