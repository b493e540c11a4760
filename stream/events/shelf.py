"""The folder of pictures and films: their names, and which have to go when there are too many. No threads."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from stream.events.records import Event

GB = 1e9
SUFFIXES = (".mp4", ".jpg")


class Shelf:
    """A folder `<camera>/<date>/<event id>.mp4`, with `.jpg` and `-boxes.jpg` beside it."""

    def __init__(
        self, folder: Path, keep_s: float, keep_bytes: float, spare_bytes: float,
        utc_clock: Callable[[], float] = time.time,
        free_bytes: Callable[[Path], float] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """
        Args:
            folder: made where it is missing.
            keep_s: older files are deleted.
            keep_bytes: of all files together; the oldest go beyond it.
            spare_bytes: of the disk that stay free; the oldest go for it.
            utc_clock: seconds since 1970.
            free_bytes: of the disk of a path.
        """
        self.folder = folder
        self._keep_s, self._keep_bytes, self._spare_bytes = keep_s, keep_bytes, spare_bytes
        self._utc, self._free = utc_clock, free_bytes

    def name(self, event: Event, suffix: str) -> str:
        """The path of an event's file, relative to the folder; `suffix` as in `.mp4`."""
        moment = datetime.fromtimestamp(event.start_utc if event.start_utc is not None else self._utc())
        camera = re.sub(r"[^\w.-]+", "_", event.camera).strip(".") or "camera"
        return f"{camera}/{moment:%Y-%m-%d}/{event.id}{suffix}"

    def path(self, name: str) -> Path:
        """The file of a relative path."""
        return self.folder / name

    def tidy(self) -> int:
        """Delete what is too old or too much, oldest first; gives how many files went."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        gone = 0
        for changed, size, path in files:
            too_old = self._utc() - changed > self._keep_s
            if not too_old and total <= self._keep_bytes and self.has_room():
                break
            try:
                path.unlink()
            except OSError:
                continue
            total, gone = total - size, gone + 1
            self._drop_empty(path.parent)
        return gone

    def has_room(self) -> bool:
        """Whether more than the spare part of the disk is free."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._free(self.folder) > self._spare_bytes
        except OSError:
            return False

    def bytes(self) -> int:
        """Of all files together."""
        return sum(size for _, size, _ in self._files())

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.rglob("*"):
            if path.suffix in SUFFIXES:
                try:
                    about = path.stat()
                except OSError:
                    continue
                found.append((about.st_mtime, about.st_size, path))
        return found

    def _drop_empty(self, folder: Path) -> None:
        while folder != self.folder:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent
