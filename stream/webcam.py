"""The command line: a camera, people, their actions. `python -m stream.webcam --help`"""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    # What is imported below takes a second, in which a Ctrl-C would be a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.command_line import CommandLine, check_file_to_write
from detector.errors import UserError, run_command
from detector.files import readable_name
from stream.ending import Ending, leave_now
from stream.outputs.names import check_appendable, check_outputs, free_name, with_ending
from stream.outputs.together import AtFirst, Outputs
from stream.picture.overlay import draw_update
from stream.pipeline import Options, Pipeline
from stream.results import Update, check_threshold, thresholds_for
from stream.session import Session, open_session
from stream.session_options import add_session_options, check_session_options
from stream.sources import Source, VideoFile, open_source
from stream.sources.local import local_path
from stream.sources.secrets import file_stem, redact, redact_text, source_from_environment
from stream.stats import Stats

if TYPE_CHECKING:
    from stream.events.watched import WatchedEvents

log = logging.getLogger(__name__)
OUT = Path("out")
# The picture at the end of `--seconds` may be this late before the clock says that the time is over.
LAST_PICTURE_S = 1.0
DESCRIPTION = "Label what people do in a camera (the first, if none is named) or a video."
EPILOG = "%(prog)s party.mp4 --output labelled.mp4 --jsonl party.jsonl"


def parser(prog: str = "python -m stream.webcam") -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        prog, description=DESCRIPTION, epilog=EPILOG, usage="%(prog)s [SOURCE] [options]", width=80, add_help=False,
    )
    what = cli.add_argument_group("what to watch")
    what.add_argument("place", nargs="?", metavar="SOURCE", help="camera number, file, URL, sample, @FILE with it")
    what.add_argument("--source", metavar="S", help=argparse.SUPPRESS)  # as an option
    what.add_argument("--live", action="store_true", help="play a file as if it were a camera")
    what.add_argument("--loop", action="store_true", help="play a file again and again")
    what.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds of video")
    how = cli.add_argument_group("who looks")
    add_session_options(how)
    shown = cli.add_argument_group("what is shown")
    shown.add_argument("--threshold", action="append", default=[], metavar="[ACTION=]X",
                       help="score that shows an action: 0.5, walk=0.6; repeatable")
    shown.add_argument("--all-classes", action="store_true", help="show actions too that are often wrong")
    shown.add_argument("--list-actions", action="store_true", help="name the model's actions and exit")
    shown.add_argument("--every", type=float, metavar="N", help="seconds between key frames (files 1, live: fastest)")
    shown.add_argument("--smooth", type=float, default=0.4, metavar="N", help="average shown scores over N s (0.4)")
    shown.add_argument("--display", choices=("now", "synced", "none"), default="now", metavar="W",
                       help="window: now (default), synced (with its labels), none")
    out = cli.add_argument_group("what is kept (any together)")
    out.add_argument("--output", metavar="MP4", help="annotated video that browsers play")
    out.add_argument("--jsonl", metavar="FILE", help="one JSON line a key frame; - is standard output")
    out.add_argument("--ava-csv", metavar="FILE", help="all scores in the format of AVA's evaluation")
    out.add_argument("--overwrite", action="store_true", help="replace a film of that name; else it gets a new one")
    out.add_argument("--all-scores", action="store_true", help="every class in the JSON lines")
    out.add_argument("--events", metavar="RULES", help="keep, film and tell events (python -m stream.events)")
    cli.add_help_and_version(out)
    return cli


def say(line: str) -> None:
    """A line for the person; standard output may be taken by JSON lines."""
    print(line, file=sys.stderr, flush=True)


def main(
    argv: list[str] | None = None, prog: str = "python -m stream.webcam", ending: Ending | None = None
) -> int:
    """Run the command.

    Raises:
        UserError: a mistake, without whatever password it may hold.
    """
    try:
        return _run(argv, prog, ending)
    except UserError as error:
        raise UserError(redact_text(str(error))) from None


def _run(argv: list[str] | None, prog: str, ending: Ending | None) -> int:
    args = parser(prog).parse_args(argv)
    if args.list_actions:
        check_session_options(args)
        return _list_actions(args)
    _check(args)
    ending = ending or Ending()
    options = Options(
        every_s=args.every, smooth_s=args.smooth, display="synced" if args.display == "synced" else "now",
        pictures=True,
    )
    with contextlib.ExitStack() as stack:
        window_wanted = args.display != "none" and _display()
        events = _events(args, stack)
        # In a thread of its own: a signal is not heard in one that waits for a camera.
        source = _in_thread(lambda: _open(args, window_wanted, events.tap if events else None))
        stack.callback(source.close)
        _default_outputs(args, source, window_wanted)
        _settle_outputs(args, source)
        if args.cache_dir:  # also for the process that large engines are built in
            os.environ["SLOWFAST_ENGINES"] = args.cache_dir
        session = open_session(
            args.model, args.detector, engine=args.engine, precision=args.precision, device=args.device,
            person_threshold=args.person_threshold, untrained=args.untrained, causal=args.causal, report=say,
        )
        stack.callback(_close_session, session, ending)
        for line in session.notices:
            say(line)
        _watch(args, options, source, session, window_wanted, ending, events)
    return 0


