"""Uploads and results on disk: one folder each, readable by their visitor alone, gone when the visitor is.

A file is served by looking its folder and name up in tables, never by joining a path from a request: what is not
in the tables does not exist.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.leftovers import clear_leftovers, make_root
from demo.pool import Busy
from detector.errors import UserError

log = logging.getLogger(__name__)

# Containers by their first bytes. FFmpeg alone would also open play lists, which may name other files and addresses.
_EBML, _RIFF, _PS, _OGG, _FLV = b"\x1a\x45\xdf\xa3", b"RIFF", b"\x00\x00\x01\xba", b"OggS", b"FLV\x01"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file that its visitor may fetch."""

    path: Path
    media_type: str
    download_name: str


@dataclass(eq=False)
class Folder:
    """What belongs to one upload.

    Attributes:
        key: random, unguessable.
        visitor: whose it is (the value of a cookie).
        tab: the page that it was made for.
        address: where that page is.
        path: on disk.
        shown_name: of the upload, for people.
        files: what may be fetched, by name.
        used_s: when it was last asked for.
        result: what became of it, for whoever put it there.
        made: how many times results were made; pages ask for files with it, so that new ones are fetched.
    """

    key: str
    visitor: str
    tab: str
    address: str
    path: Path
    shown_name: str
    files: dict[str, ServedFile] = field(default_factory=dict)
    used_s: float = 0.0
    result: Any = None
    made: int = 0

    def serve(self, name: str, media_type: str, download_name: str) -> Path:
        """Let the visitor fetch `name`, a file of this folder; gives the path to write it to."""
        path = self.path / name
        self.files[name] = ServedFile(path, media_type, download_name)
        return path


class Shelf:
    """All folders of a running server, in one temporary folder that only this user can read.

    Making one clears what servers that were killed left there.
    """

    def __init__(
        self, max_age_s: float = 3600.0, max_per_visitor: int = 3, max_folders: int = 40,
        max_per_address: int = 20, min_free_bytes: int = 1_000_000_000, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            max_age_s: a folder that nobody asked for so long is deleted by `sweep`.
            max_per_visitor: folders of one visitor; the oldest goes when another comes.
            max_folders: of all visitors.
            max_per_address: so that no one address fills the shelf.
            min_free_bytes: room that is left on the disk.
            clock: seconds, monotonic.
        """
        cleared = clear_leftovers()
        if cleared:
            log.warning("cleared what %d server(s) that were killed had left", cleared)
        self.root, self._root_lock = make_root()
        self._closed = False
        self._max_age_s, self._max_per_visitor, self._clock = max_age_s, max_per_visitor, clock
        self._max_folders, self._max_per_address = max_folders, max_per_address
        self._min_free_bytes = min_free_bytes
        self._folders: dict[str, Folder] = {}
        self._lock = threading.Lock()

    def create(self, visitor: str, tab: str, shown_name: str, address: str = "") -> Folder:
        """A new, empty folder.

        Raises:
            Busy: there is no room for more.
        """
        crowded = shutil.disk_usage(self.root).free < self._min_free_bytes
        key = secrets.token_urlsafe(16)
        folder = Folder(key, visitor, tab, address, self.root / key, shown_name, used_s=self._clock())
        with self._lock:
            mine = sorted((f for f in self._folders.values() if f.visitor == visitor), key=lambda f: f.used_s)
            # One that goes for the new one makes room.
            kept = len(self._folders) - (len(mine) >= self._max_per_visitor)
            near = sum(f.address == address and f.visitor != visitor for f in self._folders.values()) if address else 0
            if crowded or kept >= self._max_folders or near >= self._max_per_address:
                raise Busy("this server has no room for more videos now; please try again later")
            folder.path.mkdir(mode=0o700)
            self._folders[key] = folder
        for old in mine[:max(0, len(mine) + 1 - self._max_per_visitor)]:
            self.remove(old)
        return folder

    def find(self, visitor: str, key: str) -> Folder | None:
        """The folder of that key if it is this visitor's."""
        with self._lock:
            folder = self._folders.get(key)
            if folder is None or not secrets.compare_digest(folder.visitor.encode(), visitor.encode()):
                return None
            folder.used_s = self._clock()
            return folder

    def file(self, visitor: str, key: str, name: str) -> ServedFile | None:
        """A file that this visitor may fetch, or None."""
        folder = self.find(visitor, key)
        served = folder.files.get(name) if folder else None
        return served if served and served.path.is_file() else None

    def result_of(self, tab: str, visitor: str) -> Any:
        """The newest result that a page of a visitor got; None where there is none."""
        with self._lock:
            mine = [f for f in self._folders.values() if f.tab == tab and f.visitor == visitor and f.result is not None]
        return max(mine, key=lambda f: f.used_s).result if mine else None

    def remove(self, folder: Folder) -> None:
        """Forget a folder and delete it. May be called twice."""
        with self._lock:
            self._folders.pop(folder.key, None)
        shutil.rmtree(folder.path, ignore_errors=True)

    def remove_tab(self, tab: str, visitor: str | None = None) -> int:
        """Delete what a page (with `visitor`, of theirs) left behind; gives how many folders that were."""
        with self._lock:
            gone = [f for f in self._folders.values() if f.tab == tab and visitor in (None, f.visitor)]
        for folder in gone:
            self.remove(folder)
        return len(gone)

    def sweep(self) -> int:
        """Delete folders that nobody asked for in a long time; gives how many that were."""
        oldest = self._clock() - self._max_age_s
        with self._lock:
            gone = [f for f in self._folders.values() if f.used_s < oldest]
        for folder in gone:
            self.remove(folder)
        return len(gone)

    def __len__(self) -> int:
        return len(self._folders)

    def close(self) -> None:
        """Delete everything. May be called twice."""
        with self._lock:
            self._folders.clear()
            closed, self._closed = self._closed, True
        shutil.rmtree(self.root, ignore_errors=True)
        if not closed:
            os.close(self._root_lock)


def check_container(head: bytes, shown_name: str) -> str:
    """Say which video container a file is, by its first `HEAD_BYTES` bytes.

    Returns:
        A file-name suffix: `.mp4`, `.mkv`, `.avi`, `.ts`, `.mpg`, `.ogv` or `.flv`.

    Raises:
        UserError: none of them.
    """
    if head[4:8] in _MP4_BOXES:
        return ".mp4"
    if head.startswith(_EBML):
        return ".mkv"
    if head.startswith(_RIFF) and head[8:12] == b"AVI ":
        return ".avi"
    if head.startswith(_PS):
        return ".mpg"
    if head.startswith(_OGG):
        return ".ogv"
    if head.startswith(_FLV):
        return ".flv"
    # Transport streams: a sync byte every 188 bytes.
    if len(head) >= 565 and all(head[i] == 0x47 for i in (0, 188, 376, 564)):
        return ".ts"
    raise UserError(f"{shown_name}: not a video that this page knows; expected MP4, MOV, WebM, MKV, AVI, MPEG or OGG")


def clean_name(name: str) -> str:
    """A stranger's file name, fit to be shown: its last part, printable, at most 80 characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*').strip().lstrip(".")
    return kept[-80:] or "video"
