"""Where weights are cached. Set SLOWFAST_CACHE to move it; nothing here downloads."""

from __future__ import annotations

import os
from pathlib import Path

from detector.errors import UserError
from detector.weights.records import PackagedModel, WeightsFile


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
