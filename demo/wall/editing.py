"""Changes of the cameras' file from the page: places and rules of one camera; comments, order and all else stay.

The new text is checked as the service would check it before it takes the place of the file, and a file that was
changed meanwhile by somebody else is not overwritten.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.wall.splice import is_block_list, set_item, set_key
from detector.errors import UserError
from stream.service.mistakes import Mistakes
from stream.service.reading import open_yaml, read_cameras

# Keys of a camera that the page may write; masks hide, and motion's masks only keep from waking.
PLACES = ("zones", "lines", "masks", "motion_masks")
DIGITS = 4
_writing = threading.Lock()


def stamp_of(path: Path) -> str:
    """Says whether the file is the one that a page has seen.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def places_of(path: Path, camera: str) -> dict[str, Any]:
    """Zones, lines and masks as they stand with a camera in the file, or in its defaults."""
    tree = _load(path)
    own, defaults = _entry(tree, camera), tree.get("defaults") or {}
    motion = own.get("motion") or {}
    shared = defaults.get("motion") or {}
    return {
        "zones": _plain(own.get("zones", defaults.get("zones")) or {}),
        "lines": _plain(own.get("lines", defaults.get("lines")) or {}),
        "masks": _plain(own.get("masks", defaults.get("masks")) or []),
        "motion_masks": _plain(motion.get("masks", shared.get("masks")) or []),
    }


def rules_of(path: Path, camera: str) -> list[dict[str, Any]]:
    """The camera's rules as they stand in the file, or in its defaults."""
    tree = _load(path)
    return _plain(_entry(tree, camera).get("rules", (tree.get("defaults") or {}).get("rules")) or [])


def write_places(path: Path, camera: str, places: dict[str, Any], stamp: str) -> str:
    """Write zones, lines and masks of a camera.

    Args:
        path: of the cameras' file.
        camera: name.
        places: any of `PLACES`; those that are missing stay as they are.
        stamp: of the file as the page saw it.

    Returns:
        The new stamp.

    Raises:
        UserError: the file is another by now, or would not be taken; one line for each mistake.
    """
    def change(text: str) -> str:
        for key in ("zones", "lines", "masks"):
            if key in places:
                text = set_key(text, ("cameras", camera, key), _shapes(places[key]) or None)
        if "motion_masks" in places:
            text = _set_motion_masks(text, camera, _shapes(places["motion_masks"]))
        return text

    return _change(path, camera, stamp, change)


def _set_motion_masks(text: str, camera: str, masks: Any) -> str:
    tree = open_yaml().load(text)
    own = tree["cameras"][camera] or {}
    if masks:
        if own.get("motion") is None:
            return set_key(text, ("cameras", camera, "motion"), {"masks": masks})
        return set_key(text, ("cameras", camera, "motion", "masks"), masks)
    motion = own.get("motion") or {}
    if "masks" not in motion:
        return text
    return set_key(text, ("cameras", camera, "motion", *(() if len(motion) == 1 else ("masks",))), None)


def write_rule(path: Path, camera: str, rule: dict[str, Any] | None, name: str, stamp: str) -> str:
    """Write one rule of a camera in the place of the one of that name, or at the end; None takes it out.

    Raises:
        UserError: as `write_places`.
    """
    at = ("cameras", camera, "rules")

    def change(text: str) -> str:
        own = open_yaml().load(text)["cameras"][camera] or {}
        rules = own.get("rules") or []
        number = next((i for i, r in enumerate(rules) if isinstance(r, dict) and r.get("name") == name), len(rules))
        if rule is None and number == len(rules):
            raise UserError(f"rule {name!r}: is not with camera {camera} in the file (it may be in the defaults)")
        if is_block_list(text, at) and not (rule is None and len(rules) == 1):
            return set_item(text, at, number, rule)
        kept = [*rules[:number], *([rule] if rule is not None else []), *rules[number + 1:]]
        return set_key(text, at, kept or None)

    return _change(path, camera, stamp, change)


def _change(path: Path, camera: str, stamp: str, change: Callable[[str], str]) -> str:
    with _writing:
        if stamp_of(path) != stamp:
            raise UserError(f"{path.name}: was changed meanwhile; reload the page and draw once more")
        before = path.read_text(encoding="utf-8")
        _entry(_load(path), camera)
        after = change(before)
        if _others(before, camera) != _others(after, camera):
            raise UserError(f"{path.name}: is written in a way that cannot be changed safely; change it by hand")
        _replace(path, after)
        return stamp_of(path)


def _others(text: str, camera: str) -> Any:
    """All that the text says beside that camera."""
    plain = _plain(open_yaml().load(text))
    plain["cameras"].pop(camera, None)
    return plain


def _replace(path: Path, text: str) -> None:
    """Put a text in a file's place once it was found to be good."""
    # Beside the file, so that what is named relative to it is found, and renaming it is one step.
    new = path.with_name(f".{path.name}.new")
    try:
        about = path.stat()
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, about.st_mode & 0o777), "w",
                       encoding="utf-8") as file:
            file.write(text)
        read_cameras(new)
        new.replace(path.resolve())
    except Mistakes as error:
        lines = [line.replace(str(new), path.name) for line in str(error).splitlines()]
        raise UserError("\n".join(lines)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        new.unlink(missing_ok=True)


def _load(path: Path) -> Any:
    try:
        return open_yaml().load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _entry(tree: Any, camera: str) -> Any:
    if camera not in tree["cameras"]:
        raise UserError(f"camera {camera}: there is none of that name in the file")
    return tree["cameras"][camera] or {}


def _shapes(given: Any) -> Any:
    """Points in flow style (`[[0.1, 0.2], …]`), rounded to a tenth of a per mille."""
    yaml = open_yaml()

    def points(shape: Any) -> Any:
        flow = yaml.seq()
        flow.fa.set_flow_style()
        for x, y in shape:
            corner = yaml.seq([round(float(x), DIGITS), round(float(y), DIGITS)])
            corner.fa.set_flow_style()
            flow.append(corner)
        return flow

    try:
        if isinstance(given, dict):
            return {str(name): points(shape) for name, shape in given.items()}
        return [points(shape) for shape in given]
    except (TypeError, ValueError, AttributeError):
        raise UserError("places: expected lists of [x, y]") from None


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node if node is None else str(node)
