"""Stand-ins for what the stream is built on: a detector, an engine, a tracker, a clock, sources; all tiny."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np

from detector.labels import Action, LabelMap
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.types import Boxes, Detections, Frame
from detector.views import FrameView
from detector.weights.records import ActionModel
from stream.session import Session
from stream.sources import SourceStatus

LABELS = LabelMap("three", (Action(11, "sit"), Action(12, "stand"), Action(14, "walk")))
BOX = np.array([[8, 4, 24, 40]], np.float32)


def tiny_model(**changes) -> ActionModel:
    """Four frames a tenth of a second apart: look-ahead 0.1 s, short side 16."""
    values = {
        "name": "tiny", "network": SlowFastConfig(num_frames=4, alpha=2, num_classes=3), "labels": LABELS,
        "sampling": Sampling(num_frames=4, stride=1, fps=10), "view": FrameView(16),
    }
    return ActionModel(**(values | changes))


class FakeDetector:
    """One person in every picture, at a fixed place in pixels of a 48x64 picture."""

    name, notice = "fake detector", ""

    def __init__(self, before: Callable[[int], None] = lambda call: None) -> None:
        self.threshold, self.calls, self.closed = 0.5, 0, 0
        self.threads: set[int] = set()
        self._before = before

    def detect(self, image: np.ndarray) -> Boxes:
        self._before(self.calls)
        self.calls += 1
        self.threads.add(threading.get_ident())
        h, w = image.shape[:2]
        return Boxes(BOX * np.array([w / 64, h / 48, w / 64, h / 48], np.float32), np.array([0.9]))

    def fork(self):
        return self

    def close(self) -> None:
        self.closed += 1


class FakeEngine:
    """Scores tell what was seen: the mean grey of the first, the key and the last frame, over 255."""

    description, num_classes = "fake engine", 3

    def __init__(self, before: Callable[[int], None] = lambda call: None) -> None:
        self.calls, self.closed = 0, 0
        self.shapes: list[tuple[int, ...]] = []
        self.rois: list[np.ndarray] = []
        self.threads: set[int] = set()
        self._before = before

    def run_trunk(self, frames: np.ndarray) -> np.ndarray:
        self._before(self.calls)
        self.calls += 1
        self.threads.add(threading.get_ident())
        self.shapes.append(frames.shape)
        t = frames.shape[1]
        return frames[:, [0, t // 2, t - 1]].mean(axis=(2, 3, 4)) / 255

    def run_head(self, features: np.ndarray, rois: np.ndarray) -> np.ndarray:
        self.rois.append(rois.copy())
        return features[rois[:, 0].astype(int)].astype(np.float32)

    def close(self) -> None:
        self.closed += 1


class FakeTracker:
    """Everyone keeps an id by position; people stay where they were last seen."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, Boxes]] = []
        self.begun: list[float] = []

    def begin_anew(self, time_s: float) -> None:
        self.begun.append(time_s)
        self.seen.clear()

    def update(self, boxes: Boxes, time_s: float) -> Boxes:
        first = 1 + 100 * len(self.begun)
        tracked = boxes.with_tracks(np.arange(first, first + len(boxes)))
        self.seen.append((time_s, tracked))
        return tracked

    def predict(self, time_s: float) -> Boxes:
        return self.seen[-1][1] if self.seen else Boxes.empty()

    def boxes_at(self, time_s: float) -> Boxes:
        past = [boxes for at_s, boxes in self.seen if at_s <= time_s + 1e-6]
        return past[-1] if past else Boxes.empty()


class ListSource:
    """Frames from a list; `before(index)` runs before each, and may raise or wait."""

    fps: float | None = 10.0

    def __init__(
        self, frames: list[Frame], live: bool = False, before: Callable[[int], None] = lambda index: None
    ) -> None:
        self.name, self.live = "list", live
        self.status = SourceStatus()
        self.closed = threading.Event()
        self._frames, self._before = frames, before

    def __iter__(self) -> Iterator[Frame]:
        for i, frame in enumerate(self._frames):
            self._before(i)
            if self.closed.is_set():
                return
            yield frame

    def close(self) -> None:
        self.closed.set()


def grey_frames(count: int, fps: float = 10.0, size_hw: tuple[int, int] = (48, 64)) -> list[Frame]:
    """Frame i is grey i (so at most 256), at i / fps seconds."""
    return [Frame(np.full((*size_hw, 3), i, np.uint8), i, i / fps, i / fps) for i in range(count)]


def fake_session(
    detector: FakeDetector | None = None, engine: FakeEngine | None = None, **changes
) -> tuple[Session, FakeDetector, FakeEngine]:
    """A session of fakes; keywords change the tiny model."""
    people, network = detector or FakeDetector(), engine or FakeEngine()
    session = Session(tiny_model(**changes), create_detector=lambda: people, build_engine=lambda size_hw: network)
    return session, people, network


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def an_answer(track_id: int, score: float) -> Detections:
    """One person of that track with one score."""
    return Detections(Boxes([[0, 0, 1, 1]], [1.0], [track_id]), np.array([[score]], np.float32))
