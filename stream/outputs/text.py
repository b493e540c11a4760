"""Text files that only grow: whole pieces, on disk as soon as they are written, behind what an earlier run wrote."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self, TextIO

from detector.errors import UserError
from detector.files import readable_name

log = logging.getLogger(__name__)

# A last line longer than this is not looked at as a whole.
LONGEST_LINE_BYTES = 16 * 2**20


class TextFile:
    """A text file whose lines are on disk as soon as they are written.

    A file that exists is appended to; a last line that a killed program left unfinished is cut off first. What cannot
    be written whole, because the disk is full, is taken back, so the file always ends with a whole piece.

    Attributes:
        path: of the file, or `-`.
    """

    def __init__(self, path: str | Path, is_whole_line: Callable[[str], bool] = lambda line: False) -> None:
        """
        Args:
            path: of the file, its last folder made where it is missing; `-` is standard output.
            is_whole_line: whether a last line without its end can stay as it is.

        Raises:
            UserError: it cannot be written.
        """
        self.path, self._closed = str(path), False
        self._stdout: TextIO | None = sys.stdout if self.path == "-" else None
        self._fd = -1
        if self._stdout is not None:
            return
        try:
            parent = Path(path).parent
            if not parent.is_dir():
                parent.mkdir(exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if self._regular:
                self._heal(is_whole_line)
        except OSError as error:
            self.close()
            raise UserError(
                f"{readable_name(path)}: cannot be written ({error.strerror}); give another path"
            ) from None

    def append(self, text: str) -> None:
        """Write a piece, one or several lines.

        Raises:
            UserError: the disk is full, or the like; nothing of the piece stays.
            BrokenPipeError: whoever read standard output is gone.
        """
        if self._closed:
            raise ValueError(f"{self.path}: is closed, expected to be written to before that")
        try:
            if self._stdout is not None:
                encoding = self._stdout.encoding or "utf-8"
                self._stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
                self._stdout.flush()
            else:
                self._append(text.encode("utf-8", "replace"))
        except OSError as error:
            if isinstance(error, BrokenPipeError) and self._stdout is not None:
                raise
            raise UserError(f"{readable_name(self.path)}: cannot be written any more ({error.strerror})") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish the file; may be called twice."""
        self._closed = True
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _append(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            if written and self._regular:
                # Another program's lines may stand behind these: only what is ours and last is taken back.
                end = os.fstat(self._fd).st_size
                os.ftruncate(self._fd, end - written)
            raise

    def _heal(self, is_whole_line: Callable[[str], bool]) -> None:
        """End an unfinished last line, or cut it off."""
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(size - LONGEST_LINE_BYTES, 0)
            file.seek(start)
            tail = file.read()
        if not tail or tail.endswith(b"\n"):
            return
        last = tail[tail.rfind(b"\n") + 1:]
        if is_whole_line(last.decode("utf-8", "replace")):
            self._append(b"\n")
            return
        os.ftruncate(self._fd, size - len(last))
        log.warning("%s: an unfinished last line of %d bytes is cut off", readable_name(self.path), len(last))


def open_anew(path: str | Path) -> TextIO:
    """Open a text file that is made anew each time, such as an export; its last folder is made, `-` is standard output.

    Raises:
        UserError: it cannot be written.
    """
    if str(path) == "-":
        return sys.stdout
    try:
        if not Path(path).parent.is_dir():
            Path(path).parent.mkdir(exist_ok=True)
        return open(path, "w", encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"{readable_name(path)}: cannot be written ({error.strerror}); give another path") from None
