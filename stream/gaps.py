"""When pictures have nothing to do with those before them: the camera was away, or its stamps jumped. Pure."""

from __future__ import annotations

from typing import Protocol

import numpy as np

# Pictures further apart than this are not one scene: about what a clip spans, so that no clip reaches across a gap,
# and well over the distance of two pictures of a camera that gives one a second. After a gap everything that was
# remembered begins anew: the ring, the tracks and with them the labels. What is shorter is a blink and no gap: a clip
# may reach across it, and shows the pictures on either side of it in place of those that are missing.
MAX_GAP_S = 2.0
FROZEN = "it sends one picture again and again"


class Timed(Protocol):
    """A frame, or what is remembered of one."""

    @property
    def time_s(self) -> float:
        """Media time."""
        ...

    @property
    def segment(self) -> int:
        """Counts the places where a source's stamps broke."""
        ...


def is_gap(before: Timed, after: Timed) -> bool:
    """Whether `after` belongs to another scene than `before`, the picture that came just before it."""
    return bool(after.segment != before.segment or after.time_s - before.time_s > MAX_GAP_S)


class Repeats:
    """Tells a frozen camera, which sends one picture with one stamp again and again, from one that lives.

    A camera whose stamps stand still although its pictures change is believed.
    """

    def __init__(self) -> None:
        self._stamp_s: float | None = None
        self._image: np.ndarray | None = None
        self._new_s = 0.0

    def frozen(self, image: np.ndarray, stamp_s: float | None, now_s: float) -> bool:
        """Whether this has been the same picture for longer than `MAX_GAP_S`.

        Args:
            image: (H, W, 3) uint8; kept until the next call.
            stamp_s: of the camera; without one nothing is ever frozen.
            now_s: seconds, monotonic.
        """
        same = (
            stamp_s is not None and stamp_s == self._stamp_s and self._image is not None
            and self._image.shape == image.shape and np.array_equal(self._image, image)
        )
        if not same:
            self._stamp_s, self._image, self._new_s = stamp_s, image, now_s
        return same and now_s - self._new_s > MAX_GAP_S
