"""Frames of a video at given moments, by PyAV; or of a folder of pictures at a fixed rate.

Moments count from the first frame. The frame nearest to each moment is taken, whatever the file's frame rate, so a
clip covers the same seconds of a 15 fps and a 60 fps file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from detector.data.decode import NO_FILE, NO_FILM, UNKNOWN_CODEC, Picture, Video, VideoError, open_video

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
# A key frame may lie a little behind the last frame: durations in lists are rounded to seconds.
END_SLACK_S = 0.6
# Nearer to the beginning a video is read from there.
SEEK_FROM_S = 2.0


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about itself.

    Attributes:
        duration_s: from first to last frame, plus one frame.
        fps: average frame rate.
        size_hw: height and width in pixels.
    """

    duration_s: float
    fps: float
    size_hw: tuple[int, int]


def short_side_size(height: int, width: int, short_side_px: int) -> tuple[int, int]:
    """(height, width) with that short side, the long one rounded down (PySlowFast): 1080x1920 and 256 → 256x455."""
    if width < height:
        return math.floor(height / width * short_side_px), short_side_px
    return short_side_px, math.floor(width / height * short_side_px)


def probe(path: str | Path, folder_fps: float = 30.0) -> VideoInfo:
    """Open a video (or a folder of pictures), read its header and look at its first picture.

    Raises:
        VideoError: missing, empty, not a video.
    """
    path = Path(path)
    if path.is_dir():
        pictures = list_pictures(path)
        return VideoInfo(len(pictures) / folder_fps, folder_fps, _read_picture(pictures[0]).shape[:2])
    with _opened(path) as video:
        duration_s = _length_s(video)
    with _opened(path) as video:
        first = next(video.pictures(), None)
        if first is None:
            raise VideoError("holds no frame that can be decoded")
        return VideoInfo(duration_s, video.fps or 30.0, first.rgb().shape[:2])


def read_duration_s(path: str | Path, folder_fps: float = 30.0) -> float:
    """Seconds from a video's first to its last frame, plus one frame, by its header.

    Raises:
        VideoError: missing, empty, not a video.
    """
    path = Path(path)
    if path.is_dir():
        return len(list_pictures(path)) / folder_fps
    with _opened(path) as video:
        return _length_s(video)


def _length_s(video: Video) -> float:
    return video.film_s or sum(1 for _ in video.pictures()) / (video.fps or 30.0)


def read_frames(
    path: str | Path, times_s: np.ndarray, short_side_px: int | None = None, *, key_time_s: float | None = None,
    folder_fps: float = 30.0,
) -> np.ndarray:
    """Decode the frames nearest to given moments.

    Args:
        path: video file, or folder of pictures named in order.
        times_s: (T,) seconds from the first frame, not decreasing. Moments before the start or behind the end give
            the first or last frame, as the published models were trained.
        short_side_px: scale frames to it (bilinear); None keeps their size.
        key_time_s: a moment that the video must reach.
        folder_fps: rate of a folder's pictures.

    Returns:
        (T, h, w, 3) uint8 RGB.

    Raises:
        VideoError: missing, not a video, no frame, damaged, or it ends before `key_time_s`.
    """
    path = Path(path)
    if path.is_dir():
        frames, last_s = _read_pictures(path, times_s, short_side_px, folder_fps)
    else:
        frames, last_s = _read_video(path, np.asarray(times_s, float), short_side_px)
    if key_time_s is not None and key_time_s > last_s + END_SLACK_S:
        raise VideoError(f"ends at {last_s:.2f} s, before the key frame at {key_time_s:.2f} s")
    if key_time_s is not None and key_time_s < 0:
        raise VideoError(f"key frame at {key_time_s:.2f} s, before the start")
    return frames


def _opened(path: Path) -> Video:
    try:
        return open_video(path)
    except VideoError as error:
        words = str(error)
        if words == NO_FILM:
            raise VideoError("holds no pictures") from None
        if words.startswith((NO_FILE, UNKNOWN_CODEC)):
            raise
        raise VideoError(f"not a readable video ({words})") from None


