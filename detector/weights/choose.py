"""Which action model to use, from what is on this machine. Never downloads."""

from __future__ import annotations

from pathlib import Path

from detector.device import pick_device
from detector.errors import UserError, nearest_names
from detector.labels import load_labels
from detector.sampling import Sampling
from detector.weights.cache import cache_dir, cached_path, require_cached
from detector.weights.records import ActionModel, WeightsFile
from detector.weights.zoo import AUTO_ACTION, action_models

_LABELS_OF_CLASSES = {80: "ava", 400: "kinetics400", 157: "charades"}
FETCH = "python -m detector.weights fetch recommended"


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
    files = sorted((Path(__file__).parents[1] / "bundled").glob("*.pt"))
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


def check_model_name(name_or_path: str, allow_untrained: bool = False) -> None:
    """Refuse what `resolve_action_model` would for its name alone; no file is read, nothing large imported.

    Raises:
        UserError: unknown name, no such file, or weights that are not on this machine.
    """
    if name_or_path not in ("auto", "bundled") and not Path(name_or_path).expanduser().is_file():
        resolve_action_model(name_or_path, allow_untrained)


def _best_action_model(allow_untrained: bool) -> tuple[ActionModel, Path | None]:
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
    from detector.weights.model_file import read_record

    return read_record(path)


def _model_of_file(path: Path) -> ActionModel:
    """The record of a user's file: its own; else the published one whose file it is, by name; else what it shows."""
    from detector.weights.model_file import is_action_model_file

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
    from detector.slowfast.checkpoints import load_network
    from detector.slowfast.network import create_network, with_causality
    from detector.weights.model_file import is_action_model_file, read_action_model

    if path is None:
        return create_network(model.network, seed=0).eval()
    if is_action_model_file(path):
        return with_causality(read_action_model(path)[1], model.network.causal)
    try:
        return load_network(path, config=model.network)
    except UserError as error:
        if path.parent == cache_dir():
            again = f"delete the file and run: python -m detector.weights fetch {model.name}"
            raise UserError(f"{error}; {again}") from None
        raise UserError(f"{error} (read as {model.name}, by its name; rename it if it is another network)") from None
