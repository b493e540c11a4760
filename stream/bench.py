"""How real the real time is: play a file as if it were a camera, draw and write every picture, print figures.

`python -m stream.bench --source FILE --seconds 60`, and for many cameras in one process
`python -m stream.bench --cameras 16 --seconds 60 --json bench.json`
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from detector.command_line import CommandLine, check_file_to_write
from detector.errors import UserError, run_command
from stream.bench_file import measure_file
from stream.bench_streams import PlacedPeople, measure_streams
from stream.metrics import resident_bytes
from stream.outputs.film import Mp4Writer
from stream.outputs.json_lines import JsonLines
from stream.picture.overlay import draw_update
from stream.pipeline import Options, Pipeline
from stream.results import thresholds_for
from stream.session import Session, open_session
from stream.session_options import add_session_options, check_session_options
from stream.sources import VideoFile
from stream.stats import Stats

MEMORY_EVERY_S = 1.0


def parser(prog: str = "python -m stream.bench") -> CommandLine:
    """The command's options."""
    cli = CommandLine(prog, description=(__doc__ or "").splitlines()[0], usage="%(prog)s [SOURCE] [options]")
    cli.add_argument("place", nargs="?", metavar="SOURCE", help="video file; it is looped")
    cli.add_argument("--source", metavar="FILE", help="the same, as an option")
    cli.add_argument("--file", action="store_true", help="once, completely, as fast as it goes: where the time goes")
    cli.add_argument("--cameras", type=int, metavar="N", help="run the service with N cameras, half of them quiet")
    cli.add_argument("--every", type=float, default=0.5, metavar="S",
                     help="with --cameras: seconds between answers (0.5)")
    cli.add_argument("--seconds", type=float, default=60.0, metavar="N", help="how long to run (60)")
    add_session_options(cli)
    cli.add_argument("--display", choices=("now", "synced"), default="now", help="which picture is drawn")
    cli.add_argument("--streams", type=int, default=None, metavar="N",
                     help="play it as N live streams of one session, without the service; nothing is drawn then")
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
    limits = thresholds_for(session.model)
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


def main(argv: list[str] | None = None, prog: str = "python -m stream.bench") -> int:
    """Run the command."""
    args = parser(prog).parse_args(argv)
    if (args.place is not None and args.source is not None) or (args.place or args.source or args.cameras) is None:
        raise UserError("expected one video file to play: give its name")
    args.source = args.place or args.source
    if not 0 < args.seconds < 86_400:
        raise UserError(f"--seconds {args.seconds:g}: expected more than 0 and less than a day")
    check_file_to_write("--json", args.json)
    if args.cameras is not None:
        return _many(args)
    check_session_options(args)
    if args.file and args.streams is not None:
        raise UserError("--file and --streams: expected one of them")
    if any(number is not None and number < 1 for number in (args.streams, args.people)):
        raise UserError("--streams and --people: expected at least 1")
    with open_session(
        args.model, args.detector, engine=args.engine, precision=args.precision, device=args.device,
        person_threshold=args.person_threshold, untrained=args.untrained, causal=args.causal,
        report=lambda line: print(line, file=sys.stderr),
    ) as session:
        if args.people is not None:
            people = args.people
            session.wrap_detector(lambda found: PlacedPeople(found, people))
        if args.file:
            figures = measure_file(session, args.source)
        elif args.streams is not None:
            figures = measure_streams(session, args.source, args.seconds, args.streams)
        else:
            figures = measure(session, args.source, args.seconds, args.display)
    return _tell(figures, args.json)


def _many(args: Any) -> int:
    if not 1 <= args.cameras <= 256 or not 0.05 <= args.every <= 60:
        raise UserError(f"--cameras {args.cameras} --every {args.every:g}: expected 1 to 256, and 0.05 to 60 seconds")
    from stream.service.needs import require_serve

    require_serve()
    from stream.service.bench import measure_cameras

    return _tell(measure_cameras(args.cameras, args.seconds, source=args.source, every_s=args.every), args.json)


def _tell(figures: dict[str, Any], path: str | None) -> int:
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value}")
    if path:
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def run(argv: list[str] | None = None, prog: str = "python -m stream.bench") -> int:
    """Prepare the process and run the command."""
    import cv2

    from engine_build.memory import give_large_blocks_back_at_once

    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    return main(argv, prog)


def command() -> int:
    """Entry point."""
    return run_command(run)


if __name__ == "__main__":
    sys.exit(command())
