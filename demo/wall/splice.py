"""Changing one key or one list item of a YAML text and leaving every other letter as it is. Pure.

ruamel.yaml tells where parts stand and writes the new part; a whole file is never written anew by it, because what it
makes of comments beside flow and block items is not always what was there.
"""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

from stream.service.reading import open_yaml

Span = tuple[int, int]


def set_key(text: str, at: tuple[str, ...], value: Any) -> str:
    """The text with the value at a path of keys replaced, added, or with None taken away.

    Args:
        text: of a YAML file whose top is keys and values.
        at: keys from the top; all but the last are there.
        value: plain Python, or a tree whose style is set.
    """
    tree = open_yaml().load(text)
    for depth in range(1, len(at)):
        parent = _inner(tree, at[:depth])
        # What is written in braces, or has nothing below it yet, is written anew as a whole.
        if not _is_block(parent):
            made = open_yaml().load("{}") if parent is None else parent
            _assign(made, at[depth:], value)
            return set_key(text, at[:depth], made if len(made) else None)
    lines = text.splitlines(keepends=True)
    parent = _inner(tree, at[:-1])
    if at[-1] in parent:
        start, end = _span(lines, parent, at[-1])
        new = [] if value is None else _entry(at[-1], value, _indent(lines[start]), text)
        return "".join([*lines[:start], *new, *lines[end:]])
    if value is None:
        return text
    first = parent.lc.key(next(iter(parent)))[0]
    _, end = _span(lines, parent, list(parent)[-1])
    return "".join([*_ended(lines[:end]), *_entry(at[-1], value, _indent(lines[first]), text), *lines[end:]])


def set_item(text: str, at: tuple[str, ...], number: int, value: Any) -> str:
    """The text with an item of a block list replaced, added (a number past the last) or with None taken away."""
    lines = text.splitlines(keepends=True)
    parent = _inner(open_yaml().load(text), at[:-1])
    items = parent[at[-1]]
    _, list_end = _span(lines, parent, at[-1])
    starts = [items.lc.item(i)[0] for i in range(len(items))]
    indent = _indent(lines[starts[0]])
    if number >= len(starts):
        return "".join([*_ended(lines[:list_end]), *_item(value, indent), *lines[list_end:]])
    start = starts[number]
    end = starts[number + 1] if number + 1 < len(starts) else list_end
    end = _without_tail(lines, start, end, indent)
    new: list[str] = []
    if value is not None:
        new = _changed_item(lines[start:end], value, indent)
    return "".join([*lines[:start], *new, *lines[end:]])


def is_block_list(text: str, at: tuple[str, ...]) -> bool:
    """Whether there is a list at a path whose items stand on lines of their own."""
    tree = open_yaml().load(text)
    parent = _inner(tree, at[:-1])
    items: Any = parent.get(at[-1]) if _is_block(parent) else None
    return bool(items) and not items.fa.flow_style()


def _changed_item(lines: list[str], value: dict[str, Any], indent: int) -> list[str]:
    """An item with other values, its comments kept where that comes out right."""
    yaml = open_yaml()
    old = yaml.load("".join(line[indent:] if line.strip() else line for line in lines))
    kept = old[0]
    for key in [key for key in kept if key not in value]:
        del kept[key]
    for key, one in value.items():
        if key not in kept or kept[key] != one:
            kept[key] = one
    yaml.indent(mapping=2, sequence=2, offset=0)
    made = _dumped(yaml, old)
    if _plain(open_yaml().load(made)) != [value]:
        return _item(value, indent)
    return [" " * indent + line if line.strip() else line for line in made.splitlines(keepends=True)]


def _item(value: Any, indent: int) -> list[str]:
    yaml = open_yaml()
    flow = yaml.map(**value) if isinstance(value, dict) else value
    if isinstance(value, dict):
        flow.fa.set_flow_style()
    yaml.indent(mapping=2, sequence=2, offset=0)
    return [" " * indent + line for line in _dumped(yaml, [flow]).splitlines(keepends=True)]


def _entry(key: str, value: Any, indent: int, like: str) -> list[str]:
    made = _dumped(open_yaml(like), {key: value})
    return [" " * indent + line if line.strip() else line for line in made.splitlines(keepends=True)]


def _span(lines: list[str], parent: Any, key: str) -> Span:
    """First line of a key and the line after all that belongs to it."""
    start = parent.lc.key(key)[0]
    indent = _indent(lines[start])
    end = start + 1
    while end < len(lines):
        line = lines[end]
        bare = line.strip()
        # Items of a list may stand as far left as their key.
        if bare and not bare.startswith("#") and _indent(line) <= indent and not (
            _indent(line) == indent and re.match(r"-(\s|$)", bare)
        ):
            break
        end += 1
    return start, _without_tail(lines, start, end, indent + 1)


def _without_tail(lines: list[str], start: int, end: int, indent: int) -> int:
    """Blank lines and comments at the end that are not indented as the part is belong to what comes next."""
    while end > start + 1:
        bare = lines[end - 1].strip()
        if bare and not (bare.startswith("#") and _indent(lines[end - 1]) < indent):
            break
        end -= 1
    return end


def _inner(tree: Any, at: tuple[str, ...]) -> Any:
    for key in at:
        tree = tree[key]
    return tree


def _assign(tree: Any, at: tuple[str, ...], value: Any) -> None:
    for key in at[:-1]:
        if tree.get(key) is None:
            tree[key] = open_yaml().load("{}")
        tree = tree[key]
    if value is None:
        tree.pop(at[-1], None)
    else:
        tree[at[-1]] = value


def _is_block(node: Any) -> bool:
    return isinstance(node, dict) and len(node) > 0 and not node.fa.flow_style()  # type: ignore[attr-defined]


def _dumped(yaml: Any, value: Any) -> str:
    text = StringIO()
    yaml.dump(value, text)
    return text.getvalue()


def _ended(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1] if lines[-1].endswith("\n") else lines[-1] + "\n"]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node
