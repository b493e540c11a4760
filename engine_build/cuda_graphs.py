"""A torch function recorded as CUDA graphs, one for each size of batch that comes.

Recorded by hand and not by torch.compile's mode "reduce-overhead": that keeps its graphs per thread and, up to torch
2.11 at least, stops with an assertion in every thread but the first; engines here run in worker threads.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Function = Callable[[Tensor], Tensor]
# Records what a call does on the device; gives its result, and what does it again into the same memory.
Capture = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]]

# Up to here batches are filled up to a power of two, above it to a multiple of this.
LARGEST_POWER = 16
# Recorded sizes that stay in memory.
MAX_GRAPHS = 8
# Runs before a recording: libraries choose their algorithms and take their memory then.
WARM_UPS = 3


def filled_batch(count: int) -> int:
    """How many clips are computed where `count` come: few sizes, so that few graphs serve every number of people."""
    if count > LARGEST_POWER:
        return -(-count // LARGEST_POWER) * LARGEST_POWER
    return 1 << (count - 1).bit_length()


@dataclass
class _Recorded:
    given: Tensor
    result: Tensor
    replay: Callable[[], None]


class Graphed:
    """Runs a function by replaying what it did; the first call of each size records it. For one thread."""

    def __init__(self, function: Function, capture: Capture | None = None) -> None:
        """
        Args:
            function: batch first, on a GPU; its work must not depend on the values that it is given.
            capture: in place of CUDA's.
        """
        self._function, self._capture = function, capture or _capture
        self._recorded: OrderedDict[tuple[int, ...], _Recorded] = OrderedDict()
        self.works = True

    def __call__(self, given: Tensor) -> Tensor:
        """Tensor[B, ...] on the GPU → what the function gives for it; good until the next call."""
        count = int(given.shape[0])
        if not self.works or not count:
            return self._function(given)
        shape = (filled_batch(count), *given.shape[1:])
        recorded = self._recorded.get(shape)
        if recorded is None:
            recorded = self._record(shape, given)
            if recorded is None:
                return self._function(given)
        self._recorded.move_to_end(shape)
        recorded.given[:count].copy_(given)
        recorded.replay()
        return recorded.result[:count]

    def close(self) -> None:
        """Free the recordings. May be called twice."""
        self._recorded.clear()

    def _record(self, shape: tuple[int, ...], like: Tensor) -> _Recorded | None:
        while len(self._recorded) >= MAX_GRAPHS:
            self._recorded.popitem(last=False)
        given = torch.zeros(shape, dtype=like.dtype, device=like.device)
        try:
            result, replay = self._capture(lambda: self._function(given))
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning("CUDA graphs are left out, which costs speed alone: %s", first_line)
            self.works = False
            self._recorded.clear()
            return None
        recorded = self._recorded[shape] = _Recorded(given, result, replay)
        return recorded


def _capture(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the GPU meanwhile: the person detector's does.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        result = run()
    return result, graph.replay
