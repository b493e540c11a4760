"""From raw scores to labels that can be read: hysteresis, least durations, one pose at a time. Takes time, no clock.

The one place that decides what is drawn, listed and sent; raw scores stay in the answers. It stands beside the tracker
because measuring (`detector.evaluation.real_video`) and streams use the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detector.labels import LabelMap

# Sums of times are not exact in binary.
_SLACK_S = 1e-6


@dataclass(frozen=True)
class SteadyRules:
    """How slow labels are to change; the figures were chosen with `detector.evaluation.real_video`.

    Attributes:
        smooth_s: time constant over which scores are averaged; 0 for none.
        on_s: a label begins when its score has been over its threshold for this long.
        off_share: it may end under this share of its threshold, ...
        off_s: ... when it has been under for this long.
        least_s: a pose, once shown, gives way to another one no sooner than this.
        lead: what another pose's score must be ahead of the shown one's to take its place.
        most_filled: of a clip; one with a larger share of repeated frames says nothing.
        forget_s: whoever was left out of the answers for longer begins anew.
    """

    smooth_s: float = 0.4
    on_s: float = 0.2
    off_share: float = 0.3
    off_s: float = 0.6
    least_s: float = 0.6
    lead: float = 0.2
    most_filled: float = 0.2
    forget_s: float = 2.0


@dataclass(slots=True)
class _Timer:
    """Since when something has been so; the moment before is the last one at which it was not."""

    since_s: float | None = None

    def step(self, so: bool, time_s: float, before_s: float) -> float:
        """Seconds that it has been so; -1 when it is not."""
        if not so:
            self.since_s = None
            return -1.0
        if self.since_s is None:
            self.since_s = before_s
        return time_s - self.since_s + _SLACK_S


@dataclass(slots=True)
class _Person:
    scores: np.ndarray
    time_s: float
    begun_s: float
    shown: set[int] = field(default_factory=set)
    shown_s: float = -np.inf
    on: dict[int, _Timer] = field(default_factory=dict)
    off: dict[int, _Timer] = field(default_factory=dict)


class SteadyLabels:
    """What each person of one stream is said to do, from answer to answer.

    Actions of the group `pose` exclude one another; the others come and go each for itself.
    """

    def __init__(self, labels: LabelMap, thresholds: np.ndarray, rules: SteadyRules | None = None) -> None:
        """
        Args:
            labels: A actions.
            thresholds: (A,) scores over which a label may begin; infinite for one that is never shown.
        """
        self.rules = rules or SteadyRules()
        self._poses = np.array([action.group == "pose" for action in labels], bool)
        self._people: dict[int, _Person] = {}
        self._last_s = -np.inf
        self._thresholds = np.asarray(thresholds, np.float32)

    @property
    def thresholds(self) -> np.ndarray:
        """(A,) scores over which a label may begin; when set, what is under the new ones ends at once."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, limits: np.ndarray) -> None:
        self._thresholds = np.asarray(limits, np.float32)
        for person in self._people.values():
            person.shown = {j for j in person.shown if person.scores[j] >= self._thresholds[j]}

    def step(
        self, time_s: float, track_ids: Sequence[int], scores: np.ndarray, filled: float = 0.0
    ) -> list[tuple[int, ...]]:
        """Take the answers of a key frame.

        Args:
            time_s: of the key frame; never decreases.
            track_ids: N; -1 for somebody without a track, who is judged by this answer alone, and more strictly.
            scores: (N, A) raw.
            filled: share of the clip's frames that were repeated to fill it.

        Returns:
            N tuples of columns, highest averaged score first.
        """
        speaks = filled <= self.rules.most_filled
        shown = [
            self._follow(track_id, time_s, row, speaks) if track_id >= 0 else self._alone(row, speaks)
            for track_id, row in zip(track_ids, np.asarray(scores, np.float32), strict=True)
        ]
        self._last_s = time_s
        for track_id in [i for i, p in self._people.items() if time_s - p.time_s > self.rules.forget_s]:
            del self._people[track_id]
        return shown

    def begin_anew(self) -> None:
        """What comes now has nothing to do with what was before, but for its time."""
        self._people.clear()
        self._last_s = -np.inf

    def _alone(self, row: np.ndarray, speaks: bool) -> tuple[int, ...]:
        if not speaks:
            return ()
        # Nothing before bears this answer out, so it has to be surer: half-way from the threshold to 1.
        over = row >= (1 + self.thresholds) / 2
        poses = np.flatnonzero(over & self._poses)
        best = poses[np.argsort(-row[poses], kind="stable")][:1]
        return _best_first({*best.tolist(), *np.flatnonzero(over & ~self._poses).tolist()}, row)

    def _follow(self, track_id: int, time_s: float, row: np.ndarray, speaks: bool) -> tuple[int, ...]:
        person = self._people.get(track_id)
        if person is not None and time_s - person.time_s > self.rules.forget_s:
            person = None
        if person is None:
            if not speaks:
                return ()
            # He was not there at the answer before, so nothing was said of him since.
            person = self._people[track_id] = _Person(row.copy(), self._last_s, time_s)
        elif speaks:
            gap_s, smooth_s = time_s - person.time_s, self.rules.smooth_s
            weight = 1 - np.exp(-gap_s / smooth_s) if smooth_s > 0 else 1.0
            person.scores = person.scores + np.float32(weight) * (row - person.scores)
        before_s, person.time_s = person.time_s, time_s
        if speaks:
            self._end(person, time_s, before_s)
            self._begin(person, time_s, before_s)
        return _best_first(person.shown, person.scores)

    def _end(self, person: _Person, time_s: float, before_s: float) -> None:
        for j in sorted(person.shown):
            under = person.scores[j] < self.rules.off_share * self.thresholds[j]
            if person.off.setdefault(j, _Timer()).step(under, time_s, before_s) >= self.rules.off_s:
                person.shown.discard(j)
                person.off.pop(j)

    def _begin(self, person: _Person, time_s: float, before_s: float) -> None:
        scores, rules = person.scores, self.rules
        now = next((j for j in person.shown if self._poses[j]), None)
        over = scores >= self.thresholds
        poses = np.flatnonzero(over & self._poses)
        best = int(poses[np.argmax(scores[poses])]) if len(poses) else -1
        for j in range(len(scores)):
            if j in person.shown:
                continue
            wanted = bool(over[j]) if not self._poses[j] else j == best
            if wanted and self._poses[j] and now is not None:
                wanted = bool(scores[j] >= scores[now] + rules.lead)
            if not wanted:
                person.on.pop(j, None)
                continue
            held_s = person.on.setdefault(j, _Timer()).step(True, time_s, before_s)
            if held_s < rules.on_s:
                continue
            if self._poses[j]:
                if now is not None and time_s - person.shown_s < rules.least_s - _SLACK_S:
                    continue
                person.shown = {k for k in person.shown if not self._poses[k]}
                person.shown_s = time_s
                person.off.clear()
            person.shown.add(j)
            person.on.pop(j, None)


def _best_first(columns: set[int], scores: np.ndarray) -> tuple[int, ...]:
    return tuple(sorted(columns, key=lambda j: (-float(scores[j]), j)))
