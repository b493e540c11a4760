"""Where live pictures and answers wait to be taken by whoever iterates the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable

from detector.types import Frame
from stream.delay import DelayLine
from stream.handoff import Closed
from stream.results import KeyFrameResult


class Outlet:
    """Pictures (the oldest goes when there are too many) and answers (never lost), for one reader."""

    def __init__(
        self, clock: Callable[[], float], *, capacity: int | None, delay_s: Callable[[], float] | None = None,
        line: DelayLine | None = None,
    ) -> None:
        """
        Args:
            clock: seconds, monotonic; that of `Frame.captured_s`.
            capacity: pictures that may wait; None where only the delay bounds them, 0 where none will come and
                answers need not wait for one.
            delay_s: how long after its capture a picture may be shown; None for at once.
            line: where pictures wait.
        """
        self._clock, self._capacity, self._delay_s = clock, capacity, delay_s
        self._frames = line or DelayLine(2**63)
        self._results: list[KeyFrameResult] = []
        self._dropped = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put_frame(self, frame: Frame) -> None:
        """Offer a picture.

        Raises:
            Closed: nobody takes any more.
        """
        with self._changed:
            if self._closed:
                raise Closed
            self._frames.append(frame)
            if self._capacity is not None and len(self._frames) > self._capacity:
                self._frames.pop()
                self._dropped += 1
            self._changed.notify_all()

    def put_result(self, result: KeyFrameResult) -> None:
        """Offer an answer; it goes out with the next picture, or alone when none comes."""
        with self._changed:
            self._results.append(result)
            self._changed.notify_all()

    def take(self, idle_s: float) -> tuple[Frame | None, tuple[KeyFrameResult, ...], int]:
        """The next picture that is due, the answers that are new, and how many pictures were dropped before it.

        A picture is waited for `idle_s`; after that, answers come without one, or nothing at all. Where no pictures
        are wanted, answers come at once.

        Raises:
            Closed: there is no more.
            BaseException: what the outlet was closed with.
        """
        give_up_s = self._clock() + idle_s
        with self._changed:
            while True:
                now = self._clock()
                wait_s = give_up_s - now
                if self._error is not None:
                    raise self._error
                if len(self._frames):
                    due_in_s = self._frames.first().captured_s + (self._delay_s() if self._delay_s else 0.0) - now
                    if due_in_s <= 0 or self._delay_s is None:
                        return self._frames.pop(), *self._rest()
                    wait_s = min(wait_s, due_in_s)
                elif self._results and (self._closed or self._capacity == 0):
                    return None, *self._rest()
                elif self._closed:
                    raise Closed
                if give_up_s <= now:
                    return None, *self._rest()
                self._changed.wait(wait_s)

    def close(self, error: BaseException | None = None, discard: bool = False) -> None:
        """Say that no more comes; with `discard` what waits is thrown away. The first error is kept."""
        with self._changed:
            self._error = self._error or error
            self._closed = True
            if discard:
                self._frames.clear()
                self._results.clear()
            self._changed.notify_all()

    def _rest(self) -> tuple[tuple[KeyFrameResult, ...], int]:
        results, dropped = tuple(self._results), self._dropped
        self._results, self._dropped = [], 0
        return results, dropped
