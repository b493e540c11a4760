"""Files that appear whole or not at all, whoever else reads or writes them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def readable_name(path: str | Path) -> str:
    """A path as text that can be shown and stored; bytes that are not UTF-8 become question marks in diamonds."""
    return os.fsencode(path).decode("utf-8", "replace")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, beside `path`; it takes its place at the end, on disk, or is gone if anything fails.

    Raises:
        OSError: it cannot be written; what was there before stays.
    """
    # A name of its own, so that two threads do not write into one, and short, for names of 255 bytes.
    partial = path.with_name(f".{os.getpid()}-{secrets.token_hex(6)}.part")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write all of a file at once; text as UTF-8.

    Raises:
        OSError: it cannot be written; what was there before stays.
    """
    with whole_file(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
