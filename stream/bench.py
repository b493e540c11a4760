"""How real the real time is: play a file as if it were a camera, draw and write every picture, print figures.

`python -m stream.bench --source FILE --seconds 60`, or with `--cameras 8` the file as so many cameras at once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from detector.errors import UserError, run_command
from stream.bench_cameras import PlacedPeople, measure_cameras
from stream.metrics import resident_bytes
from stream.mp4 import Mp4Writer
from stream.overlay import draw_update
from stream.pipeline import Options, Pipeline
from stream.results import thresholds_for
from stream.session import Session, open_session
from stream.sinks import JsonLines
from stream.sources import VideoFile
from stream.stats import Stats

MEMORY_EVERY_S = 1.0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    cli = argparse.ArgumentParser("python -m stream.bench", description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--source", required=True, metavar="FILE", help="video file; it is looped")
    cli.add_argument("--seconds", type=float, default=60.0, metavar="N", help="how long to run (60)")
    cli.add_argument("--model", default="auto", metavar="M", help="action model: a name or a weights file")
    cli.add_argument("--detector", default="auto", metavar="D", help="person detector: a name or a .pth file")
    cli.add_argument("--engine", default="auto", metavar="E", help="openvino, torch, ...")
    cli.add_argument("--precision", default="auto", metavar="P", help="fp32, bf16, int8, ...")
    cli.add_argument("--untrained", action="store_true", help="allow random weights; speed is the same")
    cli.add_argument("--display", choices=("now", "synced"), default="now", help="which picture is drawn")
    cli.add_argument("--cameras", type=int, default=None, metavar="N",
                     help="play it as N cameras at once; nothing is drawn then")
    cli.add_argument("--people", type=int, default=None, metavar="N",
                     help="take N people at fixed places for those that the detector finds (for untrained ones)")
    cli.add_argument("--json", metavar="FILE", help="write the figures there too")
    return cli


def measure(session: Session, path: str, seconds: float, display: str = "now") -> dict[str, Any]:
    """Run a looped file live for so many seconds, writing MP4 and JSON lines to a folder that is deleted.

    Returns:
        The figures of `Stats.report`, with what was run and on what.
    """
    source = VideoFile(path, live=True, loop=True)
    session.prepare(source.size_hw).result()
    limits = thresholds_for(session.model.labels)
    stats, noted_s = Stats(), -1e9
    options = Options(display="synced" if display == "synced" else "now")
    with tempfile.TemporaryDirectory() as folder, Pipeline(source, session, options) as pipeline:
        video = Mp4Writer(Path(folder) / "bench.mp4", source.fps)
        lines = JsonLines(Path(folder) / "bench.jsonl", limits)
        for update in pipeline:
            for result in update.results:
                lines.write(result)
            if update.frame is not None:
                video.write(draw_update(update, limits), update.time_s)
            now_s = time.monotonic()
            memory = resident_bytes() if now_s - noted_s >= MEMORY_EVERY_S else None
            noted_s = now_s if memory is not None else noted_s
            stats.add(update, now_s, memory)
            if update.time_s >= seconds:
                break
        pipeline.close()
        lines.close()
        video.close()
        written = video.pictures
    return {
        "source": source.name, "size": list(source.size_hw[::-1]), "source_fps": source.fps, "display": display,
        "model": session.model.name, "engine": session.engine_name, "detector": session.detector_name,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.processor() or platform.machine(), "frames_written": written, **stats.report(),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    if not 0 < args.seconds < 86_400:
        raise UserError(f"--seconds {args.seconds:g}: expected more than 0 and less than a day")
    if any(number is not None and number < 1 for number in (args.cameras, args.people)):
        raise UserError("--cameras and --people: expected at least 1")
    with open_session(
        args.model, args.detector, engine=args.engine, precision=args.precision, untrained=args.untrained,
        report=lambda line: print(line, file=sys.stderr),
    ) as session:
        if args.people is not None:
            people = args.people
            session.wrap_detector(lambda found: PlacedPeople(found, people))
        if args.cameras is not None:
            figures = measure_cameras(session, args.source, args.seconds, args.cameras)
        else:
            figures = measure(session, args.source, args.seconds, args.display)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value}")
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def command() -> int:
    """Entry point."""
    import cv2

    from engine_build.memory import give_large_blocks_back_at_once

    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
