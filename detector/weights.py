"""Weights: where they are cached, which ones to use, and the command that lists and fetches them.

    python -m detector.weights list
    python -m detector.weights fetch recommended

Nothing here downloads unless `fetch` was asked for. Files lie in `cache_dir()`; set SLOWFAST_CACHE to move it.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from detector.errors import UserError
from detector.models import ActionModel, WeightsFile
from detector.zoo import action_models


def cache_dir() -> Path:
    """Folder of downloaded weights: the SLOWFAST_CACHE variable, else the user's cache folder. May not exist yet."""
    chosen = os.environ.get("SLOWFAST_CACHE", "").strip()
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("slowfast-live")


def cached_path(weights: WeightsFile) -> Path | None:
    """The complete, checked file in the cache, or None."""
    path = cache_dir() / weights.filename
    return path if path.is_file() else None


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
        UserError: there is none of that name; the line lists them.
    """
    models = action_models()
    if name not in models:
        raise UserError(f"model {name!r}: unknown, expected one of {', '.join(models)}, or a path to a weights file")
    return models[name]


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
    raise NotImplementedError


def load_action_model(model: ActionModel, path: Path):
    """The network of a resolved model, in evaluation mode on the CPU.

    Raises:
        UserError: the file is not weights of this network; the line says what it is.
    """
    raise NotImplementedError
