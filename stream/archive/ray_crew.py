"""An archive's workers on a Ray cluster: actors in place of processes, wherever there is a core and memory for one.

Videos and the output folder are read and written where they are, under the same paths on every machine (a shared
folder); through Ray go names, records and lines alone, no picture. An actor that dies, with its machine or without, is
replaced, and its video is tried again. The one door to ray.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from detector.errors import UserError
from stream.archive.crew import BYTES_A_WORKER, News
from stream.archive.videos import Video
from stream.archive.worker import Order, Worker, prepare_process

INSTALL = "pip install 'ray[data,default]' pyarrow"
# A video whose actors died so often is bad; machines that die take innocent ones with them.
ATTEMPTS = 3
# Settings of the user that actors need as well.
_ENVIRONMENT = ("SLOWFAST_ENGINES", "SLOWFAST_CACHE")


class _Notes:
    """In place of a worker's pipe: keeps what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def send(self, words: tuple[str, Any]) -> None:
        """Keep it; how far a video is would be old when it arrives."""
        if words[0] not in ("at", "ready"):
            self.said.append(words)


class Looker:
    """What runs as an actor: a worker without a pipe."""

    def __init__(self, order: Order, before: Callable[[], None] | None) -> None:
        prepare_process(order.threads)
        if before is not None:
            before()
        self._notes = _Notes()
        self._worker = Worker(self._notes, order)

    def label(self, video: Video, key: str) -> list[tuple[str, Any]]:
        """Work a video through; what was said, the last of it "done", "bad" or "fatal"."""
        self._notes.said = []
        self._worker.take(video, key)
        return self._notes.said


def run_on_ray(
    jobs: list[tuple[Video, str]], order: Order, address: str, workers: int | None = None,
    before: Callable[[], None] | None = None,
) -> Iterator[News]:
    """Have all videos worked through on a cluster; gives what `crew.run_crew` gives, without shares.

    Args:
        jobs: videos, with paths that hold on every machine, and their keys.
        order: for every worker; its threads are the cores that each takes.
        address: of the cluster, `auto` for the one that this machine belongs to, `local` for one of this machine alone.
        workers: actors; as many as the cluster has cores unless given.
        before: called in each actor first.

    Raises:
        UserError: ray is missing, there is no cluster, or a worker says that nothing will go on.
    """
    if not jobs:
        return
    ray = _connected(address)
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        count = min(workers or max(cores // order.threads, 1), len(jobs))
        actor = ray.remote(Looker).options(
            num_cpus=order.threads, memory=BYTES_A_WORKER if address != "local" else 0, max_restarts=0
        )
        yield from _hand_out(ray, jobs, lambda: actor.remote(order, before), count)
    finally:
        ray.shutdown()


def _hand_out(
    ray: Any, jobs: list[tuple[Video, str]], create: Callable[[], Any], count: int
) -> Iterator[News]:
    waiting, died = deque(jobs), dict[str, int]()
    at_work: dict[Any, tuple[Any, Video, str]] = {}

    def give(actor: Any) -> None:
        if waiting:
            video, key = waiting.popleft()
            at_work[actor.label.remote(video, key)] = (actor, video, key)

    for _ in range(count):
        give(create())
    while at_work:
        for answer in ray.wait(list(at_work), num_returns=1)[0]:
            actor, video, key = at_work.pop(answer)
            try:
                said = ray.get(answer)
            except ray.exceptions.RayActorError as error:
                died[key] = died.get(key, 0) + 1
                if died[key] < ATTEMPTS:
                    waiting.append((video, key))
                else:
                    first = (str(error).strip().splitlines() or ["no reason"])[0]
                    yield News("bad", video, key, f"its worker died {ATTEMPTS} times ({first[:120]})")
                actor = create() if waiting else None
            except ray.exceptions.RayTaskError as error:
                cause = (str(error.cause or error).splitlines() or ["no reason"])[0]
                raise UserError(f"archive: a worker failed ({cause[:200]})") from None
            else:
                for kind, content in said:
                    if kind == "fatal":
                        raise UserError(content)
                    yield News(kind, video, key, content)
            if actor is not None:
                give(actor)


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError(f"--ray: ray is not installed; run: {INSTALL}") from None
    variables = {name: os.environ[name] for name in _ENVIRONMENT if os.environ.get(name)}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if variables:
        options["runtime_env"] = {"env_vars": variables}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    try:
        ray.init(address=address, **options)
    except Exception as error:  # also a bare one, where a slow machine does not start it within half a minute
        ray.shutdown()
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--ray {address}: no cluster answers ({first[:120]}); run on one machine: ray start --head, on others: "
            "ray start --address HOST:6379"
        ) from None
    return ray
