"""The soak: the real service on eight cameras with random faults. `python tests/soak.py --seconds 1200`

Six cameras are RTSP servers, two are files; where GStreamer's RTSP server is installed (Debian: python3-gi,
gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good and -ugly) it is one more. One fault at a time begins, lasts, and
ends; each has to show in the metrics within 5 s and its camera has to be back within 5 s after it. Memory, threads and
descriptors are watched all along; at the end SIGTERM has to end the service within 3 s.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))
FAULTS = ("killed", "stalled", "password", "size", "rate", "black", "lossy")
# What a fault has to show: the camera is offline, it was connected again, or nothing at all is to happen.
SHOWS_OFFLINE, SHOWS_RECONNECT = ("killed", "stalled", "password"), ("size", "rate")
SEEN_WITHIN_S, BACK_WITHIN_S, ENDS_WITHIN_S = 5.0, 5.0, 3.0
RTSP_CAMERAS, FILES = 6, 2
# Rules are at work and films are made all along.
EVENTS = """\
defaults:
  model: bundled
  rules: [{name: somebody, kind: stay, for: 2s, cooldown: 5s}, {name: walking, kind: action, action: walk}]
events: {store: {url: FOLDER/events.db}, films: {folder: FOLDER/films, longest: 15s}}
"""
# What a server that is another program can be made to do from outside.
OUTER_FAULTS = ("killed", "stalled")


@dataclass
class Findings:
    """What came of it."""

    faults: list[dict] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    threads: list[tuple[float, float]] = field(default_factory=list)
    descriptors: list[tuple[float, float]] = field(default_factory=list)

    def growth_percent(self, values: list[tuple[float, float]], from_s: float) -> float:
        """The last fifth's median over the first fifth's after a warm-up, in percent."""
        after = [value for at_s, value in values if at_s >= from_s]
        fifth = max(len(after) // 5, 1)
        first, last = sorted(after[:fifth]), sorted(after[-fifth:])
        return 100 * (last[len(last) // 2] / first[len(first) // 2] - 1) if after else 0.0


class Watched:
    """The service under test, seen through its metrics alone."""

    def __init__(self, file: Path, port: int, log: Path) -> None:
        self._url, self._log = f"http://127.0.0.1:{port}", log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream.serve", str(file)], cwd=ROOT, stdout=self._log, stderr=subprocess.STDOUT
        )

    def metrics(self) -> dict[str, float]:
        """All rows: `name{labels}` to value; {} while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self._url}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        return {row.rsplit(" ", 1)[0]: float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row[:1] != "#"}

    def camera(self, name: str) -> tuple[bool, float, float]:
        """Whether it is online, how often it went away so far, and pictures taken."""
        rows = self.metrics()
        away = sum(v for k, v in rows.items() if k.startswith(f'slowfast_reconnects_total{{camera="{name}"'))
        taken = rows.get(f'slowfast_pictures_total{{camera="{name}",kind="taken"}}', 0.0)
        return rows.get(f'slowfast_camera_online{{camera="{name}"}}') == 1.0, away, taken

    def end(self) -> float:
        """SIGTERM; seconds until it has ended."""
        start_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._log.close()
        return time.monotonic() - start_s


def wait_for(holds, seconds: float) -> float | None:
    """Seconds until it held, None where it did not in time."""
    start_s = time.monotonic()
    while True:
        if holds():
            return time.monotonic() - start_s
        if time.monotonic() - start_s > seconds:
            return None
        time.sleep(0.1)


def try_fault(service: Watched, camera, name: str, fault: str, lasts_s: float) -> dict:
    """Begin a fault, see it, end it, see it gone."""
    _, away_before, taken_before = service.camera(name)
    camera.set(fault)
    seen_s: float | None = None
    if fault in SHOWS_OFFLINE:
        seen_s = wait_for(lambda: not service.camera(name)[0], 3 * SEEN_WITHIN_S)
    elif fault in SHOWS_RECONNECT:
        seen_s = wait_for(lambda: service.camera(name)[1] > away_before, 3 * SEEN_WITHIN_S)
    else:  # pictures go on to come, black or torn
        seen_s = wait_for(lambda: service.camera(name)[2] > taken_before, 3 * SEEN_WITHIN_S)
    time.sleep(lasts_s)
    camera.set("")
    taken = service.camera(name)[2]
    back_s = wait_for(lambda: (now := service.camera(name))[0] and now[2] > taken, 6 * BACK_WITHIN_S)
    return {"camera": name, "fault": fault, "seen_s": _rounded(seen_s), "back_s": _rounded(back_s)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def note(service: Watched, findings: Findings, start_s: float) -> None:
    """Memory, threads and descriptors now."""
    rows, now_s = service.metrics(), time.monotonic() - start_s
    for values, row in (
        (findings.memory, "slowfast_memory_bytes"), (findings.threads, "slowfast_threads"),
        (findings.descriptors, "process_open_fds"),
    ):
        if row in rows:
            values.append((now_s, rows[row]))


def soak(seconds: float, seed: int = 0, warm_up_s: float = 180.0) -> dict:
    """Run it; the figures."""
    import socket as sockets

    from soak_cameras import FaultyCamera, GstCamera, gstreamer_python

    rng, findings = random.Random(seed), Findings()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cameras = {f"rtsp{i}": stack.enter_context(FaultyCamera(i)) for i in range(RTSP_CAMERAS)}
        python = gstreamer_python()
        if python:
            cameras["gst"] = stack.enter_context(GstCamera(python))
        with sockets.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        rows = [f"  {name}: {{source: '{camera.url}'}}" for name, camera in cameras.items()]
        rows += [f"  file{i}: {{source: sample}}" for i in range(FILES)]
        file = folder / "cameras.yaml"
        file.write_text(f"{EVENTS.replace('FOLDER', str(folder))}server: {{port: {port}}}\ncameras:\n" + "\n".join(rows))
        service = Watched(file, port, folder / "log")
        try:
            up_s = wait_for(lambda: all(service.camera(name)[0] for name in cameras), 180)
            start_s = time.monotonic()
            while time.monotonic() - start_s < seconds and service.process.poll() is None:
                fault = FAULTS[len(findings.faults) % len(FAULTS)]
                able = [n for n in cameras if fault in OUTER_FAULTS or isinstance(cameras[n], FaultyCamera)]
                name = rng.choice(able)
                findings.faults.append(try_fault(service, cameras[name], name, fault, rng.uniform(0.5, 3.0)))
                print(json.dumps(findings.faults[-1]), file=sys.stderr, flush=True)
                note(service, findings, start_s)
            alive = service.process.poll() is None
            rows = service.metrics()
        finally:
            ends_s = service.end()
        log = (folder / "log").read_text()
    events = {
        key: round(sum(v for k, v in rows.items() if k.startswith(row))) for key, row in (
            ("begun", "slowfast_events_total"), ("films", "slowfast_event_films_total"),
            ("failed_media", "slowfast_event_media_failures_total"), ("lost", "slowfast_events_lost_total"),
        )
    }
    return {"cameras": len(cameras) + FILES, "events": events, **report(findings, warm_up_s, up_s, ends_s, alive, log)}


def report(findings: Findings, warm_up_s: float, up_s: float | None, ends_s: float, alive: bool, log: str) -> dict:
    """The figures, and what was not as it has to be."""
    growth = {
        name: round(findings.growth_percent(getattr(findings, name), warm_up_s), 2)
        for name in ("memory", "threads", "descriptors")
    }
    bad = [
        one for one in findings.faults
        if one["seen_s"] is None or one["seen_s"] > SEEN_WITHIN_S or one["back_s"] is None
        or one["back_s"] > BACK_WITHIN_S
    ]
    secrets = len(re.findall(r"secret", log))
    return {
        "up_s": _rounded(up_s), "faults": len(findings.faults), "faults_late": bad, "growth_percent": growth,
        "memory_mb": round(findings.memory[-1][1] / 1e6) if findings.memory else None,
        "threads": findings.threads[-1][1] if findings.threads else None, "ends_s": round(ends_s, 2), "alive": alive,
        "secrets_in_log": secrets, "tracebacks_in_log": log.count("Traceback"),
        "longest_seen_s": max((one["seen_s"] or 99 for one in findings.faults), default=None),
        "longest_back_s": max((one["back_s"] or 99 for one in findings.faults), default=None),
    }


def main() -> int:
    """Run the command; 1 where something was not as it has to be."""
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--seconds", type=float, default=1200.0)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--warm-up", type=float, default=180.0, help="growth is counted after so many seconds")
    cli.add_argument("--json", help="write the figures there too")
    args = cli.parse_args()
    figures = soak(args.seconds, args.seed, min(args.warm_up, args.seconds / 3))
    print(json.dumps(figures, indent=2))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    fine = (
        figures["alive"] and not figures["faults_late"] and figures["ends_s"] <= ENDS_WITHIN_S
        and figures["growth_percent"]["memory"] < 2 and not figures["secrets_in_log"]
        and not figures["tracebacks_in_log"]
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
