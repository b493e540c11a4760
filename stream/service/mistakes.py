"""Mistakes in the cameras' file as lines for people: where, what was got, what is expected, the nearest name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from detector.errors import UserError, nearest_names
from stream.service.settings import Camera, File, Part

Key = tuple[str | int, ...]
# Values under these keys are never repeated.
SECRET_KEYS = {"source", "detect", "token"}
LONGEST_VALUE = 60


class Mistakes(UserError):
    """Mistakes in a file, one line each.

    Attributes:
        lines: as they are shown.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass
class Where:
    """On which line of a file each key stands.

    Attributes:
        file: its name, for people.
        lines: from the path of a key to its line, from 1.
        secret: paths whose values came from the environment or a file.
        borrowed: paths of a camera that stand under `defaults`, and where.
    """

    file: str
    lines: dict[Key, int] = field(default_factory=dict)
    secret: set[Key] = field(default_factory=set)
    borrowed: dict[Key, Key] = field(default_factory=dict)

    def borrow(self, from_key: Key, to_key: Key) -> None:
        """A camera's key that stands under `defaults`, with all below it."""
        for known in list(self.lines):
            if known[: len(from_key)] == from_key:
                rest = known[len(from_key) :]
                self.borrowed[(*to_key, *rest)] = known
                if known in self.secret:
                    self.secret.add((*to_key, *rest))

    def of(self, key: Key) -> str:
        """`cameras.yaml:12: cameras.door.every`, or the nearest key above where that one is missing."""
        stands = self.borrowed.get(key, key)
        above = stands
        while above and above not in self.lines:
            above = above[:-1]
        return f"{self.file}:{self.lines.get(above, 1)}: {dotted(stands)}"

    def is_secret(self, key: Key) -> bool:
        """Whether a value must not be repeated."""
        return key in self.secret or bool(SECRET_KEYS.intersection(map(str, key)))


def dotted(key: Key) -> str:
    """`cameras.door.masks[0]`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def explain(error: dict[str, Any], where: Where) -> str:
    """One of pydantic's errors as a line for people."""
    key = tuple(error["loc"])
    kind, got = error["type"], error.get("input")
    expected, known = _expected(key)
    if kind == "extra_forbidden":
        name = str(key[-1])
        near = nearest_names(name, known)
        return f"{where.of(key)}: unknown key {name!r}, expected one of {', '.join(known)}; perhaps {near}?"
    if kind == "missing":
        return f"{where.of(key)}: is missing, expected {expected}"
    if key == () or (kind == "value_error" and str(error["ctx"]["error"]).startswith("server.token")):
        return f"{where.of(('server', 'host'))}: {error['ctx']['error'] if 'ctx' in error else error['msg']}"
    if kind == "literal_error" and isinstance(got, str) and not where.is_secret(key):
        choices = [choice.strip("' ") for choice in str(error["ctx"]["expected"]).replace(" or ", ",").split(",")]
        return f"{where.of(key)}: got {got!r}, expected {expected}; perhaps {nearest_names(got, choices)}?"
    if kind == "value_error" and str(error["ctx"]["error"]).startswith("got "):
        return f"{where.of(key)}: {error['ctx']['error']}"
    if key[:1] == ("cameras",) and len(key) == 2:
        expected = f"keys: {', '.join(Camera.model_fields)}"
    return f"{where.of(key)}: got {_shown(got, where.is_secret(key))}, expected {expected}"


def _shown(value: Any, secret: bool) -> str:
    if secret:
        return "a value that is not shown"
    if value is None:
        return "nothing"
    if isinstance(value, dict | list | tuple):
        return f"{'keys' if isinstance(value, dict) else 'a list'} ({len(value)} of them)"
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _expected(key: Key) -> tuple[str, list[str]]:
    """What the key's field says is expected, and the names that are known beside it."""
    model: Any = File
    text, known = "keys and values", list(File.model_fields)
    for part in key:
        if model is None:
            break
        if model == "cameras":
            model, text, known = Camera, f"keys: {', '.join(Camera.model_fields)}", list(Camera.model_fields)
            continue
        known = list(model.model_fields)
        found = model.model_fields.get(str(part))
        if found is None:
            break
        text = found.description or text
        model = "cameras" if model is File and part == "cameras" else _part(found.annotation)
    return text, known


def _part(annotation: Any) -> Any:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Part):
            return kind
    return None
