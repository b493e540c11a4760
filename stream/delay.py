"""Holding pictures back until what belongs to them is known. Pure: times are handed in."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import cv2
import numpy as np

from detector.types import Frame

JPEG_QUALITY = 95


class SyncDelay:
    """How long a live picture must be held back so that its own labels are there when it is shown.

    A picture halfway between two key frames is labelled by the later one, so it needs that answer's age less half
    the distance. The delay grows at once when answers get slower and shrinks slowly, so that the picture neither
    stutters nor jumps.
    """

    def __init__(self, look_ahead_s: float, first_guess_s: float = 1.0, shrink_per_s: float = 0.05) -> None:
        self._needs: deque[float] = deque(maxlen=10)
        self._seconds = look_ahead_s + first_guess_s
        self._shrink_per_s = shrink_per_s
        self._changed_s: float | None = None

    @property
    def seconds(self) -> float:
        """The delay now."""
        return self._seconds

    def answered(self, age_s: float, gap_s: float, now_s: float) -> None:
        """An answer came for a key frame captured `age_s` ago, `gap_s` after the key frame before."""
        self._needs.append(age_s + gap_s / 2)
        need = max(self._needs)
        elapsed = now_s - self._changed_s if self._changed_s is not None else 0.0
        self._changed_s = now_s
        self._seconds = max(need, self._seconds - self._shrink_per_s * elapsed)


class DelayLine:
    """Pictures in waiting. Within a budget of memory they wait as they are, beyond it as JPEG."""

    def __init__(self, max_bytes: int) -> None:
        self._items: deque[tuple[Frame, np.ndarray | None]] = deque()
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def nbytes(self) -> int:
        """Memory that the waiting pictures take."""
        return self._bytes

    def append(self, frame: Frame) -> None:
        """Let a picture wait."""
        packed = None
        if self._bytes + frame.image.nbytes > self._max_bytes:
            ok, packed = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            if ok:
                # The picture's own pixels are let go; only its size stays.
                hollow = np.broadcast_to(np.zeros(3, np.uint8), frame.image.shape)
                frame = replace(frame, image=hollow)
            else:
                packed = None
        self._items.append((frame, packed))
        self._bytes += frame.image.nbytes if packed is None else packed.nbytes

    def first(self) -> Frame:
        """The picture that has waited longest, its pixels perhaps missing."""
        return self._items[0][0]

    def pop(self) -> Frame:
        """Take the picture that has waited longest."""
        frame, packed = self._items.popleft()
        self._bytes -= frame.image.nbytes if packed is None else packed.nbytes
        if packed is None:
            return frame
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
        return replace(frame, image=image)

    def clear(self) -> None:
        """Let go of all pictures."""
        self._items.clear()
        self._bytes = 0
