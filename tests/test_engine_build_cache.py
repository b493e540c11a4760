"""The engine cache: found, refused, repaired, shared between processes, and honest when the disk is not."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.errors import UserError
from engine_build.cache import MANIFEST, EngineCache, check
from engine_build.manifest import EngineKey, Manifest

KEY = EngineKey(
    model="tiny", target="openvino", precision="fp32", shape=(8, 64, 80, 3), weights_sha256="a" * 64, graph="g v1",
    library="openvino 1", device="cpu AVX2",
)


class Builder:
    """Writes one file and counts how often it was asked to."""

    def __init__(self, content: bytes = b"engine" * 100) -> None:
        self.content, self.calls = content, 0

    def __call__(self, folder: Path) -> dict:
        self.calls += 1
        (folder / "trunk.bin").write_bytes(self.content)
        return {"note": 1}


@pytest.fixture
def cache(tmp_path):
    cache = EngineCache(tmp_path / "engines", report=lambda line: cache.lines.append(line))
    cache.lines = []
    return cache


def test_an_engine_is_built_once_and_found_again(cache):
    build = Builder()
    first, second = cache.load_or_build(KEY, build), cache.load_or_build(KEY, build)
    assert build.calls == 1
    assert (first.fresh, second.fresh) == (True, False)
    assert second.manifest.details == {"note": 1}
    assert (second.folder / "trunk.bin").read_bytes() == build.content


CHANGES = {
    "model": "other", "target": "torch", "precision": "bf16", "shape": (8, 64, 96, 3), "weights_sha256": "b" * 64,
    "graph": "g v2", "library": "openvino 2", "device": "cpu AVX512",
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_key_decides(cache, field):
    build = Builder()
    cache.load_or_build(KEY, build)
    cache.load_or_build(dataclasses.replace(KEY, **{field: CHANGES[field]}), build)
    assert build.calls == 2


@pytest.mark.parametrize("field", ["weights_sha256", "library", "device"])
def test_an_outdated_or_foreign_engine_is_named(cache, field):
    cache.load_or_build(KEY, Builder())
    assert cache.find(dataclasses.replace(KEY, **{field: CHANGES[field]})) is None
    assert any(f"does not fit: built for {field}" in line for line in cache.lines)


def truncate(folder):
    path = folder / "trunk.bin"
    path.write_bytes(path.read_bytes()[:-7])


def flip(folder):
    path = folder / "trunk.bin"
    data = bytearray(path.read_bytes())
    data[17] ^= 1
    path.write_bytes(bytes(data))


def foreign(folder):
    """A folder copied from another machine under this machine's name."""
    data = json.loads((folder / MANIFEST).read_text())
    data["key"]["device"] = "another GPU, compute 8.6, 24 GiB"
    (folder / MANIFEST).write_text(json.dumps(data))


DAMAGES = [
    (truncate, "593 bytes, expected 600"),
    (flip, "corrupted"),
    (lambda folder: (folder / "trunk.bin").unlink(), "trunk.bin is missing"),
    (lambda folder: (folder / MANIFEST).write_text('{"schema": 1, "key"'), "not readable"),
    (lambda folder: (folder / MANIFEST).write_text('{"schema": 99}'), "got 99, expected 1"),
    (lambda folder: (folder / MANIFEST).write_text("[]"), "not readable"),
    (lambda folder: (folder / MANIFEST).unlink(), "cannot be read"),
    (foreign, "another device"),
]


@pytest.mark.parametrize(("damage", "text"), DAMAGES)
def test_a_damaged_engine_is_said_to_be_so_and_built_again(cache, damage, text):
    build = Builder()
    folder = cache.load_or_build(KEY, build).folder
    damage(folder)
    again = cache.load_or_build(KEY, build)
    assert build.calls == 2
    assert any(text in line for line in cache.lines)
    assert check(again.folder, KEY)[1] == ""


def test_a_build_that_fails_leaves_nothing(cache):
    def fails(folder):
        (folder / "half").write_bytes(b"x")
        raise RuntimeError("converter")

    with pytest.raises(RuntimeError):
        cache.load_or_build(KEY, fails)
    assert cache.find(KEY) is None
    assert not [p for p in cache.folder.iterdir() if p.is_dir()]


