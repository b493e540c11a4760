"""From the store to the world: at least once, in order, with the same id, for as long as it takes."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stream.events.schema import StoreAway
from stream.events.store import Due, Store

log = logging.getLogger(__name__)
BATCH = 50
# A target that is away is asked again after this, doubling, with jitter.
FIRST_RETRY_S, MOST_RETRY_S = 1.0, 60.0
# A change that could not be told for this long is given up; nobody wants last week's alarms.
GIVE_UP_S = 7 * 86400.0


class Away(Exception):
    """A target cannot be reached now; one line without credentials. It is tried again."""


class Later(Exception):
    """A target shall not be told now, but in `seconds`, or when something new comes; nothing is wrong."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s later")
        self.seconds = seconds


class Refused(Exception):
    """A target will never take this change; one line. It is given up and counted."""


class Target(Protocol):
    """Whom events are told to.

    Attributes:
        name: unique among targets; names its rows in the outbox.
    """

    name: str

    def send(self, due: Sequence[Due]) -> int:
        """Tell changes in order.

        Returns:
            How many of them it has taken, at least one. Those are never sent again.

        Raises:
            Away: none was taken now.
            Later: none shall be taken yet.
            Refused: the first will never be.
        """
        ...

    def close(self) -> None:
        """Let go of connections; from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class TargetState:
    """How a target is doing: changes told, given up, and why it is away ("" when it is not)."""

    told: int = 0
    given_up: int = 0
    error: str = ""


class Deliverer:
    """A thread that tells one target what the outbox holds for it."""

    def __init__(
        self, store: Store, target: Target, *, retry_s: float = FIRST_RETRY_S, most_retry_s: float = MOST_RETRY_S,
        batch: int = BATCH, jitter: Callable[[], float] = random.random,
        utc_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            store: whose `targets` hold the target's name.
            target: closed with the deliverer.
            retry_s, most_retry_s: first and longest pause after a failure.
            batch: changes that the target is handed at once.
            jitter: 0 to 1.
            utc_clock: seconds since 1970.
        """
        self._store, self.target, self._batch = store, target, batch
        self._retry_s, self._most_retry_s, self._jitter, self._utc = retry_s, most_retry_s, jitter, utc_clock
        self._told = self._given_up = 0
        self._error = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tell {target.name}", daemon=True)
        self._thread.start()

    @property
    def state(self) -> TargetState:
        """How it is doing, from any thread."""
        return TargetState(self._told, self._given_up, self._error)

    def wake(self) -> None:
        """There is something new in the outbox."""
        with self._lock:
            self._idle.clear()
            self._wake.set()

    def drain(self, timeout_s: float = 5.0) -> bool:
        """Wait until nothing is due; False if something still is."""
        return self._idle.wait(timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """End; what was not told stays in the outbox. True if the thread ended in time."""
        self._stop.set()
        self._wake.set()
        self.target.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause_s = self._retry_s
        while not self._stop.is_set():
            self._wake.clear()
            try:
                went_on = self._tell_some()
            except Later as later:
                self._rest()
                self._wake.wait(later.seconds)
                continue
            except (StoreAway, Away) as error:
                self._say_away(str(error))
                # A new change does not shorten the pause: the target is no less away for it.
                self._stop.wait(pause_s * (1 - 0.25 * self._jitter()))
                pause_s = min(pause_s * 2, self._most_retry_s)
                continue
            except Exception as error:
                # Not foreseen by the target; what it holds up is kept, and tried again like everything else.
                self._say_away(f"{self.target.name}: {type(error).__name__}")
                log.debug("%s failed", self.target.name, exc_info=True)
                self._stop.wait(pause_s)
                pause_s = min(pause_s * 2, self._most_retry_s)
                continue
            pause_s = self._retry_s
            if not went_on:
                self._rest()
                self._wake.wait()

    def _rest(self) -> None:
        """Nothing is to be told now, unless somebody has just said otherwise."""
        with self._lock:
            if not self._wake.is_set():
                self._idle.set()

    def _tell_some(self) -> bool:
        """Tell a batch; False when nothing was due."""
        due = self._store.due(self.target.name, self._batch)
        while due and not self._stop.is_set() and self._utc() - due[0].stored_utc > GIVE_UP_S:
            self._give_up(due.pop(0), "waited for a week")
        if not due or self._stop.is_set():
            return bool(due)
        try:
            count = self.target.send(due)
        except Refused as error:
            self._give_up(due[0], str(error))
            return True
        self._store.delivered(due[:count])
        self._told += count
        if self._error:
            log.warning("%s takes events again", self.target.name)
        self._error = ""
        return True

    def _give_up(self, due: Due, error: str) -> None:
        log.warning("%s: event %s is not told: %s", self.target.name, due.change.event.id, error)
        self._store.failed(due, error, dead=True)
        self._given_up += 1

    def _say_away(self, error: str) -> None:
        if error != self._error:
            log.warning("events for %s wait on disk: %s", self.target.name, error)
        self._error = error
