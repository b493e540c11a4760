"""One process of an archive: it takes videos from a pipe, works them through and says how far it is.

What it says: ("ready", ""), ("say", line), ("at", share), ("done", record), ("bad", reason), ("fatal", line).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from detector.errors import UserError
from stream.archive.books import Books
from stream.archive.settings import Settings
from stream.archive.videos import Video
from stream.session import Session, open_session

TOLD_EVERY_S = 0.5
SCRATCH = ".unfinished"


@dataclass(frozen=True)
class Order:
    """What a worker must know once.

    Attributes:
        settings: how.
        output: the archive's folder.
        threads: of the network; the process leaves the other cores to other workers.
    """

    settings: Settings
    output: str
    threads: int


def work(pipe: Connection, order: Order) -> None:
    """The body of a worker's process: until the pipe closes, or nothing more can be done."""
    # A Ctrl-C reaches all; the process that hands out work decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare_process(order.threads)
    worker = Worker(pipe, order)
    try:
        with contextlib.suppress(EOFError, OSError):
            while True:
                worker.take(*pipe.recv())
    finally:
        worker.close()


class Listener(Protocol):
    """Whoever is told what a worker says."""

    def send(self, words: tuple[str, Any]) -> None:
        """Take it."""
        ...


class Worker:
    """A session, and the videos that come one after another."""

    def __init__(self, pipe: Listener, order: Order) -> None:
        self._pipe, self._order = pipe, order
        self._books = Books(order.output)
        self._session: Session | None = None
        self._told_s = 0.0

    def take(self, video: Video, key: str) -> None:
        """Work a video through and say what came of it.

        Raises:
            OSError: whoever handed it out is gone.
        """
        from stream.archive.label import BadVideo, label_video

        folder = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=self._scratch()))
        try:
            self._ready()
            start_s = time.monotonic()
            record, made = label_video(video, key, self._session_for, self._order.settings, folder, self._at)
            record["wall_s"] = round(time.monotonic() - start_s, 3)
            self._pipe.send(("done", self._books.settle(key, record, made)))
        except BadVideo as bad:
            self._pipe.send(("bad", str(bad)))
        except UserError as error:
            self._pipe.send(("fatal", str(error)))
        except BrokenPipeError:
            raise
        except OSError as error:
            self._pipe.send(("fatal", f"{self._order.output}: cannot be written ({error.strerror or error})"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Free the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _session_for(self, size_hw: tuple[int, int]) -> Session:
        """A session whose answers do not depend on which videos came before."""
        if not self._ready().has_room_for(size_hw):
            self.close()
        return self._ready()

    def _ready(self) -> Session:
        """The session, opened where it is not; until "ready" is said, no video is to blame for anything."""
        if self._session is None:
            self._session = open_session(**self._order.settings.session_options(), report=self._say)
            self._pipe.send(("ready", ""))
        return self._session

    def _scratch(self) -> Path:
        folder = Path(self._order.output) / SCRATCH
        folder.mkdir(exist_ok=True)
        return folder

    def _say(self, line: str) -> None:
        self._pipe.send(("say", line))

    def _at(self, share: float) -> None:
        if time.monotonic() - self._told_s >= TOLD_EVERY_S:
            self._told_s = time.monotonic()
            self._pipe.send(("at", share))


def prepare_process(threads: int) -> None:
    """Make a process one of several that share a machine."""
    import cv2

    from detector.device import openvino_core
    from engine_build.memory import give_large_blocks_back_at_once

    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    with contextlib.suppress(ImportError, RuntimeError):
        openvino_core().set_property("CPU", {"INFERENCE_NUM_THREADS": threads})
    with contextlib.suppress(OSError, AttributeError):
        # Whoever sits at this machine goes first.
        os.nice(5)
