"""What a source of pictures is. Its `name` and `status` never hold credentials."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from detector.types import Frame


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Whether pictures are coming.

    Attributes:
        online: they are.
        message: for people, now: why not, and what is done about it.
        reason: why not, without what changes every second.
    """

    online: bool = True
    message: str = ""
    reason: str = ""


class StatusLog:
    """What became of a source since somebody last asked; from any thread."""

    def __init__(self, most: int = 1000) -> None:
        self._changes: deque[SourceStatus] = deque(maxlen=most)

    def note(self, status: SourceStatus) -> None:
        """Add a change."""
        self._changes.append(status)

    def take(self) -> list[SourceStatus]:
        """The changes since this was last called, oldest first."""
        taken = []
        while self._changes:
            taken.append(self._changes.popleft())
        return taken


class Source(Protocol):
    """Gives frames, oldest first.

    Attributes:
        name: for people and files; no credentials.
        live: what is not taken in time is lost; files wait.
        fps: nominal rate, None where it is not known or not believable.
        status: whether pictures are coming.

    A source that can be away has a method `changes() -> list[SourceStatus]` too: what its status became since that
    was last called, so that nothing is missed between two looks at `status`.
    """

    name: str
    live: bool
    fps: float | None

    @property
    def status(self) -> SourceStatus:
        """Whether pictures are coming now."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Give frames until the source ends or is closed; waits for them. Iterated once, in one thread."""
        ...

    def close(self) -> None:
        """Make the iterator end soon; from any thread, may be called twice."""
        ...
