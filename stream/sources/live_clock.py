"""Media time of live streams, and when a picture is due. Pure: time is handed in."""

from __future__ import annotations

from stream.gaps import MAX_GAP_S
from stream.sources.decode import MediaClock

# A live stream's time stamps are believed as long as they stay this close to the clock.
MAX_DRIFT_S = 1.0
# A stream that was quiet for this long and then, within as much, gets further ahead of the clock than `MAX_DRIFT_S`
# comes in a burst ...
QUIET_S = 1.0
# ... and in bursts if that happens twice within this time: once it may be a stumble on the way, or what a server kept
# for whoever connects.
BURSTS_WITHIN_S = 30.0


class LiveClock:
    """Media time of a live stream: its own stamps where they keep step with the clock, else the clock.

    A stream that comes in bursts (segments of HLS or DASH, or what turns out to) is told by its stamps alone, and
    each of its pictures is due as long after the one before as its stamp says.

    Attributes:
        segment: counts the places where the stamps of a paced stream went back: what follows is another scene.
        paced: pictures are to be held back until they are due.
    """

    def __init__(self, fps: float | None, start_s: float, *, paced: bool = False, may_burst: bool = True) -> None:
        """
        Args:
            fps: nominal rate, None where it is not known.
            start_s: clock at media time 0.
            paced: the stream is known to come in bursts.
            may_burst: it may turn out to; False where the newest matters more than an even pace.
        """
        self._media = MediaClock(fps)
        self._start_s, self._shift_s, self._last_s = start_s, 0.0, -1e-3
        self._paced_from_start, self._may_burst, self.paced = paced, may_burst, paced
        self.segment = 0
        self._due_s = self._arrived_s = start_s
        self._stamp_s: float | None = None
        self._fresh = False
        self._quiet_s = self._burst_s = -BURSTS_WITHIN_S

    def next(self, pts_s: float | None, now_s: float) -> float:
        """Media time of a frame stamped `pts_s` that arrived at `now_s`; always increases."""
        away_s, self._arrived_s = now_s - self._arrived_s, now_s
        if away_s > QUIET_S:
            self._quiet_s = now_s
        arrived_s = now_s - self._start_s
        by_clock = pts_s is None and not self.paced
        time_s = arrived_s if by_clock else self._media.next(pts_s) + self._shift_s
        if self._fresh:
            # A new connection: as long after the last picture as the clock says.
            self._shift_s += self._last_s + away_s - time_s
            time_s = self._last_s + away_s
        elif self.paced:
            if pts_s is not None and self._stamp_s is not None and pts_s < self._stamp_s - MAX_GAP_S:
                self.segment += 1
        elif abs(time_s - arrived_s) > MAX_DRIFT_S:
            self._note_burst(time_s > arrived_s, now_s)
            if not self.paced:
                self._shift_s += arrived_s - time_s
                time_s = arrived_s
        step_s = max(time_s - self._last_s, 1e-3)
        self._last_s += step_s
        # Late pictures make what follows late too, so that it goes on evenly; a jump is not waited for.
        self._due_s = now_s if self._fresh or step_s > MAX_GAP_S else max(now_s, self._due_s + step_s)
        self._fresh, self._stamp_s = False, pts_s
        return self._last_s

    def due_in_s(self, now_s: float) -> float:
        """Seconds until the frame that was told last is to be given; 0 where the stream needs no pacing."""
        return max(self._due_s - now_s, 0.0) if self.paced else 0.0

    def restart(self) -> None:
        """A new connection: its stamps start afresh."""
        self._media.restart()
        self._fresh = self._last_s >= 0
        self.paced, self._stamp_s = self._paced_from_start, None

    def _note_burst(self, early: bool, now_s: float) -> None:
        if early and self._may_burst and now_s - self._quiet_s < QUIET_S:
            self.paced = now_s - self._burst_s < BURSTS_WITHIN_S
            self._burst_s, self._due_s = now_s, now_s
            self._quiet_s = -BURSTS_WITHIN_S
