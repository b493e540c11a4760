"""Notices that the cameras' file, or a file that it names, has changed. The one door to watchfiles."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)
# Changes that come together are told of once.
SETTLE_MS = 300


class Following:
    """A thread that watches files until it is closed."""

    def __init__(self, files: Callable[[], tuple[Path, ...]], changed: Callable[[], None]) -> None:
        """
        Args:
            files: what to watch; asked again after each change.
            changed: called when one of them is another than before.
        """
        self._files, self._changed, self._stop = files, changed, threading.Event()
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _run(self) -> None:
        from watchfiles import watch

        before = self._stamps()
        while not self._stop.is_set():
            # The folders are watched, not the files: editors replace a file by another, and so do mounted secrets.
            files = self._files()
            folders = {path.resolve().parent for path in files} | {path.absolute().parent for path in files}
            try:
                for _ in watch(
                    *[folder for folder in folders if folder.exists()], stop_event=self._stop, recursive=False,
                    debounce=SETTLE_MS, rust_timeout=2000, yield_on_timeout=True,
                ):
                    now = self._stamps()
                    if now != before:
                        before = now
                        self._changed()
                        break
            except (OSError, RuntimeError) as error:
                log.warning("changes of the file are not noticed (%s); send SIGHUP instead", error)
                return

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._files()]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino
