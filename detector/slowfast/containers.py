"""Weights files as containers: told apart by content, read without running what is in them.

Four are in the wild: Caffe2 (a pickle whose dict has `blobs`), PyTorch (`model_state`, zip or older), PyTorch files
that hold the state alone, and safetensors. What the tensors are called and which network they make is not known here.

A file is measured before it is read: nothing it says of sizes is believed beyond the bytes that it has, so that a
small file cannot ask for much memory. What is inside is noted by `detector.slowfast.pickles`, which calls nothing.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any

from detector.errors import UserError
from detector.slowfast.pickle_notes import ArrayNote, DamagedPickle, RawBytes, RefusedGlobal, TensorNote, text_of
from detector.slowfast.pickles import read_pickle
from detector.slowfast.storages import LEGACY_TORCH, Stored, make_arrays, open_legacy, open_zip

if TYPE_CHECKING:
    from torch import Tensor

_AGAIN = "download it again"
# Our own model file: a record as JSON text beside the tensors (see `detector.weights.model_file`).
OWN_FORMAT = "slowfast-live action model"
# A safetensors header has about a hundred bytes a tensor.
_MOST_HEADER_BYTES = 4 << 20


@dataclass(frozen=True)
class WeightsContent:
    """What a weights file holds.

    Attributes:
        tensors: by the file's own names, float32 on the CPU; counters are left out.
        kind: "caffe2", "pytorch" or "safetensors".
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
            that would run code, a file of another sort (TorchScript, ONNX, numpy), sizes that the file does not
            have, a file without tensors, numbers that are NaN or infinite.
    """
    path = Path(path)
    head = _head(path)
    if _is_safetensors(path, head):
        content = WeightsContent(_read_safetensors(path), "safetensors")
    else:
        stored = read_notes(path)
        content = _content_of(path, stored)
    _refuse_no_numbers(path, content.tensors)
    return content


def read_notes(path: str | Path) -> Stored:
    """What a PyTorch or Caffe2 file holds, its tensors noted and not read yet.

    Raises:
        UserError: as `read_weights_file`, as far as it shows without the tensors.
    """
    path = Path(path)
    head = _head(path)
    _refuse_by_first_bytes(path, head)
    try:
        if head.startswith(b"PK"):
            return open_zip(path)
        if head.startswith(LEGACY_TORCH):
            return open_legacy(path)
        if head[:1] in (b"\x80", b"(", b"}", b"]", b"c"):  # "c": protocol 0 begins with what it would call
            with path.open("rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return Stored(read_pickle(data)[0], "caffe2", None)
    except RefusedGlobal as error:
        raise _runs_code(path, str(error)) from None
    except (DamagedPickle, OSError) as error:
        raise _damaged(path, error) from None
    raise UserError(f"weights {path}: not a weights file (it starts with {head[:8]!r}), expected PyTorch, Caffe2 or "
                    "safetensors")


def own_record(path: str | Path) -> dict[str, Any] | None:
    """The top of an own model file (`format`, `format_version`, `record`) without its tensors; None for others."""
    try:
        content = read_notes(path).content
    except UserError:
        return None
    if not isinstance(content, dict) or content.get("format") != OWN_FORMAT:
        return None
    return {key: value for key, value in content.items() if key != "tensors"}


def _head(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if S_ISDIR(mode):
            raise UserError(f"weights {path}: is a directory, expected a weights file")
        if not S_ISREG(mode):  # a pipe would wait for ever
            raise UserError(f"weights {path}: neither a file nor a link to one, expected a weights file")
        with path.open("rb") as file:
            return file.read(512)
    except (OSError, ValueError) as error:
        raise UserError(f"weights {path}: {getattr(error, 'strerror', None) or error}, expected a weights file") \
            from None


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


def _damaged(path: Path, error: Exception) -> UserError:
    reason = f": {error}" if " " in str(error) else ""
    return UserError(f"weights {path}: truncated or damaged ({path.stat().st_size} bytes{reason}); {_AGAIN}")


def _runs_code(path: Path, named: str) -> UserError:
    whole = "; it is a whole pickled network: save its state_dict() instead" if named.startswith("torch.nn.") else ""
    return UserError(
        f"weights {path}: asks for {named[:80]!s}, expected nothing but tensors; not loaded, because a pickle can run "
        f"code{whole}"
    )


def _is_safetensors(path: Path, head: bytes) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    return int.from_bytes(head[:8], "little") + 8 <= path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > _MOST_HEADER_BYTES:
        raise UserError(f"weights {path}: a header of {header} bytes, expected a few for each tensor; {_AGAIN}")
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UserError(f"weights {path}: a safetensors file; run: pip install safetensors") from None
    tensors = {}
    import torch

    try:
        with safe_open(path, "pt", device="cpu") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                tensor = opened.get_tensor(name)
                # A copy: the file is mapped, and may be written anew while this program runs.
                if not str(name).endswith("num_batches_tracked"):
                    tensors[name] = tensor.to(torch.float32, copy=True)
    except (SafetensorError, RuntimeError, ValueError, AttributeError) as error:
        raise _damaged(path, DamagedPickle(" ".join(str(error).split())[:100])) from None
    if not tensors:
        raise UserError(f"weights {path}: no tensors in it, expected a network's weights")
    return tensors


def _content_of(path: Path, stored: Stored) -> WeightsContent:
    content = stored.content
    if not isinstance(content, dict):
        word = type(content).__name__
        held = {"ArrayNote": "one array", "TensorNote": "one tensor"}.get(word, word)
        raise UserError(f"weights {path}: holds {held}, expected a dict of tensors")
    _refuse_checkpoint(path, content)
    if content.get("format") == OWN_FORMAT:
        content = {"config": _own_config(content.get("record")), "model_state": content.get("tensors")}
    state: Any = content
    for key in ("blobs", "model_state", "state_dict", "model"):
        if isinstance(content.get(key), dict):
            state = content[key]
            break
    notes = {
        str(name): value for name, value in state.items() if isinstance(value, TensorNote | ArrayNote)
        and not str(name).endswith("num_batches_tracked")
    }
    if not notes and stored.content.get("format") == OWN_FORMAT:
        raise UserError(f"weights {path}: its tensors do not fit the record (there is none); save the model again")
    if not notes:
        held = ", ".join(str(key)[:40] for key in list(content)[:6]) or "nothing"
        raise UserError(f"weights {path}: no tensors in it (it holds {held}), expected a network's weights")
    try:
        tensors = make_arrays(path, notes, stored)
    except DamagedPickle as error:
        raise _damaged(path, error) from None
    config, recipe = content.get("config"), content.get("cfg")
    recipe = text_of(recipe) if isinstance(recipe, str | RawBytes) else ""
    return WeightsContent(tensors, stored.kind, config if isinstance(config, dict) else {}, recipe)


def _refuse_checkpoint(path: Path, content: dict[Any, Any]) -> None:
    """Say of a training's own files which one beside them is meant."""
    if isinstance(content.get("network"), dict) and isinstance(content.get("format"), int):
        kind = "state of a training run" if "optimizer" in content else "best weights of a training run"
        raise UserError(
            f"weights {path}: the {kind}, without labels and record, expected a model file; use model.pt beside it "
            f"({path.parent / 'model.pt'})"
        )


def _own_config(record: Any) -> dict[str, Any]:
    """The network's numbers out of an own file's record; {} where there are none."""
    try:
        config = json.loads(text_of(record))["network"]
    except (ValueError, KeyError, TypeError, RecursionError, DamagedPickle):
        return {}
    return config if isinstance(config, dict) else {}


def _refuse_no_numbers(path: Path, tensors: dict[str, Tensor]) -> None:
    """NaN or infinity in weights: a training that diverged, or a conversion to half precision that overflowed."""
    for name, tensor in tensors.items():
        # The sum is not finite where a value is not; sums that overflow are looked at again.
        if tensor.numel() and not bool(tensor.sum().isfinite()):
            wrong = int((~tensor.isfinite()).sum())
            if wrong:
                raise UserError(
                    f"weights {path}: {name[:80]} has {wrong} of {tensor.numel()} numbers that are NaN or infinite, "
                    "expected finite ones; the training that wrote it diverged: use an earlier file of it"
                )
