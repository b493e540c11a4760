"""When somebody may be told: quiet hours, so many in a time, and one digest instead of a flood. Pure."""

from __future__ import annotations

from collections import deque
from datetime import datetime, tzinfo

from stream.events.rules import within_hours

# How often it is looked whether quiet hours are over.
QUIET_LOOK_S = 30.0


class Gate:
    """Says whether waiting messages go out now, one by one or all in one, or later."""

    def __init__(
        self, quiet: list[str], at_most: tuple[int, float] | None, digest_s: float, zone: tzinfo | None = None
    ) -> None:
        """
        Args:
            quiet: spans of local time such as `22:00-07:00` in which nothing goes out.
            at_most: (so many, in so many seconds); None for no limit.
            digest_s: what is beyond that goes out together, so long after the first of it.
            zone: of the quiet hours; None for the machine's own.
        """
        self._quiet, self._at_most, self._digest_s, self._zone = quiet, at_most, digest_s, zone
        self._sent: deque[float] = deque()
        self._held_from: float | None = None

    def now(self, utc: float, waiting: int) -> int | float:
        """What to do at a UTC second with so many waiting messages.

        Returns:
            An int: so many go out now, more than one of them as a digest. A float: seconds after which to ask again.
        """
        if self._quiet and within_hours(self._quiet, datetime.fromtimestamp(utc, self._zone)):
            self._held_from = utc - self._digest_s if waiting else self._held_from
            return QUIET_LOOK_S
        if self._at_most is not None:
            while self._sent and utc - self._sent[0] >= self._at_most[1]:
                self._sent.popleft()
        if self._held_from is not None:
            left = self._held_from + self._digest_s - utc
            return left if left > 0 else waiting
        if self._at_most is not None and len(self._sent) >= self._at_most[0]:
            self._held_from = utc
            return self._digest_s
        return 1

    def sent(self, utc: float) -> None:
        """A message, or a digest, has gone out."""
        self._sent.append(utc)
        if self._at_most is None or len(self._sent) > 10_000:
            self._sent.clear()
        self._held_from = None
