"""Videos of all visitors, analysed one after the other in order of arrival."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from demo.jobs import Job, Progress
from demo.pool import Busy, ModelPool


class Jobs:
    """Jobs of all visitors, one at a time in order of arrival."""

    def __init__(self, pool: ModelPool, max_waiting: int = 4) -> None:
        """
        Args:
            pool: models.
            max_waiting: jobs that may wait beside the one that runs.
        """
        self._pool, self._max_waiting = pool, max_waiting
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="video")

    def submit(self, job: Job) -> None:
        """Take a job on.

        Raises:
            Busy: too many are waiting, or this page has one already.
        """
        with self._lock:
            self._jobs = [j for j in self._jobs if j.state in ("waiting", "running")]
            if any(j.folder.tab == job.folder.tab for j in self._jobs):
                raise Busy("a video of yours is being analysed already; cancel it first or wait for it")
            if len(self._jobs) > self._max_waiting:
                raise Busy(
                    f"{len(self._jobs)} videos are in line already, which is as many as this server takes; "
                    "please try again in a few minutes"
                )
            self._jobs.append(job)
        self._executor.submit(job.run, self._pool)

    def progress(self, job: Job) -> Progress:
        """How far a job is, and how many come before it."""
        with self._lock:
            before = self._jobs[:self._jobs.index(job)] if job in self._jobs else []
        return job.progress(sum(j.state in ("waiting", "running") for j in before))

    def of_tab(self, tab: str, visitor: str) -> Job | None:
        """What a page of a visitor waits for; None where that is nothing."""
        with self._lock:
            return next((
                j for j in self._jobs
                if j.folder.tab == tab and j.folder.visitor == visitor and j.state in ("waiting", "running")
            ), None)

    def cancel_tab(self, tab: str, visitor: str | None = None) -> None:
        """Cancel what a page (with `visitor`, of theirs) started."""
        with self._lock:
            mine = [j for j in self._jobs if j.folder.tab == tab and visitor in (None, j.folder.visitor)]
        for job in mine:
            job.cancel()

    def close(self) -> None:
        """Cancel everything and end the thread. May be called twice."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        self._executor.shutdown(wait=True)
