"""How often a camera wants to be looked at: often while something moves, slowly while all keep still. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

# A camera stays awake for this long after the last motion: people stop between two steps.
HOLD_S = 2.0
# While something moves but nobody is found (a tree, rain), searches come no closer than this.
NOBODY_S = 1.0


@dataclass(frozen=True)
class Rhythm:
    """Seconds between looks.

    Attributes:
        answer_s: between answers while something moves.
        search_s: between searches for people while something moves.
        still_s: between looks at people while nothing moves.
        empty_s: between looks at a scene without anybody while nothing moves.
        gated: quiet cameras are looked at slowly; else all is always as if something moved.
    """

    answer_s: float
    search_s: float
    still_s: float
    empty_s: float
    gated: bool = True


class Pace:
    """When one camera's next search and next answer are due."""

    def __init__(self, rhythm: Rhythm, start_s: float) -> None:
        self._rhythm = rhythm
        # A camera starts awake: who stands there already does not move.
        self._moved_s = start_s
        self._searched_s = self._answered_s = -math.inf
        self._people = 0

    @property
    def people(self) -> int:
        """In the last search."""
        return self._people

    def moved(self, now_s: float) -> None:
        """Something moved."""
        self._moved_s = now_s

    def awake(self, now_s: float) -> bool:
        """Whether the camera is looked at as often as it may."""
        return not self._rhythm.gated or now_s - self._moved_s <= HOLD_S

    def search_due_s(self, now_s: float) -> float:
        """When to search for people."""
        return self._searched_s + self._search_every_s(now_s)

    def answer_due_s(self, now_s: float) -> float:
        """When to say what people do; never before they have been searched for."""
        return self._answered_s + self._answer_every_s(now_s) if math.isfinite(self._searched_s) else math.inf

    def searched(self, now_s: float, people: int) -> int:
        """A search is over; how many were passed over because it came late."""
        missed = _missed(now_s, self.search_due_s(now_s), self._search_every_s(now_s))
        self._searched_s, self._people = now_s, people
        return missed

    def answered(self, now_s: float) -> int:
        """An answer is on its way; how many were passed over because it came late."""
        missed = _missed(now_s, self.answer_due_s(now_s), self._answer_every_s(now_s))
        self._answered_s = now_s
        return missed

    def _search_every_s(self, now_s: float) -> float:
        if self.awake(now_s):
            return self._rhythm.search_s if self._people else max(self._rhythm.search_s, NOBODY_S)
        return self._rhythm.still_s if self._people else self._rhythm.empty_s

    def _answer_every_s(self, now_s: float) -> float:
        if self.awake(now_s):
            return self._rhythm.answer_s
        return self._rhythm.still_s if self._people else self._rhythm.empty_s


def _missed(now_s: float, due_s: float, every_s: float) -> int:
    return int((now_s - due_s) / every_s) if math.isfinite(due_s) and now_s > due_s else 0
