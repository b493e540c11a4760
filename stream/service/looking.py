"""Two threads that look for all cameras: one searches newest pictures for people, one shows newest clips to a network.

Each takes turns by `turns.Turns`, so that the machine is shared fairly whatever the cameras show. What a camera brings
that makes a detector or a network fail is that camera's harm alone.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np

from detector.types import Frame
from stream.handoff import Closed
from stream.service.camera import Camera, Job
from stream.service.counts import Meter, NoMeter
from stream.service.turns import Turns, batch_is_ready
from stream.session import Scored, Session
from stream.watching import Watch

log = logging.getLogger(__name__)
# A camera's whole picture is searched this often where people are known; between, those are looked at, others in turn.
WHOLE_EVERY_S = 1.0
# Nobody waits longer than this for a change that nobody told of.
IDLE_S = 0.5


class _Looking:
    """A thread that serves cameras in turn until it is closed."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._clock, self._turns = clock, Turns()
        self._cameras: dict[str, Camera] = {}
        self._changed = threading.Condition()
        self._closed = self._resting = self._poked = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, camera: Camera) -> None:
        """Serve a camera from now on."""
        with self._changed:
            self._cameras[camera.name] = camera
            self._changed.notify()

    def remove(self, camera: Camera) -> None:
        """Serve it no more; one of the same name that came after it stays."""
        with self._changed:
            if self._cameras.get(camera.name) is camera:
                del self._cameras[camera.name]
                self._turns.forget(camera.name)

    def wake(self) -> None:
        """There may be something to do."""
        self._poked = True
        if self._resting:
            with self._changed:
                self._changed.notify()

    def waiting(self) -> int:
        """Cameras that are due now."""
        now_s = self._clock()
        return sum(self._due_s(camera, now_s) <= now_s for camera in self._all())

    def close(self, timeout_s: float = 5.0) -> bool:
        """End the thread; True if it ended in time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _all(self) -> list[Camera]:
        with self._changed:
            return list(self._cameras.values())

    def _run(self) -> None:
        while not self._closed:
            self._poked, now_s = False, self._clock()
            due = {camera.name: (self._due_s(camera, now_s), camera) for camera in self._all()}
            ready = {name: camera for name, (due_s, camera) in due.items() if due_s <= now_s}
            if ready:
                wait_s = self._serve_safely(ready, min(due[name][0] for name in ready), now_s)
            else:
                wait_s = min([IDLE_S, *(due_s - now_s for due_s, _ in due.values() if math.isfinite(due_s))])
            if wait_s > 0:
                with self._changed:
                    self._resting = True
                    # Who pokes after this has to wait for the lock, and so finds the thread waiting.
                    if not self._closed and not self._poked:
                        self._changed.wait(wait_s)
                    self._resting = False

    def _serve_safely(self, ready: dict[str, Camera], first_s: float, now_s: float) -> float:
        try:
            return self._serve(ready, first_s, now_s)
        except Exception:  # a fault of this file: others must not stand still for it
            log.exception("%s failed", self._thread.name)
            return IDLE_S

    def _due_s(self, camera: Camera, now_s: float) -> float:
        raise NotImplementedError

    def _serve(self, ready: dict[str, Camera], first_s: float, now_s: float) -> float:
        """Serve whose turn it is, the first being due since `first_s`; seconds to wait before the next."""
        raise NotImplementedError


class Searching(_Looking):
    """Finds people for all cameras."""

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        # When each camera's picture was last searched as a whole, in its present life.
        self._whole_s: weakref.WeakKeyDictionary[object, float] = weakref.WeakKeyDictionary()
        super().__init__("searching", clock)

    def _due_s(self, camera: Camera, now_s: float) -> float:
        return camera.search_due_s(now_s)

    def _serve(self, ready: dict[str, Camera], first_s: float, now_s: float) -> float:
        name = self._turns.pick(ready)
        assert name is not None
        camera = ready[name]
        taken = camera.take_picture()
        if taken is None:
            return 0.0
        start_s = self._clock()
        try:
            watch, frame = taken
            known = self._known(watch, frame, start_s)
            boxes, seconds = self._session.detect(frame.image, watch, known).result()
            camera.found(*taken, boxes, seconds)
        except Closed:
            self._closed = True
        except Exception as error:
            camera.harmed("search", error)
        self._turns.charge(name, self._clock() - start_s, camera.settings.share)
        return 0.0


    def _known(self, watch: Watch, frame: Frame, now_s: float) -> np.ndarray | None:
        """(N, 4) boxes of the people to look at again; None where the whole picture is to be searched."""
        if watch.searched and now_s - self._whole_s.get(watch, -math.inf) < WHOLE_EVERY_S:
            known = watch.people_at(frame.time_s, frame.size_hw, predicted=True)
            if len(known):
                return known.xyxy
        self._whole_s[watch] = now_s
        return None


class Answering(_Looking):
    """Shows clips to one model for all cameras that use it."""

    def __init__(
        self, session: Session, *, most_rows: int = 1, deadline_s: float = 0.0, meter: Meter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            session: the model.
            most_rows: clips (of whole frames) or people (of tubes) that go into one call; a camera with more people
                than that goes alone.
            deadline_s: how long the first may wait for others to fill a call.
            meter: takes batch sizes.
            clock: seconds, monotonic.
        """
        self._session, self._meter = session, meter or NoMeter()
        self.most_rows, self.deadline_s = most_rows, deadline_s
        self._rows: dict[str, int] = {}
        super().__init__("answering", clock)

    def _due_s(self, camera: Camera, now_s: float) -> float:
        return camera.answer_due_s(now_s) if camera.session is self._session else math.inf

    def _serve(self, ready: dict[str, Camera], first_s: float, now_s: float) -> float:
        # How many people a clip has shows when it is cut; until then it is taken to be as many as last time.
        rows = {name: max(self._rows.get(name, 1), 1) for name in ready}
        if not batch_is_ready(first_s, now_s, sum(rows.values()), self.most_rows, self.deadline_s):
            return first_s + self.deadline_s - now_s
        jobs: list[tuple[Camera, Job]] = []
        for name in self._turns.pick_batch(rows, self.most_rows):
            job = self._cut(ready[name])
            if job is not None:
                self._rows[name] = self._rows_of(job)
                jobs.append((ready[name], job))
        self._answer(jobs)
        return 0.0

    def _rows_of(self, job: Job) -> int:
        from detector.views import FrameView

        return 1 if isinstance(self._session.model.view, FrameView) else len(job.boxes)

    def _cut(self, camera: Camera) -> Job | None:
        try:
            return camera.cut()
        except Exception as error:
            camera.harmed("answer", error)
            return None

    def _answer(self, jobs: list[tuple[Camera, Job]]) -> None:
        start_s = self._clock()
        work = [(camera, job) for camera, job in jobs if job.clip is not None]
        for camera, job in jobs:
            if job.clip is None:
                self._give(camera, job, self._nobody(), start_s)
        if not work:
            return
        try:
            scored = self._session.score_all([(job.clip, job.boxes) for _, job in work if job.clip]).result()
        except Closed:
            self._closed = True
            return
        except Exception as error:
            if len(work) > 1:  # whose fault it is shows one by one
                for pair in work:
                    self._answer([pair])
            else:
                work[0][0].harmed("answer", error)
            return
        seconds, rows = self._clock() - start_s, sum(self._rows_of(job) for _, job in work)
        self._meter.batch(self._session.model.name, len(work), sum(len(job.boxes) for _, job in work))
        for (camera, job), one in zip(work, scored):
            self._turns.charge(camera.name, seconds * self._rows_of(job) / rows, camera.settings.share)
            self._give(camera, job, one, start_s)

    def _nobody(self) -> Scored:
        return Scored(np.zeros((0, len(self._session.model.labels)), np.float32), 0.0)

    def _give(self, camera: Camera, job: Job, scored: Scored, start_s: float) -> None:
        try:
            camera.answered(job, scored, max(start_s - job.available_s, 0.0))
        except Exception as error:
            camera.harmed("answer", error)
