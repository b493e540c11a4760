"""A video file, played through or as if it were a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from detector.errors import UserError
from detector.files import readable_name
from detector.types import Frame
from stream.sources.decode import ConnectionLost, Decoding, MediaClock, Video, open_video
from stream.sources.source import SourceStatus

# A file that plays as if it were a camera leaves out frames that are later than this, as a camera would.
CAMERA_PATIENCE_S = 0.5


class VideoFile:
    """A video file: as fast as it is read, or paced by its own clock as if it were a camera.

    Attributes:
        name: for people.
        path: of the file, None for one on a server.
        size_hw: of its first picture.
        fps: nominal rate, None where it is not believable.
        duration_s: as the file says, None where it does not.
    """

    def __init__(
        self, path: str | Path, *, live: bool = False, loop: bool = False, name: str | None = None,
        timeout_s: tuple[float, float] | None = None, options: dict[str, str] | None = None,
        decoding: Decoding | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            path: of the file, or the address of one on a server.
            live: pace it by its frame times; frames that come too late are dropped.
            loop: start again at the end, for ever; time goes on.
            name: to be shown; the file's name unless given.
            timeout_s: for opening and each read, of a file on a server.
            decoding: by what, and which pictures.
            options: FFmpeg's, for the format and the decoder.
            clock: seconds, monotonic.

        Raises:
            UserError: no such file, not a video, nothing in it.
        """
        self._open = lambda: open_video(
            path, shown_name=name, timeout_s=timeout_s, options=options, decoding=decoding
        )
        self._video: Video | None = self._open()
        self._frames = iter(self._video)
        try:
            self._first: tuple[np.ndarray, float | None] | None = next(self._frames)
        except (StopIteration, ConnectionLost) as error:
            self._video.close()
            shown = name or readable_name(path)
            reason = f" ({str(error).removeprefix(f'{shown}: ')})" if isinstance(error, ConnectionLost) else ""
            raise UserError(f"{shown}: no picture in it can be read{reason}, expected a video") from None
        self.size_hw: tuple[int, int] = self._first[0].shape[:2]
        self.name = name or readable_name(Path(path).name)
        self.path = Path(path) if timeout_s is None else None
        self._damage = ""
        self.live, self._loop, self._clock = live, loop, clock
        self.fps = self._video.fps
        self.duration_s = self._video.duration_s
        self._stop = threading.Event()
        self.status = SourceStatus()

    def __iter__(self) -> Iterator[Frame]:
        index, start_s = 0, None
        assert self._video is not None
        media = MediaClock.of_file(self._video)
        try:
            for image, pts_s in self._pictures(media):
                time_s = media.next(pts_s)
                if self.live:
                    if start_s is not None and self._stop.wait(max(start_s + time_s - self._clock(), 0.0)):
                        return
                    if start_s is not None and self._clock() - start_s - time_s > CAMERA_PATIENCE_S:
                        index += 1
                        continue
                yield Frame(image, index, time_s, self._clock(), media.segment)
                # The clock runs from when the second frame is asked for: what the first one set off may take long.
                start_s = self._clock() - time_s if start_s is None else start_s
                index += 1
        finally:
            self.close()

    @property
    def damage(self) -> str:
        """What was found missing or spoilt in the file so far, in a few words; empty where nothing was."""
        return self._video.damage if self._video is not None else self._damage

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
                self._damage = self._video.damage
                self._video.close()
                self._video = None
            if not self._loop:
                return
            media.restart()
