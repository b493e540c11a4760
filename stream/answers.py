"""From answers at key frames to labels at any time: by track, smoothed. Pure, no threads, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from detector.types import Boxes, Detections


@dataclass(frozen=True, eq=False, slots=True)
class _Answer:
    time_s: float
    scores: np.ndarray


class AnswerBoard:
    """The scores of each track over the last seconds.

    Scores are averaged over time with an exponential weight: after a gap of dt an answer counts
    1 - exp(-dt / smooth_s). At one key frame a second and 0.4 s that is 92 % of the newest answer; at ten a second
    a flicker of one answer is damped to 22 %.
    """

    def __init__(
        self, num_classes: int, smooth_s: float = 0.4, hold_s: float = 2.0, stale_s: float = 10.0,
        history_s: float = 30.0,
    ) -> None:
        """
        Args:
            num_classes: A.
            smooth_s: time constant; 0 for none.
            hold_s: how long an answer holds when newer ones leave the person out.
            stale_s: how long it holds when there are no newer ones.
            history_s: media time that can be asked for, back from the newest answer.
        """
        self._num_classes, self._smooth_s = num_classes, smooth_s
        self._hold_s, self._stale_s, self._history_s = hold_s, stale_s, history_s
        self._newest_s = 0.0
        self._tracks: dict[int, deque[_Answer]] = {}

    def add(self, time_s: float, detections: Detections) -> None:
        """Take in the answers of a key frame; key frames come in order of time. Untracked people are left out."""
        self._newest_s = time_s
        for track_id, scores in zip(detections.boxes.track_id.tolist(), detections.action_scores):
            if track_id < 0:
                continue
            past = self._tracks.setdefault(track_id, deque())
            if past and self._smooth_s > 0 and time_s - past[-1].time_s <= self._hold_s:
                weight = 1 - np.exp(-(time_s - past[-1].time_s) / self._smooth_s)
                scores = past[-1].scores + np.float32(weight) * (scores - past[-1].scores)
            past.append(_Answer(time_s, scores))
        self._forget(time_s)

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
            past = self._tracks.get(track_id)
            if not past:
                continue
            answer = min(past, key=lambda a: abs(a.time_s - time_s))
            # Live pictures are newer than every answer; what counts then is whether the newest answers had them.
            missed_s = abs(answer.time_s - min(time_s, self._newest_s))
            if missed_s <= self._hold_s and abs(answer.time_s - time_s) <= self._stale_s:
                row[:] = answer.scores
        return rows

    def _forget(self, time_s: float) -> None:
        oldest = time_s - self._history_s
        for track_id in list(self._tracks):
            past = self._tracks[track_id]
            while past and past[0].time_s < oldest:
                past.popleft()
            if not past:
                del self._tracks[track_id]
