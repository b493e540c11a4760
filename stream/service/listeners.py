"""Who is told of each camera's answers: rules, stores, the API's followers. Nothing that looks ever waits for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from stream.handoff import Closed, Handoff
from stream.results import KeyFrameResult

log = logging.getLogger(__name__)
Listener = Callable[[str, KeyFrameResult], None]
# Answers that may wait for a slow listener; beyond it the oldest are dropped and counted.
CAPACITY = 2000


class Listeners:
    """Hands answers on, in order, in a thread of its own.

    A listener is called as `listener(camera, result)` for each key frame of each camera: people (boxes with track ids
    in pixels of the key frame), their (N, A) scores, media time, capture time in UTC; N = 0 tells that nobody is
    there. It may take its time, up to what all cameras together give; one that raises is told of in the log and
    called again with the next answer.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._answers: Handoff[tuple[str, KeyFrameResult]] = Handoff(capacity, "drop_oldest")
        self._listeners: list[Listener] = []
        self._thread = threading.Thread(target=self._run, name="listeners", daemon=True)
        self._thread.start()

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call it with each answer from now on; the result takes it off again."""
        self._listeners = [*self._listeners, listener]
        return lambda: self._remove(listener)

    def tell(self, camera: str, result: KeyFrameResult) -> None:
        """Hand on an answer; never waits."""
        try:
            self._answers.put((camera, result))
        except Closed:
            return

    @property
    def waiting(self) -> int:
        """Answers that no listener has had yet."""
        return len(self._answers)

    @property
    def dropped(self) -> int:
        """Answers that were dropped because listeners are too slow."""
        return self._answers.dropped

    def close(self, timeout_s: float = 2.0) -> bool:
        """Hand on what waits, then end; True if that was in time."""
        self._answers.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _remove(self, listener: Listener) -> None:
        self._listeners = [one for one in self._listeners if one is not listener]

    def _run(self) -> None:
        while True:
            try:
                camera, result = self._answers.get()
            except Closed:
                return
            for listener in self._listeners:
                try:
                    listener(camera, result)
                except Exception as error:
                    log.warning("a listener failed at camera %s: %s: %s", camera, type(error).__name__, error)