def _read_video(path: Path, times_s: np.ndarray, short_side_px: int | None) -> tuple[np.ndarray, float]:
    from_s = max(float(times_s[0]), 0.0)
    for begin_s in (from_s, 0.0) if from_s > SEEK_FROM_S else (0.0,):
        with _opened(path) as video:
            try:
                frames, last_s = _take_nearest(_timed(video, begin_s), times_s, short_side_px)
            except _LedTooFar:
                continue
            if video.early_s is not None and times_s[len(times_s) // 2] > last_s:
                raise VideoError(f"ends early: {video.early_s:.2f} s of its {video.film_s:.2f} s are missing")
            return frames, last_s
    raise AssertionError("a video is read from its start at last")


class _LedTooFar(Exception):
    """An index led behind the moment asked for, or there are no time stamps to go by."""


def _timed(video: Video, from_s: float) -> Iterator[tuple[float, Picture]]:
    """(seconds from the beginning, picture), beginning at or before `from_s`.

    Raises:
        VideoError: a packet on the way cannot be decoded.
    """
    step_s = 1.0 / (video.fps or 30.0)
    for number, picture in enumerate(video.pictures(from_s)):
        time_s = number * step_s if picture.time_s is None else picture.time_s
        if number == 0 and from_s and (picture.time_s is None or time_s > from_s + step_s):
            raise _LedTooFar
        if video.unreadable:
            break
        yield time_s, picture
    if video.unreadable:
        raise VideoError("damaged (pictures in it cannot be decoded)")


def _take_nearest(
    decoded: Iterator[tuple[float, Picture]], times_s: np.ndarray, short_side_px: int | None
) -> tuple[np.ndarray, float]:
    """The nearest frame of each moment, and the time of the last frame that was looked at."""
    taken: list[np.ndarray] = []
    before: tuple[float, Picture] | None = None
    image: np.ndarray | None = None
    for time_s, frame in decoded:
        while len(taken) < len(times_s):
            wanted = times_s[len(taken)]
            if wanted > time_s:
                break
            if before is not None and wanted - before[0] <= time_s - wanted:
                if image is None:
                    image = _resized(before[1].rgb(), short_side_px)
                taken.append(image)
            else:
                # Nearest is this frame; later moments may want it too.
                before, image = (time_s, frame), _resized(frame.rgb(), short_side_px)
                taken.append(image)
        if before is None or before[1] is not frame:
            before, image = (time_s, frame), None
        if len(taken) == len(times_s):
            break
    if before is None:
        raise VideoError("holds no frame that can be decoded")
    if len(taken) < len(times_s):
        if image is None:
            image = _resized(before[1].rgb(), short_side_px)
        taken += [image] * (len(times_s) - len(taken))
    sizes = {frame.shape for frame in taken}
    if len(sizes) > 1:
        raise VideoError(f"changes its size from {taken[0].shape[:2]} to {taken[-1].shape[:2]} (height, width)")
    return np.stack(taken), before[0]


def _resized(image: np.ndarray, short_side_px: int | None) -> np.ndarray:
    if short_side_px is None:
        return image
    height, width = image.shape[:2]
    h, w = short_side_size(height, width, short_side_px)
    return image if image.shape[:2] == (h, w) else cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=4096)
def list_pictures(folder: Path) -> list[Path]:
    """Pictures of a folder, in order of their names.

    Raises:
        VideoError: there are none.
    """
    pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not pictures:
        raise VideoError("folder without pictures")
    return pictures


def _read_picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise VideoError(f"{path.name} is not a readable picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_pictures(
    folder: Path, times_s: np.ndarray, short_side_px: int | None, fps: float
) -> tuple[np.ndarray, float]:
    pictures = list_pictures(folder)
    indices = np.floor(np.asarray(times_s) * fps + 0.5).astype(int).clip(0, len(pictures) - 1)
    images = {i: _resized(_read_picture(pictures[i]), short_side_px) for i in sorted(set(indices.tolist()))}
    return np.stack([images[i] for i in indices.tolist()]), (len(pictures) - 1) / fps
