"""Rates, durations and memory, for the status line and for benchmarks. Pure: times are handed in."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

import numpy as np


class Rate:
    """Events a second over the last few seconds."""

    def __init__(self, window_s: float = 3.0) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque()

    def tick(self, now_s: float) -> None:
        """Count an event."""
        self._times.append(now_s)
        self._forget(now_s)

    def per_second(self, now_s: float) -> float:
        """Events a second; 0 before there were two, and falling when they stop coming."""
        self._forget(now_s)
        if len(self._times) < 2:
            return 0.0
        # While events come, the time since the last one says nothing; once it is long, it does.
        span = self._times[-1] - self._times[0]
        mean_gap = span / (len(self._times) - 1)
        silence = now_s - self._times[-1]
        if silence > 2 * mean_gap:
            span += silence
        return (len(self._times) - 1) / span if span > 0 else 0.0

    def _forget(self, now_s: float) -> None:
        # Slow events (one in several seconds) keep at least the last pair.
        while len(self._times) > 2 and self._times[0] < now_s - self._window_s:
            self._times.popleft()


class Beat:
    """Picks one time every so many seconds from times that come in another rhythm, right on average.

    It counts from when each was due, not from the time that was taken: every 0.1 s at 24 fps is two frames and three
    by turns, not always three.
    """

    # 0.1 s between frames of 30 fps is three of them, whatever the rounding.
    TOLERANCE_S = 1e-3

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._due_s: float | None = None

    def take(self, time_s: float) -> int | None:
        """How many were missed before this one, if it is due; None where it is too early."""
        if self._due_s is None:
            self._due_s = time_s
        late_s = time_s - self._due_s + self.TOLERANCE_S
        if late_s < 0:
            return None
        missed = int(late_s / self._every_s)
        self._due_s += (missed + 1) * self._every_s
        return missed


class Spread:
    """Quantiles of the last values."""

    def __init__(self, keep: int = 1000) -> None:
        self._values: deque[float] = deque(maxlen=keep)

    def add(self, value: float) -> None:
        """Count a value."""
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._values)

    def quantile(self, q: float) -> float:
        """The q-quantile (0 to 1) of the values kept; 0 where there are none."""
        return float(np.quantile(list(self._values), q)) if self._values else 0.0


def resident_bytes() -> int:
    """Physical memory that this process holds now."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import os

        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Without /proc only the peak is known; macOS counts bytes, others kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024
