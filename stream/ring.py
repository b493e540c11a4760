"""The last seconds of a stream, small and ready for the network. No threads start here, no clock is read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detector.types import Clip, Frame, Origin
from stream.gaps import is_gap
from stream.geometry import Fit


@dataclass(frozen=True, slots=True)
class Moment:
    """What is remembered of a frame apart from its pixels.

    Attributes:
        index, time_s, captured_s, segment: as in `Frame`.
        source_hw: the full-size picture's height and width.
    """

    index: int
    time_s: float
    captured_s: float
    source_hw: tuple[int, int]
    segment: int = 0

    @classmethod
    def of(cls, frame: Frame) -> Moment:
        """That of a frame."""
        return cls(frame.index, frame.time_s, frame.captured_s, frame.size_hw, frame.segment)


class _Memory:
    """Stands for a ring's pixels in `Origin`, which must not keep them alive."""


def shrink(image: np.ndarray, frame_hw: tuple[int, int], out: np.ndarray) -> None:
    """Write a (H, W, 3) BGR picture into `out` (h, w, 3) as RGB; bilinear, as the published weights were trained.

    A picture of another shape than the frame gets a black border to the right or below (see `Fit`).
    """
    height, width = Fit(image.shape[:2], frame_hw).content_hw
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=small)
    if (height, width) != frame_hw:
        out[:] = 0
    out[:height, :width] = small


class Ring:
    """Frames of the last `horizon_s` seconds, resized once, in memory that is taken once.

    Frames are kept by media time. Slots that time has emptied are used again before fresh ones, so a 15 fps camera
    touches a quarter of the memory of a 60 fps one. A source faster than `max_fps` is thinned to that. After a gap
    (`stream.gaps`) it begins anew: no clip shows what lies on both sides of one. Safe for one writer and several
    readers.
    """

    def __init__(self, frame_hw: tuple[int, int], horizon_s: float, max_fps: float = 60.0) -> None:
        """
        Args:
            frame_hw: height and width of the kept frames.
            horizon_s: seconds to keep; a clip's span and what computing it takes should fit.
            max_fps: frames closer together than this allows are not kept.
        """
        if horizon_s <= 0:
            raise ValueError(f"horizon_s: got {horizon_s}, expected more than 0")
        capacity = int(np.ceil(horizon_s * max_fps)) + 2
        self._pixels = np.empty((capacity, *frame_hw, 3), np.uint8)
        self._free = list(range(capacity))
        self._slots: list[int] = []
        self._moments: list[Moment] = []
        # Beside the moments; a frame's own number may begin anew with its source.
        self._serials: list[int] = []
        self._written, self._memory = 0, _Memory()
        self._frame_hw, self._horizon_s = frame_hw, horizon_s
        self._min_gap_s = 0.8 / max_fps
        self._begun_s = -np.inf
        self._lock = threading.Lock()

    @property
    def frame_hw(self) -> tuple[int, int]:
        """Height and width of the kept frames."""
        return self._frame_hw

    def __len__(self) -> int:
        return len(self._moments)

    def write(self, frame: Frame) -> bool:
        """Keep a frame; False if it comes too soon after the last one (or goes back in time)."""
        with self._lock:
            if self._moments and is_gap(self._moments[-1], frame):
                self._free.extend(self._slots)
                self._slots, self._moments, self._serials = [], [], []
                self._begun_s = frame.time_s
            if self._moments and frame.time_s - self._moments[-1].time_s < self._min_gap_s:
                return False
            while self._moments and (
                self._moments[0].time_s < frame.time_s - self._horizon_s or not self._free
            ):
                self._free.append(self._slots.pop(0))
                self._moments.pop(0)
                self._serials.pop(0)
            slot = self._free.pop()
        # Outside the lock: nobody reads a slot that is not listed.
        shrink(frame.image, self._frame_hw, self._pixels[slot])
        with self._lock:
            self._slots.append(slot)
            self._serials.append(self._written)
            self._written += 1
            self._moments.append(Moment.of(frame))
        return True

    def newest(self) -> Moment | None:
        """The last frame kept."""
        with self._lock:
            return self._moments[-1] if self._moments else None

    def nearest(self, time_s: float) -> Moment | None:
        """The kept frame whose time is nearest; the earlier of two as near."""
        with self._lock:
            return self._moments[self._position(time_s)] if self._moments else None

    def at_or_before(self, time_s: float) -> Moment | None:
        """The last kept frame that is not after `time_s` (but for rounding)."""
        with self._lock:
            for moment in reversed(self._moments):
                if moment.time_s <= time_s + 1e-6:
                    return moment
        return None

    def moments(self) -> list[Moment]:
        """All that is kept, oldest first."""
        with self._lock:
            return list(self._moments)

    def pictures(self, moments: Sequence[Moment]) -> np.ndarray | None:
        """(T, h, w, 3) uint8 RGB copies of these frames; None where one is not kept any more."""
        with self._lock:
            slot_of = {(m.segment, m.index): slot for m, slot in zip(self._moments, self._slots)}
            wanted = [(moment.segment, moment.index) for moment in moments]
            return self._pixels[[slot_of[w] for w in wanted]] if slot_of.keys() >= set(wanted) else None

    def clip(self, key: Moment, offsets_s: np.ndarray, key_index: int) -> Clip | None:
        """Cut the frames nearest to `key.time_s + offsets_s`, clamped at both ends of what is kept.

        Args:
            key: the key frame.
            offsets_s: (T,) seconds relative to it, ascending.
            key_index: position of offset 0.

        Returns:
            A clip of copies; None where the key frame is from before a gap and its pictures are gone. The clip's key
            frame has the right size and no pixels of its own: it is black.

        Raises:
            ValueError: the ring is empty.
        """
        with self._lock:
            if not self._moments:
                raise ValueError("Ring.clip: got an empty ring, expected at least one frame")
            if key.time_s < self._begun_s:
                return None
            times = np.array([moment.time_s for moment in self._moments])
            wanted = key.time_s + np.asarray(offsets_s)
            after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
            before = (after - 1).clip(0)
            # A hair's tolerance, so that rounding does not decide between two frames that are equally near.
            positions = np.where(wanted - times[before] <= times[after] - wanted + 1e-9, before, after)
            images = self._pixels[[self._slots[p] for p in positions]]
            origin = Origin(self._memory, tuple(self._serials[p] for p in positions))
        step_s = float(np.ptp(wanted)) / max(len(wanted) - 1, 1)
        # Half a sample's tolerance: the frame nearest to a moment is seldom at it.
        filled = float(((wanted < times[0] - step_s / 2) | (wanted > times[-1] + step_s / 2)).mean())
        padded_hw = Fit(key.source_hw, self._frame_hw).padded_hw
        black = np.broadcast_to(np.zeros(3, np.uint8), (*padded_hw, 3))
        return Clip(images, Frame(black, key.index, key.time_s, key.captured_s), key_index, origin, filled)

    def _position(self, time_s: float) -> int:
        return min(range(len(self._moments)), key=lambda p: abs(self._moments[p].time_s - time_s))
