"""Models that visitors share: opened when first wanted, kept while used, closed when another needs the room."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from detector.errors import UserError
from stream.session import Session

log = logging.getLogger(__name__)


class Busy(UserError):
    """Everything is in use; the text says so politely and when to try again."""


@dataclass(eq=False)
class _Loaded:
    session: Session
    thresholds: dict[Lease, float] = field(default_factory=dict)


class Lease:
    """A visitor's hold on a shared session; release it when done."""

    def __init__(self, pool: ModelPool, name: str, session: Session) -> None:
        self.session, self.name, self._pool = session, name, pool

    def set_person_threshold(self, threshold: float) -> None:
        """Ask for boxes from this confidence on; the shared detector runs at the lowest that anyone asked for."""
        self._pool._set_threshold(self, threshold)

    def release(self) -> None:
        """Let go. May be called twice."""
        self._pool._release(self)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


class ModelPool:
    """At most `max_loaded` sessions at a time, each shared by all who want that model.

    Attributes:
        names: models on offer, best first.
    """

    def __init__(self, names: tuple[str, ...], open_model: Callable[[str], Session], max_loaded: int = 2) -> None:
        """
        Args:
            names: models on offer.
            open_model: opens one by its name; may raise `UserError`.
            max_loaded: sessions held at once, in use or not.
        """
        self.names, self._open, self._max_loaded = names, open_model, max_loaded
        self._loaded: dict[str, _Loaded] = {}
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._closed = False

    def lease(self, name: str) -> Lease:
        """Share the session of that model; opens it where nobody has. May take as long as reading weights does.

        Raises:
            UserError: not offered, or it cannot be opened.
            Busy: the room is taken by models that others are using.
        """
        if name not in self.names:
            raise UserError(f"model {name!r}: not offered here, expected one of {', '.join(self.names)}")
        # Opening takes seconds; those who already watch must not wait for it.
        with self._opening:
            if self._closed:
                raise Busy("the server is closing")
            if name not in self._loaded:
                self._make_room()
                session = self._open(name)
                with self._lock:
                    self._loaded[name] = _Loaded(session)
            with self._lock:
                lease = Lease(self, name, self._loaded[name].session)
                self._loaded[name].thresholds[lease] = 1.0
                return lease

    @property
    def users(self) -> int:
        """Leases that are held now."""
        with self._lock:
            return sum(len(loaded.thresholds) for loaded in self._loaded.values())

    def close(self) -> None:
        """Free every session. May be called twice."""
        with self._opening:
            self._closed = True
            with self._lock:
                sessions = [loaded.session for loaded in self._loaded.values()]
                self._loaded.clear()
            for session in sessions:
                session.close()

    def _make_room(self) -> None:
        if len(self._loaded) < self._max_loaded:
            return
        with self._lock:
            idle = [name for name, loaded in self._loaded.items() if not loaded.thresholds]
            if not idle:
                used = ", ".join(self._loaded)
                raise Busy(
                    f"other visitors are using {used} and there is no room for one more model; choose one of these"
                )
            session = self._loaded.pop(idle[0]).session
        log.info("closing %s to make room", idle[0])
        session.close()

    def _set_threshold(self, lease: Lease, threshold: float) -> None:
        with self._lock:
            loaded = self._loaded.get(lease.name)
            if loaded is None or lease not in loaded.thresholds:
                return
            loaded.thresholds[lease] = threshold
            loaded.session.set_person_threshold(min(loaded.thresholds.values()))

    def _release(self, lease: Lease) -> None:
        with self._lock:
            loaded = self._loaded.get(lease.name)
            if loaded is None or loaded.thresholds.pop(lease, None) is None:
                return
            if loaded.thresholds:
                loaded.session.set_person_threshold(min(loaded.thresholds.values()))


class Seats:
    """How many may watch at once."""

    def __init__(self, limit: int) -> None:
        self.limit, self._taken, self._lock = limit, 0, threading.Lock()

    @property
    def taken(self) -> int:
        """Seats in use."""
        return self._taken

    def take(self) -> Callable[[], None]:
        """Sit down; the result gives the seat back and may be called twice.

        Raises:
            Busy: all are taken.
        """
        with self._lock:
            if self._taken >= self.limit:
                people = "1 visitor is" if self.limit == 1 else f"{self.limit} visitors are"
                raise Busy(
                    f"{people} watching already, which is as many as this server takes; "
                    "please try again in a minute: a place is free as soon as someone stops"
                )
            self._taken += 1
        given_back = threading.Event()

        def give_back() -> None:
            with self._lock:
                if not given_back.is_set():
                    given_back.set()
                    self._taken -= 1

        return give_back