def _events(args: argparse.Namespace, stack: contextlib.ExitStack) -> WatchedEvents | None:
    """What watches for events, where a file of rules was given."""
    if args.events is None:
        return None
    from stream.events.needs import check_packages

    check_packages()
    from stream.events.watched import WatchedEvents

    named = args.source if args.source is not None else source_from_environment()
    events = WatchedEvents(args.events, named, args.live, say)
    stack.callback(events.close)
    return events


def _watch(
    args: argparse.Namespace, options: Options, source: Source, session: Session, window_wanted: bool,
    ending: Ending, events: WatchedEvents | None = None,
) -> None:
    """Iterate the pipeline; every file is closed, whatever happens."""
    from stream.picture.window import Window

    limits = thresholds_for(session.model, tuple(args.threshold), args.all_classes)
    options = replace(options, thresholds=limits)
    stats = Stats()
    with contextlib.ExitStack() as stack:
        outputs = _outputs(args, limits, source.fps)
        window = Window(f"{source.name} - actions") if window_wanted else None
        if window is not None:
            stack.callback(window.close)
        pictures = window is not None or outputs.film is not None
        if events is not None:
            source, options = events.begin(source, session.model.labels), events.often_enough(options, source)
        pipeline = stack.enter_context(Pipeline(
            source, session, options if pictures else replace(options, pictures=False)
        ))
        # Called first of all: files are whole before anything is waited for.
        stack.callback(_finish, pipeline, outputs, stats, source, ending)
        if isinstance(source, VideoFile):
            # A file can wait for its engine; a camera shows pictures meanwhile.
            session.prepare(source.size_hw).result()
        elif args.seconds and source.live:
            # A camera that is away gives no picture whose time would tell that it is over.
            limit = threading.Timer(args.seconds + LAST_PICTURE_S, pipeline.stop)
            limit.daemon = True
            limit.start()
            stack.callback(limit.cancel)
        progress = stack.enter_context(_progress(source, args))
        say(f"watching {source.name}; {'q in the window or ' if window else ''}Ctrl-C ends")
        for update in pipeline:
            with ending.held():
                go_on = _take(update, outputs, limits, window)
                if events is not None:
                    events.take(update.results)
            stats.add(update, time.monotonic())
            progress(update)
            if not go_on or (args.seconds and _moment_s(update) >= args.seconds):
                break


def _take(update: Update, outputs: Outputs, limits: np.ndarray, window: Any) -> bool:
    """Write and show an update; False if the window was closed."""
    for change in update.changes:
        say(f"{change.source}: {change.status}: {change.reason}")
    for news in (*update.changes, *update.results):
        outputs.write(news)
    if update.frame is None:
        return True
    image = draw_update(update, limits)
    if outputs.film is not None:
        outputs.film.write(image, update.time_s)
    return window is None or window.show(image)


def _finish(pipeline: Pipeline, outputs: Outputs, stats: Stats, source: Source, ending: Ending) -> None:
    """Close the files and tell what they are, before threads are waited for."""
    with ending.held():
        pipeline.stop()
        try:
            outputs.close(in_a_hurry=ending.number not in (0, signal.SIGINT))
        finally:
            if stats.updates:
                say(stats.summary(source.live))
            damage = getattr(source, "damage", "")
            if damage:
                say(f"{source.name}: {damage}; what can be read was worked through")
            for line in outputs.told():
                say(line)


