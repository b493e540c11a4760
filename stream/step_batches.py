"""Steps of many cameras in batches: whatever waits when the engine is free runs at once, each with its own state."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engine_build.causal_engine import CausalEngine

# Cameras of one batch. An engine is compiled for each size of batch, so that only a few sizes are used.
BATCHES = (8, 4, 2, 1)


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """(N, A) float32 scores and the seconds that the engine took for them."""

    scores: np.ndarray
    engine_s: float


@dataclass(eq=False, slots=True)
class _Request:
    """A step that waits. The stream is only known while it lives."""

    stream: weakref.ref
    frames: np.ndarray
    boxes: np.ndarray
    restart: bool
    future: Future[Scored] = field(default_factory=Future)


class StepBatches:
    """Takes steps from any thread, runs them in the engine's."""

    def __init__(self, engine_for: Callable[[tuple[int, int]], CausalEngine], clock: Callable[[], float]) -> None:
        """
        Args:
            engine_for: gives the engine for frames of (h, w).
            clock: for durations.
        """
        self._engine_for, self._clock = engine_for, clock
        self._waiting: list[_Request] = []
        self._rows: weakref.WeakKeyDictionary[object, tuple[CausalEngine, int]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def add(self, stream: object, frames: np.ndarray, boxes: np.ndarray, restart: bool) -> Future[Scored]:
        """Have a step run; whoever adds one calls `run` in the engine's thread afterwards.

        Args:
            stream: whose state it goes on from; any object.
            frames: (n, h, w, 3) uint8 RGB, new ones, oldest first.
            boxes: (N, 4) float32, people in pixels of the newest; N = 0 where no answer is wanted.
            restart: begin without a past.
        """
        request = _Request(weakref.ref(stream), frames, boxes, restart)
        with self._lock:
            self._waiting.append(request)
        return request.future

    def run(self) -> None:
        """Run what waits: one step a stream, streams of the same frame size together."""
        batch = self._take()
        if not batch:
            return
        size_hw = batch[0].frames.shape[1:3]
        try:
            scores, seconds = self._scores(batch, (int(size_hw[0]), int(size_hw[1])))
        except BaseException as error:
            for request in batch:
                request.future.set_exception(error)
            return
        for request, rows in zip(batch, scores):
            request.future.set_result(Scored(rows, seconds))

    def leave(self, stream: object) -> None:
        """Forget a stream; in the engine's thread."""
        engine, row = self._rows.pop(stream, (None, 0))
        if engine is not None:
            engine.close_camera(row)

    def clear(self) -> None:
        """Forget all streams, before their engines are freed."""
        self._rows.clear()

    def _take(self) -> list[_Request]:
        """The next batch; what is left has runs of its own coming."""
        with self._lock:
            seen: set[int] = set()
            ready: list[_Request] = []
            for request in self._waiting:
                stream = request.stream()
                if stream is None or request.future.cancelled():
                    continue
                if id(stream) not in seen and (not ready or request.frames.shape == ready[0].frames.shape):
                    ready.append(request)
                seen.add(id(stream))  # its later steps wait for this one
            count = next((size for size in BATCHES if size <= len(ready)), 0)
            chosen = ready[:count]
            gone = [r for r in self._waiting if r.stream() is None or r.future.cancelled()]
            self._waiting = [r for r in self._waiting if r not in chosen and r not in gone]
        return [request for request in chosen if request.future.set_running_or_notify_cancel()]

    def _scores(self, batch: list[_Request], size_hw: tuple[int, int]) -> tuple[list[np.ndarray], float]:
        engine = self._engine_for(size_hw)
        start = self._clock()
        rows = [self._row(request, engine) for request in batch]
        # In the order of rows cameras lie as they run.
        order = np.argsort(rows, kind="stable").tolist()
        features = engine.run_step(np.stack([batch[i].frames for i in order]), [rows[i] for i in order])
        counts = [len(batch[i].boxes) for i in order]
        rois = np.zeros((sum(counts), 5), np.float32)
        if len(rois):
            rois[:, 0] = np.repeat(np.arange(len(order)), counts)
            rois[:, 1:] = np.concatenate([batch[i].boxes for i in order])
        scores = np.asarray(engine.run_head(features, rois), np.float32)
        parts = np.split(scores, np.cumsum(counts)[:-1])
        found: list[np.ndarray] = [parts[order.index(i)] for i in range(len(batch))]
        return found, self._clock() - start

    def _row(self, request: _Request, engine: CausalEngine) -> int:
        stream = request.stream()
        assert stream is not None
        known = self._rows.get(stream)
        if known is None or known[0] is not engine:
            self.leave(stream)
            known = self._rows[stream] = (engine, engine.open_camera())
        elif request.restart:
            engine.reset(known[1])
        return known[1]
