"""From frames to pictures with labels: iterate a `Pipeline`.

::

    with open_session() as session, Pipeline(open_source("0"), session) as pipeline:
        for update in pipeline:
            show(draw_update(update, thresholds))

A live source never builds a backlog: the newest clip and the newest picture win, and what is left out is counted.
A file is processed completely, every key frame, in order, with the same result each time. The threads are in
`stream.live` and `stream.offline`; the first error of any of them is raised to whoever iterates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from stream.results import Status, Update
from stream.session import Session
from stream.sources import Source


@dataclass(frozen=True)
class Options:
    """How a stream is watched.

    Attributes:
        every_s: seconds between key frames; None for 1.0 with files (AVA's rate) and for as often as the machine
            can (at most ten a second) when live.
        detect_every_s: seconds between runs of the person detector beside those on key frames; None for 0.2 with
            files and for as often as is affordable when live.
        display: live only. `now` draws the newest frame with predicted boxes and the latest labels; `synced`
            delays the picture until its own labels are there. Files are always synced.
        smooth_s: time constant over which scores are averaged for display; 0 for none. Results are never smoothed.
        pictures: hand out full-size frames; False where only answers are wanted.
    """

    every_s: float | None = None
    detect_every_s: float | None = None
    display: Literal["now", "synced"] = "now"
    smooth_s: float = 0.4
    pictures: bool = True


class Pipeline:
    """A stream being watched; iterate it for updates, close it (or use `with`) when done."""

    def __init__(
        self, source: Source, session: Session, options: Options | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Threads start with the iteration.

        Args:
            source: taken over: closed with the pipeline.
            session: shared; not closed here.
            options: how to watch; `source.live` decides between live and complete.
            clock: seconds, monotonic; the source's.
        """
        raise NotImplementedError

    @property
    def status(self) -> Status:
        """Rates, delays and drops now; from any thread."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Update]:
        """Give updates until the source ends or the pipeline is closed. Iterate once.

        Raises:
            BaseException: the first error of any thread: of the source, the detector, the engine.
        """
        raise NotImplementedError

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop and join the threads; True if all ended in time. From any thread, may be called twice."""
        raise NotImplementedError

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
