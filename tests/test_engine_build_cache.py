"""The engine cache: found, refused, repaired, shared between processes, and honest when the disk is not."""

from __future__ import annotations

import dataclasses
import errno
import gc
import json
import os
import subprocess
import sys
import tempfile
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


def manifest_with(**changes):
    """A damage: facts of the manifest changed; None takes one out."""
    def change(folder):
        data = json.loads((folder / MANIFEST).read_text())
        for name, value in changes.items():
            target = data
            *way, last = name.split("__")
            for part in way:
                target = target[part if part != "trunk" else "trunk.bin"]
            if value is None:
                del target[last]
            else:
                target[last] = value
        (folder / MANIFEST).write_text(json.dumps(data))

    return change


def replaced_by(make):
    """A damage: something else in the manifest's place."""
    def change(folder):
        (folder / MANIFEST).unlink()
        make(folder / MANIFEST)

    return change


def outside(folder):
    """A manifest that lists a file of another folder."""
    secret = folder.parent / "other"
    secret.write_bytes(b"engine" * 100)
    data = json.loads((folder / MANIFEST).read_text())
    data["files"] = {"../other": data["files"]["trunk.bin"]}
    (folder / MANIFEST).write_text(json.dumps(data))


def huge(path):
    with path.open("wb") as file:
        file.truncate(1 << 33)


def file_in_place(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_bytes(b"a file")


def link_in_place(folder):
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def engine_is_a_pipe(folder):
    (folder / "trunk.bin").unlink()
    os.mkfifo(folder / "trunk.bin")


FORGED = [
    manifest_with(files=["trunk.bin"]), manifest_with(files="trunk.bin"), manifest_with(files=None),
    manifest_with(files={}), manifest_with(files__trunk__bytes=None), manifest_with(files__trunk__sha256=None),
    manifest_with(files__trunk__bytes="600"), manifest_with(files__trunk__bytes=-1),
    manifest_with(files__trunk__bytes=float("nan")), manifest_with(files__trunk__bytes=1e400),
    manifest_with(files__trunk__sha256=7), manifest_with(files={"trunk.bin": 3}), manifest_with(files={"": {}}),
    manifest_with(files={"/etc/passwd": {"bytes": 1, "sha256": ""}}), outside,
    manifest_with(key=None), manifest_with(key=[]), manifest_with(key__shape=7), manifest_with(key__shape=["a"]),
    manifest_with(key__shape=[[1]]), manifest_with(key__model=None), manifest_with(key__model=["x"]),
    manifest_with(key__extra=1), manifest_with(schema="1"), manifest_with(schema=[1]), manifest_with(more=1),
    manifest_with(build_s="long"), manifest_with(created=7), manifest_with(verify="ok"), manifest_with(verify=[1]),
    manifest_with(verify={"ok": "yes"}), manifest_with(verify={"x": 1}), manifest_with(details=[]),
    replaced_by(lambda path: path.write_text("[" * 100_000 + "]" * 100_000)),
    replaced_by(lambda path: path.write_text('{"schema": 1, "key": ' + "9" * 10_000 + "}")),
    replaced_by(lambda path: path.write_bytes(b"\xff\xfe\x00")), replaced_by(lambda path: path.write_text("null")),
    replaced_by(lambda path: path.write_text("")), replaced_by(os.mkfifo), replaced_by(Path.mkdir), replaced_by(huge),
    replaced_by(lambda path: path.symlink_to(path)), replaced_by(lambda path: path.symlink_to("/dev/zero")),
    file_in_place, link_in_place, engine_is_a_pipe,
]


@pytest.mark.parametrize("damage", FORGED)
def test_whatever_lies_in_a_manifests_place_the_engine_is_built_again(cache, damage):
    build = Builder()
    folder = cache.load_or_build(KEY, build).folder
    damage(folder)
    again = cache.load_or_build(KEY, build)
    assert build.calls == 2
    assert check(again.folder, KEY)[1] == ""
    assert cache.load_or_build(KEY, build).size_mb > 0
    assert build.calls == 2


def test_a_neighbours_damaged_manifest_is_passed_over(cache):
    for number, damage in enumerate(FORGED):
        key = dataclasses.replace(KEY, library=f"openvino {number}")
        damage(cache.load_or_build(key, Builder()).folder)
    assert cache.load_or_build(dataclasses.replace(KEY, library="mine"), Builder()).fresh


def test_an_engine_appears_whole_at_once(cache):
    seen = []

    def build(folder):
        (folder / "trunk.bin").write_bytes(b"x")
        seen.append((cache.folder / KEY.folder_name).exists())
        return {}

    stored = cache.load_or_build(KEY, build)
    assert seen == [False]
    assert sorted(p.name for p in stored.folder.iterdir()) == [MANIFEST, "trunk.bin"]


def test_a_manifest_that_cannot_be_written_anew_stays_as_it_was(cache, monkeypatch):
    stored = cache.load_or_build(KEY, Builder())
    before = (stored.folder / MANIFEST).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="is full"):
        cache.record_verify(stored, {"ok": True, "feature_error": 0.0})
    assert (stored.folder / MANIFEST).read_bytes() == before
    assert sorted(p.name for p in stored.folder.iterdir()) == [MANIFEST, "trunk.bin"]


