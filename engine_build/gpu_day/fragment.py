"""Results on their way to the disk: whole or not at all, after every figure."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is whole at any moment, whatever ends this process."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; nothing where there is no such file or it is not ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class Fragment:
    """The figures of one step, on disk as soon as they are known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content: dict[str, Any] = {}

    def put(self, *names_and_value: Any) -> None:
        """`put("a", "b", 3)` sets `content["a"]["b"]` and writes the file."""
        *names, last, value = names_and_value
        place = self.content
        for name in names:
            place = place.setdefault(name, {})
        place[last] = value
        write_json(self._path, self.content)
