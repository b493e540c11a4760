"""Which videos an archive has: those below a folder, or those that a list names. Nothing is opened here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detector.errors import UserError
from detector.files import readable_name

# Of a folder, files with these endings are videos; a list may name any.
SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
    ".ogv", ".ts", ".vob", ".webm", ".wmv",
})


@dataclass(frozen=True)
class Video:
    """A video file as it was found.

    Attributes:
        path: of the file.
        name: its path below the folder, with `/`; what results are called by.
        size_bytes, changed_ns: what tells that it is still the same.
    """

    path: str
    name: str
    size_bytes: int
    changed_ns: int

    def key(self, settings: str) -> str:
        """What its results are known by, under settings with this digest."""
        text = f"{os.path.abspath(self.path)}\0{self.size_bytes}\0{self.changed_ns}\0{settings}"
        return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


def find_videos(place: str, output: str) -> tuple[list[Video], list[tuple[str, str]]]:
    """All videos of a folder or list, in order of their names.

    Args:
        place: a folder, or a text file with a path a line (relative to the file's folder; `#` begins a comment).
        output: a folder that is left out.

    Returns:
        The videos, and (name, reason) of what a list names and is not there.

    Raises:
        UserError: there is no such folder or list, or nothing in it.
    """
    if os.path.isdir(place):
        found = {path: os.path.relpath(path, place) for path in _walk(place, os.path.realpath(output))}
        if not found:
            raise UserError(f"{readable_name(place)}: has no video in it, expected files such as .mp4, .mkv or .avi")
    elif os.path.isfile(place):
        found = _listed(place)
    else:
        raise UserError(f"{readable_name(place)}: no such folder or list")
    videos, missing = [], []
    for path, name in found.items():
        shown = name.replace(os.sep, "/")
        try:
            facts = os.stat(path)
        except OSError as error:
            missing.append((shown, error.strerror or "cannot be read"))
            continue
        if not os.path.isfile(path):
            missing.append((shown, "is no file"))
            continue
        videos.append(Video(path, shown, facts.st_size, facts.st_mtime_ns))
    return sorted(videos, key=lambda video: video.name), missing


def _walk(folder: str, output: str) -> Iterator[str]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) != output
        )
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.join(here, name)


def _listed(place: str) -> dict[str, str]:
    """Path → name of a list's lines, each path once."""
    try:
        text = Path(place).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UserError(
            f"{readable_name(place)}: cannot be read as a list ({reason}), expected a folder, or a text file with a "
            "video's path a line"
        ) from None
    folder = os.path.dirname(os.path.abspath(place))
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.strip()
        if words and not words.startswith("#"):
            path = os.path.normpath(os.path.join(folder, os.path.expanduser(words)))
            found[path] = _name_below(path, folder)
    if not found:
        raise UserError(f"{readable_name(place)}: names no video, expected a path a line")
    return found


def _name_below(path: str, folder: str) -> str:
    """A name without `..` and without a first `/`: results stay below their folder."""
    below = os.path.relpath(path, folder)
    if not below.startswith(os.pardir):
        return below
    return os.path.join("elsewhere", os.path.splitdrive(path)[1].lstrip(os.sep))