def _in_thread(body: Callable[[], Any]) -> Any:
    """What a function returns or raises; this thread only waits, so that signals interrupt it."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(body())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="open", daemon=True).start()
    return future.result()


def _outputs(args: argparse.Namespace, limits: np.ndarray, fps: float | None) -> Outputs:
    """What takes answers, and what takes pictures."""
    from stream.outputs.ava_csv import AvaCsv
    from stream.outputs.film import Mp4Writer
    from stream.outputs.json_lines import JsonLines

    texts = []
    if args.jsonl:
        texts.append(AtFirst(args.jsonl, lambda: JsonLines(args.jsonl, limits, args.all_scores)))
    if args.ava_csv:
        texts.append(AtFirst(args.ava_csv, lambda: AvaCsv(args.ava_csv)))
    film = AtFirst(args.output, lambda: Mp4Writer(args.output, fps, overwrite=args.overwrite)) if args.output else None
    return Outputs(texts, film)


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


def _open(args: argparse.Namespace, window: bool, tap: Callable[[Any, Any], None] | None = None) -> Source:
    """The source that was named; without a name the first camera, and without a camera the bundled clip."""
    named = args.source if args.source is not None else source_from_environment()
    if named is not None:
        return open_source(named, live=args.live, loop=args.loop, tap=tap)
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
    stem = file_stem(source.name) if isinstance(source, VideoFile) else "camera"
    args.output, args.jsonl = (str(with_ending(OUT / stem, ending, stem=stem)) for ending in (".mp4", ".jsonl"))
    say(f"no window here: writing {args.output} and {args.jsonl}")


def _settle_outputs(args: argparse.Namespace, source: Source) -> None:
    """Look at the names once more, now that the source is known, and say what becomes of files that are there."""
    for path in _check_outputs(args, getattr(source, "path", None)):
        say(f"{readable_name(path)} is there already: new lines are appended")
    if args.output and not args.overwrite:
        free = free_name(args.output)
        if str(free) != args.output:
            there, new = readable_name(args.output), readable_name(free)
            say(f"{there} is there already: writing {new} (--overwrite replaces it)")
            args.output = str(free)


def _check_outputs(args: argparse.Namespace, source: Path | None) -> list[str]:
    """Refuse names that will not do; gives the text files that have something in them already."""
    from stream.outputs.ava_csv import looks_like_ava_csv
    from stream.outputs.film import SUFFIXES
    from stream.outputs.json_lines import looks_like_json_lines

    named = {"--output": args.output, "--jsonl": args.jsonl, "--ava-csv": args.ava_csv}
    check_outputs(named, source)
    check_file_to_write("--output", args.output, SUFFIXES)
    begun = []
    for option, path, is_ours in (
        ("--jsonl", args.jsonl, looks_like_json_lines), ("--ava-csv", args.ava_csv, looks_like_ava_csv)
    ):
        check_file_to_write(option, path)
        if path is not None and check_appendable(f"{option} {readable_name(path)}", path, is_ours):
            begun.append(path)
    return begun


def _close_session(session: Session, ending: Ending) -> None:
    if ending.number:
        return  # the process ends at once, all files are closed
    if not session.close():
        # A network that is being compiled cannot be interrupted, and Python must not be torn down beneath it. All
        # files are closed by now.
        log.warning("ended while an engine was being built; it will be built again")
        leave_now(130)


def _list_actions(args: argparse.Namespace) -> int:
    """Print the model's actions, the score that shows each, and whether it is proven on real video."""
    from detector.weights.choose import resolve_action_model

    model, _ = resolve_action_model(args.model, allow_untrained=args.untrained)
    limits = thresholds_for(model, tuple(args.threshold), args.all_classes)
    proven = model.works_on_real_video
    print(f"{len(model.labels)} actions of {model.name}, with the score that shows each:")
    for action, limit in zip(model.labels, limits):
        star = "" if proven is None or action.name in proven else "  * not proven on real video"
        shown = "--" if np.isinf(limit) else f"{limit:.2f}"
        print(f"{action.id:>4}  {shown:>4}  {action.name}{star}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be found wrong before anything is loaded; of actions' names, before all but the model's record."""
    if args.place is not None:
        if args.source is not None:
            raise UserError(f"{redact(args.place)}: got two sources, {redact(args.source)} is the other; expected one")
        args.source = args.place
    if args.source is not None and not args.source.strip():
        raise UserError("source: got an empty name, expected a camera number, a file, an address or sample")
    for name, low, high in (("every", 0, 3600), ("seconds", 0, float("inf"))):
        value = getattr(args, name)
        if value is not None and not low < value <= high:
            raise UserError(f"--{name} {value:g}: expected a number of seconds above 0")
    if not 0 <= args.smooth <= 60:
        raise UserError(f"--smooth {args.smooth:g}: expected 0 to 60 seconds")
    if args.all_scores and not args.jsonl:
        raise UserError("--all-scores: is about JSON lines, expected --jsonl FILE with it")
    _check_outputs(args, None if args.source is None else local_path(args.source))
    for setting in args.threshold:
        check_threshold(setting)
    check_session_options(args)
    if any("=" in setting for setting in args.threshold):
        from detector.weights.choose import resolve_action_model

        model, _ = resolve_action_model(args.model, allow_untrained=args.untrained)
        thresholds_for(model, tuple(args.threshold), args.all_classes)


def _display() -> bool:
    from stream.picture.window import display_available

    return display_available()


def run(argv: list[str] | None = None, prog: str = "python -m stream.webcam") -> int:
    """Prepare the process and run the command: Ctrl-C, a hang-up and a polite kill end with files closed."""
    import cv2

    # Pictures are small work; more threads of OpenCV's would only stand in the network's way.
    from engine_build.memory import give_large_blocks_back_at_once

    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    ending = Ending()
    ending.install()
    try:
        return main(argv, prog, ending)
    except (KeyboardInterrupt, UserError) as why:
        if not ending.number:
            raise
        # Threads may be at work in networks still, which Python must not be torn down beneath.
        ending.finished()
        say(f"error: {why}" if isinstance(why, UserError) else "stopped")
        leave_now(2 if isinstance(why, UserError) else ending.exit_code)
    finally:
        ending.uninstall()


def command() -> int:
    """Entry point."""
    code = run_command(run)
    # All is done; a Ctrl-C now would be a traceback out of Python's own end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(command())
