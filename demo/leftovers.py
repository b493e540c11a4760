"""What servers that were killed left on disk: found by a marker that a living server keeps locked.

A folder is cleared only where it is this user's, holds our marker, nobody holds the marker's lock and the process
that made it is gone. All else stays, whatever it is called.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX, MARKER = "slowfast-demo-", ".server"
_MARK = re.compile(rb"slowfast-demo ([1-9][0-9]{0,9}) ([0-9]*)\n")


def make_root(parent: Path | None = None) -> tuple[Path, int]:
    """A new folder for this process, readable by this user alone.

    Args:
        parent: where; the system's place for temporary files unless given.

    Returns:
        The folder, and a file descriptor to be closed when it goes: it holds the lock.
    """
    root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    new = root / f"{MARKER}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # File systems without locks: the process alone says whether it lives.
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(lock, f"slowfast-demo {os.getpid()} {_started(os.getpid())}\n".encode())
    # Under its name only once it is locked, so that another server that starts now never sees it free.
    new.rename(root / MARKER)
    return root, lock


def clear_leftovers(parent: Path | None = None) -> int:
    """Delete the folders of servers that are dead; gives how many those were.

    Args:
        parent: where to look; the system's place for temporary files unless given.
    """
    folder = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(PREFIX)]
    except OSError:
        return 0
    cleared = 0
    for root in (folder / name for name in names):
        with contextlib.suppress(OSError), _dead(root) as dead:
            if dead:
                shutil.rmtree(root, ignore_errors=True)
                cleared += not root.exists()
    return cleared


@contextlib.contextmanager
def _dead(root: Path) -> Iterator[bool]:
    """Whether a folder is ours and its server dead; its lock is held meanwhile."""
    kind = os.lstat(root)
    if not stat.S_ISDIR(kind.st_mode) or kind.st_uid != os.getuid():
        yield False
        return
    # Whatever stands there under that name: never followed, never waited for.
    lock = os.open(root / MARKER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield _is_free(lock) and _is_of_dead(lock)
    finally:
        os.close(lock)


def _is_free(lock: int) -> bool:
    kind = os.fstat(lock)
    if not stat.S_ISREG(kind.st_mode) or kind.st_uid != os.getuid():
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_of_dead(lock: int) -> bool:
    match = _MARK.fullmatch(os.read(lock, 100))
    if match is None:
        return False
    process, started = int(match[1]), match[2].decode()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    # Numbers are used again, in containers nearly always; the time of the start tells one process from another.
    now = _started(process)
    return bool(now and started) and now != started


def _started(process: int) -> str:
    """When a process began, in ticks since the machine did; "" where it cannot be told."""
    try:
        words = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return words[19].decode() if len(words) > 19 else ""
