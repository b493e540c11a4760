"""Reading pictures and their times out of files and network streams. The one door to PyAV's decoders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import cv2
import numpy as np

from detector.errors import UserError

DEFAULT_FPS = 25.0
# Two frames closer than this are a broken time base, further apart than this a jump (a spliced recording).
MIN_GAP_S, MAX_GAP_S = 1e-3, 60.0


class ConnectionLost(Exception):
    """A stream that was there ended or fell silent; the text is for people and holds no credentials."""


def redact(url: str) -> str:
    """A URL without user, password and the values of its query, for anything that is shown or stored."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        if parts.port:
            host = f"{host}:{parts.port}"
    except ValueError:
        return url.split("://")[0] + "://***"
    if "@" in parts.netloc:
        host = f"***@{host}"
    query = "&".join(f"{key}=***" for key, _ in parse_qsl(parts.query, keep_blank_values=True))
    if parts.query and not query:
        query = "***"
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def sane_fps(fps: float | None) -> float | None:
    """A reported frame rate, or None where it cannot be one (0, NaN, infinite, the 90000 of MPEG clocks)."""
    if fps is None or not math.isfinite(fps) or not 0.5 <= fps <= 480:
        return None
    return float(fps)


class MediaClock:
    """Makes times that increase out of whatever time stamps a container holds.

    The first frame is at 0. A stamp that is missing, goes back, repeats or jumps counts as one frame's duration
    after the last.
    """

    def __init__(self, fps: float | None) -> None:
        self._period_s = 1 / (fps or DEFAULT_FPS)
        self._last_pts_s: float | None = None
        self._time_s: float | None = None

    def next(self, pts_s: float | None) -> float:
        """Media time of the next frame, whose stamp is `pts_s`."""
        gap_s = self._period_s
        if pts_s is not None and self._last_pts_s is not None and MIN_GAP_S < pts_s - self._last_pts_s < MAX_GAP_S:
            gap_s = pts_s - self._last_pts_s
        self._last_pts_s = pts_s
        self._time_s = 0.0 if self._time_s is None else self._time_s + gap_s
        return self._time_s

    def restart(self) -> None:
        """The next stamp has nothing to do with the last: a loop, a new connection."""
        self._last_pts_s = None


class Video:
    """An open container: iterate it for (picture (H, W, 3) uint8 BGR, time stamp in seconds or None).

    Attributes:
        fps: nominal, None where not believable.
        duration_s: None where not known (a live stream).
        format_name: of the container, as FFmpeg calls it.
        broken_packets: that were skipped so far.
        tap: is shown (packet, stream) before the packet is decoded, in the reading thread; None for nobody.
    """

    def __init__(self, container: Any, shown_name: str) -> None:
        self._container, self._name = container, shown_name
        self._stream = container.streams.video[0]
        self.fps = sane_fps(float(self._stream.average_rate or 0))
        self.duration_s = container.duration / 1e6 if container.duration and container.duration > 0 else None
        self.format_name = container.format.name
        self.broken_packets = 0
        self.tap: Callable[[Any, Any], None] | None = None

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """
        Raises:
            ConnectionLost: a network stream broke or fell silent.
        """
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                return
            except av.FFmpegError as error:
                raise ConnectionLost(f"{self._name}: {_reason(error)}") from None
            if self.tap is not None:
                self.tap(packet, self._stream)
            try:
                frames = packet.decode()
            except av.EOFError:
                return
            except av.FFmpegError:
                # A damaged packet costs its frames, not the rest of the video.
                self.broken_packets += 1
                continue
            for frame in frames:
                yield _upright(frame), frame.time

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_video(
    path_or_url: str, *, shown_name: str | None = None, timeout_s: tuple[float, float] | None = None,
    options: dict[str, str] | None = None, low_delay: bool = False,
) -> Video:
    """Open a file or a network stream.

    Args:
        path_or_url: what FFmpeg shall open.
        shown_name: what to call it in errors.
        timeout_s: for opening and for each read; None for files.
        options: FFmpeg's, for the protocol or the format.
        low_delay: do not let several frames be decoded at once, which delays them.

    Raises:
        UserError: one line that says why not.
    """
    import av

    name = shown_name or path_or_url
    if timeout_s is None:
        _check_file(path_or_url)
    start = time.monotonic()
    try:
        container = av.open(path_or_url, timeout=timeout_s, options=options or {})
    except av.FFmpegError as error:
        if timeout_s and time.monotonic() - start >= timeout_s[0]:
            message = f"no answer within {timeout_s[0]:g} s; is the address right and reachable?"
            raise UserError(f"{name}: {message}") from None
        expected = "is the camera on and the address right?" if timeout_s else "expected a video"
        raise UserError(f"{name}: cannot be opened ({_reason(error)}); {expected}") from None
    except (ValueError, UnicodeError) as error:
        raise UserError(f"{name}: cannot be opened ({type(error).__name__}); expected a video") from None
    if not container.streams.video:
        container.close()
        raise UserError(f"{name}: no video in it, expected at least one video stream")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE" if low_delay else "AUTO"
    stream.codec_context.thread_count = 2
    return Video(container, name)


def _check_file(path: str) -> None:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path}: is a folder, expected a video file")
    if not file.exists():
        raise UserError(
            f"{path}: no such file; expected a video file, a camera number, an rtsp:// or http:// URL, or 'sample'"
        )
    if file.is_file() and file.stat().st_size == 0:
        raise UserError(f"{path}: is empty (0 bytes), expected a video file")


def _reason(error: Exception) -> str:
    """FFmpeg's own words, without the address that its messages repeat."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return "it fell silent" if text == "Immediate exit requested" else str(text)


def _upright(frame: Any) -> np.ndarray:
    image = frame.to_ndarray(format="bgr24")
    # Phones store portrait video lying down with a note; `rotation` is counter-clockwise degrees.
    turn = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
    rotation = getattr(frame, "rotation", 0) % 360
    return cv2.rotate(image, turn[rotation]) if rotation in turn else image
