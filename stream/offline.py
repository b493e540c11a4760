"""Watching a file completely: every key frame, in order, with the same result each time.

One thread reads ahead, one finds people and actions, and whoever iterates draws and writes. All hand-offs block,
so nothing is lost and memory stays bounded: a picture waits only until the key frames next to it are answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from detector.types import Boxes, Frame, iou
from stream.causal import CausalStream
from stream.delay import DelayLine
from stream.handoff import Closed, Handoff
from stream.results import KeyFrameResult, Update
from stream.ring import Moment
from stream.watching import SAME_PERSON_IOU, Stopped, Watch

EVERY_S, DETECT_EVERY_S = 1.0, 0.2
# A picture waits for the key frame after it only if that is this close; with rare key frames it would wait long.
MAX_LEAD_S = 0.5
FRAMES_AHEAD, UPDATES_AHEAD = 8, 4
DELAY_BYTES = 512 * 2**20


@dataclass(eq=False, slots=True)
class _Pending:
    """A key frame that waits for the video after it."""

    moment: Moment
    due_s: float
    boxes: Boxes


class OfflineRun:
    """The threads of one file; iterate it for updates."""

    def __init__(self, watch: Watch, on_error: Callable[[BaseException], None]) -> None:
        self._watch, self._on_error = watch, on_error
        self._every_s = watch.options.every_s or EVERY_S
        self._detect_every_s = watch.options.detect_every_s or DETECT_EVERY_S
        self._lead_s = min(self._every_s / 2, MAX_LEAD_S)
        self._frames: Handoff[Frame] = Handoff(FRAMES_AHEAD)
        self._updates: Handoff[Update] = Handoff(UPDATES_AHEAD)
        self._waiting = DelayLine(DELAY_BYTES)
        self._pending: deque[_Pending] = deque()
        self._results: list[KeyFrameResult] = []
        self._keys = 0
        self._causal = CausalStream(watch) if watch.model.network.causal else None
        self._detected_s = -np.inf

    def threads(self) -> list[tuple[str, Callable[[], None]]]:
        """Names and bodies of what has to run."""
        return [("read", self._read), ("analyse", self._guarded_analyse)]

    def updates(self) -> Iterator[Update]:
        """Give updates, one a frame, until the file is done."""
        while True:
            try:
                update = self._updates.get()
            except Closed:
                return
            self._watch.count_shown()
            yield update

    def stop(self) -> None:
        """Wake whoever waits."""
        self._frames.close(discard=True)
        self._updates.close(discard=True)

    def _read(self) -> None:
        watch, expected = self._watch, 0
        try:
            for frame in watch.source:
                watch.count_frame(missed=max(frame.index - expected, 0))
                expected = frame.index + 1
                self._frames.put(frame)
        except Closed:
            return
        except BaseException as error:
            # What was read is still analysed; then the error comes.
            self._frames.close(error)
        else:
            self._frames.close()

    def _guarded_analyse(self) -> None:
        try:
            self._analyse()
        except (Stopped, Closed):
            self._updates.close()
        except BaseException as error:
            self._on_error(error)
            self._updates.close(error)
        else:
            self._updates.close()
        finally:
            self._frames.close(discard=True)

    def _analyse(self) -> None:
        newest_s, failure = 0.0, None
        while True:
            try:
                frame = self._frames.get()
            except (Stopped, Closed):
                break
            except Exception as error:
                failure = error
                break
            if self._watch.is_after_gap(frame):
                # What came before is finished with what there is: nothing after the gap belongs to it.
                self._answer(np.inf)
                self._release(np.inf)
                self._detected_s = -np.inf
            newest_s = frame.time_s
            self._take(frame)
            self._answer(newest_s - self._watch.look_ahead_s)
            self._release(self._known_until_s())
        if self._watch.stop.is_set():
            return
        self._answer(np.inf)
        self._release(np.inf)
        if self._results:
            self._updates.put(self._watch.update(None, self._new_results(), predicted=False))
        if failure is not None:
            raise failure

    def _take(self, frame: Frame) -> None:
        watch = self._watch
        watch.take(frame).write(frame)
        # The nearest frame to a moment that falls between two: half a frame's tolerance.
        tolerance_s = 0.5 / (watch.source.fps or 25.0)
        if self._causal is not None:
            self._take_steps(frame, self._causal, tolerance_s)
            return
        # After a gap the moments that fell into it are left out.
        due_s = max(self._keys, int((frame.time_s + tolerance_s) / self._every_s)) * self._every_s
        is_key = frame.time_s >= due_s - tolerance_s
        if is_key or frame.time_s >= self._detected_s + self._detect_every_s - tolerance_s:
            boxes, _ = watch.detect(frame, None if is_key else self._known(frame))
            self._detected_s = frame.time_s
            for pending in self._pending:
                pending.boxes = adopt_ids(pending.boxes, boxes)
            if is_key:
                self._pending.append(_Pending(Moment.of(frame), due_s, boxes))
                self._keys = int((frame.time_s + tolerance_s) / self._every_s) + 1
        if watch.options.pictures:
            self._waiting.append(frame)

    def _take_steps(self, frame: Frame, stream: CausalStream, tolerance_s: float) -> None:
        """As `_take`, for causal models: every step runs, and the first one at or after a due moment answers."""
        watch = self._watch
        for step in stream.due():
            due_s = max(self._keys, int((step.key.time_s + tolerance_s) / self._every_s)) * self._every_s
            boxes = None
            if step.key.time_s >= due_s - tolerance_s:
                boxes, _ = watch.detect(frame)
                self._detected_s = frame.time_s
                self._keys = int((step.key.time_s + tolerance_s) / self._every_s) + 1
            result = stream.run(step, boxes, due_s, watch.clock())
            if result is not None:
                self._results.append(result)
        if frame.time_s >= self._detected_s + self._detect_every_s - tolerance_s:
            watch.detect(frame, self._known(frame))
            self._detected_s = frame.time_s
        if watch.options.pictures:
            self._waiting.append(frame)

    def _known(self, frame: Frame) -> Boxes | None:
        """Whom to look at again between key frames; None where nobody is known: then all is searched."""
        if not self._watch.searched:
            return None
        return self._watch.people_at(frame.time_s, frame.size_hw, predicted=True) or None

    def _answer(self, until_s: float) -> None:
        while self._pending and self._pending[0].moment.time_s <= until_s + 1e-6:
            key = self._pending[0]
            result = self._watch.answer(key.moment, key.boxes, key.due_s, self._watch.clock())
            assert result is not None  # every scene is answered before the next begins
            self._pending.popleft()
            self._results.append(result)
        if self._results and not self._watch.options.pictures:
            self._updates.put(self._watch.update(None, self._new_results(), predicted=False))

    def _known_until_s(self) -> float:
        """Pictures up to here have boxes on both sides in time and the answers that are nearest to them."""
        next_key_s = self._pending[0].moment.time_s if self._pending else self._keys * self._every_s
        return min(self._detected_s, next_key_s - self._lead_s)

    def _release(self, until_s: float) -> None:
        while len(self._waiting) and self._waiting.first().time_s <= until_s:
            frame = self._waiting.pop()
            self._updates.put(self._watch.update(frame, self._new_results(), predicted=False))

    def _new_results(self) -> tuple[KeyFrameResult, ...]:
        results, self._results = tuple(self._results), []
        return results


def adopt_ids(boxes: Boxes, later: Boxes) -> Boxes:
    """Give people who had no track yet the id that a slightly later look gave them.

    Args:
        boxes: N people, some with track id -1.
        later: people a moment afterwards.

    Returns:
        The N people; a -1 is replaced where a later box with an id that is not among them overlaps enough.
    """
    ids = boxes.track_id.copy()
    for i in np.flatnonzero(ids < 0):
        candidates = [j for j, t in enumerate(later.track_id) if t >= 0 and t not in ids]
        overlaps = iou(boxes.xyxy[i : i + 1], later.xyxy[candidates])[0]
        if candidates and overlaps.max() >= SAME_PERSON_IOU:
            ids[i] = later.track_id[candidates[int(np.argmax(overlaps))]]
    return boxes.with_tracks(ids)
