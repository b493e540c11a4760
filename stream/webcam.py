"""The command line: a camera, people, their actions. `python -m stream.webcam --help`"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from detector.command_line import CommandLine, check_file_to_write
from detector.errors import UserError, run_command
from stream.picture.overlay import draw_update
from stream.pipeline import Options, Pipeline
from stream.results import Update, check_threshold, thresholds_for
from stream.session import Session, open_session
from stream.session_options import add_session_options, check_session_options
from stream.sources import Source, VideoFile, open_source
from stream.stats import Stats

log = logging.getLogger(__name__)
OUT = Path("out")
DESCRIPTION = """\
Watch a camera or a video and label what each person does. Without a source: the
first camera in a window, or the bundled clip; without a window, files in ./out."""
EPILOG = """\
%(prog)s rtsp://host/door --jsonl door.jsonl
%(prog)s party.mp4 --output labelled.mp4 --every 0.5
q or Ctrl-C ends; files are kept. JSON lines are described in stream/results.py."""


def parser(prog: str = "python -m stream.webcam") -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        prog, description=DESCRIPTION, epilog=EPILOG, usage="%(prog)s [SOURCE] [options]", width=80, add_help=False,
    )
    what = cli.add_argument_group("what to watch")
    what.add_argument("place", nargs="?", metavar="SOURCE", help="camera number, file, rtsp:// or http:// URL, sample")
    what.add_argument("--source", metavar="S", help="the same, as an option")
    what.add_argument("--live", action="store_true", help="play a file as if it were a camera")
    what.add_argument("--loop", action="store_true", help="play a file again and again")
    what.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds of video")
    how = cli.add_argument_group("who looks")
    add_session_options(how)
    shown = cli.add_argument_group("what is shown")
    shown.add_argument("--threshold", action="append", default=[], metavar="[ACTION=]X",
                       help="score that shows an action: 0.5, walk=0.6; repeatable")
    shown.add_argument("--list-actions", action="store_true", help="name the model's actions and exit")
    shown.add_argument("--every", type=float, metavar="N", help="seconds between key frames (files 1, live: fastest)")
    shown.add_argument("--smooth", type=float, default=0.4, metavar="N", help="average shown scores over N s (0.4)")
    shown.add_argument("--display", choices=("now", "synced", "none"), default="now", metavar="W",
                       help="window: now (default), synced (waits for labels), none")
    out = cli.add_argument_group("what is kept (any together)")
    out.add_argument("--output", metavar="MP4", help="annotated video that browsers play")
    out.add_argument("--jsonl", metavar="FILE", help="one JSON line a key frame; - is standard output")
    out.add_argument("--ava-csv", metavar="FILE", help="all scores in the format of AVA's evaluation")
    out.add_argument("--all-scores", action="store_true", help="every class in the JSON lines")
    cli.add_help_and_version(out)
    return cli


class AtFirst:
    """An output that is opened when the first thing is written to it.

    What fails before that, a model that does not load or a camera that is not there, leaves the file of an earlier
    run as it was and no empty one.
    """

    def __init__(self, path: str, open_it: Callable[[], Any]) -> None:
        self.path = path
        self._open = open_it
        self._sink: Any = None

    @property
    def opened(self) -> bool:
        """Something was written."""
        return self._sink is not None

    def write(self, *what: Any) -> None:
        """Append what the output takes."""
        if self._sink is None:
            self._sink = self._open()
        self._sink.write(*what)

    def close(self) -> None:
        """Finish the file, if there is one."""
        if self._sink is not None:
            self._sink.close()


def say(line: str) -> None:
    """A line for the person; standard output may be taken by JSON lines."""
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None, prog: str = "python -m stream.webcam") -> int:
    """Run the command."""
    args = parser(prog).parse_args(argv)
    if args.list_actions:
        check_session_options(args)
        return _list_actions(args)
    _check(args)
    options = Options(
        every_s=args.every, smooth_s=args.smooth, display="synced" if args.display == "synced" else "now",
        pictures=True,
    )
    with contextlib.ExitStack() as stack:
        window_wanted = args.display != "none" and _display()
        source = _open(args, window_wanted)
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
        _watch(args, options, source, session, window_wanted)
    return 0


def _watch(args: argparse.Namespace, options: Options, source: Source, session: Session, window_wanted: bool) -> None:
    """Iterate the pipeline; every file is closed, whatever happens."""
    from stream.picture.window import Window

    limits = thresholds_for(session.model.labels, tuple(args.threshold))
    stats = Stats()
    with contextlib.ExitStack() as stack:
        texts, video = _outputs(args, limits, source.fps)
        window = Window(f"{source.name} - actions") if window_wanted else None
        files = [*texts, *([video] if video else [])]
        for sink in (*files, window):
            if sink is not None:
                stack.callback(sink.close)
        stack.callback(lambda: _say_end(files, stats, source))
        if isinstance(source, VideoFile):
            # A file can wait for its engine; a camera shows pictures meanwhile.
            session.prepare(source.size_hw).result()
        pipeline = stack.enter_context(Pipeline(
            source, session, options if video or window else Options(options.every_s, pictures=False)
        ))
        progress = stack.enter_context(_progress(source, args))
        say(f"watching {source.name}; {'q in the window or ' if window else ''}Ctrl-C ends")
        for update in pipeline:
            for result in update.results:
                for text in texts:
                    text.write(result)
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


def _outputs(
    args: argparse.Namespace, limits: np.ndarray, fps: float | None
) -> tuple[list[AtFirst], AtFirst | None]:
    """What takes answers, and what takes pictures."""
    from stream.outputs.ava_csv import AvaCsv
    from stream.outputs.film import Mp4Writer
    from stream.outputs.json_lines import JsonLines

    texts = []
    if args.jsonl:
        texts.append(AtFirst(args.jsonl, lambda: JsonLines(args.jsonl, limits, args.all_scores)))
    if args.ava_csv:
        texts.append(AtFirst(args.ava_csv, lambda: AvaCsv(args.ava_csv)))
    return texts, AtFirst(args.output, lambda: Mp4Writer(args.output, fps)) if args.output else None


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


def _open(args: argparse.Namespace, window: bool) -> Source:
    """The source that was named; without a name the first camera, and without a camera the bundled clip."""
    if args.source is not None:
        return open_source(args.source, live=args.live, loop=args.loop)
    try:
        return open_source("0")
    except UserError as error:
        say(f"no camera ({str(error).split(': ', 1)[-1].split(';')[0]}); playing the bundled clip instead")
    # In a window the clip plays like a camera until it is closed; without one it is worked through once.
    return open_source("sample", live=window or args.live, loop=(window and not args.seconds) or args.loop)


def _default_outputs(args: argparse.Namespace, source: Source, window: bool) -> None:
    """Without a window and without any output named, write to ./out/ and say so."""
    if window or args.output or args.jsonl or args.ava_csv:
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


def _say_end(files: list[AtFirst], stats: Stats, source: Source) -> None:
    if not stats.updates:
        return
    say(stats.summary(source.live))
    for file in files:
        if file.opened and file.path != "-":
            say(f"wrote {file.path}")


def _list_actions(args: argparse.Namespace) -> int:
    """Print the model's actions, the score that shows each, and whether it is proven on real video."""
    from detector.weights.choose import resolve_action_model

    model, _ = resolve_action_model(args.model, allow_untrained=args.untrained)
    limits = thresholds_for(model.labels, tuple(args.threshold))
    proven = model.works_on_real_video
    print(f"{len(model.labels)} actions of {model.name}, with the score that shows each:")
    for action, limit in zip(model.labels, limits):
        star = "" if proven is None or action.name in proven else "  * learnt from renders only"
        print(f"{action.id:>4}  {limit:.2f}  {action.name}{star}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be found wrong before anything is loaded; of actions' names, before all but the model's record."""
    from stream.outputs.film import SUFFIXES

    if args.place is not None:
        if args.source is not None:
            raise UserError(f"{args.place}: got two sources, {args.source} is the other; expected one")
        args.source = args.place
    for name, low, high in (("every", 0, 3600), ("seconds", 0, float("inf"))):
        value = getattr(args, name)
        if value is not None and not low < value <= high:
            raise UserError(f"--{name} {value:g}: expected a number of seconds above 0")
    if not 0 <= args.smooth <= 60:
        raise UserError(f"--smooth {args.smooth:g}: expected 0 to 60 seconds")
    if args.all_scores and not args.jsonl:
        raise UserError("--all-scores: is about JSON lines, expected --jsonl FILE with it")
    named = [p for p in (args.output, args.jsonl, args.ava_csv) if p]
    if len(set(named)) < len(named):
        raise UserError(f"--output, --jsonl, --ava-csv: got the same path twice ({named[0]}), expected different files")
    check_file_to_write("--output", args.output, SUFFIXES)
    check_file_to_write("--jsonl", args.jsonl)
    check_file_to_write("--ava-csv", args.ava_csv)
    for setting in args.threshold:
        check_threshold(setting)
    check_session_options(args)
    if any("=" in setting for setting in args.threshold):
        from detector.weights.choose import resolve_action_model

        model, _ = resolve_action_model(args.model, allow_untrained=args.untrained)
        thresholds_for(model.labels, tuple(args.threshold))


def _display() -> bool:
    from stream.picture.window import display_available

    return display_available()


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(argv: list[str] | None = None, prog: str = "python -m stream.webcam") -> int:
    """Prepare the process and run the command: Ctrl-C and a polite kill both end with files closed."""
    import cv2

    # Pictures are small work; more threads of OpenCV's would only stand in the network's way.
    from engine_build.memory import give_large_blocks_back_at_once

    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    signal.signal(signal.SIGTERM, _terminated)
    return main(argv, prog)


def command() -> int:
    """Entry point."""
    return run_command(run)


if __name__ == "__main__":
    sys.exit(command())
