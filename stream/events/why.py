"""Why not: what kept the rules of a camera from telling anything, over the last minute. Pure; memory is bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

KEEP_S = 60.0


@dataclass(slots=True)
class Hindrance:
    """What kept a rule from beginning during a second.

    Attributes:
        rule: its name.
        what: the value that did not reach its limit, or the filter that said no.
        person: the one who came nearest; -1 for none.
        best, limit: the nearest value and what it should have reached.
        best_s: when.
        first_s, last_s: media time of the first and the last answer of this kind.
        answers: of this kind.
    """

    rule: str
    what: str
    person: int
    best: float
    limit: float
    best_s: float
    first_s: float
    last_s: float
    answers: int = 1

    def __str__(self) -> str:
        who = f" of #{self.person}" if self.person >= 0 else ""
        return (
            f"{self.rule}: {self.what}{who} reached {self.best:.2f} of {self.limit:.2f} at {self.best_s:.1f} s "
            f"({self.answers} answer{'s' if self.answers > 1 else ''}, {self.first_s:.1f} to {self.last_s:.1f} s)"
        )


class Hindrances:
    """What hindered which rule, a summary a second, for a minute."""

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._seconds: deque[tuple[int, dict[tuple[str, str], Hindrance]]] = deque()

    def note(
        self, time_s: float, rule: str, what: str, value: float, limit: float, person: int = -1, *, least: bool = True
    ) -> None:
        """A rule did not begin because `value` did not reach `limit`; with `least` False it was above it."""
        second = int(time_s // 1)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, {}))
        while self._seconds[0][0] < time_s - self._keep_s:
            self._seconds.popleft()
        here = self._seconds[-1][1]
        new = Hindrance(rule, what, person, value, limit, time_s, time_s, time_s)
        old = here.get((rule, what))
        here[rule, what] = new if old is None else _joined(old, new, least)

    def told(self, rule: str | None = None) -> list[Hindrance]:
        """What hindered a rule, or every rule, in the last minute; nearest to its limit first within a rule."""
        all_of: dict[tuple[str, str], Hindrance] = {}
        for _, here in self._seconds:
            for key, hindrance in here.items():
                if rule is None or key[0] == rule:
                    least = hindrance.best <= hindrance.limit
                    all_of[key] = _joined(all_of[key], hindrance, least) if key in all_of else hindrance
        return sorted(all_of.values(), key=lambda h: (h.rule, -h.best / max(h.limit, 1e-9)))

    def clear(self) -> None:
        """Forget it all."""
        self._seconds.clear()


def _joined(old: Hindrance, new: Hindrance, least: bool) -> Hindrance:
    better = new if (new.best > old.best) == least and new.best != old.best else old
    return Hindrance(
        old.rule, old.what, better.person, better.best, better.limit, better.best_s,
        min(old.first_s, new.first_s), max(old.last_s, new.last_s), old.answers + new.answers,
    )
