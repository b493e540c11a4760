"""Who is served next when more is wanted than the machine can do. Pure: no threads, no clock.

Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): each camera's account grows by what was spent on it over
its share, and of those who wait the one with the least is served. Who has not waited for a while starts at the level of
those who are served now, so that nobody saves up turns while quiet and nobody is starved by a busy one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Turns:
    """The accounts of all who share something."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._served: dict[str, int] = {}
        self._level, self._count = 0.0, 0

    def pick(self, waiting: Iterable[str]) -> str | None:
        """Of those who wait, the one who has had least; of equals the one who was served longest ago."""
        names = list(waiting)
        if not names:
            return None
        chosen = self._order(names)[0]
        self._level = max(self._level, self._spent[chosen])
        return chosen

    def pick_batch(self, waiting: Mapping[str, int], most: int) -> list[str]:
        """Who goes together: in order of turn, as many as fit.

        Args:
            waiting: who waits, and how many rows each brings.
            most: rows that fit; whoever is first goes whatever he brings.
        """
        chosen: list[str] = []
        rows = 0
        for name in self._order(list(waiting)):
            if chosen and rows + waiting[name] > most:
                break
            chosen.append(name)
            rows += waiting[name]
        if chosen:
            self._level = max(self._level, self._spent[chosen[0]])
        return chosen

    def charge(self, name: str, cost: float, share: float = 1.0) -> None:
        """`cost` was spent on someone whose share beside the others is `share`."""
        self._spent[name] = max(self._spent.get(name, self._level), self._level) + cost / share
        self._count += 1
        self._served[name] = self._count

    def forget(self, name: str) -> None:
        """Someone is gone."""
        self._spent.pop(name, None)
        self._served.pop(name, None)

    def _order(self, names: list[str]) -> list[str]:
        for name in names:
            self._spent[name] = max(self._spent.get(name, self._level), self._level)
        return sorted(names, key=lambda name: (self._spent[name], self._served.get(name, 0)))


def batch_is_ready(first_waits_since_s: float, now_s: float, rows: int, most: int, deadline_s: float) -> bool:
    """Whether to start with those who wait: the batch is full, or the first has waited as long as it may."""
    return rows >= most or now_s - first_waits_since_s >= deadline_s
