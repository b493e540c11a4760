"""The workers of an archive: videos are handed out one by one, and whoever dies is replaced.

A worker is a process of its own, started anew (spawn), that shares nothing with the others but the cache of engines.
A video whose worker died, or stood still, is tried once more and then put down as bad.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from detector.errors import UserError
from stream.archive.videos import Video
from stream.archive.worker import Order, work

ATTEMPTS = 2
# A worker that has said nothing for so long is ended; a large engine is built in a few minutes.
STALLED_S = 900.0
# Workers in a row that die before they are ready for any video.
MOST_EARLY_DEATHS = 3
# What a worker holds with the bundled model is half of this; with an 8x8 R50 all of it.
BYTES_A_WORKER = 1_500 * 2**20
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class News:
    """What a worker said about a video.

    Attributes:
        kind: "say", "at", "done" or "bad".
        video: which; None for a line that belongs to none.
        key: of the video.
        content: line, share, record or reason.
    """

    kind: str
    video: Video | None
    key: str
    content: Any


class _Hand:
    """A process, its pipe and what it works on."""

    def __init__(self, order: Order, body: Callable[[Connection, Order], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=body, args=(theirs, order), daemon=True)
        self.process.start()
        theirs.close()
        self.job: tuple[Video, str] | None = None
        self.ready = False
        self.heard_s = time.monotonic()

    def give(self, job: tuple[Video, str]) -> None:
        self.job, self.heard_s = job, time.monotonic()
        with suppress(OSError):  # it is dead, which is seen when it is listened to
            self.pipe.send(job)

    def end(self, timeout_s: float = 5.0) -> None:
        self.pipe.close()
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(timeout_s)


def run_crew(
    jobs: list[tuple[Video, str]], order: Order, workers: int, body: Callable[[Connection, Order], None] = work
) -> Iterator[News]:
    """Have all videos worked through; gives what is said, as it is said.

    Args:
        jobs: videos and their keys, in the order in which they are begun.
        order: for every worker.
        workers: processes at once.
        body: of a worker.

    Raises:
        UserError: a worker says that nothing will go on.
    """
    waiting, died = deque(jobs), dict[str, int]()
    hands = [_Hand(order, body) for _ in range(min(workers, len(jobs)))]
    early = 0
    try:
        while waiting or any(hand.job for hand in hands):
            for hand in hands:
                if hand.job is None and waiting:
                    hand.give(waiting.popleft())
            for hand in _ready(hands):
                news = _listen(hand)
                if news is not None:
                    yield news
                    continue
                # It is gone.
                code = _buried(hand)
                early = 0 if hand.ready else early + 1
                if early >= MOST_EARLY_DEATHS:
                    raise UserError(f"archive: {early} workers died as soon as they were started ({code})")
                if hand.job is not None and not hand.ready:
                    waiting.appendleft(hand.job)
                elif hand.job is not None:
                    video, key = hand.job
                    died[key] = died.get(key, 0) + 1
                    if died[key] >= ATTEMPTS:
                        yield News("bad", video, key, f"its worker died {ATTEMPTS} times ({code})")
                    else:
                        waiting.append(hand.job)
                hands[hands.index(hand)] = _Hand(order, body)
    finally:
        for hand in hands:
            hand.pipe.close()
        for hand in hands:
            hand.process.terminate()
        for hand in hands:
            hand.end()


def _ready(hands: list[_Hand]) -> list[_Hand]:
    """Those that have said something or are gone; one that stands still is ended and is among the gone."""
    heard = set(wait([thing for hand in hands for thing in (hand.pipe, hand.process.sentinel)], timeout=1.0))
    for hand in hands:
        if hand.job and hand.ready and time.monotonic() - hand.heard_s > STALLED_S:
            hand.process.kill()
            hand.process.join()
            heard.add(hand.process.sentinel)
    return [hand for hand in hands if {hand.pipe, hand.process.sentinel} & heard]


def _listen(hand: _Hand) -> News | None:
    """What it says; None where it is gone and has said all."""
    try:
        if not hand.pipe.poll():
            return None if not hand.process.is_alive() else News("say", None, "", "")
        kind, content = hand.pipe.recv()
    except (EOFError, OSError):
        return None
    hand.heard_s = time.monotonic()
    if kind == "fatal":
        raise UserError(content)
    video, key = hand.job or (None, "")
    if kind == "ready":
        hand.ready = True
        return News("say", None, "", "")
    if kind in ("done", "bad"):
        hand.job = None
    return News(kind, video, key, content)


def _buried(hand: _Hand) -> str:
    """How it ended, in words."""
    hand.end()
    code = hand.process.exitcode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def usual_workers(cores: int | None = None, memory_bytes: int | None = None) -> int:
    """How many workers this machine has room for: one a core, as far as memory goes.

    Args:
        cores, memory_bytes: as found, unless given.
    """
    cores = cores or _cores()
    memory_bytes = _free_bytes() if memory_bytes is None else memory_bytes
    return max(min(cores, memory_bytes // BYTES_A_WORKER), 1)


def threads_each(workers: int) -> int:
    """Threads of the network of each of so many workers."""
    return max(_cores() // workers, 1)


def _cores() -> int:
    """Cores that this process may use."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        mine = min(mine, max(int(quota) // int(period), 1))
    return mine


def _free_bytes() -> int:
    """Memory that can be had: of the machine, and of the container where there is one."""
    free = 8 * 2**30
    with suppress(OSError, ValueError, IndexError):
        words = Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()
        free = int(words[0]) * 1024
    with suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    return free
