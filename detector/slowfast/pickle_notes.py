"""What a weights file's pickle may hold, as notes: arrays and tensors that nobody made, calls that nobody makes.

Every name that a file may ask for is listed here; nothing that it names is imported or called.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_TEXT_BYTES = 8 << 20
_LARGEST_KEY = 1 << 31
_NUMPY_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY_BUFFERS = ("numpy.core.numeric", "numpy._core.numeric")


class DamagedPickle(Exception):
    """Not a pickle, cut off, or beyond every honest size."""


class RefusedGlobal(Exception):
    """It asks for something that is neither number nor array; the text is its name."""


@dataclass(frozen=True)
class RawBytes:
    """A long text or bytes, left in the file.

    Attributes:
        view: as it stands there.
        utf8: written as UTF-8 text; what it says is one byte a character where it holds an array.
    """

    view: memoryview
    utf8: bool = False

    def __len__(self) -> int:
        return len(self.view)

    def read(self) -> bytes:
        """The bytes meant.

        Raises:
            DamagedPickle: the text has characters that are no bytes.
        """
        data = bytes(self.view)
        if not self.utf8 or data.isascii():
            return data
        # Anything from 0xC4 on starts a character beyond latin1, and would decode to four bytes each.
        if re.search(rb"[\xc4-\xff]", data):
            raise DamagedPickle("a text where bytes were expected")
        return data.decode("utf-8", "surrogatepass").encode("latin1")


@dataclass(frozen=True)
class Named:
    """A function or class that a pickle asks for, by name; never imported."""

    name: str


@dataclass(slots=True)
class Inert:
    """What an unharmful call would have made; nothing was made."""

    name: str
    arguments: tuple[Any, ...] = ()


@dataclass(slots=True)
class ArrayNote:
    """A numpy array that nobody has made yet.

    Attributes:
        shape: its sides.
        kind: dtype as numpy writes it, with byte order: `<f4`.
        data: its bytes, or None.
        fortran: first index fastest.
    """

    shape: tuple[int, ...] = ()
    kind: str = ""
    data: Any = None
    fortran: bool = False


@dataclass(slots=True)
class TensorNote:
    """A torch tensor that nobody has made yet.

    Attributes:
        storage: what the container says of its storage.
        offset: first element.
        shape, stride: in elements.
    """

    storage: StorageNote
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class StorageNote:
    """A storage as a pickle's persistent id names it.

    Attributes:
        key: its name in the file.
        dtype: torch's word for the elements: `float32`; "" for bytes whose type the tensor tells.
        count: elements (bytes, where the type is not told).
        start: first element inside the stored one (older files' views).
    """

    key: str
    dtype: str
    count: int
    start: int = 0


@dataclass(slots=True)
class DtypeNote:
    kind: str
    order: str = "|"

    @property
    def text(self) -> str:
        return ("<" if self.order in "=|" else self.order) + self.kind.lstrip("<>=|")


_DTYPE_OF_STORAGE = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "",
}
_DTYPES = frozenset(_DTYPE_OF_STORAGE.values()) - {""}
# Records without behaviour that checkpoints carry beside their tensors.
_HARMLESS = frozenset({
    "argparse.Namespace", "torch.Size", "torch.device", "builtins.set", "builtins.frozenset",
    "builtins.slice", "builtins.long", "builtins.complex", "builtins.int", "builtins.float", "collections.Counter",
    "collections.defaultdict",
    "builtins.dict", "builtins.list", "builtins.str", "builtins.bool", "pathlib.PosixPath", "pathlib.Path",
    "pathlib.PurePosixPath", "pathlib._local.PosixPath", "datetime.datetime", "datetime.timedelta",
    "torch.serialization._get_layout", "torch.strided",
})


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS or bool(re.fullmatch(r"torch\.(float|int|uint|bfloat|complex)\w*|torch\.bool", name))


def is_known(name: str) -> bool:
    module, _, last = name.rpartition(".")
    return (
        name in _CALLS or _is_harmless(name) or name in ("numpy.ndarray", "collections.OrderedDict", "_codecs.encode")
        or bool(re.fullmatch(r"numpy\.dtypes\.\w+DType", name))
        or (module in ("torch", "torch.storage", "torch.cuda") and last in _DTYPE_OF_STORAGE)
    )


def text_of(value: Any) -> str:
    """A text or short bytes as text; Python 2's bytes one to one.

    Raises:
        DamagedPickle: neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, RawBytes) and len(value) <= MOST_TEXT_BYTES:
        return str(value.view, "utf-8" if value.utf8 else "latin1", "replace")
    if isinstance(value, bytes):
        return value.decode("latin1")
    raise DamagedPickle("a text was expected")


