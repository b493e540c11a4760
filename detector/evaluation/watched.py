"""A real video as a stream sees it: everybody at each key frame, followed, with raw scores. Read once, judged again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detector.evaluation.labelled_clips import DetectedPeople
from detector.evaluation.real_clips import load_video, score_people
from detector.tracking import Tracker
from detector.types import Boxes, iou
from detector.weights.records import ActionModel

SAME_PERSON_IOU = 0.3


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """One key frame's people.

    Attributes:
        time_s: of the video.
        boxes: N people with track ids, pixels of the video.
        scores: (N, A) raw.
        filled: share of the clip that repeats a frame.
    """

    time_s: float
    boxes: Boxes
    scores: np.ndarray
    filled: float

    @property
    def main(self) -> int:
        """Row of the person that labels are about: the largest and surest; -1 where nobody was found."""
        if not len(self.boxes):
            return -1
        sides = self.boxes.xyxy[:, 2:] - self.boxes.xyxy[:, :2]
        return int((sides.prod(1) * self.boxes.score).argmax())


@dataclass(frozen=True, eq=False)
class Watched:
    """A video's key frames.

    Attributes:
        path: the file.
        seconds: its length.
        key_frames: in order.
    """

    path: Path
    seconds: float
    key_frames: list[KeyFrame]


def follow(found: list[tuple[float, Boxes]]) -> list[tuple[float, Boxes]]:
    """The same people with track ids, also where somebody was seen for the first time."""
    tracker = Tracker(history_s=1e9)
    tracked = [(t, tracker.update(boxes, t)) for t, boxes in found]
    out = []
    for t, boxes in tracked:
        ids, then = boxes.track_id.copy(), tracker.boxes_at(t)
        for i in np.flatnonzero(ids < 0):
            free = [j for j, track_id in enumerate(then.track_id) if track_id not in ids]
            shared = iou(boxes.xyxy[i : i + 1], then.xyxy[free])[0]
            if free and shared.max() >= SAME_PERSON_IOU:
                ids[i] = then.track_id[free[int(shared.argmax())]]
        out.append((t, boxes.with_tracks(ids)))
    return out


def watch_video(network: torch.nn.Module, model: ActionModel, path: Path, people: DetectedPeople) -> Watched:
    """Score everybody at every key frame of a video."""
    video = load_video(path, model.view.short_side_px)
    frames = []
    for t, boxes in follow(people.of(path)):
        clip = video.clip_at(t, model)
        frames.append(KeyFrame(t, boxes, score_people(network, model, clip, boxes), clip.filled))
    return Watched(path, video.seconds, frames)
