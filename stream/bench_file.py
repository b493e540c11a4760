"""Where the time of a file's complete way goes: decoding, finding people, the action network, drawing and writing.

For `python -m stream.bench FILE --file`.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from detector.person import PersonDetector
from detector.types import Boxes, Frame
from stream.outputs.film import Mp4Writer
from stream.outputs.json_lines import JsonLines
from stream.picture.overlay import draw_update
from stream.pipeline import Options, Pipeline
from stream.results import thresholds_for
from stream.session import Session
from stream.sources import VideoFile


class TimedFile(VideoFile):
    """A file that notes how long its pictures took to decode."""

    decode_s = 0.0

    def __iter__(self) -> Iterator[Frame]:
        frames = super().__iter__()
        while True:
            start_s = time.perf_counter()
            frame = next(frames, None)
            self.decode_s += time.perf_counter() - start_s
            if frame is None:
                return
            yield frame


class TimedPeople:
    """A detector that notes in `spent_s`, a list of one number that its forks share, how long it searched."""

    def __init__(self, detector: PersonDetector, spent_s: list[float]) -> None:
        self._detector, self._spent_s = detector, spent_s
        self.name, self.notice, self.threshold = detector.name, detector.notice, detector.threshold

    def detect(self, image: np.ndarray) -> Boxes:
        """As the detector's."""
        start_s = time.perf_counter()
        boxes = self._detector.detect(image)
        self._spent_s[0] += time.perf_counter() - start_s
        return boxes

    def look_again(self, image: np.ndarray, people: np.ndarray) -> Boxes:
        """As the detector's, or a search where it has none."""
        look_again = getattr(self._detector, "look_again", None)
        if look_again is None:
            return self.detect(image)
        start_s = time.perf_counter()
        boxes: Boxes = look_again(image, people)
        self._spent_s[0] += time.perf_counter() - start_s
        return boxes

    def fork(self) -> TimedPeople:
        """The same for another stream."""
        return TimedPeople(self._detector.fork(), self._spent_s)

    def close(self) -> None:
        """Free the detector."""
        self._detector.close()


def measure_file(session: Session, path: str) -> dict[str, Any]:
    """Watch a file completely, writing MP4 and JSON lines to a folder that is deleted.

    Returns:
        How many times faster than the video that was, the engine and detector being ready, and the seconds that each
        part took over the seconds of the whole; parts run beside each other, so that shares may add up to over 1.
    """
    spent_s = [0.0]
    session.wrap_detector(lambda found: TimedPeople(found, spent_s))
    source = TimedFile(path)
    session.prepare(source.size_hw).result()
    limits, engine_s, drawing_s, key_frames, last_s = thresholds_for(session.model.labels), 0.0, 0.0, 0, 0.0
    begun_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Pipeline(source, session, Options()) as pipeline:
        video = Mp4Writer(Path(folder) / "bench.mp4", source.fps)
        lines = JsonLines(Path(folder) / "bench.jsonl", limits)
        for update in pipeline:
            start_s = time.perf_counter()
            for result in update.results:
                lines.write(result)
                engine_s, key_frames = engine_s + result.timings.engine_s, key_frames + 1
            if update.frame is not None:
                video.write(draw_update(update, limits), update.time_s)
                last_s = update.time_s
            drawing_s += time.perf_counter() - start_s
        lines.close()
        video.close()
        pictures = video.pictures
    wall_s = time.perf_counter() - begun_s
    video_s = last_s + 1 / (source.fps or 25.0)
    parts = {"decode": source.decode_s, "search": spent_s[0], "network": engine_s, "drawing": drawing_s}
    return {
        "source": source.name, "size": list(source.size_hw[::-1]), "model": session.model.name,
        "engine": session.engine_name, "detector": session.detector_name,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.processor() or platform.machine(), "pictures": pictures, "key_frames": key_frames,
        "video_s": round(video_s, 2), "wall_s": round(wall_s, 2), "times_real_time": round(video_s / wall_s, 2),
        **{f"{name}_share": round(seconds / wall_s, 3) for name, seconds in parts.items()},
    }
