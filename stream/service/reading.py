"""Reading the cameras' file: YAML with line numbers, defaults, `${NAME}` and `!file PATH`. The one door to ruamel.yaml.

Every mistake becomes one line: file, line number, where, what was got, what is expected, the nearest known name. A
value that came out of the environment or a file, and every address, is never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detector.errors import UserError
from stream.events.rules import RuleSet
from stream.service.mistakes import Mistakes, Where, explain
from stream.service.rule_reading import Events, all_rules
from stream.service.settings import NAME, File

Key = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
MAX_SECRET_BYTES = 64 * 1024


@dataclass(frozen=True, eq=False)
class Described:
    """A cameras' file that was understood.

    Attributes:
        path: as it was named.
        file: what it says.
        where: lines of all its keys, for mistakes that show later.
        files: the file itself and those named by `!file`: a change of any is a change of the description.
        events: where events are kept and told; None where nothing is watched for.
        rules: of each camera by its name; may be empty.
    """

    path: Path
    file: File
    where: Where
    files: tuple[Path, ...]
    events: Events | None = None
    rules: dict[str, RuleSet] = field(default_factory=dict)


@dataclass
class _Reading:
    path: Path
    environ: Mapping[str, str]
    where: Where
    files: list[Path] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


def read_cameras(path: str | Path, environ: Mapping[str, str] = os.environ) -> Described:
    """Read and check a cameras' file; opens no camera and no model.

    Args:
        path: of the YAML file.
        environ: where `${NAME}` is looked up.

    Raises:
        Mistakes: one line for each mistake, in the order of the file.
    """
    from pydantic import ValidationError

    path = Path(path)
    reading = _Reading(path, environ, Where(str(path)), [path])
    plain = _plain(_parse(path), (), reading)
    if not isinstance(plain, dict):
        raise Mistakes([f"{path}:1: got {_kind(plain)}, expected keys: {', '.join(File.model_fields)}"])
    _merge_defaults(plain, reading)
    if reading.mistakes:
        raise Mistakes(_in_order(reading.mistakes))
    try:
        file = File.model_validate(plain)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
        raise Mistakes(_in_order([explain(dict(e), reading.where) for e in found])) from None
    events, rules, mistakes = all_rules(file, reading.where)
    if mistakes:
        raise Mistakes(_in_order(mistakes))
    return Described(path, file, reading.where, tuple(reading.files), events, rules)


def read_one(name: str, given: dict[str, Any], beside: Described) -> Described:
    """Check one camera that did not come from the file; keys that are missing come from the file's defaults.

    Args:
        name: of the camera.
        given: its keys. Nothing of the environment or of files is put in.
        beside: the file.

    Raises:
        Mistakes: one line for each mistake.
    """
    from pydantic import ValidationError

    where = Where("the request")
    _note(given, ("cameras", name), where)
    if not NAME.fullmatch(name):
        raise Mistakes([f"camera {name!r}: expected letters, digits, - and _, at most 63"])
    reading = _Reading(beside.path, {}, where)
    merged = _merged(beside.file.defaults, given, ("defaults",), ("cameras", name), reading)
    try:
        file = File.model_validate({"cameras": {name: merged}})
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
        lines = [explain(dict(e), where).removeprefix("the request:1: ") for e in found]
        raise Mistakes(lines) from None
    events, rules, mistakes = all_rules(file, where)
    if mistakes:
        raise Mistakes([line.removeprefix("the request:1: ") for line in mistakes])
    return Described(beside.path, file, where, (), beside.events or events, rules)


def _note(value: Any, at: Key, where: Where) -> None:
    """All keys of what did not come from a file stand on its one line."""
    where.lines[at] = 1
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            _note(below, (*at, key), where)


def _parse(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; write one with: python -m stream.serve --example > {path}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{path}: cannot be read ({reason}), expected a YAML file") from None
    try:
        return YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        name = re.search(r'duplicate key "([^"]*)"', str(error.problem or ""))
        what = name.group(1) if name else "a key"
        raise Mistakes([f"{path}:{_line(error)}: {what}: is there twice, expected once"]) from None
    except MarkedYAMLError as error:
        what, line = error.problem or error.context, _line(error)
        bare = "${" in text.splitlines()[line - 1] if line <= len(text.splitlines()) else False
        expected = 'keys and values; within { } write "${NAME}" in quotes' if bare else "keys and values"
        raise Mistakes([f"{path}:{line}: not YAML ({what}), expected {expected}"]) from None
    except YAMLError:
        raise Mistakes([f"{path}:1: not YAML, expected keys and values"]) from None


def _line(error: Any) -> int:
    return error.problem_mark.line + 1 if error.problem_mark else 1


def _plain(node: Any, at: Key, reading: _Reading) -> Any:
    """Python's own dicts, lists and scalars; lines are noted, variables and files put in."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar

    if isinstance(node, CommentedMap):
        plain = {}
        for key, value in node.items():
            name = str(key)
            line = node.lc.key(key)[0] if key in (node.lc.data or {}) else node.lc.line
            reading.where.lines[(*at, name)] = line + 1
            plain[name] = _plain(value, (*at, name), reading)
        return plain
    if isinstance(node, CommentedSeq):
        for i in range(len(node)):
            reading.where.lines[(*at, i)] = node.lc.item(i)[0] + 1
        return [_plain(value, (*at, i), reading) for i, value in enumerate(node)]
    if isinstance(node, TaggedScalar):
        return _tagged(str(node.tag.value), str(node.value), at, reading)
    if isinstance(node, str):
        return _filled(str(node), at, reading)
    for kind in (bool, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node


def _filled(text: str, at: Key, reading: _Reading) -> str:
    """The text with `${NAME}` replaced from the environment."""

    def value_of(found: re.Match[str]) -> str:
        name = found.group(1)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            reading.mistakes.append(f"{reading.where.of(at)}: got ${{{name}}}, expected ${{NAME}} of the environment")
        elif name not in reading.environ:
            reading.mistakes.append(
                f"{reading.where.of(at)}: ${{{name}}} is not in the environment, expected it to be set before the start"
            )
        reading.where.secret.add(at)
        return reading.environ.get(name, "")

    return _VARIABLE.sub(value_of, text)


def _tagged(tag: str, value: str, at: Key, reading: _Reading) -> str:
    if tag != "!file":
        reading.mistakes.append(f"{reading.where.of(at)}: got {tag}, expected a value, ${{NAME}} or !file PATH")
        return ""
    file = Path(_filled(value, at, reading)).expanduser()
    file = file if file.is_absolute() else reading.path.parent / file
    reading.where.secret.add(at)
    reading.files.append(file)
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_SECRET_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        reading.mistakes.append(f"{reading.where.of(at)}: {file} cannot be read ({reason}), expected a line of text")
        return ""


def _merge_defaults(plain: dict[str, Any], reading: _Reading) -> None:
    """Fill each camera from the defaults: keys within keys are merged, lists replaced."""
    defaults, cameras = plain.get("defaults") or {}, plain.get("cameras")
    if not isinstance(defaults, dict) or not isinstance(cameras, dict):
        return
    plain["defaults"] = defaults
    for name, own in cameras.items():
        if not NAME.fullmatch(name):
            reading.mistakes.append(
                f"{reading.where.of(('cameras', name))}: got the name {name!r}, expected letters, digits, - and _, "
                "at most 63"
            )
        if own is None or isinstance(own, dict):
            cameras[name] = _merged(defaults, own or {}, ("defaults",), ("cameras", name), reading)


def _merged(base: dict[str, Any], own: dict[str, Any], base_at: Key, at: Key, reading: _Reading) -> dict[str, Any]:
    merged = dict(own)
    for key, value in base.items():
        if key not in own:
            merged[key] = value
            reading.where.borrow((*base_at, key), (*at, key))
        elif isinstance(value, dict) and isinstance(own[key], dict):
            merged[key] = _merged(value, own[key], (*base_at, key), (*at, key), reading)
    return merged


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _in_order(lines: list[str]) -> list[str]:
    """By line number, each once: a mistake in the defaults is found again with every camera."""

    def number(line: str) -> int:
        found = re.match(r".*?:(\d+): ", line)
        return int(found.group(1)) if found else 0

    return sorted(dict.fromkeys(lines), key=number)


def open_yaml(like: str = "") -> Any:
    """A reader and writer of YAML that keeps comments, order and quotes: `load` a text, `dump` a tree.

    `seq` and `map` make parts of a tree whose style can be set.

    Args:
        like: a text whose indentation of lists is kept.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes, yaml.width = True, 4096
    found = re.search(r"^( *)[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n(?: *(?:#[^\n]*)?\n)*( *)- ", like, re.MULTILINE)
    offset = max(len(found.group(2)) - len(found.group(1)), 0) if found else 2
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    return yaml
