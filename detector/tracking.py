"""From boxes at some moments to people with ids at every moment. No threads; takes time, not a clock.

Who is who from look to look is `association.py`'s. What is here on top: where people are between two updates
(`predict`) and where they were (`boxes_at`), and a clean cut where the pictures after a gap have nothing to do with
those before it (`begin_anew`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from detector.association import Association
from detector.types import Boxes, iou

# However slow the detector is, whoever was away for longer comes back as somebody new.
LOST_AT_MOST_S = 10.0
# Who is not seen any more is still told as being there for so long, or for so many of the times between two updates.
COASTS_S, COASTS_UPDATES = 0.6, 1.5
# ... unless somebody who is seen stands where they should be.
COVERED_IOU = 0.5
# Of somebody seen once it may be a mistake; the next sighting has to come within this, or so many updates.
NEW_S, NEW_UPDATES = 0.5, 1.5
# A speed is measured over this, and believed by how well a straight line fits: to this power of the part of the
# movement that it explains. Walkers go on, who jumps or sways stays.
SPEED_S, BELIEF_POWER = 1.0, 4


def import_package() -> None:
    """Import what a `Tracker` is made of, most of a second's work, ahead of the first one."""
    import scipy.optimize  # noqa: F401


class _Path:
    """What was seen of one person: times, boxes, scores, oldest first."""

    def __init__(self) -> None:
        self.seen: deque[tuple[float, np.ndarray, float]] = deque()

    @property
    def last_s(self) -> float:
        return self.seen[-1][0]

    def velocity(self) -> np.ndarray:
        """(2,) pixels a second of the centre: least squares over what was seen lately, so far as it is believed."""
        recent = [(t, (b[:2] + b[2:]) / 2) for t, b, _ in self.seen if t >= self.last_s - SPEED_S]
        if len(recent) < 2:
            return np.zeros(2, np.float32)
        times = np.array([t for t, _ in recent])
        times -= times.mean()
        centres = np.stack([c for _, c in recent])
        centres = centres - centres.mean(0)
        speed = times @ centres / max(float(times @ times), 1e-9)
        unexplained = ((centres - times[:, None] * speed) ** 2).sum(0)
        believed = 1 - unexplained / np.maximum((centres**2).sum(0), 1e-9)
        return (speed * believed.clip(0, 1) ** BELIEF_POWER).astype(np.float32)

    def ahead(self, time_s: float, limit_s: float) -> np.ndarray:
        """(4,) the last box moved on at constant velocity, for at most `limit_s`."""
        step = min(max(time_s - self.last_s, 0.0), limit_s) * self.velocity()
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
    """

    def __init__(self, lost_after_s: float = 2.0, history_s: float = 10.0) -> None:
        self.lost_after_s = lost_after_s
        self.history_s = history_s
        self._association = Association()
        self._lost_s = lost_after_s
        self._gap_s = 0.0
        self._paths: dict[int, _Path] = {}
        # Those from before the last gap: asked for by `boxes_at` alone.
        self._past: dict[int, _Path] = {}
        self._updates_s: deque[float] = deque()
        self._begun_s = -np.inf
        self._new = Boxes.empty()

    def begin_anew(self, time_s: float) -> None:
        """What is seen from `time_s` on has nothing to do with what was seen before: everybody gets a new id."""
        self._association = Association(self._association.next_id)
        self._lost_s, self._gap_s = self.lost_after_s, 0.0
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
        if self._updates_s and time_s <= self._updates_s[-1]:
            raise ValueError(f"time_s: got {time_s}, expected later than {self._updates_s[-1]}")
        known = len(self._updates_s) > 0 and self._updates_s[-1] >= self._begun_s
        self._gap_s = time_s - self._updates_s[-1] if known else 0.0
        self._lost_s = max(self.lost_after_s, min(2.5 * self._gap_s, LOST_AT_MOST_S))
        new_s = max(NEW_S, NEW_UPDATES * self._gap_s)
        ids = self._association.update(boxes.xyxy, time_s, self._lost_s, new_s)
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
            # It is the nearest of the few that had no id.
            distance = np.linalg.norm(self._new.xyxy - xyxy, axis=1)
            i = int(distance.argmin())
            if distance[i] < 2 * max(xyxy[3] - xyxy[1], 1.0):
                path.seen.append((self._updates_s[-1], self._new.xyxy[i], float(self._new.score[i])))
                self._new = self._new[np.arange(len(self._new)) != i]
        return path

    def predict(self, time_s: float) -> Boxes:
        """Where the people of the last updates are at or after the last update, for drawing at camera rate.

        Whoever was last seen longer than `lost_after_s` before the moment asked for is not there any more; whom the
        last update did not see is `coasting`.
        """
        if not self._paths:
            return Boxes.empty()
        last_s = self._updates_s[-1]
        coasts_s = max(COASTS_S, COASTS_UPDATES * self._gap_s)
        seen_s = max(last_s - coasts_s, time_s - self._lost_s)
        alive = [(i, p) for i, p in self._paths.items() if p.last_s >= seen_s]
        boxes = _boxes([(i, p.ahead(time_s, 0.7), p.seen[-1][2]) for i, p in alive])
        coasting = np.array([p.last_s < last_s for _, p in alive], bool)
        boxes = replace(boxes, coasting=coasting)
        if not coasting.any() or coasting.all():
            return boxes
        covered = coasting & (iou(boxes.xyxy, boxes.xyxy[~coasting]) >= COVERED_IOU).any(1)
        return boxes[np.flatnonzero(~covered)]

    def boxes_at(self, time_s: float) -> Boxes:
        """Who stood where at a past moment, interpolated between updates; ids are those of `update`."""
        paths = self._past if time_s < self._begun_s else self._paths
        if paths is self._paths and self._updates_s and time_s >= self._updates_s[-1]:
            return self.predict(time_s)
        return _boxes([(i, *p.at(time_s)) for i, p in paths.items() if p.seen[0][0] <= time_s <= p.last_s])

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
