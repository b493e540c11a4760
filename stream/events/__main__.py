"""Events that were kept, and rules before they are trusted: `python -m stream.events --help`."""

from __future__ import annotations

import argparse
import sys
from importlib import resources
from pathlib import Path

from detector.command_line import CommandLine
from detector.errors import UserError, nearest_names, run_command
from stream.events.needs import check_packages

EPILOG = """\
python -m stream.events example falls > rules.yaml
python -m stream.events replay film.mp4 --rules rules.yaml --plot timeline.png
python -m stream.webcam --source rtsp://host/door --events rules.yaml
python -m stream.events list --since 2h --camera door --action "fall down"
python -m stream.events show 018c"""


def parser(prog: str = "python -m stream.events") -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        prog, description="Events that were kept, and rules before they are trusted.", epilog=EPILOG
    )
    commands = cli.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="events as a table, JSON lines, CSV or AVA's CSV")
    _choose(listing)
    listing.add_argument("--format", choices=("table", "jsonl", "csv", "ava"), default="table")
    show = commands.add_parser("show", help="all about one event, and why it is one")
    show.add_argument("id", help="of the event, or the beginning of it")
    _store(show)
    export = commands.add_parser("export", help="events to a file, or hard cases as clips for fine-tuning")
    _choose(export)
    export.add_argument("--format", choices=("jsonl", "csv", "ava"), default="jsonl")
    export.add_argument("--output", default="-", metavar="FILE", help="- is standard output")
    export.add_argument("--hard", metavar="FOLDER", help="clips with boxes of events near a limit or marked")
    export.add_argument("--near", type=float, default=0.1, metavar="X", help="so near to the limit (0.1)")
    mark = commands.add_parser("mark", help="note that an event is right or wrong")
    mark.add_argument("id")
    mark.add_argument("verdict", choices=("right", "wrong", "none"))
    mark.add_argument("--really", default="", metavar="ACTION", help="what it was")
    _store(mark)
    example = commands.add_parser("example", help="rules to start from")
    example.add_argument("name", nargs="?", default="", help=", ".join(examples()))
    check = commands.add_parser("check", help="read a file of rules and say what is wrong with it")
    check.add_argument("rules", metavar="RULES")
    replay = commands.add_parser("replay", help="rules on a recording: events, overlay, timeline")
    replay.add_argument("film", help="a video file, `sample`, or answers (.jsonl) of an earlier replay")
    replay.add_argument("--rules", required=True, metavar="FILE")
    replay.add_argument("--jsonl", metavar="FILE", help="every change of every event; - is standard output")
    replay.add_argument("--overlay", metavar="MP4", help="the film with people, zones and states of rules")
    replay.add_argument("--plot", metavar="PNG", help="what each rule was at when, and why")
    replay.add_argument("--answers", metavar="JSONL", help="keep the network's answers for later replays in a second")
    replay.add_argument("--every", type=float, default=0.25, metavar="S", help="seconds between answers (0.25)")
    replay.add_argument("--model", default="auto", metavar="M", help="action model: a name or a weights file")
    measure = commands.add_parser("measure", help="how often rules are right on labelled video")
    measure.add_argument("--media", type=Path, required=True, help="folder with actions/, ordinary/, vtest.avi")
    measure.add_argument("--answers", type=Path, default=Path("out/answers"), metavar="FOLDER",
                         help="keeps the network's answers for the next run (out/answers)")
    return cli


def _store(cli: argparse.ArgumentParser) -> None:
    cli.add_argument("--store", default="", metavar="URL", help="SQLite file or postgresql:// (the data folder's)")


def _choose(cli: argparse.ArgumentParser) -> None:
    _store(cli)
    cli.add_argument("--since", metavar="WHEN", help="2h, 7d, 2026-01-31, 2026-01-31T09:00")
    cli.add_argument("--until", metavar="WHEN")
    for name in ("camera", "rule", "kind", "action"):
        cli.add_argument(f"--{name}", action="append", default=[], metavar="NAME", help="repeatable")
    cli.add_argument("--marked", choices=("right", "wrong"))
    cli.add_argument("--most", type=int, default=0, metavar="N", help="the newest N")


def examples() -> list[str]:
    """Names of the examples that come with the package."""
    folder = resources.files("stream.events") / "examples"
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))


def main(argv: list[str] | None = None, prog: str = "python -m stream.events") -> int:
    """Run a command."""
    args = parser(prog).parse_args(argv)
    if args.command == "example":
        return _example(args.name)
    check_packages()
    return {
        "list": _list, "show": _show, "export": _export, "mark": _mark, "check": _check, "replay": _replay,
        "measure": _measure,
    }[args.command](args)


def _example(name: str) -> int:
    if name not in examples():
        got = f"got {name!r}, " if name else ""
        raise UserError(f"example: {got}expected {nearest_names(name, examples()) if name else ', '.join(examples())}")
    sys.stdout.write((resources.files("stream.events") / "examples" / f"{name}.yaml").read_text(encoding="utf-8"))
    return 0


def _events(args: argparse.Namespace) -> tuple[list, dict[str, str]]:
    from stream.events.listing import moment
    from stream.events.schema import StoreAway
    from stream.events.store import Wanted

    wanted = Wanted(
        moment(args.since) if args.since else None, moment(args.until) if args.until else None, tuple(args.camera),
        tuple(args.rule), tuple(args.kind), tuple(args.action), args.marked or "", max(args.most, 0),
    )
    store = _open(args.store)
    try:
        return store.events(wanted), store.marks()
    except StoreAway as error:
        raise UserError(f"{error}; try again") from None
    finally:
        store.close()


def _open(url: str):
    from stream.events.schema import data_dir, default_url
    from stream.events.store import Store

    path = Path(url if url and "://" not in url else default_url().removeprefix("sqlite:///"))
    if "://" not in url and not path.exists():
        where = f"store {url}" if url else f"{data_dir()}"
        raise UserError(f"{where}: no events there yet; python -m stream.webcam --events RULES keeps some")
    return Store(url)


def _labels():
    from detector.labels import load_labels

    return load_labels("ava")


def _list(args: argparse.Namespace) -> int:
    from stream.events.listing import lines_of

    for line in lines_of(_events(args)[0], args.format, _labels()):
        print(line)
    return 0


def _show(args: argparse.Namespace) -> int:
    from stream.events.listing import explained

    store = _open(args.store)
    event = store.event(args.id)
    store.close()
    if event is None:
        raise UserError(f"event {args.id}: there is none, or several begin so; python -m stream.events list")
    for line in explained(event):
        print(line)
    return 0


def _export(args: argparse.Namespace) -> int:
    from stream.events.listing import lines_of
    from stream.outputs.text import open_anew

    events, marks = _events(args)
    if args.hard:
        from stream.events.hard_cases import export_hard_cases
        from stream.events.schema import data_dir

        known, unknown, missing = export_hard_cases(
            events, marks, data_dir() / "films", Path(args.hard), args.near
        )
        print(f"{args.hard}: {known} clips with a known truth in labels.csv, {unknown} to be labelled in to_label.csv"
              + (f", {missing} without a film" if missing else ""))
        return 0
    file = open_anew(args.output)
    for line in lines_of(events, args.format, _labels()):
        file.write(line + "\n")
    file.flush()
    if args.output != "-":
        file.close()
        print(f"{args.output}: {len(events)} events")
    return 0


def _mark(args: argparse.Namespace) -> int:
    if args.really and args.verdict != "wrong":
        raise UserError(f"--really {args.really}: says what a wrong event was, expected `wrong` with it")
    store = _open(args.store)
    event = store.event(args.id)
    if event is None:
        store.close()
        raise UserError(f"event {args.id}: there is none, or several begin so; python -m stream.events list")
    really = _labels()[_labels().find(args.really)].name if args.really else ""
    mark = "" if args.verdict == "none" else f"wrong:{really}" if really else args.verdict
    store.mark(event.id, mark)
    store.close()
    print(f"{event.id}: {mark or 'not marked'}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from detector.weights.choose import resolve_action_model
    from stream.events.config import load_events_file
    from stream.events.engine import check_actions

    config, lines = load_events_file(args.rules)
    model, _ = resolve_action_model()
    for path, message in check_actions(config, model.labels)[:1]:
        raise lines.error(path, message)
    print(f"{args.rules}: {len(config.rules)} rules, {len(config.zones)} zones, {len(config.lines)} lines")
    return 0


def _replay(args: argparse.Namespace) -> int:
    from stream.events.config import load_events_file
    from stream.events.replay import Outputs, replay_film

    if not 0 < args.every <= 3600:
        raise UserError(f"--every {args.every:g}: expected a number of seconds above 0")
    config, lines = load_events_file(args.rules)
    outputs = Outputs(args.jsonl, args.overlay, args.plot, args.answers)
    done = replay_film(
        args.film, config, lines, outputs, every_s=args.every, model=args.model,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{args.film}: {len(done.events)} events in {done.last_s:.1f} s", file=sys.stderr)
    for path in (args.jsonl, args.overlay, args.plot, args.answers):
        if path and path != "-":
            print(f"wrote {path}", file=sys.stderr)
    return 0


def _measure(args: argparse.Namespace) -> int:
    from stream.events.measure import measure, table

    rows = measure(args.media, args.answers, lambda line: print(line, file=sys.stderr, flush=True))
    for line in table(rows):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
