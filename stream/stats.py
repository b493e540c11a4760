"""What a run did, in figures: pictures drawn, answers, delays, memory. Pure: times and memory are handed in."""

from __future__ import annotations

from typing import Any

from stream.metrics import Spread
from stream.results import Update

WARM_UP_S = 60.0


class Stats:
    """Counts updates as they are consumed."""

    def __init__(self) -> None:
        self.updates = 0
        self._start_s: float | None = None
        self._now_s = 0.0
        self._first_media_s: float | None = None
        self._media_s = 0.0
        self._pictures = self._answers = self._people = 0
        self._dropped_frames = self._dropped_clips = 0
        self._first_answer_s: float | None = None
        self._answers_s = 0.0
        self._computes, self._engines = Spread(100_000), Spread(100_000)
        self._look_ahead_s = 0.0
        self._memory: list[tuple[float, int]] = []

    def add(self, update: Update, now_s: float, memory_bytes: int | None = None) -> None:
        """Count an update that was consumed at `now_s`; memory is noted when given."""
        self._start_s = now_s if self._start_s is None else self._start_s
        self._now_s = now_s
        self.updates += 1
        if update.frame is not None and update.time_s == update.frame.time_s:
            self._pictures += 1
            self._first_media_s = update.time_s if self._first_media_s is None else self._first_media_s
            self._media_s = update.time_s
        drops = update.status.drops
        self._dropped_frames, self._dropped_clips = drops.frames, drops.clips
        for result in update.results:
            self._answers += 1
            self._people += len(result.detections)
            self._computes.add(result.timings.compute_s)
            self._engines.add(result.timings.engine_s)
            self._look_ahead_s = result.timings.look_ahead_s
            self._first_answer_s = now_s if self._first_answer_s is None else self._first_answer_s
            self._answers_s = now_s
        if memory_bytes is not None:
            self._memory.append((now_s - self._start_s, memory_bytes))

    def report(self) -> dict[str, Any]:
        """All figures, for JSON."""
        elapsed_s = self._now_s - self._start_s if self._start_s is not None else 0.0
        camera = self._pictures + self._dropped_frames
        answering_s = self._answers_s - self._first_answer_s if self._first_answer_s is not None else 0.0
        figures: dict[str, Any] = {
            "seconds": round(elapsed_s, 2),
            "frames_drawn": self._pictures,
            "frames_dropped": self._dropped_frames,
            "frames_drawn_percent": round(100 * self._pictures / camera, 2) if camera else 0.0,
            "drawn_fps": round((self._pictures - 1) / elapsed_s, 2) if elapsed_s and self._pictures > 1 else 0.0,
            "key_frames": self._answers,
            "people_per_key_frame": round(self._people / self._answers, 2) if self._answers else 0.0,
            "clips_per_s": round((self._answers - 1) / answering_s, 3) if answering_s > 0 else 0.0,
            "clips_dropped": self._dropped_clips,
            "look_ahead_s": round(self._look_ahead_s, 3),
            "compute_s_p50": round(self._computes.quantile(0.5), 3),
            "compute_s_p95": round(self._computes.quantile(0.95), 3),
            "engine_s_p50": round(self._engines.quantile(0.5), 3),
            "label_delay_s_p50": round(self._look_ahead_s + self._computes.quantile(0.5), 3),
            "label_delay_s_p95": round(self._look_ahead_s + self._computes.quantile(0.95), 3),
        }
        if self._memory:
            figures["memory_mb"] = round(self._memory[-1][1] / 1e6, 1)
            after = [size for at_s, size in self._memory if at_s >= WARM_UP_S]
            if len(after) > 1:
                figures["memory_mb_after_first_minute"] = round(after[0] / 1e6, 1)
                figures["memory_growth_percent"] = round(100 * (after[-1] / after[0] - 1), 2)
                figures["memory_peak_growth_percent"] = round(100 * (max(after) / after[0] - 1), 2)
        return figures

    def summary(self, live: bool) -> str:
        """One line for people."""
        f = self.report()
        if live:
            parts = []
            if f["frames_drawn"]:
                parts.append(
                    f"drawn {f['frames_drawn']} of {f['frames_drawn'] + f['frames_dropped']} frames "
                    f"({f['frames_drawn_percent']:.1f} %) at {f['drawn_fps']:.1f} fps"
                )
            answers = f"{f['key_frames'] or 'no'} key frames"
            if f["key_frames"]:
                answers += (
                    f", {f['clips_per_s']:.2f} clips/s; labels {f['label_delay_s_p50']:.2f} s behind (p95 "
                    f"{f['label_delay_s_p95']:.2f} s)"
                )
            return "; ".join([*parts, answers])
        rate = f" in {f['seconds']:.1f} s" if f["seconds"] else ""
        frames = f"{f['frames_drawn']} frames and " if f["frames_drawn"] else ""
        return f"{frames}{f['key_frames']} key frames{rate}"
