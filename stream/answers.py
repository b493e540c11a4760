"""From answers at key frames to labels at any time: by track, smoothed. Pure, no threads, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from detector.labels import LabelMap
from detector.steady import SteadyLabels, SteadyRules
from detector.types import Boxes, Detections
from stream.results import SteadyRows


@dataclass(frozen=True, eq=False, slots=True)
class _Answer:
    time_s: float
    scores: np.ndarray
    columns: tuple[int, ...] = ()


class AnswerBoard:
    """The scores of each track over the last seconds.

    Scores are averaged over time with an exponential weight: after a gap of dt an answer counts
    1 - exp(-dt / smooth_s). At one key frame a second and 0.4 s that is 92 % of the newest answer; at ten a second
    a flicker of one answer is damped to 22 %. What is said of a track is steadier still: see `detector.steady`.
    """

    def __init__(
        self, labels: LabelMap, thresholds: np.ndarray, smooth_s: float = 0.4, hold_s: float = 2.0,
        stale_s: float = 10.0, history_s: float = 30.0,
    ) -> None:
        """
        Args:
            labels: A actions.
            thresholds: (A,) scores over which they are said of somebody.
            smooth_s: time constant; 0 for none.
            hold_s: how long an answer holds when newer ones leave the person out.
            stale_s: how long it holds when there are no newer ones.
            history_s: media time that can be asked for, back from the newest answer.
        """
        self._num_classes, self._smooth_s = len(labels), smooth_s
        self._steady = SteadyLabels(labels, thresholds, replace(SteadyRules(), smooth_s=smooth_s))
        self._hold_s, self._stale_s, self._history_s = hold_s, stale_s, history_s
        self._newest_s = 0.0
        self._tracks: dict[int, deque[_Answer]] = {}

    @property
    def thresholds(self) -> np.ndarray:
        """(A,) scores over which actions are said of somebody; may be set: what is under the new ones ends."""
        return self._steady.thresholds

    @thresholds.setter
    def thresholds(self, limits: np.ndarray) -> None:
        self._steady.thresholds = limits
        for past in self._tracks.values():
            for i, answer in enumerate(past):
                kept = tuple(j for j in answer.columns if answer.scores[j] >= limits[j])
                past[i] = replace(answer, columns=kept)

    def add(self, time_s: float, detections: Detections, filled: float = 0.0) -> SteadyRows:
        """Take in the answers of a key frame; key frames come in order of time. Untracked people are not kept.

        Args:
            time_s: media time.
            detections: N people and their scores.
            filled: share of the clip's frames that were repeated to fill it.

        Returns:
            what is said of the N people.
        """
        self._newest_s = time_s
        ids = detections.boxes.track_id.tolist()
        said = self._steady.step(time_s, ids, detections.action_scores, filled)
        for track_id, scores, columns in zip(ids, detections.action_scores, said):
            if track_id < 0:
                continue
            past = self._tracks.setdefault(track_id, deque())
            if past and self._smooth_s > 0 and time_s - past[-1].time_s <= self._hold_s:
                weight = 1 - np.exp(-(time_s - past[-1].time_s) / self._smooth_s)
                scores = past[-1].scores + np.float32(weight) * (scores - past[-1].scores)
            past.append(_Answer(time_s, scores, columns))
        self._forget(time_s)
        return SteadyRows(tuple(said), self.thresholds)

    def scores(self, boxes: Boxes, time_s: float) -> np.ndarray:
        """Scores of people by their track.

        Args:
            boxes: N people.
            time_s: media time that the labels shall belong to; the nearest answer is taken.

        Returns:
            (N, A) float32; NaN rows where there is no answer. A person left out of the answers of the last
            `hold_s`, or unanswered for `stale_s` because no answers come at all, has none any more.
        """
        rows = np.full((len(boxes), self._num_classes), np.nan, np.float32)
        for row, track_id in zip(rows, boxes.track_id.tolist()):
            answer = self._answer(track_id, time_s)
            if answer is not None:
                row[:] = answer.scores
        return rows

    def said(self, boxes: Boxes, time_s: float) -> SteadyRows:
        """What is said of people, by their track; arguments as for `scores`."""
        answers = [self._answer(track_id, time_s) for track_id in boxes.track_id.tolist()]
        return SteadyRows(tuple(() if a is None else a.columns for a in answers), self.thresholds)

    def _answer(self, track_id: int, time_s: float) -> _Answer | None:
        """The nearest one that holds at that moment."""
        past = self._tracks.get(track_id)
        if not past:
            return None
        answer = min(past, key=lambda a: abs(a.time_s - time_s))
        # Live pictures are newer than every answer; what counts then is whether the newest answers had them.
        missed_s = abs(answer.time_s - min(time_s, self._newest_s))
        holds = missed_s <= self._hold_s and abs(answer.time_s - time_s) <= self._stale_s
        return answer if holds else None

    def _forget(self, time_s: float) -> None:
        oldest = time_s - self._history_s
        for track_id in list(self._tracks):
            past = self._tracks[track_id]
            while past and past[0].time_s < oldest:
                past.popleft()
            if not past:
                del self._tracks[track_id]
