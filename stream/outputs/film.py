"""Writing H.264 in MP4 that browsers play. The one door to PyAV's encoders."""

from __future__ import annotations

import logging
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from detector.errors import UserError

log = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 90_000)
# Two pictures at one moment cannot be stored; the second is a millisecond later.
MIN_STEP = 90
# A fragment ends at each key frame: a killed process loses at most this much.
KEY_FRAME_EVERY_S = 2.0
# FFmpeg's numbers for video range and for BT.601 (SMPTE 170M).
COLOUR_RANGE, COLOUR_SPACE = 1, 6
SUFFIXES = (".mp4", ".m4v", ".mov")


class Mp4Writer:
    """An MP4 file that grows picture by picture, each shown at its own time.

    While it is written it is fragmented, so a killed process leaves a file that plays; `close` rewrites it with the
    index in front, which lets browsers start at once and seek.
    """

    def __init__(self, path: str | Path, fps: float | None = None, crf: int = 23, preset: str = "veryfast") -> None:
        """
        Args:
            path: of the file; its folder is made where it is missing.
            fps: nominal rate, for the encoder's rate control; pictures keep their own times.
            crf: quality of x264, lower is better.
            preset: of x264.

        Raises:
            UserError: it cannot be written, or its name does not end in .mp4.
        """
        import av

        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path}: got a name ending in {self.path.suffix or 'nothing'!r}, expected .mp4")
        flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(str(self.path), "w", format="mp4", options=flags)
        except (OSError, av.FFmpegError) as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); give another path") from None
        self._fps = Fraction(fps or 25).limit_denominator(1001)
        # Without B-frames times begin at 0 in a fragmented file too, and less waits in the encoder.
        self._options = {"crf": str(crf), "preset": preset, "bf": "0"}
        self._stream: Any = None
        self._size_hw = (0, 0)
        self._first_s: float | None = None
        self._last_pts = -MIN_STEP
        self.pictures = 0

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append a picture.

        Args:
            image: (H, W, 3) uint8 BGR. One of another size than the first is fitted into that.
            time_s: when it is shown; the first picture's is the file's beginning.

        Raises:
            UserError: the disk is full, or the like.
        """
        import av

        if self._container is None:
            raise ValueError(f"{self.path}: is closed, expected to be written to before that")
        if self._stream is None:
            self._begin(image.shape[:2])
            self._first_s = time_s
        assert self._first_s is not None
        # OpenCV rounds this conversion properly and is quicker at it than FFmpeg's default.
        planes = cv2.cvtColor(_fit_even(image, self._size_hw), cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = max(round((time_s - self._first_s) / TIME_BASE), self._last_pts + MIN_STEP)
        frame.time_base = TIME_BASE
        self._last_pts = frame.pts
        self._mux(frame)
        self.pictures += 1

    def close(self) -> None:
        """Finish the file; may be called twice.

        Raises:
            UserError: the disk is full, or the like.
        """
        container, self._container = self._container, None
        if container is None:
            return
        if self._stream is None:
            container.close()
            self.path.unlink(missing_ok=True)
            return
        self._container = container
        try:
            self._mux(None)
        finally:
            self._container = None
            container.close()
        _index_in_front(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self, image_hw: tuple[int, int]) -> None:
        # yuv420p halves the colour planes, so sizes must be even.
        h, w = (n + n % 2 for n in image_hw)
        self._size_hw = (h, w)
        stream = self._container.add_stream("libx264", rate=self._fps, options=self._options)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.gop_size = max(round(float(self._fps) * KEY_FRAME_EVERY_S), 1)
        # Untagged HD video is taken for BT.709; what OpenCV makes is BT.601 with video range.
        stream.codec_context.color_range, stream.codec_context.colorspace = COLOUR_RANGE, COLOUR_SPACE
        self._stream = stream

    def _mux(self, frame: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, av.FFmpegError) as error:
            raise UserError(f"{self.path}: cannot be written any more ({error.strerror})") from None


def _fit_even(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    (h, w), (to_h, to_w) = image.shape[:2], size_hw
    if (h, w) == (to_h, to_w):
        return np.ascontiguousarray(image)
    if to_h - h in (0, 1) and to_w - w in (0, 1):
        return cv2.copyMakeBorder(image, 0, to_h - h, 0, to_w - w, cv2.BORDER_REPLICATE)
    scale = min(to_h / h, to_w / w)
    new_h, new_w = max(round(h * scale), 1), max(round(w * scale), 1)
    small = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (to_h - new_h) // 2, (to_w - new_w) // 2
    return cv2.copyMakeBorder(
        small, top, to_h - new_h - top, left, to_w - new_w - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )


def _index_in_front(path: Path) -> None:
    """Rewrite a fragmented file as an ordinary one; if that fails, the fragmented one stays, which plays too."""
    import av

    rewritten = path.with_name(f".{path.name}.part")
    try:
        with av.open(str(path)) as source, av.open(
            str(rewritten), "w", format="mp4", options={"movflags": "faststart"}
        ) as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
        os.replace(rewritten, path)
    except (OSError, av.FFmpegError) as error:
        log.warning("%s stays fragmented (%s); it plays all the same", path, error.strerror)
        rewritten.unlink(missing_ok=True)
