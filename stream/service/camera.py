"""One camera on duty: a thread that reads it, its last seconds, its people and labels.

The thread never waits for anything that is shared and never dies: what goes wrong is counted, said, and tried again.
Others (`looking.py`) ask the camera when it wants to be looked at, take its newest picture or clip and bring back what
was found. A gap in the stream (a camera that was away, stamps that jumped) begins a new life: nothing from before it is
shown or told as now, and track ids are never used twice.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from detector.errors import UserError
from detector.types import Boxes, Frame
from stream.results import KeyFrameResult, Update
from stream.ring import Moment
from stream.service.counts import Counts, Meter, NoMeter, State, reason_of
from stream.service.motion import MotionGate
from stream.service.names import actions_of, thresholds_of
from stream.service.pace import Pace, Rhythm
from stream.service.parts import Feed, Job, Renumbered, gap_between
from stream.service.privacy import Blackout, blur
from stream.service.settings import Camera as Settings
from stream.session import Scored, Session
from stream.sources import Source, SourceStatus
from stream.sources.decode import Decoding
from stream.sources.reconnect import Backoff
from stream.watching import Options, Tracker, Watch

log = logging.getLogger(__name__)
# Pictures further apart than this, in their own time or the clock's, have a gap between them.
GAP_S = 2.0
# ... and while a quiet camera's key frames alone are decoded.
SPARSE_GAP_S = 12.0
# A camera that went away is tried again at least this often: it shall be back soon after it can be.
MOST_WAIT_S = 2.0
# A camera without a picture for this long is not online.
SILENT_S = 2.0


class Camera:
    """See the module; `start` it, `stop` it once."""

    def __init__(
        self, name: str, settings: Settings, *, open_session: Callable[[], Session],
        open_source: Callable[[Settings, Decoding], Source],
        on_answer: Callable[[str, KeyFrameResult], None] = lambda *_: None,
        tap: Callable[[Any, Any], None] | None = None, on_picture: Callable[[Frame], None] | None = None,
        wake: Callable[[], None] = lambda: None, meter: Meter | None = None,
        create_tracker: Callable[[], Tracker] | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            name: in the file.
            settings: of the file.
            open_session: gives the shared model; called in the camera's thread, may take long.
            open_source: opens the address, live; likewise. Its second argument says how pictures are taken out of it.
            on_answer: takes each answer; must not wait.
            tap: takes (packet, stream), as they come; must not wait.
            on_picture: takes pictures as others may see them; must not wait.
            wake: called when there may be something to do for this camera.
            meter: takes durations.
            create_tracker: `detector.tracking.Tracker` unless given.
            clock: seconds, monotonic.
        """
        self.name, self.settings, self.counts = name, settings, Counts()
        self.least_score = settings.person_threshold or 0.0
        self._open_session, self._open_source, self._on_answer = open_session, open_source, on_answer
        self._wake, self._meter, self._clock = wake, meter or NoMeter(), clock
        self._on_picture = on_picture
        self._decoding = Decoding(settings.decode.hardware, self._keys_only, tap, self._one_of)
        self._create_tracker = create_tracker or _default_tracker
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._pace = Pace(_rhythm(settings), clock())
        self._gate = MotionGate(settings.motion.sensitivity, list(settings.motion.masks))
        self._blackout = Blackout(list(settings.masks))
        self._state: State = "starting"
        self._message, self._source_message = "", ""
        self._session: Session | None = None
        self._source: Source | None = None
        self._watch: Watch | None = None
        self._prepared: Future[None] | None = None
        self._unsearched: Frame | None = None
        self._newest: Frame | None = None
        self._seen: tuple[Frame, Boxes] | None = None
        self._last: Frame | None = None
        self._last_key_s, self._searched_from_s, self._last_id = -math.inf, math.inf, 0
        self._last_answer: KeyFrameResult | None = None
        self._seen_s, self._sparse = clock(), False
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    # ---- from anywhere -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to end; does not wait."""
        self._stop.set()
        with self._lock:
            source, self._newest, self._unsearched, self._seen = self._source, None, None, None
        if source is not None:
            source.close()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; True if it ended in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def state(self) -> tuple[State, str]:
        """How it is doing, and what to say about it."""
        silent_s = self.silent_s
        if self._state == "online" and silent_s > (SPARSE_GAP_S if self._sparse else SILENT_S):
            return "offline", self._source_message or f"no picture for {silent_s:.0f} s"
        if self._state == "online" and self._prepared is not None and not self._prepared.done():
            return "online", "starting the action network"
        return self._state, self._message

    @property
    def silent_s(self) -> float:
        """Seconds since the last picture, or since the start."""
        return self._clock() - self._seen_s

    @property
    def session(self) -> Session | None:
        """The model that it uses; None before it is there."""
        return self._session

    @property
    def awake(self) -> bool:
        """Whether it is looked at as often as it may."""
        return self._pace.awake(self._clock())

    @property
    def last_answer(self) -> KeyFrameResult | None:
        """The newest."""
        return self._last_answer

    def thresholds(self) -> np.ndarray:
        """(A,) scores over which its actions are shown; its model must be there."""
        assert self._session is not None
        return thresholds_of(self.settings, self._session.model.labels)

    def actions(self) -> list[int] | None:
        """Columns of the actions that are of interest."""
        assert self._session is not None
        return actions_of(self.settings, self._session.model.labels)

    def look(self) -> Update | None:
        """The picture for those who watch, with all that is known about it; None where there is none.

        Where people are blurred it is the last one that was searched for them: in a newer one somebody may stand whom
        nobody knows of yet.
        """
        with self._lock:
            watch, newest, seen = self._watch, self._newest, self._seen
        if watch is None or self.settings.pictures == "none":
            return None
        if self.settings.blur != "none":
            return watch.update(seen[0], (), predicted=False) if seen else None
        return watch.update(newest, (), predicted=True) if newest else None

    def tick(self) -> None:
        """Note what the source says about itself; called a few times a second."""
        source = self._source
        status = source.status if source is not None else SourceStatus()
        message = "" if status.online else status.message
        if message and message != self._source_message:
            self.counts.reconnected(reason_of(message))
            log.warning("camera %s: %s", self.name, message)
        elif self._source_message and not message:
            log.info("camera %s: online again", self.name)
        self._source_message = message

    # ---- for those who look ------------------------------------------------------------------------------------

    def search_due_s(self, now_s: float) -> float:
        """When people are to be searched for in the newest picture; infinity before there is a new one."""
        return self._pace.search_due_s(now_s) if self._unsearched is not None else math.inf

    def take_picture(self) -> tuple[Watch, Frame] | None:
        """The newest picture, to be searched."""
        with self._lock:
            frame, self._unsearched = self._unsearched, None
            return (self._watch, frame) if frame is not None and self._watch is not None else None

    def found(self, watch: Watch, frame: Frame, boxes: Boxes, seconds: float) -> None:
        """People were found in a picture that was taken."""
        # A shared detector finds down to the least that any camera asks for.
        sure = boxes[np.flatnonzero(boxes.score >= self.least_score)]
        tracked = watch.found(frame, sure, seconds)
        now_s = self._clock()
        with self._lock:
            if watch is not self._watch:
                return
            if len(tracked):
                self._last_id = max(self._last_id, int(tracked.track_id.max()))
            missed = self._pace.searched(now_s, len(tracked))
            self._searched_from_s = min(self._searched_from_s, frame.time_s)
            self._seen = (frame, tracked) if self.settings.pictures == "live" else None
        self.counts.searched(now_s, seconds, len(tracked), missed)
        self._meter.delay(self.name, "detector", seconds)
        if self._on_picture is not None and self._seen is not None and self.settings.blur != "none":
            self._on_picture(replace(frame, image=blur(frame.image, tracked, self.settings.blur)))

    def answer_due_s(self, now_s: float) -> float:
        """When its newest clip is to be looked at; infinity before there is one that was not, or no engine."""
        watch, prepared = self._watch, self._prepared
        if watch is None or prepared is None or not prepared.done() or self._newest_key(watch) is None:
            return math.inf
        return self._pace.answer_due_s(now_s)

    def cut(self) -> Job | None:
        """The newest clip, with the people of its key frame; None where it has none yet."""
        with self._lock:
            watch = self._watch
        found = self._newest_key(watch) if watch is not None else None
        if watch is None or found is None:
            return None
        key, newest = found
        self._last_key_s = key.time_s
        boxes = watch.people_at(key.time_s, key.source_hw)
        clip = watch.cut(key) if len(boxes) else None
        if clip is None and len(boxes):  # a gap came between
            return None
        return Job(watch, key, clip, boxes, newest.captured_s)

    def _newest_key(self, watch: Watch) -> tuple[Moment, Moment] | None:
        """The key frame of the newest clip that was not answered yet, and the clip's last frame."""
        newest = watch.ring.newest() if watch.ring is not None else None
        if newest is None or watch.ring is None:
            return None
        key = watch.ring.at_or_before(newest.time_s - watch.look_ahead_s)
        # Who stood there before people were first searched for nobody can say.
        if key is None or key.time_s <= self._last_key_s or key.time_s < self._searched_from_s:
            return None
        return key, newest

    def answered(self, job: Job, scored: Scored, waited_s: float) -> None:
        """The network's answer to a clip that was cut, which had waited so long for its turn."""
        result = job.watch.answered(job.key, job.boxes, scored, job.key.time_s, job.available_s)
        now_s = self._clock()
        with self._lock:
            if job.watch is not self._watch:
                return
            missed = self._pace.answered(now_s)
            self._last_answer = result
        delay_s = now_s - job.key.captured_s
        self.counts.answered(now_s, scored.engine_s, delay_s, missed)
        for part, seconds in (
            ("look_ahead", job.available_s - job.key.captured_s), ("waiting", waited_s), ("network", scored.engine_s),
            ("total", delay_s),
        ):
            self._meter.delay(self.name, part, seconds)  # type: ignore[arg-type]
        self._on_answer(self.name, result)

    def harmed(self, what: str, error: BaseException) -> None:
        """A search or an answer failed for this camera's sake."""
        self.counts.dropped(f"{what}_failed")
        log.warning("camera %s: %s failed: %s", self.name, what, _one_line(error))
        with self._lock:
            if what == "search":
                self._pace.searched(self._clock(), 0)
            else:
                self._pace.answered(self._clock())

    # ---- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        backoff = Backoff(most_s=MOST_WAIT_S)
        while not self._stop.is_set():
            try:
                self._read(backoff)
                reason = "the stream ended"
            except UserError as error:
                reason = str(error).splitlines()[0]
            except Exception as error:
                reason = f"failed ({_one_line(error)})"
            if self._stop.is_set():
                break
            wait_s = backoff.next_wait_s(self._clock())
            self._state = "offline" if self._session is not None else "failed"
            self._message = f"{reason}; next attempt in {wait_s:.0f} s"
            self.counts.reconnected(reason_of(reason))
            log.warning("camera %s: %s", self.name, self._message)
            self._stop.wait(wait_s)
        self._state, self._message = "off", ""

    def _read(self, backoff: Backoff) -> None:
        """Read until the source ends or the camera is stopped."""
        if self._session is None:
            self._session = self._open_session()
        source = self._open_source(self.settings, self._decoding)
        with self._lock:
            self._source = source
        expected = 0
        try:
            for frame in source:
                if self._stop.is_set():
                    return
                if self._state != "online":
                    self._state, self._message = "online", ""
                    log.info("camera %s: online", self.name)
                    backoff.connected(self._clock())
                self._take(frame, max(frame.index - expected, 0))
                expected = frame.index + 1
        finally:
            source.close()
            with self._lock:
                self._source, self._last = None, None

    def _keys_only(self) -> bool:
        return self.settings.decode.quiet == "keys" and self._is_quiet()

    def _one_of(self) -> int:
        quiet = self.settings.decode.quiet
        return quiet if isinstance(quiet, int) and self._is_quiet() else 1

    def _is_quiet(self) -> bool:
        # Who stands there keeps his track, and that needs pictures closer together.
        return not self._pace.people and not self._pace.awake(self._clock())

    def _take(self, frame: Frame, missed: int) -> None:
        watch = self._watch
        limit_s = SPARSE_GAP_S if self._sparse else GAP_S
        self._sparse = self.settings.decode.quiet != "all" and self._is_quiet()
        if watch is None or self._last is None or gap_between(self._last, frame, limit_s):
            watch = self._begin(frame)
        self._last = frame
        image = self._blackout.apply(frame.image)
        if image is not frame.image:
            frame = replace(frame, image=image)
        now_s = self._clock()
        self._seen_s = now_s
        if self.settings.motion.gate and self._gate.moved(image, frame.time_s):
            self._pace.moved(now_s)
        watch.take(frame).write(frame)
        with self._lock:
            self._unsearched = frame
            if self.settings.pictures == "live" and self.settings.blur == "none":
                self._newest = frame
        if self._on_picture is not None and self._newest is frame:
            self._on_picture(frame)
        self.counts.took(now_s, missed)
        if self._prepared is not None and self._prepared.done():
            self._prepared.result()  # raises what kept the engine from being built
        if self._pace.search_due_s(now_s) <= now_s or self._pace.answer_due_s(now_s) <= now_s:
            self._wake()

    def _begin(self, frame: Frame) -> Watch:
        """A new life, after a start or a gap."""
        assert self._session is not None
        tracker = Renumbered(self._create_tracker(), self._last_id)
        options = Options(smooth_s=self.settings.smooth)
        watch = Watch(Feed(self.name), self._session, options, tracker, self._clock)
        if self._watch is not None:
            self.counts.dropped("gap")
        prepared = self._session.prepare(frame.size_hw)
        with self._lock:
            self._watch, self._prepared = watch, prepared
            self._newest = self._seen = self._unsearched = None
            self._last_key_s, self._searched_from_s = -math.inf, math.inf
        return watch


def _rhythm(settings: Settings) -> Rhythm:
    motion = settings.motion
    return Rhythm(
        settings.every, settings.search_every or settings.every, max(motion.still_every, settings.every),
        max(motion.empty_every, settings.every), motion.gate,
    )


def _default_tracker() -> Any:
    from detector.tracking import Tracker as DefaultTracker

    return DefaultTracker()


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
