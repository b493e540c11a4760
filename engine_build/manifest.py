"""What an engine was built from, written beside it, so that one that does not fit is never run.

Knows nothing of folders or locks (`cache.py`) and nothing of any engine's library.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1
# A manifest has about two thousand bytes.
MOST_BYTES = 1 << 20
# Raise it when the graph that is built from the same network changes (its inputs, layout or rewrites).
GRAPH_VERSION = 4


@dataclass(frozen=True)
class EngineKey:
    """Everything that must be the same for a cached engine to be the right one.

    Attributes:
        model: name of the action model or detector, for people.
        target: `openvino`, `tensorrt` ...
        precision: `fp32`, `bf16`, `fp16` or `int8`.
        shape: of the input, without the batch: (T, h, w, 3) for clips, empty where any
            size is served.
        weights_sha256: over names, shapes and values of all parameters and buffers.
        graph: what is computed: the network's numbers as text, and `GRAPH_VERSION`.
        library: name and version of what built it and runs it.
        device: the processor or GPU it was built for.
        calibration_sha256: of the clips that an int8 engine's ranges come from; "" for other precisions.
    """

    model: str
    target: str
    precision: str
    shape: tuple[int, ...]
    weights_sha256: str
    graph: str
    library: str
    device: str
    calibration_sha256: str = ""

    @property
    def stem(self) -> str:
        """The readable part of the folder name: model, target, precision and size."""
        size = "x".join(str(n) for n in self.shape[:-1]) or "any"
        return f"{_file_name(self.model)}-{self.target}-{self.precision}-{size}"

    @property
    def folder_name(self) -> str:
        """`stem` and twelve digits of a hash over all that decides, except the calibration clips.

        An int8 engine is found again by who does not have the clips: they are compared only where given.
        """
        fields = dataclasses.asdict(self)
        del fields["calibration_sha256"]
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return f"{self.stem}-{digest[:12]}"

    def differences(self, other: EngineKey) -> list[str]:
        """Names of the fields that differ, in order; calibration counts only where both state it."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        names = [name for name in mine if mine[name] != theirs[name]]
        if not (self.calibration_sha256 and other.calibration_sha256):
            names = [name for name in names if name != "calibration_sha256"]
        return names


@dataclass(frozen=True)
class Manifest:
    """The paper that lies beside an engine.

    Attributes:
        key: what it was built from.
        files: name → {"bytes", "sha256"} of each file of the engine.
        build_s: seconds the build took.
        created: UTC, ISO 8601.
        verify: the report of `verify.py` as a dict; empty where nobody checked.
        details: what else the engine's file wants to remember (profiles, device name ...).
    """

    key: EngineKey
    files: dict[str, dict[str, Any]]
    build_s: float
    created: str
    verify: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Text of `manifest.json`."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError: not such a text, or of another schema; says which.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict):
                raise TypeError
            if data["schema"] != SCHEMA:
                raise ValueError(f"manifest schema: got {str(data['schema'])[:20]}, expected {SCHEMA}")
            data.pop("schema")
            key = data.pop("key")
            key["shape"] = tuple(key["shape"])
            manifest = cls(key=EngineKey(**key), **data)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"manifest: not readable ({type(error).__name__})") from error
        problem = _problem_with(manifest)
        if problem:
            raise ValueError(f"manifest: {problem}")
        return manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest that may be anything: a pipe is not waited for, a huge file is not read.

    Raises:
        ValueError: no file, not readable, or no manifest; says which.
    """
    try:
        # O_NONBLOCK: a pipe without a writer would be waited for. A link may lead anywhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ValueError("its manifest is no file")
            if facts.st_size > MOST_BYTES:
                raise ValueError(f"its manifest has {facts.st_size} bytes, expected at most {MOST_BYTES}")
            text = file.read(MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise ValueError(f"its manifest cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("manifest: not readable (no text)") from None
    return Manifest.from_json(text)


def _problem_with(manifest: Manifest) -> str:
    """What of a manifest is of another type than was written, or ""."""
    key = manifest.key
    texts = [value for name, value in vars(key).items() if name != "shape"]
    if not all(isinstance(text, str) for text in [*texts, manifest.created]):
        return "a text is none"
    if not all(_is_count(side) for side in key.shape) or not _is_number(manifest.build_s):
        return "a number is none"
    if not all(isinstance(part, dict) for part in (manifest.files, manifest.verify, manifest.details)):
        return "files, verify or details are no table"
    for name, facts in manifest.files.items():
        if not name or name != os.path.basename(name) or name in (".", "..") or "\0" in name:
            return f"{name[:40]!r} is no file of its folder"
        if not isinstance(facts, dict) or not _is_count(facts.get("bytes")) or not isinstance(facts.get("sha256"), str):
            return f"size or checksum of {name[:40]!r} are missing"
    if manifest.verify and not (
        isinstance(manifest.verify.get("ok"), bool) and _is_number(manifest.verify.get("feature_error"))
    ):
        return "its verification says neither yes nor no"
    return ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_weights(state: Mapping[str, Any]) -> str:
    """Hex digest over a state dict: each tensor's name, shape, type and values, in name order.

    Args:
        state: name → torch tensor on any device.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype};".encode())
        # A reinterpretation as bytes works for types that numpy lacks (bfloat16) too.
        digest.update(tensor.reshape(-1).view(dtype=_uint8()).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def sha256_of_arrays(arrays: list[Any]) -> str:
    """Hex digest over a list of numpy arrays, order and shapes included."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}:{array.dtype};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _uint8() -> Any:
    import torch

    return torch.uint8


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._" else "_" for c in text)[:60]