def test_while_a_manifest_is_written_the_old_one_is_read(cache, monkeypatch):
    stored = cache.load_or_build(KEY, Builder())
    real, seen = os.fsync, []

    def watched(descriptor):
        seen.append(cache.find(KEY))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    cache.record_verify(stored, {"ok": True, "feature_error": 0.0})
    assert [found is not None and found.manifest.verify for found in seen] == [{}]
    assert cache.find(KEY).manifest.verify["ok"]


READ_ONLY = """
import os, sys
from pathlib import Path
from engine_build.cache import EngineCache
from tests.test_engine_build_cache import KEY, Builder

os.setgid(65534), os.setuid(65534)
cache = EngineCache(Path(sys.argv[1]), lambda line: print("said:", line))
build = Builder()
stored = cache.load_or_build(KEY, build)
print(stored.fresh, stored.kept, (stored.folder / "trunk.bin").read_bytes() == build.content)
stored = cache.record_verify(stored, {"ok": True, "feature_error": 0.0})
print(stored.manifest.verify["ok"], build.calls)
folder = stored.folder
print(folder)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can become somebody without rights")
@pytest.mark.parametrize("there", [True, False], ids=["the folder", "its parent"])
def test_where_nothing_can_be_written_the_engine_is_built_for_this_run(there):
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        folder = top / "engines"
        if there:
            folder.mkdir(mode=0o755)
        process = run(READ_ONLY, folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        said = [line for line in out.splitlines() if line.startswith("said:")]
        assert len(said) == 1
        assert f"{folder} cannot be written (Permission denied)" in said[0]
        assert "not kept" in said[0]
        assert out.splitlines()[1:3] == ["True False True", "True 1"]
        assert not Path(out.splitlines()[3]).exists()
        assert not there or not list(folder.iterdir())


def test_a_refused_folder_is_known_without_writing(cache, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache.refusal() == "Permission denied"
    assert not cache.folder.exists()
    stored = cache.load_or_build(KEY, Builder())
    assert not stored.kept
    assert not cache.folder.exists()
    folder = stored.folder
    assert (folder / "trunk.bin").is_file()
    del stored
    gc.collect()
    assert not folder.exists()


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
        stored = cache.load_or_build(dataclasses.replace(KEY, library="openvino 3"), Builder())
        assert (stored.fresh, stored.kept) == (True, False)
    finally:
        cache.folder.chmod(0o755)


def test_finding_writes_nothing(cache):
    cache.load_or_build(KEY, Builder())
    before = sorted((p, p.stat().st_mtime_ns) for p in cache.folder.rglob("*"))
    assert cache.find(KEY) is not None
    assert sorted((p, p.stat().st_mtime_ns) for p in cache.folder.rglob("*")) == before


def test_manifest_survives_the_way_to_disk_and_back():
    manifest = Manifest(KEY, {"a": {"bytes": 1, "sha256": "x"}}, 1.5, "2026-01-01",
                        {"ok": True, "feature_error": 0.1}, {"d": 1})
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_clips_decide_only_where_both_sides_know_theirs():
    mine, theirs = (dataclasses.replace(KEY, calibration_sha256=c) for c in ("x", "y"))
    assert mine.differences(theirs) == ["calibration_sha256"]
    assert mine.differences(KEY) == []
    assert mine.folder_name == theirs.folder_name
