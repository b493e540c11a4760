"""Reading a file of rules: YAML with line numbers, `${NAME}` and `!file PATH`, mistakes in one line each."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from detector.errors import UserError, nearest_names
from stream.events.rules import Misplaced, RuleSet

M = TypeVar("M", bound=BaseModel)
Where = tuple[str | int, ...]
# Values under these keys are never repeated.
SECRET_KEYS = {"password", "secret", "url", "webhook", "apprise"}
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Lines:
    """The lines of a YAML document's parts.

    Attributes:
        file: the name to be shown.
        of: path of keys and indices to line, from 1.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.of: dict[Where, int] = {(): 1}

    def hides(self, path: Where) -> bool:
        """Whether the value at a path must not be repeated."""
        return bool(SECRET_KEYS.intersection(map(str, path)))

    def error(self, path: Where, message: str) -> UserError:
        """A mistake at a path: `rules.yaml, line 7, rules[0].over: got ...`."""
        known = path
        while known not in self.of:
            known = known[:-1]
        name = ""
        for part in path:
            name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
        return UserError(f"{self.file}, line {self.of[known]}{', ' + name if name else ''}: {message}")


def read_yaml(path: str | Path) -> tuple[Any, Lines]:
    """Read a YAML file with the lines of its parts.

    `${NAME}` in a text is the environment's value; `!file PATH` is the first line of a file, for secrets.

    Raises:
        UserError: it cannot be read, is no YAML, or has a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: cannot be read ({why}); python -m stream.events example falls > rules.yaml") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> tuple[Any, Lines]:
    """`read_yaml` of a text; `name` is shown in errors and is where `!file` starts from."""
    import yaml

    lines = Lines(name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UserError(f"{name}, line {line}: {error.problem or 'is no YAML'}; expected YAML") from None
    except yaml.YAMLError:
        raise UserError(f"{name}: is no YAML; python -m stream.events example falls > rules.yaml") from None
    return (None if node is None else _value(node, (), lines)), lines


def _value(node: Any, path: Where, lines: Lines) -> Any:
    """The value of a YAML node; notes its line."""
    import yaml

    lines.of[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            # YAML 1.1 reads the key `on` as true.
            key = key_node.value if key_node.tag.endswith(":bool") else _scalar(key_node, lines, path)
            lines.of[(*path, key)] = key_node.start_mark.line + 1
            if key in mapping:
                raise lines.error((*path, key), "is there twice, expected once")
            mapping[key] = _value(value_node, (*path, key), lines)
            lines.of[(*path, key)] = key_node.start_mark.line + 1
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*path, i), lines) for i, child in enumerate(node.value)]
    if node.tag == "!file":
        return _secret_of(node.value, path, lines)
    value = _scalar(node, lines, path)
    return _with_environment(value, path, lines) if isinstance(value, str) else value


def _scalar(node: Any, lines: Lines, path: Where) -> Any:
    import yaml

    constructor = yaml.SafeLoader("")
    try:
        # YAML 1.1 reads 22:00 as a number to the base of 60; a file of hours means text.
        if node.tag.endswith((":int", ":float")) and ":" in node.value:
            return node.value
        if node.tag.endswith(":timestamp"):
            return node.value
        return constructor.construct_object(node)
    except yaml.YAMLError:
        lines.of[path] = node.start_mark.line + 1
        raise lines.error(path, f"got {node.tag}, expected a plain value or !file PATH") from None


def _with_environment(text: str, path: Where, lines: Lines) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise lines.error(path, f"${{{found[1]}}} is not in the environment; expected it to be set")
        return os.environ[found[1]]

    return _VARIABLE.sub(value, text)


def _secret_of(name: str, path: Where, lines: Lines) -> str:
    file = Path(lines.file).parent / Path(name).expanduser()
    try:
        return file.read_text(encoding="utf-8").strip("\n").split("\n")[0]
    except (OSError, UnicodeError) as error:
        raise lines.error(path, f"{name}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None


def build(model: type[M], values: Any, lines: Lines) -> M:
    """A pydantic model of what a file holds.

    Raises:
        UserError: one line for the first mistake, with file and line: what, got, expected, nearest name.
    """
    try:
        return model.model_validate({} if values is None else values)
    except ValidationError as error:
        # A key that is wrong says more than that the right one is missing.
        mistakes = sorted(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
        raise _told(model, mistakes[0], lines) from None


def _told(model: type[BaseModel], mistake: Any, lines: Lines) -> UserError:
    path, kinds = _path_in_file(mistake["loc"], lines)
    kind, got, context = mistake["type"], mistake.get("input"), mistake.get("ctx") or {}
    cause = context.get("error")
    if isinstance(cause, Misplaced):
        return lines.error((*path, *cause.path), str(cause))
    if kind == "extra_forbidden":
        known = _known_keys(model, mistake["loc"][:-1], kinds)
        near = f"; perhaps {nearest_names(str(path[-1]), known)}?" if known else ""
        return lines.error(path, f"no such key{near}")
    if kind == "missing":
        return lines.error(path[:-1], f"`{mistake['loc'][-1]}` is missing, expected it here")
    if kind == "union_tag_not_found":
        return lines.error(path, f"`kind` is missing, expected one of {_kinds()}")
    if kind == "union_tag_invalid":
        return lines.error((*path, "kind"), f"got {context.get('tag')!r}, expected one of {_kinds()}")
    said = str(cause) if cause is not None else _plainly(kind, context) or _lower(mistake["msg"])
    if not said.startswith(("got ", "expected ")):
        said = f"expected {said.removeprefix('input should be ')}"
    shown = "" if said.startswith("got ") or isinstance(got, dict | list) else f"got {_shown(got)}, "
    if lines.hides(path):
        return lines.error(path, f"got a value that is not shown, {_without_values(said)}")
    return lines.error(path, shown + said)


def _plainly(kind: str, context: dict[str, Any]) -> str:
    """What pydantic says of containers, in words of a file; "" for all else."""
    if kind == "too_short":
        return f"got {context['actual_length']} of them, expected at least {context['min_length']}"
    if kind == "too_long":
        return f"got {context['actual_length']} of them, expected at most {context['max_length']}"
    if kind in ("model_attributes_type", "model_type", "dict_type"):
        return "expected keys and values"
    return "expected a list" if kind in ("list_type", "tuple_type") else ""


def _without_values(said: str) -> str:
    # What stands behind "got" may be the value itself.
    return said if said.startswith("expected ") else "expected another"


def _shown(value: Any) -> str:
    # A whole URL or token does not belong in an error.
    text = repr(value)
    return "a text" if isinstance(value, str) and ("://" in value or len(text) > 40) else text


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _path_in_file(loc: tuple[Any, ...], lines: Lines) -> tuple[Where, list[str]]:
    """pydantic's path without the names of union members, which are not in the file, and those names."""
    path: Where = ()
    tags: list[str] = []
    kinds = _kinds().split(", ")
    for i, part in enumerate(loc):
        # Right after an index comes the name of the rule's kind, which may be the name of a key as well.
        if i and isinstance(loc[i - 1], int) and part in kinds and (*path, "kind") in lines.of:
            tags.append(str(part))
        elif (*path, part) in lines.of or i == len(loc) - 1:
            path = (*path, part)
        else:
            tags.append(str(part))
    return path, tags


