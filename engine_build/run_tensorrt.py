"""TensorRT and TensorRT-RTX engines on a GPU: pycuda for memory and stream, torch for the head.

Everything is in CUDA's primary context, the one torch uses, so that the features that TensorRT writes are read by
torch's RoIAlign where they lie. Buffers are allocated once, for the largest batch. After a first run, each batch is
replayed as a CUDA graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from engine_build.build_tensorrt import make_logger
from engine_build.cache import write_whole
from engine_build.graphs import HeadGraph
from engine_build.targets import require, require_gpu

RUNTIME_CACHE = "runtime.cache"


class TensorRtEngine:
    """An engine file on the current GPU. Load, run and close it in one thread."""

    # What the optional libraries make has no types.
    _primary: Any
    _runtime: Any
    _engine: Any
    _execution: Any
    _cache: Any
    _stream: Any
    _torch_stream: Any
    _host: Any
    _input: Any
    _output: Any
    _features: Any
    _head: Any

    def __init__(
        self, path: Path, network: ActionNetwork, target: str, precision: str, clip_shape: tuple[int, ...],
        max_batch: int = 8, runtime_cache: Path | None = None,
    ) -> None:
        """
        Args:
            path: of the engine file.
            network: its head is copied to the GPU.
            target: `tensorrt` or `tensorrt_rtx`.
            precision: for the description.
            clip_shape: (T, h, w, 3) that the engine was built for.
            max_batch: largest batch of its profile.
            runtime_cache: where TensorRT-RTX keeps the kernels it compiled for this GPU.

        Raises:
            UserError: library or GPU is missing, the file does not fit this GPU, or its memory is too small.
        """
        require_gpu(target)
        self._trt, self._cuda = require(target), require("pycuda.driver")
        self.num_classes = network.config.num_classes
        self.description = f"{target} {precision}"
        self.clip_shape, self.max_batch = tuple(clip_shape), max_batch
        self._target, self._runtime_cache_path = target, runtime_cache
        self._messages: list[str] = []
        self._graphs: dict[int, Any] = {}
        torch.cuda.init()  # torch makes the primary context; pycuda joins it
        self._cuda.init()
        self._primary = self._cuda.Device(torch.cuda.current_device()).retain_primary_context()
        with self._context(), self._memory_explained():
            self._load(path)
            self._allocate()
            self._head = HeadGraph(network).cuda()

    def run_trunk(self, frames: np.ndarray | torch.Tensor) -> torch.Tensor:
        """frames (B, T, h, w, 3) uint8 RGB, numpy or torch on the GPU → features (B, C, h / 16, w / 16) on the GPU.

        The tensor is a view of the engine's own buffer: good until the next call. Nothing waits for the GPU here;
        torch's current stream is told to.

        Raises:
            ValueError: frames of another shape or type, or more clips than the profile's largest batch.
        """
        batch = self._check(frames)
        with self._context():
            # The pinned buffer may still be on its way from the call before.
            self._stream.synchronize()
            if isinstance(frames, torch.Tensor) and frames.is_cuda:
                self._torch_stream.wait_stream(torch.cuda.current_stream())
                given = frames.contiguous()
                self._cuda.memcpy_dtod_async(int(self._input), given.data_ptr(), given.nbytes, self._stream)
                given.record_stream(self._torch_stream)
            else:
                host = self._host[: frames.nbytes]
                np.copyto(host, np.ascontiguousarray(frames).reshape(-1))
                self._cuda.memcpy_htod_async(self._input, host, self._stream)
            self._execute(batch)
            torch.cuda.current_stream().wait_stream(self._torch_stream)
        return self._features[:batch]

    def run_head(self, features: torch.Tensor, rois: np.ndarray) -> np.ndarray:
        """Features of `run_trunk` and rois (K, 5) float32 → scores (K, A) float32."""
        if not len(rois):
            return np.zeros((0, self.num_classes), np.float32)
        with torch.inference_mode():
            rows = torch.from_numpy(np.ascontiguousarray(rois, np.float32)).cuda(non_blocking=True)
            return self._head(features.float(), rows).cpu().numpy()

    def close(self) -> None:
        """Free the engine, its buffers and its hold on the context."""
        if self._primary is None:
            return
        with self._context():
            self._stream.synchronize()
            self._save_runtime_cache()
            self._graphs.clear()
            self._features = self._head = self._execution = self._engine = self._runtime = None
            self._input.free()
            self._output.gpudata.free()
            self._host = self._stream = self._torch_stream = None
        self._primary.detach()
        self._primary = None

    def _load(self, path: Path) -> None:
        trt = self._trt
        self._runtime = trt.Runtime(make_logger(trt, self._messages))
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

    def _allocate(self) -> None:
        from pycuda import gpuarray

        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [n for n in names if self._engine.get_tensor_mode(n) == self._trt.TensorIOMode.INPUT]
        self._input_name, self._output_name = inputs[0], next(n for n in names if n not in inputs)
        num_bytes = self.max_batch * int(np.prod(self.clip_shape))
        self._stream = self._cuda.Stream()
        self._torch_stream = torch.cuda.ExternalStream(self._stream.handle)
        self._host = self._cuda.pagelocked_empty(num_bytes, np.uint8)
        self._input = self._cuda.mem_alloc(num_bytes)
        per_clip = tuple(self._engine.get_tensor_shape(self._output_name))[1:]
        self._output = gpuarray.empty((self.max_batch, *per_clip), np.float32)
        # No copy: torch reads the array through its __cuda_array_interface__.
        self._features = torch.as_tensor(self._output, device="cuda")
        self._execution.set_tensor_address(self._input_name, int(self._input))
        self._execution.set_tensor_address(self._output_name, int(self._output.gpudata))

    def _execute(self, batch: int) -> None:
        if batch in self._graphs and self._graphs[batch] is not None:
            with torch.cuda.stream(self._torch_stream):
                self._graphs[batch].replay()
            return
        self._execution.set_input_shape(self._input_name, (batch, *self.clip_shape))
        if not self._execution.execute_async_v3(self._stream.handle):
            raise UserError(f"{self._target}: the engine did not run ({self._last_message()})")
        if batch not in self._graphs and self._cache is None:
            # The first run of a shape may load kernels, which cannot be captured; the second is.
            self._stream.synchronize()
            self._graphs[batch] = self._capture()

    def _capture(self) -> Any:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._torch_stream, capture_error_mode="thread_local"):
                self._execution.execute_async_v3(self._stream.handle)
        except RuntimeError:
            return None  # some layers synchronise and cannot be captured; the engine runs without a graph
        return graph

    def _check(self, frames: Any) -> int:
        dtype = str(frames.dtype).removeprefix("torch.")
        if dtype != "uint8" or tuple(frames.shape[1:]) != self.clip_shape or len(frames) > self.max_batch:
            expected = ", ".join(str(n) for n in self.clip_shape)
            raise ValueError(
                f"frames: got {tuple(frames.shape)} {dtype}, expected (B, {expected}) uint8, B up to {self.max_batch}"
            )
        return len(frames)

    def _save_runtime_cache(self) -> None:
        if self._cache is not None and self._runtime_cache_path is not None:
            with contextlib.suppress(OSError):  # a read-only cache costs time at the next start, nothing else
                write_whole(self._runtime_cache_path, memoryview(self._cache.serialize()))
        self._cache = None

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        self._primary.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    @contextlib.contextmanager
    def _memory_explained(self) -> Iterator[None]:
        try:
            yield
        except (self._cuda.MemoryError, torch.cuda.OutOfMemoryError):
            raise self._too_little_memory() from None

    def _too_little_memory(self) -> UserError:
        free, total = (b / 2**30 for b in torch.cuda.mem_get_info())
        return UserError(
            f"{self._target}: the GPU has too little memory ({free:.1f} of {total:.1f} GiB free); close other programs "
            "that use it, or run with --target openvino"
        )

    def _last_message(self) -> str:
        return self._messages[-1].splitlines()[0][:200] if self._messages else "no message"
