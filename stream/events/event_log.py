"""From the watching thread into the store without ever waiting for it: a bounded queue and one thread."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.events.records import EventChange, event_from_json, event_to_json
from stream.events.schema import StoreAway
from stream.events.store import Store, Written

log = logging.getLogger(__name__)
# A change takes some 3 kB of memory: at most about 30 MB wait for a database that is away.
MOST_WAITING = 10_000
BATCH = 200
FIRST_RETRY_S, MOST_RETRY_S = 0.5, 15.0


@dataclass(frozen=True, slots=True)
class LogState:
    """How the log is doing.

    Attributes:
        waiting: changes not yet in the store.
        written: changes that are, since the start.
        dropped_updates: updates left out because too much waited; starts and ends were kept.
        lost: starts and ends left out because even without updates too much waited.
        error: why the store does not take them; "" when it does.
    """

    waiting: int = 0
    written: int = 0
    dropped_updates: int = 0
    lost: int = 0
    error: str = ""


def keep_aside(path: Path, changes: Sequence[EventChange]) -> bool:
    """Keep changes in a file until the store is back; False where that cannot be written either."""
    lines = [
        json.dumps({
            "kind": c.kind, "event": event_to_json(c.event), "before": c.before and event_to_json(c.before),
        }, ensure_ascii=False) + "\n" for c in changes
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        log.error("%d changes of events are lost: %s (%s)", len(changes), path, error.strerror)
        return False
    return True


def take_aside(path: Path, store: Store) -> int:
    """Write into the store what an earlier run kept aside; gives how many changes.

    Raises:
        StoreAway: the store does not take them; they stay where they are.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        log.error("%s cannot be read: %s", path, error)
        return 0
    store.write([
        Written(EventChange(
            line["kind"], event_from_json(line["event"]), line["before"] and event_from_json(line["before"])
        ), key=hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()[:32]) for line in lines
    ])
    path.unlink(missing_ok=True)
    return len(lines)


class EventLog:
    """Takes changes at once, writes them in order, tries again while the store is away."""

    def __init__(
        self, store: Store, *, most_waiting: int = MOST_WAITING, on_written: Callable[[], None] = lambda: None,
        retry_s: float = FIRST_RETRY_S,
    ) -> None:
        """
        Args:
            store: to write to; not closed here.
            most_waiting: changes that may wait; beyond it updates are dropped, then the oldest others.
            on_written: called after each write, in the log's thread.
            retry_s: first pause after a failure; doubles up to 15 s.
        """
        self._store, self._most, self._on_written, self._retry_s = store, most_waiting, on_written, retry_s
        self._waiting: deque[Written] = deque()
        self._state = LogState()
        self._dropped = self._lost = self._written = 0
        self._error = ""
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="event log", daemon=True)
        self._thread.start()

    @property
    def state(self) -> LogState:
        """How it is doing, from any thread."""
        with self._changed:
            return LogState(len(self._waiting), self._written, self._dropped, self._lost, self._error)

    def put(self, changes: Iterable[EventChange]) -> None:
        """Take changes; never waits."""
        with self._changed:
            self._waiting.extend(Written(change) for change in changes)
            if len(self._waiting) > self._most:
                self._make_room()
            self._changed.notify_all()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was put is in the store; False if it is not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def close(self, timeout_s: float = 10.0) -> list[EventChange]:
        """Write what waits and end.

        Returns:
            What could not be written in time; see `keep_aside`.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            return [written.change for written in self._waiting]

    def _make_room(self) -> None:
        kept = deque(w for w in self._waiting if w.change.kind != "update")
        self._dropped += len(self._waiting) - len(kept)
        while len(kept) > self._most:
            kept.popleft()
            self._lost += 1
        self._waiting = kept

    def _run(self) -> None:
        pause_s = self._retry_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                batch = [self._waiting[i] for i in range(min(len(self._waiting), BATCH))]
                if not batch:
                    return
            try:
                self._store.write(batch)
            except StoreAway as error:
                if not self._failed(str(error), pause_s):
                    return
                pause_s = min(pause_s * 2, MOST_RETRY_S)
                continue
            except Exception:
                self._write_singly(batch)
                continue
            pause_s = self._retry_s
            self._done(batch)
            self._say_written()

    def _say_written(self) -> None:
        try:
            self._on_written()
        except Exception:
            # Whoever listens must not stop what is written.
            log.exception("after writing events")

    def _write_singly(self, batch: list[Written]) -> None:
        """Something in a batch cannot be written at all: it alone is left out, and counted."""
        for written in batch:
            try:
                self._store.write([written])
            except StoreAway:
                return
            except Exception as error:
                log.error("event %s cannot be kept: %s", written.change.event.id, error)
                with self._changed:
                    self._lost += 1
                    self._written -= 1
            self._done([written])
        self._say_written()

    def _done(self, batch: list[Written]) -> None:
        with self._changed:
            keys = {written.key for written in batch}
            while self._waiting and self._waiting[0].key in keys:
                self._waiting.popleft()
            self._written += len(batch)
            if self._error:
                log.warning("the store takes events again")
            self._error = ""
            self._changed.notify_all()

    def _failed(self, error: str, pause_s: float) -> bool:
        """Wait before the next attempt; False when it is time to end."""
        with self._changed:
            if error != self._error:
                log.warning("events wait in memory: %s", error)
            self._error = error
            if self._closing:
                return False
            self._changed.wait_for(lambda: self._closing, pause_s)
            return True
