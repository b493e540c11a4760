"""The archive's command line. `python -m stream.archive --help`"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.command_line import CommandLine, check_folder_is_writable, check_folder_to_make
from detector.errors import UserError, run_command
from detector.files import readable_name
from stream.archive.books import Books
from stream.archive.crew import News, run_crew, threads_each, usual_workers
from stream.archive.progress import Progress
from stream.archive.rows import require_pyarrow
from stream.archive.settings import Settings
from stream.archive.summary import require_plotly, summarise, write_summary
from stream.archive.videos import Video, find_videos
from stream.archive.worker import SCRATCH, Order
from stream.results import check_threshold
from stream.session_options import add_session_options, check_session_options

# With rules: falls last a second, as in stream.events.replay.
EVERY_S, EVERY_WITH_RULES_S = 1.0, 0.25


def parser(prog: str = "python -m stream.archive") -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        prog, description="Label every video of a folder or list; started again, only what is left is done.",
        usage="%(prog)s FOLDER|LIST --output DIR [options]", width=80, add_help=False,
        epilog="%(prog)s recordings --output labelled --rules rules.yaml",
    )
    what = cli.add_argument_group("what is worked through")
    what.add_argument("place", metavar="FOLDER|LIST", help="a folder, or a text file with a path a line")
    what.add_argument("--output", metavar="DIR", required=True, help="where results and the state of the work are kept")
    what.add_argument("--workers", type=int, metavar="N", help="processes at once (by cores and memory)")
    what.add_argument("--ray", metavar="ADDRESS", help="use a Ray cluster: HOST:6379, auto or local")
    what.add_argument("--retry", action="store_true", help="try bad videos again")
    add_session_options(cli.add_argument_group("who looks"))
    out = cli.add_argument_group("what is kept")
    out.add_argument("--every", type=float, metavar="N", help="seconds between key frames (1; 0.25 with --rules)")
    out.add_argument("--threshold", action="append", default=[], metavar="[ACTION=]X",
                     help="score that shows an action: 0.5, walk=0.6; repeatable")
    out.add_argument("--all-scores", action="store_true", help="every class in the JSON lines")
    out.add_argument("--rules", metavar="FILE", help="events, by rules as of python -m stream.events")
    cli.add_help_and_version(out)
    return cli


def main(argv: list[str] | None = None, prog: str = "python -m stream.archive") -> int:
    """Run the command."""
    args = parser(prog).parse_args(argv)
    settings = _settings(args)
    videos, missing = find_videos(args.place, args.output)
    output = Path(args.output)
    output.mkdir(exist_ok=True)
    with _alone(output), _polite_end():
        return _run(args, settings, videos, missing, Books(output))


def _settings(args: argparse.Namespace) -> Settings:
    """The settings, checked.

    Raises:
        UserError: a mistake.
    """
    if args.every is not None and not 0 < args.every <= 3600:
        raise UserError(f"--every {args.every:g}: expected a number of seconds above 0, at most 3600")
    if args.workers is not None and not 1 <= args.workers <= 256:
        raise UserError(f"--workers {args.workers}: expected 1 to 256")
    for setting in args.threshold:
        check_threshold(setting)
    check_folder_to_make("--output", Path(args.output))
    check_folder_is_writable("--output", Path(args.output))
    check_session_options(args)
    require_pyarrow()
    require_plotly()
    if args.cache_dir:  # also for the workers
        os.environ["SLOWFAST_ENGINES"] = args.cache_dir
    settings = Settings(
        model=args.model, detector=args.detector, engine=args.engine, precision=args.precision, device=args.device,
        person_threshold=args.person_threshold, untrained=args.untrained, causal=args.causal,
        every_s=args.every or (EVERY_WITH_RULES_S if args.rules else EVERY_S), thresholds=tuple(args.threshold),
        all_scores=args.all_scores, rules=args.rules or "",
    )
    settings.check()
    return settings


def _run(
    args: argparse.Namespace, settings: Settings, videos: list[Video], missing: list[tuple[str, str]], books: Books
) -> int:
    digest = settings.digest()
    keys = {video.key(digest): video for video in videos}
    records = {key: record for key in keys if (record := books.find(key)) is not None}
    if args.retry:
        records = {key: record for key, record in records.items() if "bad" not in record}
    left = [(video, key) for key, video in keys.items() if key not in records]
    shutil.rmtree(books.output / SCRATCH, ignore_errors=True)  # of a run that was killed
    workers = min(args.workers or usual_workers(), max(len(left), 1))
    who = f"on {args.ray}" if args.ray else _number(workers, "worker")
    say(f"{len(videos)} videos, {len(records)} of them done before; {who}")
    progress = Progress(left, say)
    try:
        with contextlib.closing(progress):
            for news in _crew(args, left, settings, books, workers):
                _take(news, books, records, progress)
    except KeyboardInterrupt:
        done = sum(key in records for key in keys)
        raise UserError(f"stopped: {done} of {len(keys)} videos are done; the same command goes on") from None
    finally:
        shutil.rmtree(books.output / SCRATCH, ignore_errors=True)
        bad = [*missing, *((record["name"], record["bad"]) for record in records.values() if "bad" in record)]
        books.write_bad(sorted(bad))
    good = [records[key] for key in keys if "bad" not in records[key]]
    write_summary(books.output, summarise(good, bad, settings.every_s), good)
    say(f"{readable_name(books.output)}: {_number(len(good), 'video')} labelled, {len(bad)} bad"
        + (" (bad.csv)" if bad else "") + f"; {progress.speed()}")
    return 0


def _crew(
    args: argparse.Namespace, left: list[tuple[Video, str]], settings: Settings, books: Books, workers: int
) -> Iterator[News]:
    """Who works the videos through: processes of this machine, or actors of a cluster."""
    if not args.ray:
        return run_crew(left, Order(settings, str(books.output), threads_each(workers)), workers)
    from stream.archive.ray_crew import run_on_ray

    jobs = [(replace(video, path=os.path.abspath(video.path)), key) for video, key in left]
    rules = os.path.abspath(settings.rules) if settings.rules else ""
    order = Order(replace(settings, rules=rules), os.path.abspath(books.output), 1)
    return run_on_ray(jobs, order, args.ray, args.workers)


def _take(news: News, books: Books, records: dict[str, dict[str, Any]], progress: Progress) -> None:
    if news.kind == "say":
        if news.content:
            progress.say(news.content)
    elif news.kind == "at":
        progress.at(news.key, news.content)
    elif news.kind == "done":
        records[news.key] = news.content
        progress.done(news.key, news.content["seconds"])
    elif news.video is not None:
        records[news.key] = books.settle(news.key, {"name": news.video.name, "bad": news.content}, {})
        progress.say(f"bad: {readable_name(news.video.name)}: {news.content}")
        progress.bad(news.key)


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Nobody else works on this archive meanwhile."""
    import filelock

    lock = filelock.FileLock(output / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"--output {readable_name(output)}: another archive command works there; wait for it") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _polite_end() -> Iterator[None]:
    """A polite kill ends as a Ctrl-C does: workers are ended, `bad.csv` is written."""
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def say(line: str) -> None:
    """A line for the person."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
