"""How many cameras a machine takes: files as cameras, half of them quiet, the service as it is, and what came of it.

Busy cameras show two people of the bundled clip; quiet ones its empty room with a sensor's noise. All run the bundled
model; figures are taken after a warm-up.
"""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.errors import UserError
from stream.metrics import resident_bytes
from stream.results import KeyFrameResult
from stream.service.running import Service
from stream.sources import SAMPLE, VideoFile

SIZE_HW, FPS = (360, 640), 10
# The right half of the bundled clip: two people, one of whom walks.
LEFT_OF_WIDTH, TOP_OF_HEIGHT = 0.5, 0.4
NOISE = 2.0
WARM_UP_S, LONGEST_WARM_UP_S = 10.0, 180.0


def measure_cameras(count: int, seconds: float, *, source: str | None = None, every_s: float = 0.5) -> dict[str, Any]:
    """Run so many cameras for so long.

    Args:
        count: of cameras; the first half, rounded up, is busy.
        seconds: after the warm-up.
        source: a video for the busy ones instead of the bundled clip, scaled to 640x360 at 10 fps.
        every_s: seconds between answers that each asks for.

    Returns:
        The figures; `answers_per_s` by camera, shares of 1, times in seconds, `cpu` in cores by part.
    """
    busy = [f"busy{i:02}" for i in range((count + 1) // 2)]
    quiet = [f"quiet{i:02}" for i in range(count // 2)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_media(folder, source)
        file = folder / "cameras.yaml"
        rows = [f"  {camera}: {{source: {folder / 'busy.mp4'}}}" for camera in busy]
        rows += [f"  {camera}: {{source: {folder / 'quiet.mp4'}}}" for camera in quiet]
        head = f"defaults: {{model: bundled, every: {every_s:g}}}\nserver: {{enabled: false}}\ncameras:\n"
        file.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
        service = Service(file)
        try:
            return {"cameras": count, "busy": len(busy), "quiet": len(quiet), **_run(service, busy, quiet, seconds)}
        finally:
            service.close(10.0)


def _run(service: Service, busy: list[str], quiet: list[str], seconds: float) -> dict[str, Any]:
    answers: dict[str, list[tuple[float, KeyFrameResult]]] = defaultdict(list)
    service.listeners.add(lambda camera, result: answers[camera].append((time.monotonic(), result)))
    service.start()
    loop = threading.Thread(target=service.run, daemon=True)
    loop.start()
    give_up_s = time.monotonic() + LONGEST_WARM_UP_S
    while time.monotonic() < give_up_s and not all(answers[name] for name in (*busy, *quiet)):
        time.sleep(0.2)
    time.sleep(WARM_UP_S)
    start_s, before, cpu_before = time.monotonic(), _numbers(service), cpu_by_part()
    time.sleep(seconds)
    end_s, after, cpu_after = time.monotonic(), _numbers(service), cpu_by_part()
    span_s = end_s - start_s
    within = {name: [one for at_s, one in answers[name] if start_s <= at_s < end_s] for name in (*busy, *quiet)}
    rates = {name: round(len(found) / span_s, 3) for name, found in within.items()}
    delays = [one.timings.compute_s for name in busy for one in within[name]]
    taken = sum(after[n].taken - before[n].taken for n in after)
    late = sum(after[n].drops.get("late", 0) - before[n].drops.get("late", 0) for n in after)
    of_busy = [rates[name] for name in busy]
    return {
        "seconds": round(span_s, 1), "taken_share": round(taken / max(taken + late, 1), 4), "answers_per_s": rates,
        "delay_p50_s": _quantile(delays, 0.5), "delay_p95_s": _quantile(delays, 0.95),
        "fairness": round(min(of_busy) / max(of_busy), 3) if max(of_busy) else 0.0,
        "answers_per_s_busy": round(float(np.mean(of_busy)), 3), "answers_per_s_busy_least": min(of_busy),
        "searches_per_s_busy": round(
            sum(after[n].searches - before[n].searches for n in busy) / span_s / max(len(busy), 1), 3
        ),
        "people_per_answer": round(
            float(np.mean([len(r.detections) for n in busy for r in within[n]] or [0])), 2
        ),
        "search_s_mean": _mean(after, before, busy, "search_s", "searches"),
        "network_s_mean": _mean(after, before, busy, "network_s", "answers"),
        "cpu": {part: round((cpu_after[part] - cpu_before.get(part, 0.0)) / span_s, 3) for part in cpu_after},
        "memory_mb": round(resident_bytes() / 1e6), "threads": threading.active_count(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.processor() or platform.machine(), "models": list(service.snapshot().models),
    }


def _numbers(service: Service) -> dict[str, Any]:
    return {camera.name: camera.counts.numbers(time.monotonic()) for camera in service.supervisor.cameras()}


def _mean(after: dict, before: dict, names: list[str], total: str, count: str) -> float:
    spent = sum(getattr(after[n], total) - getattr(before[n], total) for n in names)
    return round(spent / max(sum(getattr(after[n], count) - getattr(before[n], count) for n in names), 1), 4)


def _quantile(values: list[float], q: float) -> float | None:
    return round(float(np.quantile(values, q)), 3) if values else None


def cpu_by_part() -> dict[str, float]:
    """Processor seconds of this process so far, by part; {} where the system does not tell (only Linux does).

    `reading` decodes and shrinks, `detector` and `network` are their threads, `libraries` those that OpenVINO and torch
    start for both.
    """
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        return {}
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    spent: dict[str, float] = dict.fromkeys(("reading", "detector", "network", "libraries", "rest"), 0.0)
    for task in tasks.iterdir():
        try:
            text = (task / "stat").read_text()
        except OSError:  # the thread has ended
            continue
        own, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        name = names.get(int(task.name))
        spent[_part_of(name, own)] += (int(fields[11]) + int(fields[12])) * tick_s
    return spent


def _part_of(name: str | None, own: str) -> str:
    if own.startswith("av:") or (name or "").startswith("camera "):
        return "reading"
    if name in ("detector", "searching"):
        return "detector"
    if name in ("engine", "answering"):
        return "network"
    return "libraries" if name is None else "rest"


def write_media(folder: Path, source: str | None = None) -> None:
    """Write `busy.mp4` and `quiet.mp4`, 640x360 at 10 fps, into a folder.

    Raises:
        UserError: the source is no video.
    """
    pictures = []
    next_s = 0.0
    for frame in VideoFile(source or SAMPLE):
        if frame.time_s + 1e-6 < next_s:
            continue
        next_s += 1 / FPS
        image = frame.image
        if source is None:
            h, w = image.shape[:2]
            top, left = round(TOP_OF_HEIGHT * h), round(LEFT_OF_WIDTH * w)
            image = image[top : top + h // 2, left : left + w // 2]
        pictures.append(cv2.resize(image, SIZE_HW[::-1], interpolation=cv2.INTER_AREA))
        if len(pictures) >= 60 * FPS:
            break
    if len(pictures) < 2:
        raise UserError(f"{source}: is one picture, expected a video")
    _write(folder / "busy.mp4", pictures)
    empty = np.median(np.stack(pictures[:: max(len(pictures) // 40, 1)]), axis=0)
    rng = np.random.default_rng(0)
    _write(folder / "quiet.mp4", [
        np.clip(empty + rng.normal(0, NOISE, empty.shape), 0, 255).astype(np.uint8) for _ in range(20 * FPS)
    ])


def _write(path: Path, pictures: list[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast", "g": str(2 * FPS)}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