def _kinds() -> str:
    from stream.events.rules import AnyRule

    union = get_args(AnyRule)[0]
    return ", ".join(get_args(rule.model_fields["kind"].annotation)[0] for rule in get_args(union))


def _known_keys(model: type[BaseModel], loc: tuple[Any, ...], tags: list[str]) -> list[str]:
    """The keys that may stand at a path of a model."""
    here: Any = model
    for part in loc:
        here = _inner(here, part)
        if here is None:
            return []
    for member in get_args(here):
        if isinstance(member, type) and issubclass(member, BaseModel):
            here = member
    if isinstance(here, type) and issubclass(here, BaseModel):
        return [field.alias or name for name, field in here.model_fields.items()]
    return []


def _inner(here: Any, part: Any) -> Any:
    """What lies below a part of a path: a model's field, a member of a list, of a union or of a mapping."""
    if isinstance(here, type) and issubclass(here, BaseModel):
        for name, field in here.model_fields.items():
            if part in (name, field.alias):
                return field.annotation
        return None
    members = get_args(here)
    for member in members:
        if isinstance(member, type) and issubclass(member, BaseModel):
            kind = member.model_fields.get("kind")
            if kind is not None and part in get_args(kind.annotation):
                return member
            if part in member.model_fields or any(part == f.alias for f in member.model_fields.values()):
                return _inner(member, part)
    for member in members:
        if isinstance(part, int):
            return member
        deeper = _inner(member, part) if get_args(member) else None
        if deeper is not None:
            return deeper
    return None


def load_rules(path: str | Path) -> tuple[RuleSet, Lines]:
    """Read and check a file of rules alone.

    Raises:
        UserError: one line with file and line number.
    """
    values, lines = read_yaml(path)
    return build(RuleSet, values, lines), lines
