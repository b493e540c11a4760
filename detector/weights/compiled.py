"""Graphs as OpenVINO has compiled them, kept beside the weights: reading one back takes a tenth of the time.

What is kept fits the same file, the same OpenVINO, the same options and a processor with the same instructions, and is
checked by a hash over all of it; anything else is compiled again. Where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2

from detector.device import openvino_core
from detector.files import write_whole
from detector.weights.cache import cache_dir

_DIGEST_BYTES = 32


def compile_kept(name: str, sources: tuple[Path, ...], make: Callable[[], Any], options: Mapping[str, Any]) -> Any:
    """Compile a graph for the CPU, or take it as it was compiled before.

    Args:
        name: of the graph, for its file's name; another one for each form that is made of the same files.
        sources: the files that it is made from.
        make: gives the `openvino.Model`, called where nothing fitting is kept.
        options: of OpenVINO's `compile_model`.

    Returns:
        `openvino.CompiledModel`.

    Raises:
        RuntimeError, and whatever `make` raises: the graph cannot be made or compiled.
    """
    place = _place(name, sources, options)
    kept = _read(place)
    core = openvino_core()
    if kept is not None:
        try:
            return core.import_model(kept, "CPU", dict(options))
        except RuntimeError:
            pass  # written by a build of OpenVINO that calls itself the same: compiled again
    compiled = core.compile_model(make(), "CPU", dict(options))
    _keep(place, compiled)
    return compiled


def _place(name: str, sources: tuple[Path, ...], options: Mapping[str, Any]) -> Path:
    facts = [
        metadata.version("openvino"), cv2.getCPUFeaturesLine(), sorted(options.items()),
        [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources],
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return cache_dir() / "compiled" / f"{name}-{digest[:16]}.blob"


def _read(place: Path) -> bytes | None:
    """What `_keep` wrote, whole; else None."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    digest, blob = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def _keep(place: Path, compiled: Any) -> None:
    stream = io.BytesIO()
    compiled.export_model(stream)
    blob = stream.getvalue()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, hashlib.sha256(blob).digest() + blob)
    except OSError:
        return  # it is compiled at each start then, which costs time alone
