"""The small state machines that rules are made of. Pure: every step is handed its time; no threads, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from stream.events.zones import Point, crosses, side

# Sums of times are not exact in binary.
TIME_SLACK_S = 1e-6


@dataclass(slots=True)
class Hold:
    """A condition that must hold for a while before it counts, and be gone for a while before it is over.

    Attributes:
        for_s: it begins when it has held this long.
        ends_after_s: it ends when it has not held for this long.
        votes: share of the answers since it was first met that must meet it; a lower share starts afresh.
        answers: that must meet it at least.
        state: `idle`, `pending` (met, but not long enough) or `active`.
        since_s: when the state's condition was first met.
        off_since_s: when an active one was first not met, None while it is.
    """

    for_s: float = 0.0
    ends_after_s: float = 0.0
    votes: float = 1.0
    answers: int = 1
    state: Literal["idle", "pending", "active"] = "idle"
    since_s: float = 0.0
    off_since_s: float | None = None
    _seen: int = 0
    _met: int = 0

    def step(self, time_s: float, on: bool, off: bool | None = None) -> Literal["", "start", "end"]:
        """Take an answer.

        Args:
            time_s: when; never decreases.
            on: the condition is met.
            off: it is gone; between two limits neither holds. None for `not on`.
        """
        off = not on if off is None else off
        if self.state == "active":
            if not off:
                self.off_since_s = None
                return ""
            self.off_since_s = time_s if self.off_since_s is None else self.off_since_s
            return self._end_if_due(time_s)
        if self.state == "pending":
            self._seen, self._met = self._seen + 1, self._met + on
            if self._met < self.votes * self._seen - 1e-9:
                self.state = "idle"
        if self.state == "idle":
            if not on:
                return ""
            self.state, self.since_s, self._seen, self._met = "pending", time_s, 1, 1
        if on and self._met >= self.answers and time_s - self.since_s >= self.for_s - TIME_SLACK_S:
            self.state, self.off_since_s = "active", None
            return "start"
        return ""

    def absent(self, time_s: float, last_s: float) -> Literal["", "end"]:
        """There is no answer at `time_s`, the last was at `last_s`: active ones end in time, pending ones lapse."""
        if self.state == "active":
            self.off_since_s = last_s if self.off_since_s is None else self.off_since_s
            return "end" if self._end_if_due(time_s) else ""
        if self.state == "pending" and time_s - last_s >= max(self.ends_after_s, 1.0):
            self.state = "idle"
        return ""

    def _end_if_due(self, time_s: float) -> Literal["", "end"]:
        assert self.off_since_s is not None
        if time_s - self.off_since_s >= self.ends_after_s - TIME_SLACK_S:
            self.state = "idle"
            return "end"
        return ""


@dataclass(slots=True)
class Passage:
    """Whether somebody came into a place or went out of it, once he has stayed there for a while.

    Attributes:
        settle_s: so long on the new side before it counts.
        inside: the side that counts; None before the first.
    """

    settle_s: float = 0.0
    inside: bool | None = None
    since_s: float = 0.0
    _new: bool | None = None

    def step(self, time_s: float, inside: bool) -> Literal["", "seen", "in", "out"]:
        """Take a position; `seen` when the first side counts, `in` or `out` when it has changed."""
        if inside == self.inside:
            self._new = None
            return ""
        if self._new != inside:
            self._new, self.since_s = inside, time_s
        if time_s - self.since_s < self.settle_s - TIME_SLACK_S:
            return ""
        first, self.inside, self._new = self.inside is None, inside, None
        return "seen" if first else "in" if inside else "out"


@dataclass(slots=True)
class Crossing:
    """Whether somebody walked over a line.

    Whoever dithers on the line has not crossed it: he must have been `margin` away from it on both sides, and the way
    between must have met the line between its ends.

    Attributes:
        line: two points in shares of the picture.
        aspect: width of the picture over its height.
        margin: in heights of the picture.
        distance: of the last point from the line, in heights of the picture.
    """

    line: Sequence[Point]
    aspect: float
    margin: float = 0.01
    distance: float = 0.0
    _clear: float = 0.0
    _met: int = 0
    _last: Point | None = None

    def step(self, point: Point) -> Literal["", "in", "out"]:
        """Take where somebody stands."""
        if self._last is not None and crosses(self.line, self._last, point):
            self._met += 1
        self._last = point
        distance = side(self.line, point, self.aspect)
        self.distance = abs(distance)
        if abs(distance) < self.margin or distance == 0:
            return ""
        before, self._clear = self._clear, distance
        # Met twice on the way is back again, or round the end; an odd number leads to the other side.
        met, self._met = self._met, 0
        if before * distance >= 0 or not met:
            return ""
        return "in" if distance > 0 else "out"


@dataclass(slots=True)
class Mean:
    """Peak and mean of a value while something goes on."""

    peak: float = float("-inf")
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> bool:
        """Take a value; True if it is the highest so far."""
        self.total, self.count = self.total + value, self.count + 1
        if value > self.peak:
            self.peak = value
            return True
        return False

    @property
    def mean(self) -> float:
        """Of what was taken; 0 of nothing."""
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class Highest:
    """The highest value of the last seconds."""

    within_s: float
    _values: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, time_s: float, value: float) -> float:
        """Take a value; the highest of the last `within_s`, this one included."""
        while self._values and self._values[-1][1] <= value:
            self._values.pop()
        self._values.append((time_s, value))
        while self._values[0][0] < time_s - self.within_s - TIME_SLACK_S:
            self._values.popleft()
        return self._values[0][1]
