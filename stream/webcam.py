"""The command line: a camera, people, their actions. `python -m stream.webcam --help`"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from detector.errors import UserError, run_command
from stream.overlay import draw_update
from stream.pipeline import Options, Pipeline
from stream.results import Update, thresholds_for
from stream.session import Session, open_session
from stream.sources import Source, Tap, VideoFile, open_source
from stream.stats import Stats

if TYPE_CHECKING:
    from stream.events.watched import WatchedEvents

log = logging.getLogger(__name__)
OUT = Path("out")
DESCRIPTION = """\
Watch a camera or a video and label what each person does. Without options: the
first camera in a window, or the bundled clip; without a window, files in ./out."""
EPILOG = """\
python -m stream.webcam --source rtsp://host/door --jsonl door.jsonl
python -m stream.webcam --source party.mp4 --output labelled.mp4 --every 0.5
q or Ctrl-C ends; files are kept. JSON lines are described in stream/results.py."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    cli = argparse.ArgumentParser(
        "python -m stream.webcam", description=DESCRIPTION, epilog=EPILOG, usage="%(prog)s [options]",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=80),
        allow_abbrev=False, add_help=False,
    )
    what = cli.add_argument_group("what to watch")
    what.add_argument("--source", metavar="S", help="camera number, file, rtsp:// or http:// URL, sample")
    what.add_argument("--live", action="store_true", help="play a file as if it were a camera")
    what.add_argument("--loop", action="store_true", help="play a file again and again")
    what.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds of video")
    how = cli.add_argument_group("who looks")
    how.add_argument("--model", "--weights", default="auto", metavar="M", help="action model: a name or a weights file")
    how.add_argument("--detector", default="auto", metavar="D", help="person detector: a name or a .pth file")
    how.add_argument("--engine", default="auto", metavar="E", help="openvino, torch, tensorrt, ...")
    how.add_argument("--precision", default="auto", metavar="P", help="fp32, fp16, bf16 or int8")
    how.add_argument("--device", default="auto", metavar="D", help="of the person detector: cpu or cuda")
    how.add_argument("--untrained", action="store_true", help="allow random action weights, marked as such")
    shown = cli.add_argument_group("what is shown")
    shown.add_argument("--person-threshold", type=float, metavar="X", help="surety that a box is a person, 0 to 1")
    shown.add_argument("--threshold", action="append", default=[], metavar="[ACTION=]X",
                       help="score that shows an action: 0.5, walk=0.6; repeatable")
    shown.add_argument("--every", type=float, metavar="N", help="seconds between key frames (files 1, live: fastest)")
    shown.add_argument("--smooth", type=float, default=0.4, metavar="N", help="average shown scores over N s (0.4)")
    shown.add_argument("--display", choices=("now", "synced", "none"), default="now", metavar="W",
                       help="window: now (default), synced (waits for labels), none")
    out = cli.add_argument_group("what is kept (any together)")
    out.add_argument("--output", metavar="MP4", help="annotated video that browsers play")
    out.add_argument("--jsonl", metavar="FILE", help="one JSON line a key frame; - is standard output")
    out.add_argument("--ava-csv", metavar="FILE", help="all scores in the format of AVA's evaluation")
    out.add_argument("--all-scores", action="store_true", help="every class in the JSON lines")
    out.add_argument("--events", metavar="RULES", help="keep, film and tell events (python -m stream.events)")
    out.add_argument("-h", "--help", action="help", help="show this and exit")
    return cli


class TextSink(Protocol):
    """What takes answers."""

    def write(self, result) -> None:
        """Append an answer."""

    def close(self) -> None:
        """Finish."""


def say(line: str) -> None:
    """A line for the person; standard output may be taken by JSON lines."""
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    _check(args)
    options = Options(
        every_s=args.every, smooth_s=args.smooth, display="synced" if args.display == "synced" else "now",
        pictures=True,
    )
    with contextlib.ExitStack() as stack:
        window_wanted = args.display != "none" and _display()
        events = _events(args, stack)
        source = _open(args, window_wanted, events.tap if events else None)
        stack.callback(source.close)
        _default_outputs(args, source, window_wanted)
        for path in (args.output, args.jsonl, args.ava_csv):
            _keep_apart(path, args.source)
        session = open_session(
            args.model, args.detector, engine=args.engine, precision=args.precision, device=args.device,
            person_threshold=args.person_threshold, untrained=args.untrained, report=say,
        )
        stack.callback(_close_session, session)
        for line in session.notices:
            say(line)
        _watch(args, options, source, session, window_wanted, events)
    return 0


def _events(args: argparse.Namespace, stack: contextlib.ExitStack) -> WatchedEvents | None:
    """What watches for events, where a file of rules was given."""
    if args.events is None:
        return None
    from stream.events.needs import check_packages

    check_packages()
    from stream.events.watched import WatchedEvents

    events = WatchedEvents(args.events, args.source, args.live, say)
    stack.callback(events.close)
    return events


