"""Engines on disk: built once, found again, thrown away when broken.

A folder per engine holds its files and `manifest.json`. A build happens in a folder of its own that is renamed when
complete, so that a killed build leaves nothing that looks like an engine; a lock file lets two processes that want
the same engine do the work once. Where nothing can be written, an engine is built for this run alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detector.errors import UserError
from detector.files import write_whole
from detector.weights.cache import cache_dir
from engine_build.manifest import EngineKey, Manifest, read_manifest, sha256_of_file

MANIFEST = "manifest.json"
LOCK_TIMEOUT_S = 3600.0
_ELSEWHERE = "choose another folder with --cache-dir or SLOWFAST_CACHE"


@dataclass(frozen=True)
class StoredEngine:
    """A complete engine on disk.

    Attributes:
        folder: where its files are.
        manifest: what it was built from.
        fresh: this call built it.
        kept: whether it stays; where not, its folder goes with this object.
    """

    folder: Path
    manifest: Manifest
    fresh: bool = False
    kept: bool = True

    @property
    def size_mb(self) -> float:
        """Of all its files."""
        return sum(facts["bytes"] for facts in self.manifest.files.values()) / 2**20


# Writes an engine's files into the folder given and returns the manifest's `details`.
Build = Callable[[Path], dict[str, Any]]


def default_folder() -> Path:
    """Where the SLOWFAST_ENGINES variable says, else `engines` beside the cached weights."""
    chosen = os.environ.get("SLOWFAST_ENGINES", "").strip()
    return Path(chosen).expanduser() if chosen else cache_dir() / "engines"


class EngineCache:
    """All engines of one folder."""

    def __init__(self, folder: Path | str | None = None, report: Callable[[str], object] = print) -> None:
        """
        Args:
            folder: where engines live; made when first written to.
            report: takes one line whenever something happens that a person may wonder about.
        """
        self.folder = Path(folder) if folder is not None else default_folder()
        self.report = report

    def find(self, key: EngineKey) -> StoredEngine | None:
        """The engine for a key, if it is there and sound; says in one line why one is not used. Writes nothing."""
        folder = self.folder / key.folder_name
        if not folder.is_dir() or folder.is_symlink():
            self._explain_miss(key)
            return None
        manifest, problem = check(folder, key)
        if manifest is None:
            self.report(f"engine {folder.name} is not usable: {problem}; it is built again")
            return None
        return StoredEngine(folder, manifest)

    def load_or_build(self, key: EngineKey, build: Build) -> StoredEngine:
        """Find the engine for a key or build it; of several processes that ask at once, one builds.

        Where the folder may not be written, the engine is built in a folder of this run, and a line says so.

        Raises:
            UserError: the folder is none, the disk is full, or another process holds the lock for an hour.
        """
        found = self.find(key)
        if found is not None:
            return found
        refused = self.refusal()
        if refused:
            self.report(
                f"engine cache: {self.folder} cannot be written ({refused}); the engine is built for this run and not "
                f"kept; {_ELSEWHERE}"
            )
            return self._build_unkept(key, build)
        with self._lock(key):
            quiet = EngineCache(self.folder, report=lambda line: None)
            found = quiet.find(key)  # another process may have built it while this one waited
            return found if found is not None else self._build(key, build)

    def record_verify(self, stored: StoredEngine, verify: dict[str, Any]) -> StoredEngine:
        """Write a verification's result into an engine's manifest."""
        manifest = replace(stored.manifest, verify=verify)
        if not stored.kept:
            stored.manifest.verify.update(verify)
            return stored
        if self.refusal():
            self.report(f"engine cache: {self.folder} cannot be written; the verification is made again next time")
            return replace(stored, manifest=manifest)
        with _explained(self.folder), self._lock(stored.manifest.key):
            write_whole(stored.folder / MANIFEST, manifest.to_json())
        return replace(stored, manifest=manifest)

    def add(self, stored: StoredEngine, write: Callable[[Path], object]) -> bool:
        """Add files to an engine; False, and nothing done, where the folder may not be written.

        Args:
            stored: the engine.
            write: writes the files into the folder given; they have names of their own.
        """
        if self.refusal():
            return False
        with _explained(self.folder), self._lock(stored.manifest.key):
            with tempfile.TemporaryDirectory(prefix=f".{stored.folder.name}.", dir=stored.folder.parent) as made:
                write(Path(made))
                added = sorted(Path(made).iterdir())
                manifest = read_manifest(stored.folder / MANIFEST)  # its verification may be newer than the caller's
                files = {**manifest.files, **{path.name: _facts(path) for path in added}}
                for path in added:
                    os.replace(path, stored.folder / path.name)
            write_whole(stored.folder / MANIFEST, replace(manifest, files=files).to_json())
        stored.manifest.files.update(files)
        return True

    def remove(self, key: EngineKey) -> None:
        """Delete an engine, if it is there."""
        with _explained(self.folder):
            _remove_folder(self.folder / key.folder_name)

    def refusal(self) -> str:
        """Why nothing can be kept in the folder, in the file system's words; "" where it can. Writes nothing."""
        there = next((p for p in (self.folder, *self.folder.absolute().parents) if os.path.lexists(p)), Path("/"))
        if not there.is_dir() or os.access(there, os.W_OK | os.X_OK):
            return ""  # a file in its place is a mistake of its own
        try:
            read_only = bool(os.statvfs(there).f_flag & os.ST_RDONLY)
        except OSError:
            read_only = False
        return os.strerror(errno.EROFS if read_only else errno.EACCES)

    def _build_unkept(self, key: EngineKey, build: Build) -> StoredEngine:
        scratch = Path(tempfile.mkdtemp(prefix="slowfast-engine-"))
        try:
            stored = replace(EngineCache(scratch, self.report)._build(key, build), kept=False)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        weakref.finalize(stored, shutil.rmtree, scratch, ignore_errors=True)
        return stored

    def _build(self, key: EngineKey, build: Build) -> StoredEngine:
        final = self.folder / key.folder_name
        partial = self.folder / f".{key.folder_name}.partial"
        with _explained(self.folder):
            # The lock is ours, so whatever lies here is of a build that died.
            _remove_folder(partial)
            partial.mkdir(parents=True)
            try:
                start = time.perf_counter()
                details = build(partial)
                manifest = Manifest(
                    key=key,
                    files={p.name: _facts(p) for p in sorted(partial.iterdir())},
                    build_s=round(time.perf_counter() - start, 2),
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    details=details,
                )
                write_whole(partial / MANIFEST, manifest.to_json())
                _remove_folder(final)
                partial.rename(final)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return StoredEngine(final, manifest, fresh=True)

    @contextlib.contextmanager
    def _lock(self, key: EngineKey) -> Iterator[None]:
        import filelock

        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.folder / f".{key.folder_name}.lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                self.report(f"another process builds {key.stem}; waiting for it")
                try:
                    lock.acquire(timeout=LOCK_TIMEOUT_S)
                except filelock.Timeout:
                    raise UserError(
                        f"engine cache: {self.folder} has been locked by another build for {LOCK_TIMEOUT_S / 60:.0f} "
                        "minutes; end that process, or choose another folder with --cache-dir"
                    ) from None
        try:
            yield
        finally:
            lock.release()

    def _explain_miss(self, key: EngineKey) -> None:
        for folder in sorted(self.folder.glob(f"{key.stem}-*")):
            with contextlib.suppress(OSError, ValueError):
                other = read_manifest(folder / MANIFEST).key
                names = key.differences(other)
                shown = [f"{n} {_short(getattr(other, n))}, now {_short(getattr(key, n))}" for n in names]
                self.report(f"engine {folder.name} does not fit: built for {'; '.join(shown)}")


