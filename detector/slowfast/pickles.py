"""A reader of pickles that builds nothing but texts, numbers, lists, dicts and notes of arrays.

Pickle's own machine calls what a file names, makes room for what a file says, and hashes what a file nests. This one
calls nothing, copies no more than the file holds, counts its steps, and takes only flat keys. It reads the protocols
0 to 5 as numpy and torch write them (opcodes: CPython, Lib/pickletools.py); everything else is refused by name.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from detector.slowfast.pickle_notes import (
    MOST_TEXT_BYTES,
    ArrayNote,
    DamagedPickle,
    DtypeNote,
    Inert,
    Named,
    RawBytes,
    RefusedGlobal,
    array_state,
    called,
    is_known,
    safe_key,
    text_of,
)

# A checkpoint of R101 with its optimiser has about sixty thousand steps.
MOST_STEPS = 200_000
SHORT_BYTES = 1 << 16
MOST_NUMBER_BYTES = 64

_MARK = object()
_SET = Inert("set")  # what is in a set is of no use here, and hashing it may be endless


def read_pickle(
    data: memoryview, at: int = 0, stored: Callable[[Any], Any] | None = None
) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: the bytes.
        at: where it begins.
        stored: turns a persistent id into a note; without it, persistent ids are damage.

    Returns:
        What it holds, and where the next byte is.

    Raises:
        DamagedPickle: cut off, no pickle, or too large to be one of weights.
        RefusedGlobal: it names something that could run code.
    """
    machine = _Machine(data, at, stored)
    try:
        return machine.run(), machine.at
    except (IndexError, ValueError, TypeError, AttributeError, KeyError, struct.error, UnicodeError, OverflowError) \
            as error:
        raise DamagedPickle(type(error).__name__) from None


@dataclass
class _Machine:
    data: memoryview
    at: int
    stored: Callable[[Any], Any] | None
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    text_bytes: int = 0

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            code = self.data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None:
                raise DamagedPickle(f"no such opcode: {code:#x}")
            step(self)
        raise DamagedPickle(f"more than {MOST_STEPS} steps")

    def take(self, count: int) -> memoryview:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise DamagedPickle("cut off")
        found, self.at = self.data[self.at:end], end
        return found

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> memoryview:
        """Up to the next end of line, which is left out."""
        start, window = self.at, 256
        while True:
            found = bytes(self.data[self.at : self.at + window]).find(b"\n")
            if found >= 0:
                self.at += found + 1
                return self.data[start : self.at - 1]
            if self.at + window >= len(self.data):
                raise DamagedPickle("cut off")
            self.at, window = self.at + window, min(window * 2, 1 << 20)

    def short_line(self) -> str:
        line = self.line()
        if len(line) > 1024:
            raise DamagedPickle("a line without an end")
        return str(line, "utf-8")

    def text(self, view: memoryview, encoding: str) -> None:
        """Push a text; a long one stays in the file."""
        if len(view) > SHORT_BYTES:
            self.stack.append(RawBytes(view, encoding == "utf-8"))
            return
        self.text_bytes += len(view)
        if self.text_bytes > MOST_TEXT_BYTES:
            self.stack.append(RawBytes(view, encoding == "utf-8"))
            return
        self.stack.append(str(view, encoding, "surrogatepass"))

    def raw(self, view: memoryview) -> None:
        self.stack.append(bytes(view) if len(view) <= 64 else RawBytes(view))

    def to_mark(self) -> list[Any]:
        position = len(self.stack) - 1
        while self.stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise DamagedPickle("no mark")
        items = self.stack[position + 1:]
        del self.stack[position:]
        return items

    def named(self, name: str) -> None:
        if name.startswith("__builtin__."):  # Python 2's, and what protocols 0 to 2 write for it
            name = name.replace("__builtin__", "builtins", 1)
        if not is_known(name):
            raise RefusedGlobal(name)
        self.stack.append(Named(name))

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Named) or not isinstance(arguments, tuple):
            raise DamagedPickle("a call of no function")
        self.stack.append(called(function.name, arguments))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(target, Inert):
                continue
            target[safe_key(key)] = value

    def add_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], Inert):
            self.stack[-1].extend(items)

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, ArrayNote):
            array_state(target, state)
        elif isinstance(target, DtypeNote):
            target.order = text_of(state[1])
        elif not isinstance(target, Inert | dict):
            raise DamagedPickle("a state of nothing")

    def persistent(self, key: Any) -> None:
        if self.stored is None:
            raise DamagedPickle("a storage outside the file")
        self.stack.append(self.stored(key))


def _whole_number(text: str) -> int | bool:
    if text in ("00", "01"):  # how protocol 0 writes booleans
        return text == "01"
    if len(text) > MOST_NUMBER_BYTES:
        raise DamagedPickle("a number without an end")
    return int(text.rstrip("L"))


def _long(m: _Machine, count: int) -> None:
    if count > MOST_NUMBER_BYTES:
        raise DamagedPickle(f"a number of {count} bytes")
    m.stack.append(int.from_bytes(m.take(count), "little", signed=True))


def _quoted(m: _Machine) -> None:
    """Protocol 0's texts: quoted, with escapes; those of Python 2 hold bytes."""
    line = m.line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in b"'\"":
        raise DamagedPickle("a text without quotes")
    data = codecs.escape_decode(bytes(line[1:-1]))[0]
    if len(data) <= 4096:
        m.stack.append(data.decode("latin1"))
    else:
        m.stack.append(RawBytes(memoryview(data)))


