"""A TensorRT or TensorRT-RTX engine file on a GPU, in CUDA's primary context; what goes through it is its user's.

The context is the one torch uses, so that what TensorRT writes is read by torch where it lies. A shape that keeps
coming is replayed as a CUDA graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from detector.errors import UserError
from engine_build.build_tensorrt import make_logger
from engine_build.cache import write_whole
from engine_build.libraries import require
from engine_build.targets import require_gpu

GPU = "cuda"
# CU_STREAM_NON_BLOCKING. While a graph is captured on a stream without it, nobody may use the default stream, where
# torch works in the other thread.
NON_BLOCKING = 1
# Capturing a graph costs milliseconds: worth it for a shape that stays, not for a number of people that flickers.
RUNS_BEFORE_CAPTURE = 8


class LoadedEngine:
    """An engine file on the current GPU, with a stream of its own. Buffers are its user's.

    Load, run and close it in one thread.

    Attributes:
        device: the GPU, for torch.
        stream, torch_stream: the same one, for pycuda and for torch.
        cuda: pycuda's driver.
    """

    # What the optional libraries make has no types.
    _primary: Any
    _runtime: Any
    _engine: Any
    _execution: Any
    _cache: Any
    _graph: Any

    def __init__(self, path: Path, target: str, runtime_cache: Path | None = None) -> None:
        """
        Args:
            path: of the engine file.
            target: `tensorrt` or `tensorrt_rtx`.
            runtime_cache: where TensorRT-RTX keeps the kernels it compiled for this GPU.

        Raises:
            UserError: library or GPU is missing, the file does not fit this GPU, or its memory is too small.
        """
        require_gpu(target)
        self._trt, self.cuda = require(target), require("pycuda.driver")
        self._target, self._runtime_cache_path = target, runtime_cache
        self._messages: list[str] = []
        self._logger = make_logger(self._trt, self._messages)
        self._graph, self._runs = None, 0
        self.device = torch.device(GPU, torch.cuda.current_device())
        torch.cuda.init()  # torch makes the primary context; pycuda joins it
        self.cuda.init()
        self._primary = self.cuda.Device(self.device.index).retain_primary_context()
        try:
            with self.context():
                self._load(path)
                self.stream: Any = self.cuda.Stream(NON_BLOCKING)
                self.torch_stream: Any = torch.cuda.ExternalStream(self.stream.handle)
        except BaseException:
            self._primary.detach()
            self._primary = None
            raise

    @property
    def closed(self) -> bool:
        """Whether it was freed."""
        return self._primary is None

    def names(self, inputs: bool) -> list[str]:
        """Names of the inputs, or of the outputs, in the file's order."""
        wanted = self._trt.TensorIOMode.INPUT if inputs else self._trt.TensorIOMode.OUTPUT
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        return [name for name in names if self._engine.get_tensor_mode(name) == wanted]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor for the input's present one; -1 where that is open."""
        return tuple(self._execution.get_tensor_shape(name))

    def set_address(self, name: str, address: int) -> None:
        """Read or write a tensor there from now on."""
        self._forget_graph()
        self._execution.set_tensor_address(name, address)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Run on this shape from now on.

        Raises:
            ValueError: it is outside of what the engine was built for.
        """
        # A graph belongs to the state that its context was in when it was captured.
        self._forget_graph()
        if not self._execution.set_input_shape(name, shape):
            raise ValueError(f"{name}: got {shape}, which is outside of the sizes that the engine was built for")

    def run(self) -> None:
        """Put the work on the stream, after torch's present work and before its later work; waits for nothing."""
        if self._graph is not None:
            with torch.cuda.stream(self.torch_stream):
                self._graph.replay()
        else:
            if not self._execution.execute_async_v3(self.stream.handle):
                raise UserError(f"{self._target}: the engine did not run ({self._last_message()})")
            self._runs += 1
            # TensorRT-RTX captures by itself. The first runs of a shape load kernels, which cannot be captured.
            if self._runs == RUNS_BEFORE_CAPTURE and self._cache is None:
                self.stream.synchronize()
                self._graph = self._capture()
        torch.cuda.current_stream().wait_stream(self.torch_stream)

    def wait_for_torch(self) -> None:
        """Have the stream wait for what torch has been told to do: it may still read the outputs of the last run."""
        self.torch_stream.wait_stream(torch.cuda.current_stream())

    def close(self) -> None:
        """Free the engine and its hold on the context. May be called twice."""
        if self.closed:
            return
        with self.context():
            self.stream.synchronize()
            self._save_runtime_cache()
            self._graph = self._execution = self._engine = self._runtime = None
            self.stream = self.torch_stream = None
        self._primary.detach()
        self._primary = None

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Make CUDA's primary context pycuda's, and explain where memory is short."""
        self._primary.push()
        try:
            yield
        except (self.cuda.MemoryError, torch.cuda.OutOfMemoryError):
            raise self._too_little_memory() from None
        finally:
            self.cuda.Context.pop()

    def _load(self, path: Path) -> None:
        trt = self._trt
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise UserError(
                f"{self._target} refuses {path.name} ({self._last_message()}); it was built for another GPU or "
                "version: delete it and build again"
            )
        self._cache = None
        if hasattr(self._engine, "create_runtime_config"):  # TensorRT-RTX
            config = self._engine.create_runtime_config()
            self._cache = config.create_runtime_cache()
            if self._runtime_cache_path is not None and self._runtime_cache_path.is_file():
                self._cache.deserialize(self._runtime_cache_path.read_bytes())
            config.set_runtime_cache(self._cache)
            # It captures graphs itself, and knows which of its kernels may be captured.
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._execution = self._engine.create_execution_context(config)
        else:
            self._execution = self._engine.create_execution_context()
        if self._execution is None:
            raise self._too_little_memory()

    def _capture(self) -> Any:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.torch_stream, capture_error_mode="thread_local"):
                recorded = self._execution.execute_async_v3(self.stream.handle)
        except RuntimeError:
            return None  # some layers synchronise and cannot be captured; the engine runs without a graph
        return graph if recorded else None

    def _forget_graph(self) -> None:
        self._graph, self._runs = None, 0

    def _save_runtime_cache(self) -> None:
        if self._cache is not None and self._runtime_cache_path is not None:
            with contextlib.suppress(OSError):  # a read-only cache costs time at the next start, nothing else
                write_whole(self._runtime_cache_path, memoryview(self._cache.serialize()))
        self._cache = None

    def _too_little_memory(self) -> UserError:
        free, total = (b / 2**30 for b in torch.cuda.mem_get_info())
        return UserError(
            f"{self._target}: the GPU has too little memory ({free:.1f} of {total:.1f} GiB free); close other programs "
            "that use it, or run with --engine openvino"
        )

    def _last_message(self) -> str:
        return self._messages[-1].splitlines()[0][:200] if self._messages else "no message"
