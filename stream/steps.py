"""Which frames make the steps of a causal network: by time, whatever the camera's rate. Pure: no threads, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream.ring import Moment

# A frame may come so much of the distance of two samples too early and still be the one that was waited for.
EARLY_SHARE = 0.2
# A camera that shows nothing for this many steps has been away: what it showed before is not the past of what comes.
GAP_STEPS = 2.0


@dataclass(frozen=True)
class Step:
    """New frames of one step.

    Attributes:
        moments: n, oldest first; the last one is the key frame.
        restart: there is no past: the first step, or the first after a gap.
        repeated: how many of them stand for a frame that the camera did not give.
        skipped: steps left out before this one, so as not to fall behind.
    """

    moments: tuple[Moment, ...]
    restart: bool
    repeated: int
    skipped: int = 0

    @property
    def key(self) -> Moment:
        """The newest frame."""
        return self.moments[-1]


class StepClock:
    """Cuts the frames of one camera into steps.

    Samples lie `step_s` apart from the first frame on; each is the frame nearest in time. So 15 and 60 frames a second
    give the same steps, and a frame that did not come is repeated.
    """

    def __init__(self, step_s: float, frames: int, most_behind_s: float | None = None) -> None:
        """
        Args:
            step_s: seconds between two samples.
            frames: n, of a step.
            most_behind_s: seconds of video that may wait to be computed; beyond it steps are left out, and the next
                one has no past. None leaves out nothing: for files.
        """
        self._step_s, self._frames, self._most_behind_s = step_s, frames, most_behind_s
        self._gap_s = GAP_STEPS * step_s * frames
        self._next_s: float | None = None
        self._last: Moment | None = None
        self._restart, self._skipped = True, 0

    @property
    def seconds(self) -> float:
        """Of video, that a step takes."""
        return self._step_s * self._frames

    def take(self, moments: Sequence[Moment]) -> Step | None:
        """The next step, once its frames are there; call it until it gives None.

        Args:
            moments: frames that are kept, oldest first; those of the step that is due must be among them.
        """
        if not moments:
            return None
        if self._next_s is None:
            self._start_at(moments[-1] if self._most_behind_s is not None else moments[0])
        self._restart_after_gap(moments)
        self._skipped += self._catch_up(moments[-1])
        assert self._next_s is not None
        times = self._next_s + self._step_s * np.arange(self._frames)
        if moments[-1].time_s < times[-1] - EARLY_SHARE * self._step_s:
            return None
        chosen = nearest(moments, times, None if self._restart else self._last)
        before = (None if self._restart else self._last, *chosen)
        repeated = sum(a is not None and a.index == b.index for a, b in zip(before, chosen))
        step = Step(tuple(chosen), self._restart, repeated, self._skipped)
        self._skipped = 0
        self._next_s, self._last, self._restart = float(times[-1]) + self._step_s, chosen[-1], False
        return step

    def _start_at(self, moment: Moment) -> None:
        self._next_s, self._last, self._restart = moment.time_s, None, True

    def _restart_after_gap(self, moments: Sequence[Moment]) -> None:
        assert self._next_s is not None
        seen_s = self._last.time_s if self._last is not None else self._next_s
        for before, after in zip(reversed(moments[:-1]), reversed(moments[1:])):
            if after.time_s <= seen_s:
                return
            if after.time_s - before.time_s > self._gap_s:
                self._start_at(after)
                return
        if moments[0].time_s - seen_s > self._gap_s:  # what was before the gap is not kept any more
            self._start_at(moments[0])

    def _catch_up(self, newest: Moment) -> int:
        assert self._next_s is not None
        behind_s = newest.time_s - self._next_s - self.seconds
        if self._most_behind_s is None or behind_s <= self._most_behind_s:
            return 0
        skipped = int((newest.time_s - self._next_s) / self.seconds)
        self._start_at(newest)
        return skipped


def nearest(moments: Sequence[Moment], times: np.ndarray, since: Moment | None) -> list[Moment]:
    """The moment nearest to each time, the earlier of two as near; none before `since`."""
    kept = [m for m in moments if since is None or m.time_s >= since.time_s - 1e-9] or [moments[-1]]
    stamps = np.array([m.time_s for m in kept])
    return [kept[int(np.argmin(np.round(np.abs(stamps - time), 9)))] for time in times]
