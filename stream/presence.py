"""Whether a live source is there, and each change of that told once. No threads, no clock: times are handed in."""

from __future__ import annotations

from collections.abc import Iterable

from stream.gaps import MAX_GAP_S
from stream.metrics import Spread
from stream.results import StatusChange
from stream.sources import SourceStatus

# A camera may take this long for its first picture.
FIRST_PICTURE_S = 5.0
# A camera that gives a picture in several seconds is silent after this many of its usual distances.
USUAL_DISTANCES = 3.0
SILENT = "it fell silent"


class Presence:
    """Takes in pictures and what the source says of itself; gives what has to be told."""

    def __init__(self, source: str, now_s: float) -> None:
        """
        Args:
            source: its name, without credentials.
            now_s: seconds, monotonic, as in all that follows.
        """
        self._source = source
        self._arrived_s, self._any = now_s, False
        self._distances = Spread(keep=9)
        self._source_online = self._online = True
        self._reasons: set[str] = set()

    def arrived(self, now_s: float) -> None:
        """A picture came in."""
        if self._any:
            self._distances.add(now_s - self._arrived_s)
        self._arrived_s, self._any = now_s, True

    def silent_s(self, now_s: float) -> float:
        """Seconds since the last picture where that is longer than usual, else 0."""
        most_s = MAX_GAP_S if self._any else FIRST_PICTURE_S
        if len(self._distances) >= 3:
            most_s = max(most_s, USUAL_DISTANCES * self._distances.quantile(0.5))
        silent_s = now_s - self._arrived_s
        return silent_s if silent_s > most_s else 0.0

    def news(self, changes: Iterable[SourceStatus], now_s: float, utc: float) -> tuple[StatusChange, ...]:
        """What has to be told.

        Args:
            changes: what the source's status became since the last call.
            now_s: seconds, monotonic.
            utc: now, seconds since 1970.
        """
        told: list[StatusChange] = []
        for status in changes:
            self._source_online = status.online
            if status.online:
                # Its picture is on its way here.
                self._arrived_s = max(self._arrived_s, now_s)
            self._tell(told, status.online, status.reason, utc)
        if self._source_online:
            silent = self.silent_s(now_s) > 0
            self._tell(told, not silent, SILENT, utc)
        return tuple(told)

    def _tell(self, told: list[StatusChange], online: bool, reason: str, utc: float) -> None:
        """Add it, if it is new: once online, and once for each reason of one time offline."""
        if online == self._online and (online or reason in self._reasons):
            return
        self._online = online
        if online:
            self._reasons.clear()
            reason = "pictures are coming again"
        else:
            self._reasons.add(reason)
        told.append(StatusChange(self._source, online, reason, utc))
