"""Small parts of a camera on duty: the clip that waits, its source's name, its tracks' numbers, its gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detector.types import Boxes, Clip, Frame
from stream.ring import Moment
from stream.sources import SourceStatus
from stream.watching import Tracker, Watch


@dataclass(frozen=True, eq=False)
class Job:
    """A clip of one camera that waits for the network.

    Attributes:
        watch: of the camera's life that it was cut from.
        key: the key frame.
        clip: what the network sees; None where there is nobody.
        boxes: N people in pixels of the key frame.
        available_s: clock when the last picture of the clip was there.
    """

    watch: Watch
    key: Moment
    clip: Clip | None
    boxes: Boxes
    available_s: float


class Feed:
    """A camera's source under the camera's own name, as `Watch` wants it."""

    live = True
    fps: float | None = None

    def __init__(self, name: str) -> None:
        self.name, self.status = name, SourceStatus()

    def __iter__(self) -> Iterator[Frame]:
        return iter(())

    def close(self) -> None:
        """Nothing: the camera closes its source."""


class Renumbered:
    """A tracker whose ids start after those that were given before."""

    def __init__(self, tracker: Tracker, after: int) -> None:
        self._tracker, self._after = tracker, after

    def update(self, boxes: Boxes, time_s: float) -> Boxes:
        """As the tracker's."""
        return self._moved(self._tracker.update(boxes, time_s))

    def predict(self, time_s: float) -> Boxes:
        """As the tracker's."""
        return self._moved(self._tracker.predict(time_s))

    def boxes_at(self, time_s: float) -> Boxes:
        """As the tracker's."""
        return self._moved(self._tracker.boxes_at(time_s))

    def begin_anew(self, time_s: float) -> None:
        """As the tracker's."""
        self._tracker.begin_anew(time_s)

    def _moved(self, boxes: Boxes) -> Boxes:
        return boxes.with_tracks(np.where(boxes.track_id >= 0, boxes.track_id + self._after, -1))


def gap_between(last: Frame, frame: Frame, limit_s: float) -> bool:
    """Whether pictures are missing between two, for longer than a limit."""
    apart_s = frame.time_s - last.time_s
    return frame.segment != last.segment or not 0 < apart_s <= limit_s or frame.captured_s - last.captured_s > limit_s
