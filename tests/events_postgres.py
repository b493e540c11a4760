"""A real PostgreSQL for tests: Debian's, started on a free port with a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def a_postgres() -> Iterator[Server]:
    """A running server; skips where PostgreSQL is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    home = Path(tempfile.mkdtemp(prefix="events-pg-"))
    # The server refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(home, "postgres")
    server = Server(home, folders[-1], as_user, free_port())
    try:
        server.run("initdb", "-D", str(home / "data"), "-A", "trust", "-U", "tester", "-N")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


class Server:
    """A PostgreSQL server that can be stopped and started."""

    def __init__(self, home: Path, programs: Path, as_user: list[str], port: int) -> None:
        self.home, self._programs, self._as_user, self.port = home, programs, as_user, port
        self.url = f"postgresql://tester:hush@127.0.0.1:{port}/postgres"

    def run(self, program: str, *words: str) -> None:
        subprocess.run(
            [*self._as_user, str(self._programs / program), *words], cwd="/", check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=60,
        )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.home} -F"
        self.run("pg_ctl", "-D", str(self.home / "data"), "-l", str(self.home / "log"), "-o", options, "-w", "start")

    def stop(self) -> None:
        with suppress(subprocess.SubprocessError):
            self.run("pg_ctl", "-D", str(self.home / "data"), "-m", "immediate", "-w", "stop")