def safe_key(key: Any) -> Any:
    """A key that is safe to hash and compare: text, a small number, or a short tuple of these."""
    if isinstance(key, RawBytes | bytes):
        key = text_of(key)
    if key is None or isinstance(key, str | float) or (isinstance(key, int) and abs(key) < _LARGEST_KEY):
        return key
    if isinstance(key, tuple) and len(key) <= 8 and not any(isinstance(part, tuple) for part in key):
        return tuple(map(safe_key, key))
    raise DamagedPickle("a key that is neither text nor number")


def called(name: str, arguments: tuple[Any, ...]) -> Any:
    if name in _CALLS:
        return _CALLS[name](*arguments)
    if name == "collections.OrderedDict":
        return {safe_key(k): v for k, v in (arguments[0] if arguments else ())}
    if name == "_codecs.encode":
        return _encoded(*arguments)
    if _is_harmless(name) or name.startswith("numpy.dtypes."):
        return Inert(name, arguments)
    raise RefusedGlobal(name)


def _encoded(text: Any, encoding: Any = "utf-8") -> Any:
    if text_of(encoding).replace("-", "").replace("_", "").lower() not in ("latin1", "iso88591"):
        raise RefusedGlobal(f"_codecs.encode to {text_of(encoding)[:20]}")
    return text.encode("latin1") if isinstance(text, str) else text


def array_state(array: ArrayNote, state: tuple[Any, ...]) -> None:
    shape, kind, fortran, data = state[-4:]
    array.shape, array.kind, array.fortran, array.data = sides(shape), kind.text, bool(fortran), data


def sides(shape: Any) -> tuple[int, ...]:
    """A shape, checked: at most eight whole numbers, none negative."""
    if not isinstance(shape, tuple | list):
        shape = shape.arguments[0] if isinstance(shape, Inert) and shape.name == "torch.Size" else (shape,)
    if len(shape) > 8 or not all(type(side) is int and 0 <= side < 1 << 62 for side in shape):
        raise DamagedPickle("a shape that is none")
    return tuple(shape)


def _scalar(kind: DtypeNote, data: Any = b"") -> Any:
    """A numpy scalar as the number it is; None where it is none."""
    layout = {"f4": "f", "f8": "d", "f2": "e", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H",
              "u4": "I", "u8": "Q", "b1": "?"}.get(kind.kind)
    data = data.encode("latin1") if isinstance(data, str) else data
    if layout is None or not isinstance(data, bytes):
        return None
    return struct.unpack((">" if kind.order == ">" else "<") + layout, data)[0]


def _buffer(data: Any, kind: DtypeNote, shape: Any, order: Any = "C") -> ArrayNote:
    return ArrayNote(sides(shape), kind.text, data, text_of(order) == "F")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> TensorNote:
    if not isinstance(storage, StorageNote) or type(offset) is not int or offset < 0:
        raise DamagedPickle("a tensor of no storage")
    note = TensorNote(storage, offset, sides(shape), sides(stride))
    if len(note.shape) != len(note.stride):
        raise DamagedPickle("a stride of another shape")
    return note


def _tensor_of_type(storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any,
                    *rest: Any) -> TensorNote:
    word = dtype.name.removeprefix("torch.")
    if word not in _DTYPES or storage.dtype:
        raise RefusedGlobal(dtype.name)
    size = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}.get(word, 1)
    return _tensor(StorageNote(storage.key, word, storage.count // size), offset, shape, stride)


_CALLS: dict[str, Callable[..., Any]] = {
    **{f"{module}._reconstruct": lambda *arguments: ArrayNote() for module in _NUMPY_ARRAYS},
    **{f"{module}.scalar": _scalar for module in _NUMPY_ARRAYS},
    **{f"{module}._frombuffer": _buffer for module in _NUMPY_BUFFERS},
    "builtins.bytes": lambda data=b"": data,
    "builtins.bytearray": lambda data=b"", *rest: data,
    "numpy.dtype": lambda kind, *rest: DtypeNote(text_of(kind)[:32]),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": lambda tensor, *rest: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *rest: tensor,
}


def storage_dtype(kind: Any) -> str:
    """What a persistent id's storage class holds: `float32`; "" for plain bytes.

    Raises:
        DamagedPickle: no such class.
        RefusedGlobal: one of a kind of numbers that weights do not have.
    """
    if not isinstance(kind, Named):
        raise DamagedPickle("a storage of no type")
    word = kind.name.rpartition(".")[2]
    if word not in _DTYPE_OF_STORAGE:
        raise RefusedGlobal(kind.name)
    return _DTYPE_OF_STORAGE[word]
