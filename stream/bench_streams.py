"""How many cameras one machine serves: a file played as that many cameras at once, by one session.

Nothing is drawn or written, as where nobody watches. For `python -m stream.bench --streams`.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from typing import Any

import numpy as np

from detector.person import PersonDetector
from detector.types import Boxes
from stream.pipeline import Options, Pipeline
from stream.session import Session
from stream.sources import VideoFile
from stream.stats import Stats

# Of the pictures that should come; where fewer do, what is in front of the ring is the limit.
ENOUGH_PICTURES = 0.97


class PlacedPeople:
    """A detector whose work is done and whose answer is not used: so many people stand at fixed places.

    For weights that find nobody, such as random ones; see `PersonDetector`.
    """

    def __init__(self, detector: PersonDetector, count: int) -> None:
        self._detector, self._count = detector, count
        self.name = f"{detector.name}, {count} people placed by hand"
        self.notice = f"people: {self.name}"
        self.threshold = detector.threshold

    def detect(self, image: np.ndarray) -> Boxes:
        """Look for people in an (H, W, 3) uint8 BGR picture, then say where the placed ones are."""
        self._detector.detect(image)
        return self._placed(image)

    def look_again(self, image: np.ndarray, people: np.ndarray) -> Boxes:
        """Look for them again, then say where the placed ones are."""
        getattr(self._detector, "look_again", lambda *_: self._detector.detect(image))(image, people)
        return self._placed(image)

    def _placed(self, image: np.ndarray) -> Boxes:
        h, w = image.shape[:2]
        width = 0.8 / max(self._count, 2)
        left = (np.arange(self._count) + 0.5) / self._count - width / 2
        top, bottom = np.full(self._count, 0.3), np.full(self._count, 0.9)
        xyxy = np.stack([left, top, left + width, bottom], 1)
        return Boxes(xyxy * np.array([w, h, w, h]), np.ones(self._count)).clip_to((h, w))

    def fork(self) -> PlacedPeople:
        """The same for another stream."""
        return PlacedPeople(self._detector.fork(), self._count)

    def close(self) -> None:
        """Free the detector."""
        self._detector.close()


class Watcher:
    """One camera and who takes its updates; runs in a thread of its own."""

    def __init__(self, session: Session, path: str, number: int, seconds: float) -> None:
        self.source = VideoFile(path, live=True, loop=True, name=f"camera {number}")
        self.stats, self._seconds = Stats(), seconds
        self.error: BaseException | None = None
        self._pipeline = Pipeline(self.source, session, Options())
        self._thread = threading.Thread(target=self._run, name=self.source.name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._pipeline:
                for update in self._pipeline:
                    self.stats.add(update, time.monotonic())
                    if update.time_s >= self._seconds:
                        return
        except BaseException as error:
            self.error = error

    def join(self, timeout_s: float) -> None:
        """Wait until it has had its seconds.

        Raises:
            BaseException: what stopped it.
            TimeoutError: it does not end.
        """
        self._thread.join(timeout_s)
        self._pipeline.close()
        if self.error is not None:
            raise self.error
        if self._thread.is_alive():
            raise TimeoutError(f"{self.source.name} did not end within {timeout_s:g} s")


def measure_streams(session: Session, path: str, seconds: float, cameras: int) -> dict[str, Any]:
    """Play a file as so many cameras for so many seconds.

    Returns:
        Sums and the worst camera's figures, what was run, and what limits it as far as that can be told.
    """
    first = VideoFile(path)
    size_hw, fps = first.size_hw, first.fps
    first.close()
    session.prepare(size_hw).result()
    start_s, cpu_s = time.monotonic(), time.process_time()
    watchers = [Watcher(session, path, number, seconds) for number in range(cameras)]
    for watcher in watchers:
        watcher.join(2 * seconds + 60)
    wall_s = time.monotonic() - start_s
    cores = (time.process_time() - cpu_s) / wall_s
    return {
        "source": os.path.basename(path), "size": list(size_hw[::-1]), "source_fps": fps, "cameras": cameras,
        "seconds": round(wall_s, 2), "model": session.model.name, "engine": session.engine_name,
        "detector": session.detector_name, "decoded_on": "cpu", "machine": platform.machine(), "cpus": os.cpu_count(),
        **summarise([watcher.stats.report() for watcher in watchers], cores),
    }


def summarise(reports: list[dict[str, Any]], cores_busy: float) -> dict[str, Any]:
    """Put cameras' reports together.

    Args:
        reports: of `Stats.report`.
        cores_busy: processor time over time.
    """
    worst_pictures = min(r["frames_drawn_percent"] for r in reports) / 100
    return {
        "clips_per_s": round(sum(r["clips_per_s"] for r in reports), 3),
        "clips_per_s_per_camera": [r["clips_per_s"] for r in reports],
        "people_per_key_frame": round(float(np.mean([r["people_per_key_frame"] for r in reports])), 2),
        "pictures_fps": round(sum(r["drawn_fps"] for r in reports), 2),
        "pictures_percent_worst": round(100 * worst_pictures, 2),
        "clips_dropped": sum(r["clips_dropped"] for r in reports),
        "compute_s_p50_worst": max(r["compute_s_p50"] for r in reports),
        "compute_s_p95_worst": max(r["compute_s_p95"] for r in reports),
        "label_delay_s_p95_worst": max(r["label_delay_s_p95"] for r in reports),
        "cores_busy": round(cores_busy, 2),
        "limited_by": "detector and engine, or nothing: every picture came" if worst_pictures >= ENOUGH_PICTURES
        else "decoding and resizing on the CPU: pictures were left out",
    }
