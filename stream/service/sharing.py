"""What cameras share: one detector by name, one model by name, and the threads that look with them.

Opened when the first camera wants it, in that camera's thread; freed when nobody has wanted it for a while.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from detector.device import has_gpu
from detector.person import PersonDetector
from stream.people import accelerated
from stream.service.camera import Camera
from stream.service.counts import Meter, NoMeter
from stream.service.looking import Answering, Searching
from stream.service.settings import Camera as Settings
from stream.session import Session, open_session

log = logging.getLogger(__name__)
# What nobody uses any more is kept for this long: a reload stops cameras and starts them again.
UNUSED_S = 60.0
# A call of a GPU may wait this long to be filled by other cameras, and takes so many clips or people. On a CPU a batch
# costs as much as its parts: 26 ms a tube of the bundled model alone, 28 ms in eights.
GPU_DEADLINE_S, GPU_ROWS = 0.03, 16

Model = tuple[str, str, bool]
Detector = tuple[str, bool]


@dataclass(eq=False)
class _Shared:
    """A model with its session and its thread."""

    session: Session
    answering: Answering
    cameras: set[Camera] = field(default_factory=set)
    unused_since_s: float | None = None


@dataclass(eq=False)
class _People:
    """A detector, which belongs to the first session that wanted it, and its thread."""

    owner: Session
    searching: Searching
    own_score: float
    cameras: set[Camera] = field(default_factory=set)


class Sharing:
    """See the module. Its methods may be called from any thread."""

    def __init__(
        self, *, open_model: Callable[[str, Callable[[], PersonDetector] | Session], Session] | None = None,
        meter: Meter | None = None, on_gpu: bool | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            open_model: opens a session by its model and what creates its detector, or whose it shares.
            meter: takes durations.
            on_gpu: whether batches pay; None to ask torch.
            clock: seconds, monotonic.
        """
        self._on_gpu = on_gpu
        self._open_model = open_model or _open_model
        self._meter, self._clock = meter or NoMeter(), clock
        self._models: dict[Model, _Shared] = {}
        self._people: dict[Detector, _People] = {}
        self._opening, self._lock = threading.Lock(), threading.Lock()
        self._left: set[Camera] = set()
        self._closed = False

    def join(self, camera: Camera) -> Session:
        """The session for a camera, which is looked at from now on.

        Raises:
            UserError: no such model or detector, or it cannot be opened.
        """
        settings = camera.settings
        with self._opening:
            shared = self._models.get(_model(settings)) or self._open(settings)
            people = self._people[_detector(settings)]
            with self._lock:
                if camera in self._left:  # it was stopped meanwhile
                    self._left.discard(camera)
                    return shared.session
                shared.cameras.add(camera)
                shared.unused_since_s = None
                people.cameras.add(camera)
                self._set_scores(people)
        people.searching.add(camera)
        shared.answering.add(camera)
        return shared.session

    def leave(self, camera: Camera) -> None:
        """Look at a camera no more."""
        with self._lock:
            joined = False
            for shared in self._models.values():
                if camera in shared.cameras:
                    joined = True
                    shared.cameras.discard(camera)
                    shared.answering.remove(camera)
                    shared.unused_since_s = None if shared.cameras else self._clock()
            for people in self._people.values():
                people.cameras.discard(camera)
                people.searching.remove(camera)
                self._set_scores(people)
            if not joined:
                self._left.add(camera)

    def wake(self) -> None:
        """Some camera may be due."""
        for people in list(self._people.values()):
            people.searching.wake()
        for shared in list(self._models.values()):
            shared.answering.wake()

    def waiting(self) -> dict[str, int]:
        """Cameras that are due now: `search` and `answer`."""
        with self._lock:
            models, people = list(self._models.values()), list(self._people.values())
        return {
            "search": sum(one.searching.waiting() for one in people),
            "answer": sum(one.answering.waiting() for one in models),
        }

    def sessions(self) -> list[Session]:
        """Those that are open."""
        with self._lock:
            return [shared.session for shared in self._models.values()]

    def sweep(self) -> None:
        """Free models that nobody has used for a while and whose detector nobody uses."""
        with self._opening, self._lock:
            owners = [one.owner for one in self._people.values() if one.cameras]
            for key, shared in list(self._models.items()):
                since_s = shared.unused_since_s
                if since_s is None or self._clock() - since_s < UNUSED_S or shared.session in owners:
                    continue
                if any(other._people is shared.session for other in self._sessions_but(shared.session)):
                    continue
                del self._models[key]
                for detector, people in list(self._people.items()):
                    if people.owner is shared.session:
                        del self._people[detector]
                        people.searching.close(0.0)
                threading.Thread(target=_free, args=(shared,), name="freeing", daemon=True).start()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Free everything; True if all ended in time."""
        with self._lock:
            self._closed = True
            models, people = list(self._models.values()), list(self._people.values())
            self._models.clear()
            self._people.clear()
        give_up_s = time.monotonic() + timeout_s
        ended = True
        # Those who share another's detector go first.
        models.sort(key=lambda shared: shared.session._people is None)
        for one in people:
            ended = one.searching.close(max(give_up_s - time.monotonic(), 0.1)) and ended
        for shared in models:
            ended = shared.answering.close(max(give_up_s - time.monotonic(), 0.1)) and ended
            ended = shared.session.close(max(give_up_s - time.monotonic(), 0.1)) and ended
        return ended

    def _open(self, settings: Settings) -> _Shared:
        people = self._people.get(_detector(settings))
        session = self._open_model(settings.model, people.owner if people else detector_maker(settings))
        if people is None:
            own_score = session.load_detector().threshold
            searching = Searching(session, self._clock)
            with self._lock:
                self._people[_detector(settings)] = _People(session, searching, own_score)
        for line in session.notices:
            log.info("%s", line)
        answering = Answering(session, meter=self._meter, clock=self._clock)
        if has_gpu() if self._on_gpu is None else self._on_gpu:
            answering.most_rows, answering.deadline_s = GPU_ROWS, GPU_DEADLINE_S
        with self._lock:
            shared = self._models[_model(settings)] = _Shared(session, answering)
        return shared

    def _set_scores(self, people: _People) -> None:
        """The detector finds down to the least that any camera asks for; each camera takes what it asked for."""
        for camera in people.cameras:
            wanted = camera.settings.person_threshold
            camera.least_score = people.own_score if wanted is None else wanted
        if people.cameras:
            people.owner.set_person_threshold(min(camera.least_score for camera in people.cameras))

    def _sessions_but(self, session: Session) -> list[Session]:
        return [shared.session for shared in self._models.values() if shared.session is not session]


def detector_maker(settings: Settings) -> Callable[[], PersonDetector]:
    """What creates a camera's detector: without the search for faces unless asked for, on a part of the cores."""

    def create() -> PersonDetector:
        from detector.person.select import FACES, create_person_detector

        name = settings.detector.removesuffix(FACES)
        name += FACES if settings.faces or name != settings.detector else ""
        # SSDLite on one of two cores takes a fifth less processor time than on both.
        threads = min(max((os.cpu_count() or 2) // 2, 1), 4)
        return accelerated(create_person_detector(name, num_threads=threads), log.info)

    return create


def _open_model(model: str, detector: Callable[[], PersonDetector] | Session) -> Session:
    return open_session(model, detector, report=log.info)


def _free(shared: _Shared) -> None:
    shared.answering.close()
    shared.session.close()
    log.info("freed %s, which no camera uses any more", shared.session.model.name)


def _model(settings: Settings) -> Model:
    return settings.model, *_detector(settings)


def _detector(settings: Settings) -> Detector:
    return settings.detector, settings.faces
