"""Pictures that another thread hands in, such as a browser's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from detector.types import Frame
from stream.handoff import Closed, Handoff
from stream.sources.source import SourceStatus


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
