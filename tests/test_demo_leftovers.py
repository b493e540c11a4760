"""What killed servers leave behind is cleared: theirs alone, and only where they are dead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from demo.leftovers import MARKER, PREFIX, clear_leftovers, make_root

ROOT = Path(__file__).resolve().parent.parent
MAKE = "import sys; from pathlib import Path; from demo.leftovers import make_root; " \
    "print(make_root(Path(sys.argv[1]))[0], flush=True); {}"


def folder_of_a_server(parent: Path, then: str = "") -> tuple[Path, subprocess.Popen]:
    """A folder made by another process, which does `then` and ends."""
    code = MAKE.format(then or "None")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(parent)], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    root = Path(process.stdout.readline().strip())
    (root / "somebody").mkdir()
    (root / "somebody" / "upload.mp4").write_bytes(b"film")
    return root, process


@pytest.fixture
def living(tmp_path):
    root, process = folder_of_a_server(tmp_path, "sys.stdin.read()")
    yield root, process
    process.kill()
    process.communicate()


def test_a_killed_servers_folder_is_cleared_and_a_living_ones_stays(tmp_path, living):
    root, process = living
    assert clear_leftovers(tmp_path) == 0
    assert (root / "somebody" / "upload.mp4").exists()
    process.kill()
    process.wait()
    assert clear_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_ones_own_folder_stays(tmp_path):
    root, lock = make_root(tmp_path)
    assert clear_leftovers(tmp_path) == 0
    assert root.is_dir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    os.close(lock)


def test_a_living_process_is_believed_even_without_its_lock(tmp_path):
    root, lock = make_root(tmp_path)
    os.close(lock)
    assert clear_leftovers(tmp_path) == 0
    assert root.is_dir()


def mark(root: Path, text: str) -> Path:
    root.mkdir()
    (root / "film.mp4").write_bytes(b"mine")
    (root / MARKER).write_text(text)
    return root


def test_a_process_that_has_a_dead_ones_number_does_not_keep_its_folder(tmp_path):
    # The first process of a container has the same number each time.
    mark(tmp_path / f"{PREFIX}a", f"slowfast-demo {os.getpid()} 12\n")
    assert clear_leftovers(tmp_path) == 1


@pytest.mark.parametrize("text", [
    "", "12", "slowfast-demo x 1\n", "slowfast-demo 0 1\n", "slowfast-demo -1 1\n", f"slowfast-demo {os.getpid()} \n",
    "slowfast-demo 1 1", "hello slowfast-demo 999999999 1\n",
])
def test_what_does_not_say_that_its_server_is_dead_stays(tmp_path, text):
    root = mark(tmp_path / f"{PREFIX}a", text)
    assert clear_leftovers(tmp_path) == 0
    assert (root / "film.mp4").exists()


def test_what_only_looks_like_ours_stays(tmp_path):
    dead = "slowfast-demo 999999999 1\n"
    plain = tmp_path / f"{PREFIX}holiday"
    plain.mkdir()
    (plain / "film.mp4").write_bytes(b"mine")
    elsewhere = mark(tmp_path / "elsewhere", dead)
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").write_bytes(b"mine")
    linked = tmp_path / f"{PREFIX}linked"
    linked.mkdir()
    (linked / MARKER).symlink_to(elsewhere / MARKER)
    pipe = tmp_path / f"{PREFIX}pipe"
    pipe.mkdir()
    os.mkfifo(pipe / MARKER)
    before = sorted(tmp_path.rglob("*"))
    assert clear_leftovers(tmp_path) == 0
    assert sorted(tmp_path.rglob("*")) == before
    (elsewhere).rename(tmp_path / f"{PREFIX}x")
    assert clear_leftovers(tmp_path) == 1


def test_another_users_folder_stays(tmp_path, monkeypatch):
    root = mark(tmp_path / f"{PREFIX}a", "slowfast-demo 999999999 1\n")
    monkeypatch.setattr("os.getuid", lambda: root.stat().st_uid + 1)
    assert clear_leftovers(tmp_path) == 0
    assert root.exists()


def test_links_inside_a_dead_servers_folder_are_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "film.mp4").write_bytes(b"mine")
    (mark(tmp_path / f"{PREFIX}a", "slowfast-demo 999999999 1\n") / "link").symlink_to(kept)
    assert clear_leftovers(tmp_path) == 1
    assert (kept / "film.mp4").exists()


def test_a_new_shelf_clears_what_was_left(tmp_path, monkeypatch):
    import tempfile

    from demo.shelf import Shelf

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = mark(tmp_path / f"{PREFIX}a", "slowfast-demo 999999999 1\n")
    shelf = Shelf()
    assert not dead.exists()
    other = Shelf()
    assert shelf.root.is_dir()
    shelf.close()
    other.close()
    assert list(tmp_path.iterdir()) == []