KILLED = """
import os, signal, sys
from pathlib import Path
from engine_build.cache import EngineCache
from tests.test_engine_build_cache import KEY

def build(folder):
    (folder / "trunk.bin").write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)

EngineCache(Path(sys.argv[1])).load_or_build(KEY, build)
"""


def run(code, *arguments, **more):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, **more)


def test_a_killed_build_is_no_engine_and_does_not_block_the_next(cache):
    assert run(KILLED, cache.folder).wait(60) == -9
    assert cache.find(KEY) is None
    build = Builder()
    assert cache.load_or_build(KEY, build).fresh
    assert not list(cache.folder.glob("*.partial"))


TWO = """
import sys, time
from pathlib import Path
from engine_build.cache import EngineCache
from tests.test_engine_build_cache import KEY

folder = Path(sys.argv[1])

def build(where):
    with (folder.parent / "builds").open("a") as log:
        log.write("x")
    deadline = time.monotonic() + 30
    while not (folder.parent / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (where / "trunk.bin").write_bytes(b"engine")
    return {}

def report(line):
    print(line, flush=True)

stored = EngineCache(folder, report).load_or_build(KEY, build)
print("fresh" if stored.fresh else "found", (stored.folder / "trunk.bin").read_text(), flush=True)
"""


def test_two_processes_build_once(cache):
    first = run(TWO, cache.folder, stdout=subprocess.PIPE, text=True)
    builds = cache.folder.parent / "builds"
    wait_for(builds.exists)
    second = run(TWO, cache.folder, stdout=subprocess.PIPE, text=True)
    assert second.stdout.readline().startswith("another process builds")
    (cache.folder.parent / "go").touch()
    outputs = [first.communicate(timeout=60)[0], second.communicate(timeout=60)[0]]
    assert "fresh engine" in outputs[0]
    assert "found engine" in outputs[1]
    assert builds.read_text() == "x"


def wait_for(condition, seconds=60.0):
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("code", "text"),
    [(errno.ENOSPC, "the disk of"), (errno.EROFS, "cannot write to"), (errno.EACCES, "cannot write to")],
)
def test_what_the_file_system_refuses_is_one_line(cache, code, text):
    def build(folder):
        raise OSError(code, os.strerror(code))

    with pytest.raises(UserError, match=text) as caught:
        cache.load_or_build(KEY, build)
    assert "--cache-dir" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_really_full_disk_is_one_line(cache):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")

    def build(folder):
        with open("/dev/full", "wb") as full:
            full.write(b"x" * 100_000)
        return {}

    with pytest.raises(UserError, match=r"is full .* MB free"):
        cache.load_or_build(KEY, build)


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "engines").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        EngineCache(tmp_path / "engines").load_or_build(KEY, Builder())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_still_serves_what_is_in_it(cache):
    cache.load_or_build(KEY, Builder())
    cache.folder.chmod(0o555)
    try:
        assert not cache.load_or_build(KEY, Builder()).fresh
        with pytest.raises(UserError, match="cannot write to"):
            cache.load_or_build(dataclasses.replace(KEY, library="openvino 3"), Builder())
    finally:
        cache.folder.chmod(0o755)


def test_finding_writes_nothing(cache):
    cache.load_or_build(KEY, Builder())
    before = sorted((p, p.stat().st_mtime_ns) for p in cache.folder.rglob("*"))
    assert cache.find(KEY) is not None
    assert sorted((p, p.stat().st_mtime_ns) for p in cache.folder.rglob("*")) == before


def test_manifest_survives_the_way_to_disk_and_back():
    manifest = Manifest(KEY, {"a": {"bytes": 1, "sha256": "x"}}, 1.5, "2026-01-01", {"ok": True}, {"d": 1})
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_clips_decide_only_where_both_sides_know_theirs():
    mine, theirs = (dataclasses.replace(KEY, calibration_sha256=c) for c in ("x", "y"))
    assert mine.differences(theirs) == ["calibration_sha256"]
    assert mine.differences(KEY) == []
    assert mine.folder_name == theirs.folder_name
