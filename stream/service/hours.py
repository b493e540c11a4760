"""When a camera is on: `mon-fri 08:00-18:00`. Pure: the time is handed in, local to the camera's machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXPECTED = "days and hours like 'mon-fri 08:00-18:00', 'sat,sun 22:00-06:00', 'daily 00:00-24:00'"
_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class Hours:
    """Some days of the week, from one minute of the day up to another; past midnight where the end is not later."""

    days: frozenset[int]
    from_minute: int
    to_minute: int

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.from_minute < self.to_minute:
            return day in self.days and self.from_minute <= minute < self.to_minute
        late = day in self.days and minute >= self.from_minute
        return late or ((day - 1) % 7 in self.days and minute < self.to_minute)


def parse_hours(text: str) -> Hours:
    """Read one entry of a schedule.

    Raises:
        ValueError: not of that form.
    """
    parts = text.strip().lower().split()
    found = _HOURS.fullmatch(parts[-1]) if parts else None
    if len(parts) not in (1, 2) or found is None:
        raise ValueError(f"got {text!r}, expected {EXPECTED}")
    from_h, from_m, to_h, to_m = map(int, found.groups())
    start, end = from_h * 60 + from_m, to_h * 60 + to_m
    if from_m > 59 or to_m > 59 or start >= 24 * 60 or end > 24 * 60:
        raise ValueError(f"got {text!r}, expected {EXPECTED}")
    return Hours(_days(parts[0] if len(parts) == 2 else "daily", text), start, end)


def is_on(schedule: list[str], moment: datetime) -> bool:
    """Whether a camera with these entries is on; without entries it always is."""
    return not schedule or any(parse_hours(text).holds(moment) for text in schedule)


def _days(words: str, text: str) -> frozenset[int]:
    if words in ("daily", "always"):
        return frozenset(range(7))
    days: set[int] = set()
    for word in words.split(","):
        first, _, last = word.partition("-")
        last = last or first
        if first not in DAYS or last not in DAYS:
            raise ValueError(f"got {text!r}, expected {EXPECTED}")
        a, b = DAYS.index(first), DAYS.index(last)
        days.update(range(a, b + 1) if a <= b else [*range(a, 7), *range(b + 1)])
    return frozenset(days)
