"""What the live and the complete way of watching a stream have in common: its ring, tracks, labels and rates."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeVar

import numpy as np

from detector.types import Boxes, Clip, Detections, Frame, iou
from stream.answers import AnswerBoard
from stream.gaps import MAX_GAP_S, is_gap
from stream.geometry import Fit, scale_boxes
from stream.handoff import Closed, Handoff
from stream.metrics import Rate, Spread
from stream.presence import Presence
from stream.results import Drops, KeyFrameResult, Status, StatusChange, Timings, Update
from stream.ring import Moment, Ring
from stream.session import Session
from stream.sources import Source, SourceStatus
from stream.step_batches import Scored

R = TypeVar("R")
# The ring keeps this much more than a clip, so that cutting one is never a race with the camera.
RING_SLACK_S = 0.5
# A person without a track is believed to be where the last search saw them for this long before and after it.
UNTRACKED_S = 1.2
# ... or for twice the time between two searches where the detector is slower than that, up to this.
UNTRACKED_AT_MOST_S = 10.0
SAME_PERSON_IOU = 0.3


class Tracker(Protocol):
    """What is asked of `detector.tracking.Tracker`."""

    def update(self, boxes: Boxes, time_s: float) -> Boxes:
        """Take in detections; gives them back with track ids."""
        ...

    def predict(self, time_s: float) -> Boxes:
        """Where people are at a time after the last detection."""
        ...

    def boxes_at(self, time_s: float) -> Boxes:
        """Where people were, between detections."""
        ...

    def begin_anew(self, time_s: float) -> None:
        """From that time on everybody is somebody else."""
        ...


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
        thresholds: (A,) scores over which actions are said of somebody; None for the model's own.
    """

    every_s: float | None = None
    detect_every_s: float | None = None
    display: Literal["now", "synced"] = "now"
    smooth_s: float = 0.4
    pictures: bool = True
    thresholds: np.ndarray | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("every_s", "detect_every_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"Options.{name}: got {value}, expected a number of seconds above 0")
        if self.display not in ("now", "synced"):
            raise ValueError(f"Options.display: got {self.display!r}, expected 'now' or 'synced'")


class Stopped(Exception):
    """The pipeline was closed while a thread waited."""


class Watch:
    """The state of one stream. Its methods may be called from any thread."""

    def __init__(
        self, source: Source, session: Session, options: Options, tracker: Tracker,
        clock: Callable[[], float], utc_clock: Callable[[], float] = time.time,
    ) -> None:
        self.source, self.session, self.options, self.clock = source, session, options, clock
        self.model = session.model
        self.stop = threading.Event()
        self.offsets_s = self.model.sampling.offsets_s
        self.look_ahead_s = self.model.sampling.look_ahead_s
        self.ring: Ring | None = None
        self._utc_clock = utc_clock
        self._tracker = tracker
        limits = self.model.default_thresholds() if options.thresholds is None else options.thresholds
        self._board = AnswerBoard(self.model.labels, limits, options.smooth_s)
        self._reference_hw = (1, 1)
        self._newest: Moment | None = None
        self._begun_s = -math.inf
        self._last_seen, self._last_seen_s = Boxes.empty(), -math.inf
        self._believed_s = UNTRACKED_S
        self._presence = Presence(source.name, clock())
        self._lock = threading.Lock()
        self._waiting: set[Handoff[None]] = set()
        self._camera, self._shown, self._clips, self._detections = Rate(), Rate(), Rate(5.0), Rate()
        self._computes = Spread(keep=15)
        self._detect_s = 0.0
        self._frames_dropped = self._clips_dropped = self._repeated = self._restarts = 0
        self._ready = False

    # ---- frames ------------------------------------------------------------------------------------------------

    def take(self, frame: Frame) -> Ring:
        """Take in the next frame and give the ring that it belongs into.

        The first frame's size is the stream's; boxes of later sizes are put in its terms for the tracker. After a gap
        nobody who was there before is there any more.
        """
        gap = self.is_after_gap(frame)
        with self._lock:
            self._newest = Moment.of(frame)
            self._presence.arrived(self.clock())
            if gap:
                self._begun_s = frame.time_s
                self._tracker.begin_anew(frame.time_s)
                self._last_seen, self._last_seen_s = Boxes.empty(), -math.inf
                self._believed_s = UNTRACKED_S
        if self.ring is None:
            frame_hw = self.session.frame_size(frame.size_hw)
            self._reference_hw = Fit(frame.size_hw, frame_hw).padded_hw
            self.ring = Ring(frame_hw, self.model.sampling.span_s + RING_SLACK_S)
        return self.ring

    def is_after_gap(self, frame: Frame) -> bool:
        """Whether the next frame has nothing to do with those that were taken in."""
        return self._newest is not None and is_gap(self._newest, frame)

    @property
    def begun_s(self) -> float:
        """Media time of the first frame after the last gap; minus infinity where there was none."""
        return self._begun_s

    @property
    def searched(self) -> bool:
        """People were looked for since the last gap."""
        return math.isfinite(self._last_seen_s)

    def count_frame(self, missed: int = 0) -> None:
        """A frame came in, after `missed` that the source itself dropped."""
        with self._lock:
            self._camera.tick(self.clock())
            self._frames_dropped += missed

    def count_shown(self) -> None:
        """A picture was handed out."""
        with self._lock:
            self._shown.tick(self.clock())

    def count_drops(self, frames: int = 0, clips: int = 0) -> None:
        """Something was left out."""
        with self._lock:
            self._frames_dropped += frames
            self._clips_dropped += clips

    def count_steps(self, repeated: int, restart: bool) -> None:
        """A causal step begins: frames that it repeats, and whether it has no past."""
        with self._lock:
            self._repeated += repeated
            self._restarts += restart

    # ---- people ------------------------------------------------------------------------------------------------

    def detect(self, frame: Frame, known: Boxes | None = None) -> tuple[Boxes, float]:
        """Find people and track them; with those `known` to be there it may be enough to look at them.

        Returns:
            The people with track ids, in pixels of the frame, and the seconds that the detector took. Where a gap
            came meanwhile they have no ids, and are forgotten.
        """
        boxes, seconds = self.wait_for(self.session.detect(frame.image, self, None if known is None else known.xyxy))
        return self.found(frame, boxes, seconds), seconds

    def found(self, frame: Frame, boxes: Boxes, seconds: float) -> Boxes:
        """Track the people that a detector found in a frame in so many seconds; gives them back with track ids.

        Where a gap came meanwhile they have no ids, and are forgotten.
        """
        reference = self._to_reference(boxes, frame.size_hw)
        with self._lock:
            if frame.time_s < self._begun_s:
                return boxes
            tracked = self._tracker.update(reference, frame.time_s)
            gap_s = max(frame.time_s - self._last_seen_s if math.isfinite(self._last_seen_s) else 0.0, seconds)
            self._believed_s = max(UNTRACKED_S, min(2 * gap_s, UNTRACKED_AT_MOST_S))
            self._last_seen, self._last_seen_s = tracked, frame.time_s
            self._detections.tick(self.clock())
            self._detect_s = seconds
        return self._from_reference(tracked, frame.size_hw)

    def people_at(self, time_s: float, size_hw: tuple[int, int], predicted: bool = False) -> Boxes:
        """People at a media time in pixels of a frame of that size: interpolated, or predicted past the last run."""
        with self._lock:
            now = time_s >= self._begun_s
            boxes = self._tracker.predict(time_s) if predicted and now else self._tracker.boxes_at(time_s)
            if now and abs(time_s - self._last_seen_s) <= self._believed_s:
                # Whoever was seen once has no track yet, and with a slow detector never gets one.
                boxes = with_newcomers(boxes, self._last_seen)
        return self._from_reference(boxes, size_hw)

    @property
    def answers_per_s(self) -> float:
        """How often answers come now."""
        with self._lock:
            return self._clips.per_second(self.clock())

    # ---- actions -----------------------------------------------------------------------------------------------

    def answer(self, key: Moment, boxes: Boxes, due_s: float, available_s: float) -> KeyFrameResult | None:
        """Run the network for the people of a key frame, and remember the labels.

        Args:
            key: the key frame.
            boxes: N people in its pixels.
            due_s: the moment that was asked for.
            available_s: clock when the last frame that the clip needs was there.

        Returns:
            The answer; None where a gap came between and the clip is gone.
        """
        clip = self.cut(key)
        if clip is None:
            return None
        scored: Scored = self.wait_for(self.session.score(clip, boxes))
        return self.answered(key, boxes, scored, due_s, available_s, clip.filled)

    def cut(self, key: Moment) -> Clip | None:
        """The clip about a key frame; None where a gap came between and it is gone."""
        assert self.ring is not None
        return self.ring.clip(key, self.offsets_s, self.model.sampling.key_index)

    def answered(
        self, key: Moment, boxes: Boxes, scored: Scored, due_s: float, available_s: float, filled: float = 0.0
    ) -> KeyFrameResult:
        """Remember the scores of a key frame's people; arguments as for `answer`, and the clip's `filled`."""
        now = self.clock()
        detections = Detections(boxes, scored.scores)
        with self._lock:
            steady = self._board.add(key.time_s, detections, filled)
            self._clips.tick(now)
            self._computes.add(now - available_s)
            timings = Timings(self.look_ahead_s, now - available_s, scored.engine_s, self._detect_s)
            drops = self._drops()
            self._ready = True
        return KeyFrameResult(
            self.source.name, key.index, key.time_s, due_s, key.source_hw, detections, self.model,
            self.session.untrained, timings, drops,
            self._utc_clock() - (now - key.captured_s) if self.source.live else None, steady,
        )

    def set_thresholds(self, thresholds: np.ndarray) -> None:
        """Say actions over these (A,) scores from the next answer on."""
        with self._lock:
            self._board.thresholds = thresholds

    # ---- what is shown -----------------------------------------------------------------------------------------

    def update(
        self, frame: Frame | None, results: tuple[KeyFrameResult, ...], *, predicted: bool,
        time_s: float | None = None, changes: tuple[StatusChange, ...] = (),
    ) -> Update:
        """Put together what is known about a frame; `time_s` is given where the frame stands for a later moment."""
        boxes = Boxes.empty()
        # Who was in the last picture before a gap is not shown as being there now.
        if frame is not None and (time_s is None or time_s - frame.time_s <= MAX_GAP_S):
            boxes = self.people_at(frame.time_s, frame.size_hw, predicted)
        with self._lock:
            at_s = frame.time_s if frame is not None else 0.0
            scores, steady = self._board.scores(boxes, at_s), self._board.said(boxes, at_s)
        moment = time_s if time_s is not None else frame.time_s if frame is not None else 0.0
        return Update(
            frame, moment, boxes, scores, self.status(), self.model, results, self.session.untrained, changes,
            steady,
        )

    def news(self) -> tuple[StatusChange, ...]:
        """What became of a live source since this was last asked, each change once."""
        # Sources that are always there need not have it.
        changes: list[SourceStatus] = getattr(self.source, "changes", list)()
        with self._lock:
            return self._presence.news(changes, self.clock(), self._utc_clock())

    def status(self) -> Status:
        """How the stream is doing now."""
        now = self.clock()
        source = self.source.status
        message = source.message
        with self._lock:
            silent_s = self._presence.silent_s(now) if self.source.live else 0.0
        if not message and silent_s:
            message = f"no picture for {silent_s:.0f} s"
        online = source.online and not silent_s
        if not message and not self._ready:
            message = "starting the action network"
        with self._lock:
            return Status(
                online, message, self._camera.per_second(now), self._shown.per_second(now),
                self._clips.per_second(now), self._detections.per_second(now), self.look_ahead_s,
                self._computes.quantile(0.5), self.session.engine_name, self.session.detector_name,
                self._drops(), self.source.live,
            )

    def _drops(self) -> Drops:
        return Drops(self._frames_dropped, self._clips_dropped, self._repeated, self._restarts)

    # ---- waiting -----------------------------------------------------------------------------------------------

    def wait_for(self, future: Future[R]) -> R:
        """The future's result.

        Raises:
            Stopped: the pipeline was closed meanwhile; the job is cancelled if it has not begun.
        """
        done: Handoff[None] = Handoff(1, "drop_oldest")
        with self._lock:
            self._waiting.add(done)
        try:
            if self.stop.is_set():
                raise Stopped
            future.add_done_callback(lambda _: _quietly_put(done))
            done.get()
        except Closed:
            raise Stopped from None
        finally:
            with self._lock:
                self._waiting.discard(done)
            if self.stop.is_set():
                future.cancel()
        return future.result()

    def halt(self) -> None:
        """Wake every thread that waits, and close the source."""
        self.stop.set()
        with self._lock:
            waiting = list(self._waiting)
        for done in waiting:
            done.close(discard=True)
        self.source.close()
        self.session.leave(self)

    def _to_reference(self, boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
        assert self.ring is not None
        padded_hw = Fit(size_hw, self.ring.frame_hw).padded_hw
        return replace(boxes, xyxy=scale_boxes(boxes.xyxy, padded_hw, self._reference_hw))

    def _from_reference(self, boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
        assert self.ring is not None
        padded_hw = Fit(size_hw, self.ring.frame_hw).padded_hw
        xyxy = scale_boxes(boxes.xyxy, self._reference_hw, padded_hw)
        inside = replace(boxes, xyxy=xyxy).clip_to(size_hw)
        # Prediction may carry people out of the picture.
        sides = inside.xyxy[:, 2:] - inside.xyxy[:, :2]
        return inside[np.flatnonzero((sides > 1).all(axis=1))]


def with_newcomers(boxes: Boxes, seen: Boxes) -> Boxes:
    """The tracked people, and those of `seen` that have no track and overlap none of them."""
    shared = iou(seen.xyxy, boxes.xyxy)
    new = [
        i for i in np.flatnonzero(seen.track_id < 0)
        if not (shared[i] >= SAME_PERSON_IOU).any()
    ]
    if not new:
        return boxes
    return Boxes(
        np.concatenate([boxes.xyxy, seen.xyxy[new]]), np.concatenate([boxes.score, seen.score[new]]),
        np.concatenate([boxes.track_id, seen.track_id[new]]), np.concatenate([boxes.coasting, seen.coasting[new]]),
    )


def _quietly_put(done: Handoff[None]) -> None:
    try:
        done.put(None)
    except Closed:
        return