def _escaped(m: _Machine) -> None:
    """Protocol 0's texts of Python 3, which may hold an array's bytes."""
    line = m.line()
    if len(line) <= SHORT_BYTES:
        m.text(line, "raw_unicode_escape")
        return
    data = bytes(line)
    if re.search(rb"\\U|\\u(?!00)", data):
        raise DamagedPickle("a text where bytes were expected")
    m.stack.append(RawBytes(memoryview(data.decode("raw_unicode_escape").encode("latin1"))))


def _two_lines(m: _Machine) -> str:
    return f"{m.short_line()}.{m.short_line()}"


def _stack_named(m: _Machine) -> None:
    last, module = m.stack.pop(), m.stack.pop()
    m.named(f"{text_of(module)[:200]}.{text_of(last)[:200]}")


def _old_object(m: _Machine) -> None:
    raise RefusedGlobal(_two_lines(m))


def _object(m: _Machine) -> None:
    raise RefusedGlobal(next((item.name for item in m.to_mark() if isinstance(item, Named)), "an object"))


def _make_tuple(m: _Machine, count: int) -> None:
    items = tuple(m.stack[-count:])
    if len(items) < count:
        raise DamagedPickle("an empty stack")
    del m.stack[-count:]
    m.stack.append(items)


def _dict_of(m: _Machine) -> None:
    items = m.to_mark()
    m.stack.append({})
    m.set_items(items)


def _reduce(m: _Machine) -> None:
    arguments, function = m.stack.pop(), m.stack.pop()
    m.call(function, arguments)


def _pairs_below(m: _Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, value])


_STEPS: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda m: m.take(1), 0x95: lambda m: m.take(8) and None,  # PROTO, FRAME
    ord("("): lambda m: m.stack.append(_MARK), ord("0"): lambda m: m.stack.pop(), ord("1"): lambda m: m.to_mark(),
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("N"): lambda m: m.stack.append(None), 0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("I"): lambda m: m.stack.append(_whole_number(m.short_line())),
    ord("L"): lambda m: m.stack.append(_whole_number(m.short_line())),
    ord("F"): lambda m: m.stack.append(float(m.short_line())),
    ord("J"): lambda m: m.stack.append(m.number("<i")), ord("K"): lambda m: m.stack.append(m.number("<B")),
    ord("M"): lambda m: m.stack.append(m.number("<H")), ord("G"): lambda m: m.stack.append(m.number(">d")),
    0x8A: lambda m: _long(m, m.number("<B")), 0x8B: lambda m: _long(m, m.number("<i")),
    ord("S"): _quoted, ord("V"): lambda m: _escaped(m),
    ord("U"): lambda m: _python_2(m, m.number("<B")), ord("T"): lambda m: _python_2(m, m.number("<i")),
    ord("X"): lambda m: m.text(m.take(m.number("<I")), "utf-8"),
    0x8C: lambda m: m.text(m.take(m.number("<B")), "utf-8"),
    0x8D: lambda m: m.text(m.take(m.number("<Q")), "utf-8"),
    ord("B"): lambda m: m.raw(m.take(m.number("<I"))), ord("C"): lambda m: m.raw(m.take(m.number("<B"))),
    0x8E: lambda m: m.raw(m.take(m.number("<Q"))), 0x96: lambda m: m.raw(m.take(m.number("<Q"))),
    ord("]"): lambda m: m.stack.append([]), ord("l"): lambda m: m.stack.append(m.to_mark()),
    ord("a"): lambda m: m.add_items([m.stack.pop()]), ord("e"): lambda m: m.add_items(m.to_mark()),
    ord(")"): lambda m: m.stack.append(()), 0x85: lambda m: _make_tuple(m, 1), 0x86: lambda m: _make_tuple(m, 2),
    0x87: lambda m: _make_tuple(m, 3), ord("t"): lambda m: m.stack.append(tuple(m.to_mark())),
    ord("}"): lambda m: m.stack.append({}), ord("d"): _dict_of, ord("s"): _pairs_below,
    ord("u"): lambda m: m.set_items(m.to_mark()),
    0x8F: lambda m: m.stack.append(_SET), 0x90: lambda m: m.add_items(m.to_mark()),
    0x91: lambda m: m.stack.append(Inert("frozenset", tuple(m.to_mark()))),
    ord("c"): lambda m: m.named(_two_lines(m)), 0x93: _stack_named, ord("R"): _reduce, 0x81: _reduce,
    ord("b"): lambda m: m.build(), ord("i"): _old_object, ord("o"): _object,
    ord("P"): lambda m: m.persistent(m.short_line()), ord("Q"): lambda m: m.persistent(m.stack.pop()),
    ord("p"): lambda m: m.put(_whole_number(m.short_line())), ord("q"): lambda m: m.put(m.number("<B")),
    ord("r"): lambda m: m.put(m.number("<I")), 0x94: lambda m: m.put(len(m.memo)),
    ord("g"): lambda m: m.get(_whole_number(m.short_line())), ord("h"): lambda m: m.get(m.number("<B")),
    ord("j"): lambda m: m.get(m.number("<I")),
}


def _python_2(m: _Machine, count: int) -> None:
    view = m.take(count)
    if len(view) <= 4096:
        m.stack.append(str(view, "latin1"))
    else:
        m.stack.append(RawBytes(view))
