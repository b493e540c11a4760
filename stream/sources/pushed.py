"""Pictures that another thread hands in, such as a browser's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from detector.types import Frame
from stream.gaps import FROZEN, MAX_GAP_S, Repeats
from stream.handoff import Closed, Handoff
from stream.sources.source import SourceStatus, StatusLog


class PushSource:
    """Frames that another thread hands in, such as a browser's.

    Live: a frame that is not taken before `capacity` newer ones came is dropped. A picture that comes again and again
    with one stamp (a player that stands still) is not given, and the status says so.
    """

    live = True

    def __init__(self, name: str = "browser", capacity: int = 4, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.fps = name, None
        self.status = SourceStatus()
        self._clock = clock
        self._frames: Handoff[Frame] = Handoff(capacity, "drop_oldest")
        self._pushed = self._segment = 0
        self._start_s: float | None = None
        self._stamp_s, self._shift_s = -1.0, 0.0
        self._pushed_s, self._last_s = 0.0, -1.0
        self._repeats, self._log = Repeats(), StatusLog()

    def changes(self) -> list[SourceStatus]:
        """What the status became since this was last called."""
        return self._log.take()

    def push(self, image: np.ndarray, time_s: float | None = None) -> bool:
        """Hand in a picture.

        Args:
            image: (H, W, 3) uint8 BGR; not to be changed afterwards.
            time_s: media time in seconds; None takes the clock. A time that does not increase is moved
                to just after the last one; times that go back by more than `MAX_GAP_S` begin another scene, as long
                after the last one as the clock says.

        Returns:
            False if the source is closed.
        """
        now = self._clock()
        if self._repeats.frozen(image, time_s, now):
            self._become(SourceStatus(False, f"camera frozen: {FROZEN}", FROZEN))
            return not self._frames.closed
        self._become(SourceStatus())
        if self._start_s is None:
            self._start_s = now if time_s is None else now - time_s
        if time_s is not None:
            if time_s < self._stamp_s - MAX_GAP_S:
                self._segment += 1
                self._shift_s = self._last_s + max(now - self._pushed_s, 1e-3) - time_s
            self._stamp_s = time_s
        moment = max(now - self._start_s if time_s is None else time_s + self._shift_s, self._last_s + 1e-3)
        frame = Frame(image, self._pushed, moment, now, self._segment)
        try:
            self._frames.put(frame)
        except Closed:
            return False
        self._pushed, self._last_s, self._pushed_s = self._pushed + 1, moment, now
        return True

    def _become(self, status: SourceStatus) -> None:
        if status != self.status:
            self.status = status
            self._log.note(status)

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
