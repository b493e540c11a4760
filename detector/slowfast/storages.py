"""Tensors out of PyTorch's and Caffe2's files: where their bytes lie, and that they lie there.

Formats: torch/serialization.py (zip of `data.pkl` and `data/KEY`, stored without compression; before 1.6 a row of
pickles and raw storages). Every size is held against the file before room is made for it.
"""

from __future__ import annotations

import io
import math
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import UserError
from detector.slowfast.pickle_notes import (
    ArrayNote,
    DamagedPickle,
    RawBytes,
    StorageNote,
    TensorNote,
    storage_dtype,
    text_of,
)
from detector.slowfast.pickles import read_pickle

if TYPE_CHECKING:
    from torch import Tensor

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number that older torch.save pickles first
# Half precision doubles, and small files may hold a tensor twice.
_MOST_GROWTH, _SLACK_BYTES = 2, 64 << 20
_MOST_DIRECTORY_BYTES = 2 << 20


@dataclass(frozen=True)
class Stored:
    """A file's pickle, and how to get at its storages.

    Attributes:
        content: what it holds, tensors as notes.
        kind: "caffe2" or "pytorch".
        read: the bytes of a storage by key, exactly so many; None where there are no storages.
    """

    content: Any
    kind: str
    read: Callable[[StorageNote, int], bytearray] | None


class _Directory(io.BufferedReader):
    """A zip file whose list of members is refused when it is too long to be one of weights."""

    opening = True

    def read(self, size: int | None = -1) -> bytes:
        if self.opening and (size is None or size > _MOST_DIRECTORY_BYTES):
            raise DamagedPickle("too many members")
        return super().read(size)


def open_zip(path: Path) -> Stored:
    """Read a PyTorch zip's pickle.

    Raises:
        UserError: TorchScript, or no PyTorch file.
        DamagedPickle: cut off, compressed, or sizes that are not there.
        RefusedGlobal: see `read_pickle`.
    """
    try:
        with _opened(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            _refuse_other_zips(path, list(members))
            _refuse_swollen(path, archive)
            pickled = next(name for name in members if name.rpartition("/")[2] == "data.pkl")
            folder = pickled[: -len("data.pkl")]
            order = members.get(f"{folder}byteorder")
            if order is not None and order.file_size < 16 and archive.read(order).strip() != b"little":
                raise UserError(f"weights {path}: numbers of a big-endian machine; save it on a little-endian one")
            content, _ = read_pickle(memoryview(archive.read(pickled)), 0, _storage_note)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, KeyError, EOFError, struct.error) \
            as error:
        raise DamagedPickle(" ".join(str(error).split())[:80]) from None

    def read(note: StorageNote, count: int) -> bytearray:
        info = members.get(f"{folder}data/{note.key}")
        if info is None or info.file_size < count:
            raise DamagedPickle(f"storage {note.key[:20]!r} has not the bytes that its tensor needs")
        return _member(path, info, count)

    return Stored(content, "pytorch", read)


def _opened(path: Path) -> zipfile.ZipFile:
    file = _Directory(io.FileIO(path))
    try:
        archive = zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise
    file.opening = False
    return archive


def _member(path: Path, info: zipfile.ZipInfo, count: int) -> bytearray:
    """The first bytes of a member that is stored plainly; its checksum is compared where that is all of it."""
    data = bytearray(count)
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(30)
        if len(local) < 30 or not local.startswith(b"PK\3\4"):
            raise DamagedPickle("a member is not where the list says")
        file.seek(sum(struct.unpack("<HH", local[26:])), io.SEEK_CUR)
        if file.readinto(data) != count:
            raise DamagedPickle("cut off")
    if count == info.file_size and zlib.crc32(data) != info.CRC:
        raise DamagedPickle(f"the checksum of {info.filename[:40]!r} differs")
    return data


def _refuse_other_zips(path: Path, names: list[str]) -> None:
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last or any("/code/" in name for name in names):
        raise UserError(
            f"weights {path}: a TorchScript program, expected weights; save the network's state_dict() instead"
        )
    if any(name.endswith(".npy") for name in names):
        raise UserError(f"weights {path}: numpy's .npz, expected PyTorch, Caffe2 or safetensors weights")
    if "data.pkl" not in last:
        raise UserError(f"weights {path}: a zip archive without PyTorch weights, expected a weights file")


