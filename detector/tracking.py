"""From boxes at some moments to people with ids at every moment. No threads; takes time, not a clock.

Association is ByteTrack's (Zhang et al., ECCV 2022, arXiv:2110.06864) as the `trackers` package implements it, with
its time-stamped Kalman filter, because a detector on a CPU runs at no fixed rate. What is here on top: ids that
count from 1, where people are between two updates (`predict`) and where they were (`boxes_at`), and a clean cut where
the pictures after a gap have nothing to do with those before it (`begin_anew`).
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from detector.types import Boxes

# However slow the detector is, whoever was away for longer comes back as somebody new.
LOST_AT_MOST_S = 10.0


def import_package() -> None:
    """Import what a `Tracker` is made of, most of a second's work, ahead of the first one."""
    import trackers  # noqa: F401


class _Path:
    """What was seen of one person: times, boxes, scores, oldest first."""

    def __init__(self) -> None:
        self.seen: deque[tuple[float, np.ndarray, float]] = deque()

    @property
    def last_s(self) -> float:
        return self.seen[-1][0]

    def velocity(self, window_s: float) -> np.ndarray:
        """(2,) pixels a second of the centre: least squares over what was seen in the last window."""
        recent = [(t, (b[:2] + b[2:]) / 2) for t, b, _ in self.seen if t >= self.last_s - window_s]
        if len(recent) < 2:
            return np.zeros(2, np.float32)
        times = np.array([t for t, _ in recent])
        times -= times.mean()
        centres = np.stack([c for _, c in recent])
        return (times @ (centres - centres.mean(0)) / max(float(times @ times), 1e-9)).astype(np.float32)

    def ahead(self, time_s: float, window_s: float, limit_s: float) -> np.ndarray:
        """(4,) the last box moved on at constant velocity, for at most `limit_s`."""
        step = min(max(time_s - self.last_s, 0.0), limit_s) * self.velocity(window_s)
        return self.seen[-1][1] + np.concatenate([step, step])

    def at(self, time_s: float) -> tuple[np.ndarray, float]:
        """Box and score at a past moment, linear between the two sightings round it."""
        before = after = self.seen[0]
        for sighting in self.seen:
            after = sighting
            if sighting[0] >= time_s:
                break
            before = sighting
        span = after[0] - before[0]
        w = min(max((time_s - before[0]) / span, 0.0), 1.0) if span > 0 else 0.0
        return before[1] * (1 - w) + after[1] * w, before[2] * (1 - w) + after[2] * w


