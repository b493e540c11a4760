"""What a source of pictures is. Its `name` and `status` never hold credentials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from detector.types import Frame


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Whether pictures are coming; `message` says why not."""

    online: bool = True
    message: str = ""


class Source(Protocol):
    """Gives frames, oldest first.

    Attributes:
        name: for people and files; no credentials.
        live: what is not taken in time is lost; files wait.
        fps: nominal rate, None where it is not known or not believable.
        status: whether pictures are coming.
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
