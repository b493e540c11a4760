"""Pictures of files and network streams with times that increase; decoding itself is in `detector.data.decode`."""

from __future__ import annotations

import math
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detector.data import decode
from detector.data.decode import Decoding, VideoError
from detector.data.decode import Video as DecodedVideo
from detector.errors import UserError
from detector.files import readable_name
from stream.gaps import MAX_GAP_S as SCENE_S
from stream.sources.secrets import redact as redact  # where it used to live

DEFAULT_FPS, MOST_FPS = 25.0, 480.0
# Two frames closer than this are a broken time base, further apart than this a jump of a live stream's clock.
MIN_GAP_S, MAX_GAP_S = 1e-3, 60.0
# Recordings of broadcasts are spliced, and their clocks jump like a live stream's.
SPLICED_FORMATS = ("mpegts", "mpeg")


class ConnectionLost(Exception):
    """A stream that was there ended or fell silent; the text is for people and holds no credentials."""


def sane_fps(fps: float | None) -> float | None:
    """A reported frame rate, or None where it cannot be one (0, NaN, infinite, the 90000 of MPEG clocks)."""
    if fps is None or not math.isfinite(fps) or not 0.5 <= fps <= MOST_FPS:
        return None
    return float(fps)


class MediaClock:
    """Makes times that increase out of whatever time stamps a container holds.

    The first frame is at 0. A stamp that is missing, goes back, repeats or jumps counts as one frame's duration
    after the last.

    Attributes:
        segment: counts the places where stamps went back or on further than one scene does: a splice, not a stumble.
    """

    def __init__(self, fps: float | None, max_gap_s: float = MAX_GAP_S, *, slow_from_start: bool = False) -> None:
        """
        Args:
            fps: nominal rate.
            max_gap_s: stamps further apart are a jump; infinite where every gap is a pause.
            slow_from_start: longer gaps are pauses if there was none but such from the first on.
        """
        self._period_s = 1 / (fps or DEFAULT_FPS)
        self._max_gap_s, self._slow = max_gap_s, slow_from_start
        self.segment = 0
        self._last_pts_s: float | None = None
        self._time_s: float | None = None

    def next(self, pts_s: float | None) -> float:
        """Media time of the next frame, whose stamp is `pts_s`."""
        gap_s = self._period_s
        if pts_s is not None and self._last_pts_s is not None:
            stamped_s = pts_s - self._last_pts_s
            self._slow = self._slow and stamped_s >= self._max_gap_s
            if MIN_GAP_S < stamped_s < (math.inf if self._slow else self._max_gap_s):
                gap_s = stamped_s
            elif abs(stamped_s) > SCENE_S:
                self.segment += 1
        self._last_pts_s = pts_s
        self._time_s = 0.0 if self._time_s is None else self._time_s + gap_s
        return self._time_s

    @classmethod
    def of_file(cls, video: Video) -> MediaClock:
        """For a file: pauses of any length are kept (a time-lapse has one picture in 90 s), unless it is spliced."""
        spliced = video.format_name in SPLICED_FORMATS
        return cls(video.rate_fps, MAX_GAP_S if spliced else math.inf, slow_from_start=spliced)

    def restart(self) -> None:
        """The next stamp has nothing to do with the last: a loop, a new connection."""
        self._last_pts_s = None


class Video:
    """An open container: iterate it for (picture (H, W, 3) uint8 BGR, time stamp in seconds or None).

    Attributes:
        fps: nominal, None where not believable.
        rate_fps: as the container says, rare pictures too; None where it cannot be.
        duration_s: None where not known (a live stream).
        format_name: of the container, as FFmpeg calls it.
        coded_hw: height and width as stored; pictures may be turned and have square pixels.
        pixel_shape: width of a stored pixel over its height.
    """

    def __init__(self, video: DecodedVideo, shown_name: str) -> None:
        self._video, self._name = video, shown_name
        self.fps = sane_fps(video.fps)
        self.rate_fps = video.fps if video.fps is not None and 0 < video.fps <= MOST_FPS else None
        self.duration_s, self.format_name, self.coded_hw = video.duration_s, video.format_name, video.coded_hw
        self.pixel_shape = video.pixel_shape

    @property
    def damage(self) -> str:
        """What is known to be missing or spoilt so far, in a few words; empty where nothing is."""
        words = []
        if self._video.damaged:
            words.append(f"damaged in {self._video.damaged} place{'s' if self._video.damaged > 1 else ''}")
        if self._video.leapt_s:
            words.append(f"without pictures for {self._video.leapt_s:.1f} s")
        if self._video.early_s is not None and self._video.film_s is not None:
            film_s = self._video.film_s
            words.append(f"ends early, at {film_s - self._video.early_s:.1f} of {film_s:.1f} s")
        return " and ".join(words)

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """
        Raises:
            ConnectionLost: a network stream broke or fell silent, or its pictures cannot be shown.
        """
        try:
            for picture in self._video.pictures():
                yield picture.bgr(), picture.stamp_s
        except VideoError as error:
            raise ConnectionLost(f"{self._name}: {error}") from None

    def close(self) -> None:
        self._video.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_video(
    path_or_url: str | Path, *, shown_name: str | None = None, timeout_s: tuple[float, float] | None = None,
    options: dict[str, str] | None = None, low_delay: bool = False, decoding: Decoding | None = None,
) -> Video:
    """Open a file or a network stream.

    Args:
        path_or_url: of a file, or (with `timeout_s`) what FFmpeg shall open.
        shown_name: what to call it in errors.
        timeout_s: for opening and for each read; None for files.
        options: FFmpeg's, for the protocol or the format.
        low_delay: do not let several frames be decoded at once, which delays them.
        decoding: by what, and which pictures.

    Raises:
        UserError: one line that says why not.
    """
    name = shown_name or readable_name(path_or_url)
    if timeout_s is None:
        _check_file(path_or_url)
    start = time.monotonic()
    try:
        video = decode.open_video(
            path_or_url, is_file=timeout_s is None, timeout_s=timeout_s, options=options, low_delay=low_delay,
            threads=2, decoding=decoding,
        )
    except VideoError as error:
        if str(error).startswith((decode.NO_FILM, decode.UNKNOWN_CODEC)):
            raise UserError(f"{name}: {error}") from None
        if timeout_s and time.monotonic() - start >= timeout_s[0]:
            message = f"no answer within {timeout_s[0]:g} s; is the address right and reachable?"
            raise UserError(f"{name}: {message}") from None
        expected = "is the camera on and the address right?" if timeout_s else "expected a video"
        raise UserError(f"{name}: cannot be opened ({error}); {expected}") from None
    return Video(video, name)


def _check_file(path: str | Path) -> None:
    file, name = Path(path), readable_name(path)
    try:
        kind = file.stat()
    except FileNotFoundError:
        raise UserError(
            f"{name}: no such file; expected a video file, a camera number, an rtsp:// or http:// URL, or 'sample'"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None
    if stat.S_ISDIR(kind.st_mode):
        raise UserError(f"{name}: is a folder, expected a video file")
    if stat.S_ISCHR(kind.st_mode) or stat.S_ISBLK(kind.st_mode) or stat.S_ISSOCK(kind.st_mode):
        raise UserError(f"{name}: is a device or a socket, expected a video file")
    if stat.S_ISREG(kind.st_mode) and kind.st_size == 0:
        raise UserError(f"{name}: is empty (0 bytes), expected a video file")
