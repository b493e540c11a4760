"""Passing things from one thread to another: bounded, closable from either end, errors come along."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Literal, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """Nothing more will come (to the reader), or nobody reads any more (to the writer)."""


class Handoff(Generic[T]):
    """A bounded queue between threads.

    When it is full, `block` makes the writer wait (files: nothing may be lost) and `drop_oldest` throws away the
    oldest entry and counts it (live: the newest wins). Closing wakes both ends: the writer gets `Closed`, the
    reader what is left and then `Closed`, or the error that it was closed with.
    """

    def __init__(self, capacity: int, when_full: Literal["block", "drop_oldest"] = "block") -> None:
        if capacity < 1:
            raise ValueError(f"capacity: got {capacity}, expected at least 1")
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._when_full = when_full
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Entries thrown away because the reader was too slow."""
        return self._dropped

    @property
    def closed(self) -> bool:
        """No more can be put."""
        return self._closed

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Hand over an item.

        Raises:
            Closed: the queue is closed.
        """
        with self._changed:
            while not self._closed and len(self._items) >= self._capacity:
                if self._when_full == "drop_oldest":
                    self._items.popleft()
                    self._dropped += 1
                else:
                    self._changed.wait()
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> T:
        """Take the oldest item, waiting for one.

        Raises:
            Closed: closed and empty.
            TimeoutError: none came in time.
            BaseException: what the queue was closed with, once it is empty.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._closed, timeout_s):
                raise TimeoutError
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            raise Closed

    def close(self, error: BaseException | None = None, discard: bool = False) -> None:
        """Say that no more comes, or that nobody reads; the first error given is kept.

        Args:
            error: what the reader shall get after the items that are left.
            discard: throw away the items that are left.
        """
        with self._changed:
            self._error = self._error or error
            self._closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()