def check(folder: Path, key: EngineKey) -> tuple[Manifest | None, str]:
    """Read an engine's manifest and compare it with a key and with the files.

    Returns:
        The manifest and "", or None and what is wrong.
    """
    try:
        manifest = read_manifest(folder / MANIFEST)
        return _checked(folder, key, manifest)
    except OSError as error:
        return None, f"its files cannot be read ({error.strerror})"
    except ValueError as error:
        return None, str(error)


def _checked(folder: Path, key: EngineKey, manifest: Manifest) -> tuple[Manifest | None, str]:
    differing = key.differences(manifest.key)
    if differing:
        return None, f"it was built for another {', '.join(differing)}"
    if not manifest.files:
        return None, "its manifest lists no files"
    for name, facts in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return None, f"{name} is missing"
        if path.stat().st_size != facts["bytes"]:
            return None, f"{name} has {path.stat().st_size} bytes, expected {facts['bytes']}"
        if sha256_of_file(path) != facts["sha256"]:
            return None, f"{name} is corrupted (its checksum differs)"
    return manifest, ""


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = _free_mb(folder)
            raise UserError(f"engine cache: the disk of {folder} is full ({free} MB free); free some, or {_ELSEWHERE}"
                            ) from error
        raise UserError(f"engine cache: cannot write to {folder} ({error.strerror or error}); {_ELSEWHERE}") from error


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _remove_folder(folder: Path) -> None:
    """Whatever lies there; of a link, the link alone."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def _free_mb(folder: Path) -> int:
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free // 2**20


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
