"""Weights files as containers: told apart by content, read without running what is in them.

Three are in the wild: Caffe2 (a pickle whose dict has `blobs`), PyTorch (`model_state`, zip or older), and PyTorch
files that hold the state alone. What the tensors are called and which network they make is not known here.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.errors import UserError

_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number that older torch.save pickles first
_AGAIN = "download it again"
# Our own model file: a record as JSON text beside the tensors (see `detector.weights.model_file`).
OWN_FORMAT = "slowfast-live action model"

# All that a dict of arrays needs. Everything else could run code and is refused.
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED_GLOBALS = {
    **{(module, name): (module, name) for module in _ARRAY_MODULES for name in ("_reconstruct", "scalar")},
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): None,
    ("collections", "OrderedDict"): None,
    ("_codecs", "encode"): None,
}


@dataclass(frozen=True)
class WeightsContent:
    """What a weights file holds.

    Attributes:
        tensors: by the file's own names, float32 on the CPU; counters are left out.
        kind: "caffe2" or "pytorch".
        config: the numbers of the network, where the file was written by this project; else empty.
        recipe: PySlowFast's configuration as YAML text, where the file has it; else "".
    """

    tensors: dict[str, Tensor]
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""


def read_weights_file(path: str | Path) -> WeightsContent:
    """Read any of the containers.

    Raises:
        UserError: one line for each of: no such file, empty, gzip, HTML page, Git LFS pointer, truncated, a pickle
            that would run code, a file of another sort, a file without tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"weights {path}: {error.strerror or error}, expected a weights file") from None
    _refuse_by_first_bytes(path, head)
    if head.startswith((b"PK", _LEGACY_TORCH)):
        content = _load_torch(path, is_zip=head.startswith(b"PK"))
        kind = "pytorch"
    elif head[:1] in (b"\x80", b"(", b"}"):
        content = _load_pickle(path)
        kind = "caffe2"
    else:
        raise UserError(f"weights {path}: not a weights file (it starts with {head[:8]!r}), expected PyTorch or Caffe2")
    return _content_of(path, content, kind)


def _refuse_by_first_bytes(path: Path, head: bytes) -> None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise UserError(f"weights {path}: the file is empty; {_AGAIN}")
    if head.startswith(b"\x1f\x8b"):
        raise UserError(f"weights {path}: compressed with gzip, expected the weights themselves; run "
                        f"`gzip -dc {path} > weights.pyth` and give that file")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        raise UserError(f"weights {path}: a web page saved as weights (a failed download), expected weights; {_AGAIN}")
    if text.startswith(b"version https://git-lfs"):
        raise UserError(f"weights {path}: a Git LFS pointer, expected the weights themselves; run `git lfs pull`")


def _truncated(path: Path) -> UserError:
    return UserError(f"weights {path}: truncated or damaged ({path.stat().st_size} bytes); {_AGAIN}")


def _load_torch(path: Path, is_zip: bool) -> Any:
    if is_zip:
        if not zipfile.is_zipfile(path):
            raise _truncated(path)
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                raise UserError(f"weights {path}: a zip archive without PyTorch weights, expected a weights file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        refused = re.search(r"GLOBAL ([\w.]+)", reason)
        if refused or "global" in reason.casefold() or "TorchScript" in reason:
            raise _runs_code(path, refused[1] if refused else "Python objects") from None
        raise _truncated(path) from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, zipfile.BadZipFile):
        raise _truncated(path) from None


def _runs_code(path: Path, named: str) -> UserError:
    return UserError(
        f"weights {path}: asks for {named}, expected nothing but tensors; not loaded, because a pickle can run code"
    )


class _ArrayUnpickler(pickle.Unpickler):
    """Builds dicts, lists, numbers, texts and numpy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED_GLOBALS:
            raise _RefusedGlobal(f"{module}.{name}")
        if module in _ARRAY_MODULES:
            # The module moved in numpy 2; old files name the old place.
            return getattr(np._core.multiarray, name) if hasattr(np, "_core") else super().find_class(module, name)
        return super().find_class(module, name)


class _RefusedGlobal(Exception):
    pass


def _load_pickle(path: Path) -> Any:
    try:
        # Python 2 wrote these; latin1 maps its byte strings to text one to one.
        return _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _RefusedGlobal as error:
        raise _runs_code(path, str(error)) from None
    except (EOFError, pickle.UnpicklingError, ValueError, IndexError, KeyError, TypeError, AttributeError,
            UnicodeDecodeError, OverflowError, MemoryError):
        raise _truncated(path) from None


def _content_of(path: Path, content: Any, kind: str) -> WeightsContent:
    if not isinstance(content, dict):
        raise UserError(f"weights {path}: holds {type(content).__name__}, expected a dict of tensors")
    if content.get("format") == OWN_FORMAT:
        content = {"config": _own_config(content.get("record")), "model_state": content.get("tensors")}
    state: Any = content
    for key in ("blobs", "model_state", "state_dict", "model"):
        if isinstance(content.get(key), dict):
            state = content[key]
            break
    tensors = OrderedDict(
        (str(name), _as_tensor(value)) for name, value in state.items() if isinstance(value, (Tensor, np.ndarray))
        and not str(name).endswith("num_batches_tracked")
    )
    if not tensors:
        held = ", ".join(map(str, list(content)[:6])) or "nothing"
        raise UserError(f"weights {path}: no tensors in it (it holds {held}), expected a network's weights")
    config, recipe = content.get("config"), content.get("cfg")
    return WeightsContent(
        tensors, kind, config if isinstance(config, dict) else {}, recipe if isinstance(recipe, str) else ""
    )


def _own_config(record: Any) -> dict[str, Any]:
    """The network's numbers out of an own file's record; {} where there are none."""
    try:
        config = json.loads(record)["network"]
    except (ValueError, KeyError, TypeError):
        return {}
    return config if isinstance(config, dict) else {}


def _as_tensor(value: Tensor | np.ndarray) -> Tensor:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            return torch.empty(0)  # not numbers: no name of a network will fit it
        value = torch.from_numpy(np.ascontiguousarray(value))
    return value.detach().to(torch.float32)
