"""Text files whose lines are on disk as soon as they are written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Self, TextIO

from detector.errors import UserError


def open_output(path: str | Path) -> TextIO:
    """Open a text file for writing, its folder made where it is missing; `-` is standard output.

    Raises:
        UserError: it cannot be written.
    """
    if str(path) == "-":
        return sys.stdout
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(path, "w", encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another path") from None


class TextFile:
    """A text file whose lines are on disk as soon as they are written."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._file: TextIO | None = open_output(path)

    def append(self, text: str) -> None:
        if self._file is None:
            raise ValueError(f"{self.path}: is closed, expected to be written to before that")
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written any more ({error.strerror})") from None

    def close(self) -> None:
        """Finish the file; may be called twice."""
        file, self._file = self._file, None
        if file is not None and file is not sys.stdout:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