def _refuse_swollen(path: Path, archive: zipfile.ZipFile) -> None:
    infos = archive.infolist()
    packed = next((info for info in infos if info.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise UserError(
            f"weights {path}: {packed.filename[:60]!r} in it is compressed ({packed.file_size} bytes out of "
            f"{packed.compress_size}), expected PyTorch's plain zip; load and save it again with torch.save"
        )
    if any(info.file_size != info.compress_size for info in infos) or (
        sum(info.file_size for info in infos) > path.stat().st_size
    ):
        raise DamagedPickle("its members are larger than the file")


def _storage_note(key: Any) -> StorageNote:
    word, kind, name, _, count, *view = key
    if text_of(word) != "storage" or type(count) is not int or not 0 <= count < 1 << 62:
        raise DamagedPickle("a storage that is none")
    start = 0
    if view and view[0] is not None:
        _, start, count = view[0]
        if type(start) is not int or type(count) is not int or start < 0 or count < 0:
            raise DamagedPickle("a storage that is none")
    return StorageNote(text_of(name), storage_dtype(kind), count, start)


def open_legacy(path: Path) -> Stored:
    """Read the pickles of a file that torch wrote before 1.6; raises as `open_zip`."""
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    at, first = 0, []
    for _ in range(3):  # magic number, protocol, facts of the system
        value, at = read_pickle(data, at)
        first.append(value)
    if first[1] != 1001 or (isinstance(first[2], dict) and first[2].get("little_endian") is False):
        raise DamagedPickle("a protocol of another version")
    dtypes: dict[str, str] = {}

    def note(key: Any) -> StorageNote:
        found = _storage_note(key)
        dtypes.setdefault(found.key, found.dtype)
        return found

    content, at = read_pickle(data, at, note)
    keys, at = read_pickle(data, at)
    places: dict[str, tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else []:
        name = text_of(key)
        if at + 8 > len(data):
            raise DamagedPickle("cut off")
        (count,) = struct.unpack("<q", data[at : at + 8])
        size = count * _size_of(dtypes.get(name, "uint8"))
        if count < 0 or at + 8 + size > len(data):
            raise DamagedPickle("cut off")
        places[name] = (at + 8, size)
        at += 8 + size

    def read(storage: StorageNote, count: int) -> bytearray:
        start, size = places.get(storage.key, (0, -1))
        if count > size:
            raise DamagedPickle(f"storage {storage.key[:20]!r} has not the bytes that its tensor needs")
        return bytearray(data[start : start + count])

    return Stored(content, "pytorch", read)


def _size_of(dtype: str) -> int:
    return {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}.get(dtype, 1)


def make_arrays(path: Path, notes: Mapping[str, TensorNote | ArrayNote], stored: Stored) -> dict[str, Tensor]:
    """The tensors that were noted, float32.

    Raises:
        UserError: together they are larger than the file can honestly hold; the largest is named.
        DamagedPickle: one is larger than its storage.
    """
    sizes = {name: 4 * _count(note.shape) for name, note in notes.items()}
    allowed = _MOST_GROWTH * path.stat().st_size + _SLACK_BYTES
    if sum(sizes.values()) > allowed:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UserError(
            f"weights {path}: {largest[:80]} has shape {tuple(notes[largest].shape)}, more numbers than the "
            f"file's {path.stat().st_size} bytes can hold; expected every number to be stored"
        )
    made: dict[str, Tensor] = {}
    groups: dict[str, dict[str, TensorNote]] = {}
    for name, note in notes.items():
        if isinstance(note, TensorNote):
            groups.setdefault(note.storage.key, {})[name] = note
        else:
            made[name] = _array(name, note)
    for group in groups.values():
        # Tensors of one storage are made together, so that it is read once and not kept for the others.
        needed = max(_bytes_needed(name, note) for name, note in group.items())
        assert stored.read is not None
        buffer = stored.read(next(iter(group.values())).storage, needed) if needed else bytearray()
        made |= {name: _tensor(note, buffer) for name, note in group.items()}
    return {name: made[name] for name in notes}


def _count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _bytes_needed(name: str, note: TensorNote) -> int:
    """Bytes from the start of its storage to its last element."""
    if not _count(note.shape):
        return 0
    last = note.offset + sum((side - 1) * step for side, step in zip(note.shape, note.stride))
    if last >= note.storage.count or not note.storage.dtype:
        raise DamagedPickle(f"{name[:80]} reaches beyond its storage")
    return (note.storage.start + last + 1) * _size_of(note.storage.dtype)


def _tensor(note: TensorNote, buffer: bytearray) -> Tensor:
    import torch

    try:
        if not _count(note.shape):
            return torch.zeros(note.shape)
        dtype = getattr(torch, note.storage.dtype)
        flat = torch.frombuffer(buffer, dtype=dtype, count=len(buffer) // _size_of(note.storage.dtype))
        steps = tuple(step if side > 1 else 1 for side, step in zip(note.shape, note.stride))
        view = flat.as_strided(note.shape, steps, note.storage.start + note.offset)
        return view.to(torch.float32).contiguous()
    except (RuntimeError, ValueError, OverflowError) as error:
        raise DamagedPickle(" ".join(str(error).split())[:80]) from None


def _array(name: str, note: ArrayNote) -> Tensor:
    import torch

    if not re.fullmatch(r"[<>|][fiub][1248]", note.kind):
        return torch.empty(0)  # not numbers: no name of a network will fit it
    dtype = np.dtype(note.kind)
    data = note.data.encode("latin1") if isinstance(note.data, str) else note.data
    if not isinstance(data, bytes | RawBytes) or len(data) < _count(note.shape) * dtype.itemsize:
        raise DamagedPickle(f"{name[:80]} has not the bytes of its shape {note.shape}")
    raw = data.read() if isinstance(data, RawBytes) else data
    if len(raw) != _count(note.shape) * dtype.itemsize:
        raise DamagedPickle(f"{name[:80]} has not the bytes of its shape {note.shape}")
    array = np.frombuffer(raw, dtype).reshape(note.shape, order="F" if note.fortran else "C")
    return torch.from_numpy(np.ascontiguousarray(array, np.float32).copy())
