"""Watching a live source: three threads, none of which ever waits for a slower one.

- *capture* reads frames, keeps them small in the ring, and offers the newest full-size one to be drawn and searched;
- *detect* looks for people in the newest frame as often as is affordable, at all of it or where they are known to be;
- *clips* cuts the newest complete clip whenever the engine is free.

The newest always wins; what is passed over is counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from detector.types import Frame
from stream.causal import CausalStream
from stream.delay import DelayLine, SyncDelay
from stream.handoff import Closed, Handoff
from stream.metrics import Beat
from stream.outlet import Outlet
from stream.results import Update
from stream.ring import Moment
from stream.search_pace import SearchPace
from stream.watching import Stopped, Watch

# At most ten answers and ten searches a second: more cannot be seen.
EVERY_S, DETECT_EVERY_S = 0.1, 0.1
# Pictures that may wait to be drawn; a late one is worth nothing.
PICTURES_WAITING = 4
# A picture is shown again this often while the camera is silent, with a word about it.
SILENT_S = 0.5
# Full-size pictures held back for `synced` display take at most this much memory; beyond it they wait as JPEG.
DELAY_BYTES = 512 * 2**20


class LiveRun:
    """The threads of one live stream; iterate it for updates."""

    def __init__(self, watch: Watch, on_error: Callable[[BaseException], None]) -> None:
        self._watch, self._on_error = watch, on_error
        self._synced = watch.options.display == "synced"
        self._newest: Handoff[Frame] = Handoff(1, "drop_oldest")
        self._arrived: Handoff[Moment] = Handoff(1, "drop_oldest")
        self._delay = SyncDelay(watch.look_ahead_s)
        line = DelayLine(DELAY_BYTES) if self._synced else None
        capacity = None if self._synced else PICTURES_WAITING
        self._outlet = Outlet(
            watch.clock, capacity=capacity if watch.options.pictures else 0,
            delay_s=(lambda: self._delay.seconds) if self._synced else None, line=line,
        )
        self._running = 3
        self._lock = threading.Lock()

    def threads(self) -> list[tuple[str, Callable[[], None]]]:
        """Names and bodies of what has to run."""
        return [("capture", self._guarded(self._capture)), ("detect", self._guarded(self._detect)),
                ("clips", self._guarded(self._steps if self._watch.model.network.causal else self._clips))]

    def updates(self) -> Iterator[Update]:
        """Give updates; ends when the source has and the last answer is out."""
        watch, last = self._watch, None
        while True:
            try:
                frame, results, dropped = self._outlet.take(SILENT_S)
            except Closed:
                if news := watch.news():
                    yield watch.update(None, (), predicted=True, changes=news)
                return
            watch.count_drops(frames=dropped)
            news = watch.news()
            if frame is not None:
                last = frame
                watch.count_shown()
                yield watch.update(frame, results, predicted=not self._synced, changes=news)
            elif results or (news and last is None):
                yield watch.update(None, results, predicted=True, changes=news)
            elif last is not None:
                silent_s = watch.clock() - last.captured_s - (self._delay.seconds if self._synced else 0.0)
                yield watch.update(last, (), predicted=True, time_s=last.time_s + silent_s, changes=news)

    def stop(self) -> None:
        """Wake whoever waits."""
        for handoff in (self._newest, self._arrived):
            handoff.close(discard=True)
        self._outlet.close(discard=True)

    def _guarded(self, body: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                body()
            except (Stopped, Closed):
                pass
            except BaseException as error:
                self._on_error(error)
                self._outlet.close(error)
            finally:
                self._newest.close()
                self._arrived.close()
                with self._lock:
                    self._running -= 1
                    last_out = self._running == 0
                if last_out:
                    self._outlet.close()

        return run

    def _capture(self) -> None:
        watch, expected = self._watch, 0
        for frame in watch.source:
            if watch.stop.is_set():
                return
            ring = watch.take(frame)
            watch.count_frame(missed=max(frame.index - expected, 0))
            expected = frame.index + 1
            self._newest.put(frame)
            if watch.options.pictures:
                self._outlet.put_frame(frame)
            if ring.write(frame):
                self._arrived.put(Moment.of(frame))

    def _detect(self) -> None:
        watch = self._watch
        options = watch.options
        pace = SearchPace(options.detect_every_s or DETECT_EVERY_S, options.every_s or EVERY_S)
        while True:
            frame = self._newest.get()
            start_s = watch.clock()
            if not watch.searched:
                pace.begin_anew()
            known = watch.people_at(frame.time_s, frame.size_hw, predicted=True)
            whole = pace.is_whole(frame.image, known.xyxy, start_s)
            _, worked_s = watch.detect(frame, None if whole else known)
            del frame
            rest_s = pace.looked(whole, start_s, watch.clock(), worked_s, watch.answers_per_s)
            if rest_s > 0 and watch.stop.wait(rest_s):
                return

    def _clips(self) -> None:
        watch, every_s = self._watch, self._watch.options.every_s or EVERY_S
        last: Moment | None = None
        beat, begun_s, prepared = Beat(every_s), watch.begun_s, False
        while True:
            newest = self._arrived.get()
            assert watch.ring is not None
            if not prepared:
                watch.wait_for(watch.session.prepare(newest.source_hw))
                prepared = True
                continue
            key = watch.ring.at_or_before(newest.time_s - watch.look_ahead_s)
            if begun_s != watch.begun_s:
                # After a gap neither the beat nor the distance of two answers says anything.
                last, beat, begun_s = None, Beat(every_s), watch.begun_s
            if key is None or key.time_s < begun_s or not watch.searched:
                continue
            missed = beat.take(key.time_s)
            if missed is None:
                continue
            if last is not None:  # a camera slower than the beat drops nothing
                watch.count_drops(clips=min(missed, key.index - last.index - 1))
            boxes = watch.people_at(key.time_s, key.source_hw)
            result = watch.answer(key, boxes, key.time_s, newest.captured_s)
            if result is None:
                watch.count_drops(clips=1)
                continue
            self._delay.answered(
                watch.clock() - key.captured_s, every_s if last is None else key.time_s - last.time_s, watch.clock()
            )
            last = key
            self._outlet.put_result(result)

    def _steps(self) -> None:
        """As `_clips`, for causal models: every step runs, in order, and answers where one is due."""
        watch, every_s = self._watch, self._watch.options.every_s or EVERY_S
        beat, stream, prepared = Beat(every_s), CausalStream(watch), False
        last: Moment | None = None
        while True:
            newest = self._arrived.get()
            if not prepared:
                watch.wait_for(watch.session.prepare(newest.source_hw))
                prepared = True
                continue
            for step in stream.due():
                key = step.key
                if step.restart:  # neither the beat nor the distance of two answers says anything
                    last, beat = None, Beat(every_s)
                wanted = watch.searched and beat.take(key.time_s) is not None
                boxes = watch.people_at(key.time_s, key.source_hw, predicted=True) if wanted else None
                result = stream.run(step, boxes, key.time_s, key.captured_s)
                if result is None:
                    continue
                pause_s = stream.seconds if last is None else key.time_s - last.time_s
                self._delay.answered(watch.clock() - key.captured_s, pause_s, watch.clock())
                last = key
                self._outlet.put_result(result)
