"""From frames to pictures with labels: iterate a `Pipeline`.

::

    with open_session() as session, Pipeline(open_source("0"), session) as pipeline:
        for update in pipeline:
            show(draw_update(update, thresholds))

A live source never builds a backlog: the newest clip and the newest picture win, and what is left out is counted.
A file is processed completely, every key frame, in order, with the same result each time. The threads are in
`stream.live` and `stream.offline`; the first error of any of them is raised to whoever iterates.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from stream.live import LiveRun
from stream.offline import OfflineRun
from stream.results import Status, Update
from stream.session import Session
from stream.sources import Source
from stream.watching import Options, Tracker, Watch

__all__ = ["Options", "Pipeline"]

log = logging.getLogger(__name__)


class Pipeline:
    """A stream being watched; iterate it for updates, close it (or use `with`) when done."""

    def __init__(
        self, source: Source, session: Session, options: Options | None = None, *, tracker: Tracker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Threads start with the iteration.

        Args:
            source: taken over: closed with the pipeline.
            session: shared; not closed here.
            options: how to watch; `source.live` decides between live and complete.
            tracker: of this stream alone; `detector.tracking.Tracker` unless given.
            clock: seconds, monotonic; the source's.
        """
        if tracker is None:
            from detector.tracking import Tracker as DefaultTracker

            tracker = DefaultTracker()
        self._watch = Watch(source, session, options or Options(), tracker, clock)
        self._errors: list[BaseException] = []
        self._run = (LiveRun if source.live else OfflineRun)(self._watch, self._errors.append)
        self._threads: list[threading.Thread] = []
        self._started = False
        self._lock = threading.Lock()

    @property
    def status(self) -> Status:
        """Rates, delays and drops now; from any thread."""
        return self._watch.status()

    def set_thresholds(self, thresholds: np.ndarray) -> None:
        """Say actions over these (A,) scores from the next answer on; from any thread."""
        self._watch.set_thresholds(thresholds)

    def __iter__(self) -> Iterator[Update]:
        """Give updates until the source ends or the pipeline is closed. Iterate once.

        Raises:
            BaseException: the first error of any thread: of the source, the detector, the engine.
        """
        with self._lock:
            if self._started:
                raise RuntimeError("Pipeline: iterated twice, expected once; make a new one")
            self._started = True
            if self._watch.stop.is_set():
                return
            for name, body in self._run.threads():
                thread = threading.Thread(target=body, name=f"{name} {self._watch.source.name}", daemon=True)
                self._threads.append(thread)
                thread.start()
        try:
            yield from self._run.updates()
        except KeyboardInterrupt:
            # Whoever is interrupted closes files first; `close` waits for the threads then.
            self.stop()
            raise
        except BaseException:
            self.close()
            raise
        self.close()
        if self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """Have the threads end soon, without waiting for them; from any thread, may be called twice."""
        self._watch.halt()
        self._run.stop()

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop and join the threads; True if all ended in time. From any thread, may be called twice."""
        self.stop()
        give_up_s = time.monotonic() + timeout_s
        stuck = []
        with self._lock:  # whoever closes while the iteration begins waits until all threads have started
            threads = list(self._threads)
        for thread in threads:
            if thread is threading.current_thread():
                continue
            thread.join(max(give_up_s - time.monotonic(), 0.0))
            if thread.is_alive():
                stuck.append(thread.name)
        if stuck:
            log.warning("did not end within %g s: %s", timeout_s, ", ".join(stuck))
        return not stuck

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
