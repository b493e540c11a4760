"""What one camera did, in numbers: for metrics, the status table, the API and the bench. Any thread may count."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol

from stream.metrics import Rate

Part = Literal["look_ahead", "waiting", "detector", "network", "drawing", "total"]
State = Literal["off", "starting", "online", "offline", "failed", "paused"]
# The first that fits tells why a camera went away; the words are FFmpeg's, the system's and this project's own.
REASONS = (
    ("refused", r"401|403|unauthori[sz]ed|forbidden|authori[sz]ation"),
    ("silent", r"fell silent|no picture for"),
    ("no_answer", r"no answer within|timed out|timeout|unreachable|no route|refused|not resolve|name or service"),
    ("not_found", r"404|no such file|not found|there is no"),
    ("ended", r"ended|end of file|eof"),
    ("garbage", r"invalid data|no video|no picture|damaged|cannot be read"),
)


class Meter(Protocol):
    """Takes durations and batch sizes as they come."""

    def delay(self, camera: str, part: Part, seconds: float) -> None:
        """A part of an answer or a picture took so long."""
        ...

    def batch(self, model: str, clips: int, people: int) -> None:
        """So many clips with so many people went through a network in one call."""
        ...


class NoMeter:
    """Throws everything away."""

    def delay(self, camera: str, part: Part, seconds: float) -> None:
        """Nothing."""

    def batch(self, model: str, clips: int, people: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Numbers:
    """A camera at one moment; totals since its start.

    Attributes:
        taken, shown, answers, searches: pictures taken in and handed out, answers, searches for people.
        taken_fps, shown_fps, answers_per_s, searches_per_s: the same a second, lately.
        drops, reconnects: by reason.
        search_s, network_s: seconds spent on it.
        people: in the last search.
        delay_s: of the last answer, from capture, look-ahead included.
    """

    taken: int = 0
    shown: int = 0
    answers: int = 0
    searches: int = 0
    taken_fps: float = 0.0
    shown_fps: float = 0.0
    answers_per_s: float = 0.0
    searches_per_s: float = 0.0
    drops: dict[str, int] = field(default_factory=dict)
    reconnects: dict[str, int] = field(default_factory=dict)
    search_s: float = 0.0
    network_s: float = 0.0
    people: int = 0
    delay_s: float = 0.0


class Counts:
    """Counts for one camera."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._rates = {name: Rate(5.0) for name in ("taken", "shown", "answers", "searches")}
        self._drops: Counter[str] = Counter()
        self._reconnects: Counter[str] = Counter()
        self._search_s = self._network_s = self._delay_s = 0.0
        self._people = 0

    def took(self, now_s: float, missed: int = 0) -> None:
        """A picture came in, after `missed` that came too late to be taken."""
        self._tick("taken", now_s)
        self.dropped("late", missed)

    def showed(self, now_s: float) -> None:
        """A picture was handed out."""
        self._tick("shown", now_s)

    def searched(self, now_s: float, seconds: float, people: int, missed: int) -> None:
        """People were searched for; `missed` searches were left out because the machine was full."""
        self._tick("searches", now_s)
        with self._lock:
            self._search_s += seconds
            self._people = people
        self.dropped("search_busy", missed)

    def answered(self, now_s: float, network_s: float, delay_s: float, missed: int) -> None:
        """An answer was given; `missed` were left out because the machine was full."""
        self._tick("answers", now_s)
        with self._lock:
            self._network_s += network_s
            self._delay_s = delay_s
        self.dropped("answer_busy", missed)

    def dropped(self, reason: str, count: int = 1) -> None:
        """Something was left out."""
        if count > 0:
            with self._lock:
                self._drops[reason] += count

    def reconnected(self, reason: str) -> None:
        """The camera went away."""
        with self._lock:
            self._reconnects[reason] += 1

    def numbers(self, now_s: float) -> Numbers:
        """All of them now."""
        with self._lock:
            rates = {name: rate.per_second(now_s) for name, rate in self._rates.items()}
            return Numbers(
                self._totals["taken"], self._totals["shown"], self._totals["answers"], self._totals["searches"],
                rates["taken"], rates["shown"], rates["answers"], rates["searches"], dict(self._drops),
                dict(self._reconnects), self._search_s, self._network_s, self._people, self._delay_s,
            )

    def _tick(self, name: str, now_s: float) -> None:
        with self._lock:
            self._totals[name] += 1
            self._rates[name].tick(now_s)


def reason_of(message: str) -> str:
    """Why a camera went away, in one of a few words, from what was said about it."""
    lowered = message.lower()
    return next((reason for reason, pattern in REASONS if re.search(pattern, lowered)), "lost")