class Tracker:
    """People with ids.

    Args:
        lost_after_s: a person unseen for longer gets a new id and is not told any more, whether or not there were
            updates meanwhile; with a detector too slow for that, unseen for two and a half of its updates, but never
            for more than `LOST_AT_MOST_S`.
        history_s: how far back `boxes_at` reaches.
        min_giou: generalised IoU (-1 to 1) of a predicted and a seen box over which they may be one person. A
            walker is past his own width in 400 ms, so boxes need not overlap: on vtest.avi, updated every 100 to
            500 ms, plain IoU over 0.1 changes ids a quarter more often (`detector.evaluation.people` counts).
    """

    def __init__(self, lost_after_s: float = 2.0, history_s: float = 10.0, min_giou: float = -0.5) -> None:
        self.lost_after_s = lost_after_s
        self.history_s = history_s
        self._min_giou = min_giou
        self._tracker = self._create_tracker()
        # The package counts ids from 0 in each of its trackers; these go on.
        self._first_id = self._next_id = 1
        self._paths: dict[int, _Path] = {}
        # Those from before the last gap: asked for by `boxes_at` alone.
        self._past: dict[int, _Path] = {}
        self._updates_s: deque[float] = deque()
        self._begun_s = -np.inf
        self._new = Boxes.empty()

    def begin_anew(self, time_s: float) -> None:
        """What is seen from `time_s` on has nothing to do with what was seen before: everybody gets a new id."""
        self._tracker = self._create_tracker()
        self._first_id = self._next_id
        self._past |= self._paths
        self._paths = {}
        self._begun_s = time_s
        self._new = Boxes.empty()

    def update(self, boxes: Boxes, time_s: float) -> Boxes:
        """Take what the detector saw at a moment.

        Args:
            boxes: N people; their track ids are ignored.
            time_s: of their picture; later than every update before.

        Returns:
            The same N people in the same order with track ids; -1 where a person is seen for the first time.

        Raises:
            ValueError: time does not increase.
        """
        from detector.to_supervision import supervision_detections

        if self._updates_s and time_s <= self._updates_s[-1]:
            raise ValueError(f"time_s: got {time_s}, expected later than {self._updates_s[-1]}")
        known = len(self._updates_s) > 0 and self._updates_s[-1] >= self._begun_s
        gap_s = time_s - self._updates_s[-1] if known else 0.0
        self._tracker.maximum_time_without_update = max(self.lost_after_s, min(2.5 * gap_s, LOST_AT_MOST_S))
        rows = np.arange(len(boxes))
        seen = supervision_detections(boxes, rows)
        tracked = self._tracker.update(seen, timestamp=time_s)
        ids = np.full(len(boxes), -1, np.int64)
        if len(tracked):
            tracked_ids = np.asarray(tracked.tracker_id)
            ids[np.asarray(tracked.class_id)] = np.where(tracked_ids >= 0, tracked_ids + self._first_id, -1)
            self._next_id = max(self._next_id, int(ids.max()) + 1)
        for i, track_id in enumerate(ids):
            if track_id > 0:
                path = self._paths.get(int(track_id)) or self._begin(int(track_id), boxes.xyxy[i])
                path.seen.append((time_s, boxes.xyxy[i], float(boxes.score[i])))
        self._updates_s.append(time_s)
        self._new = boxes[ids < 0]
        self._forget(time_s - self.history_s)
        return boxes.with_tracks(ids)

    def _begin(self, track_id: int, xyxy: np.ndarray) -> _Path:
        """A path for a new id, from the first sighting on, which the update before had without an id."""
        path = self._paths[track_id] = _Path()
        if len(self._new) and self._updates_s:
            # The package does not tell which it was; it is the nearest of the few without an id.
            distance = np.linalg.norm(self._new.xyxy - xyxy, axis=1)
            i = int(distance.argmin())
            if distance[i] < 2 * max(xyxy[3] - xyxy[1], 1.0):
                path.seen.append((self._updates_s[-1], self._new.xyxy[i], float(self._new.score[i])))
                self._new = self._new[np.arange(len(self._new)) != i]
        return path

    def predict(self, time_s: float) -> Boxes:
        """Where the people of the last updates are at or after the last update, for drawing at camera rate.

        Whoever was last seen longer than `lost_after_s` before the moment asked for is not there any more.
        """
        if not self._paths:
            return Boxes.empty()
        seen_s = max(self._updates_s[-1] - self.lost_after_s / 2, time_s - self._tracker.maximum_time_without_update)
        alive = [(i, p) for i, p in self._paths.items() if p.last_s >= seen_s]
        return _boxes([(i, p.ahead(time_s, 0.7, 0.7), p.seen[-1][2]) for i, p in alive])

    def boxes_at(self, time_s: float) -> Boxes:
        """Who stood where at a past moment, interpolated between updates; ids are those of `update`."""
        paths = self._past if time_s < self._begun_s else self._paths
        if paths is self._paths and self._updates_s and time_s >= self._updates_s[-1]:
            return self.predict(time_s)
        return _boxes([(i, *p.at(time_s)) for i, p in paths.items() if p.seen[0][0] <= time_s <= p.last_s])

    def _create_tracker(self) -> Any:
        from trackers import ByteTrackTracker, GIoU

        # Its own score thresholds are off: the detector has one, and it differs from detector to detector.
        return ByteTrackTracker(
            lost_track_buffer=round(self.lost_after_s * 30), frame_rate=10.0, track_activation_threshold=0.0,
            minimum_consecutive_frames=1, minimum_iou_threshold=self._min_giou, high_conf_det_threshold=0.0,
            iou=GIoU(),
        )

    def _forget(self, before_s: float) -> None:
        while len(self._updates_s) > 1 and self._updates_s[1] < before_s:
            self._updates_s.popleft()
        for paths in (self._paths, self._past):
            for track_id, path in list(paths.items()):
                while len(path.seen) > 1 and path.seen[1][0] < before_s:
                    path.seen.popleft()
                if path.last_s < before_s:
                    del paths[track_id]


def _boxes(rows: list[tuple[int, np.ndarray, float]]) -> Boxes:
    if not rows:
        return Boxes.empty()
    ids, xyxy, score = zip(*rows, strict=True)
    return Boxes(np.stack(xyxy), np.array(score), np.array(ids))