def _watch(
    args: argparse.Namespace, options: Options, source: Source, session: Session, window_wanted: bool,
    events: WatchedEvents | None = None,
) -> None:
    """Iterate the pipeline; every file is closed, whatever happens."""
    from stream.mp4 import Mp4Writer
    from stream.sinks import AvaCsv, JsonLines
    from stream.window import Window

    limits = thresholds_for(session.model.labels, tuple(args.threshold))
    stats = Stats()
    with contextlib.ExitStack() as stack:
        texts: list[TextSink] = []
        if args.jsonl:
            texts.append(JsonLines(args.jsonl, limits, args.all_scores))
        if args.ava_csv:
            texts.append(AvaCsv(args.ava_csv))
        video = Mp4Writer(args.output, source.fps) if args.output else None
        window = Window(f"{source.name} - actions") if window_wanted else None
        for sink in (*texts, video, window):
            if sink is not None:
                stack.callback(sink.close)
        stack.callback(lambda: _say_end(args, stats, source))
        if isinstance(source, VideoFile):
            # A file can wait for its engine; a camera shows pictures meanwhile.
            session.prepare(source.size_hw).result()
        progress = stack.enter_context(_progress(source, args))
        if events is not None:
            source, options = events.begin(source, session.model.labels), events.often_enough(options, source)
        pipeline = stack.enter_context(Pipeline(
            source, session, options if video or window else Options(options.every_s, pictures=False)
        ))
        say(f"watching {source.name}; {'q in the window or ' if window else ''}Ctrl-C ends")
        for update in pipeline:
            for result in update.results:
                for text in texts:
                    text.write(result)
            if events is not None:
                events.take(update.results)
            if update.frame is not None:
                image = draw_update(update, limits)
                if video is not None:
                    video.write(image, update.time_s)
                if window is not None and not window.show(image):
                    break
            stats.add(update, time.monotonic())
            progress(update)
            if args.seconds and _moment_s(update) >= args.seconds:
                break


def _moment_s(update: Update) -> float:
    return update.results[-1].time_s if update.frame is None and update.results else update.time_s


@contextlib.contextmanager
def _progress(source: Source, args: argparse.Namespace):
    """A progress bar for files on a terminal; a function of updates."""
    duration_s = getattr(source, "duration_s", None)
    if source.live or not duration_s or args.loop or not sys.stderr.isatty():
        yield lambda update: None
        return
    from tqdm import tqdm

    total = min(duration_s, args.seconds or duration_s)
    form = "{percentage:3.0f} % |{bar:30}| {n:.0f} of {total:.0f} s, {remaining} left"
    with tqdm(total=round(total, 1), bar_format=form, file=sys.stderr, leave=False) as bar:
        yield lambda update: bar.update(max(min(_moment_s(update), bar.total) - bar.n, 0))


def _open(args: argparse.Namespace, window: bool, tap: Tap | None = None) -> Source:
    """The source that was named; without a name the first camera, and without a camera the bundled clip."""
    if args.source is not None:
        return open_source(args.source, live=args.live, loop=args.loop, tap=tap)
    try:
        return open_source("0", tap=tap)
    except UserError as error:
        say(f"no camera ({str(error).split(': ', 1)[-1].split(';')[0]}); playing the bundled clip instead")
    # In a window the clip plays like a camera until it is closed; without one it is worked through once.
    return open_source("sample", live=window or args.live, loop=(window and not args.seconds) or args.loop)


def _default_outputs(args: argparse.Namespace, source: Source, window: bool) -> None:
    """Without a window and without any output named, write to ./out/ and say so."""
    if window or args.output or args.jsonl or args.ava_csv or args.events:
        return
    stem = Path(source.name.rstrip("/").rsplit("/", 1)[-1]).stem if isinstance(source, VideoFile) else "camera"
    args.output, args.jsonl = str(OUT / f"{stem}.mp4"), str(OUT / f"{stem}.jsonl")
    say(f"no window here: writing {args.output} and {args.jsonl}")


def _close_session(session: Session) -> None:
    if not session.close():
        # A network that is being compiled cannot be interrupted, and Python must not be torn down beneath it. All
        # files are closed by now.
        log.warning("ended while an engine was being built; it will be built again")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)


def _keep_apart(path: str | None, source: str | None) -> None:
    if path and source and Path(source).exists() and Path(path).exists() and Path(path).samefile(source):
        raise UserError(f"{path}: is the source itself, expected another file to write to")


def _say_end(args: argparse.Namespace, stats: Stats, source: Source) -> None:
    if not stats.updates:
        return
    say(stats.summary(source.live))
    for path in (args.output, args.jsonl, args.ava_csv):
        if path and path != "-":
            say(f"wrote {path}")


def _check(args: argparse.Namespace) -> None:
    """Numbers that make no sense, before anything is loaded."""
    for name, low, high in (("every", 0, 3600), ("seconds", 0, float("inf"))):
        value = getattr(args, name)
        if value is not None and not low < value <= high:
            raise UserError(f"--{name} {value:g}: expected a number of seconds above 0")
    if not 0 <= args.smooth <= 60:
        raise UserError(f"--smooth {args.smooth:g}: expected 0 to 60 seconds")
    if args.person_threshold is not None and not 0 <= args.person_threshold <= 1:
        raise UserError(f"--person-threshold {args.person_threshold:g}: expected 0 to 1")
    if args.all_scores and not args.jsonl:
        raise UserError("--all-scores: is about JSON lines, expected --jsonl FILE with it")
    named = [p for p in (args.output, args.jsonl, args.ava_csv) if p]
    if len(set(named)) < len(named):
        raise UserError(f"--output, --jsonl, --ava-csv: got the same path twice ({named[0]}), expected different files")


def _display() -> bool:
    from stream.window import display_available

    return display_available()


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def command() -> int:
    """Entry point: Ctrl-C and a polite kill both end with files closed."""
    import cv2

    # Pictures are small work; more threads of OpenCV's would only stand in the network's way.
    from engine_build.memory import give_large_blocks_back_at_once

    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    signal.signal(signal.SIGTERM, _terminated)
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
