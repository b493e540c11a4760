"""Networks become fast engines here: export, build, cache, verify, run. Nothing here knows of cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.doors import lazy_door

if TYPE_CHECKING:
    from engine_build.build import build_engine, is_built
    from engine_build.engine import Engine

__all__ = ["Engine", "build_engine", "is_built"]

__getattr__, __dir__ = lazy_door(__name__, {
    "Engine": "engine_build.engine",
    "build_engine": "engine_build.build",
    "is_built": "engine_build.build",
})
