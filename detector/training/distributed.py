"""One process or many: who this process is, and the few sums that all of them must agree on.

Started by `torchrun`, each process finds its rank in the environment; started plainly, it is alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from detector.device import choose_device

# Longer than any validation: the processes meet after it.
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """This process among all that train together.

    Attributes:
        rank: of this process, 0 to size - 1; rank 0 writes files and shows progress.
        size: number of processes.
        device: that this process computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def share(self, value: Any) -> Any:
        """What rank 0 has, on every process. The value is small and can be pickled."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device if self.device.type == "cuda" else None)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """One value from each process, in order of rank, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Join the processes that `torchrun` started, or be alone; leave them at the end.

    A process group that already exists is used and left open.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    own_device = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield World(0, 1, own_device)
        return
    was_open = distributed.is_initialized()
    if own_device.type == "cuda":
        torch.cuda.set_device(own_device)
    if not was_open:
        distributed.init_process_group("nccl" if own_device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), own_device)
    finally:
        if not was_open:
            distributed.destroy_process_group()
