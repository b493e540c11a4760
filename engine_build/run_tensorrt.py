"""TensorRT and TensorRT-RTX engines of clips and of pictures: pycuda for memory and stream, torch for the rest.

Buffers are allocated once: for clips, for the largest batch; for pictures, when their size changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.slowfast.network import ActionNetwork
from engine_build.build_tensorrt import PICTURE
from engine_build.graphs import HeadGraph
from engine_build.load_tensorrt import LoadedEngine

RUNTIME_CACHE = "runtime.cache"


class TensorRtEngine:
    """A trunk's engine file on the current GPU, and the network's head. Load, run and close it in one thread."""

    # Memory of pycuda's, which has no types; the head is a module until it is freed.
    _input: Any
    _host: Any
    _head: Any
    _features: torch.Tensor | None

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
        self._loaded = LoadedEngine(path, target, runtime_cache)
        self.num_classes = network.config.num_classes
        self.description = f"{target} {precision}"
        self.clip_shape, self.max_batch = tuple(clip_shape), max_batch
        self._batch = 0
        with self._loaded.context():
            self._allocate()
            self._head = HeadGraph(network).to(self._loaded.device)

    def run_trunk(self, frames: np.ndarray | torch.Tensor) -> torch.Tensor:
        """frames (B, T, h, w, 3) uint8 RGB, numpy or torch on the GPU → features (B, C, h / 16, w / 16) on the GPU.

        The tensor is a view of the engine's own buffer: good until the next call. Nothing waits for the GPU here;
        torch's current stream is told to.

        Raises:
            ValueError: frames of another shape or type, or more clips than the profile's largest batch.
        """
        batch = self._check(frames)
        features, loaded = self._features, self._loaded
        assert features is not None, "the engine is closed"
        if not batch:
            return features[:0]
        given = frames.to(loaded.device).contiguous() if isinstance(frames, torch.Tensor) else None
        with loaded.context():
            # The pinned buffer may still be on its way from the call before.
            loaded.stream.synchronize()
            loaded.wait_for_torch()
            if given is not None:
                loaded.cuda.memcpy_dtod_async(int(self._input), given.data_ptr(), given.nbytes, loaded.stream)
                given.record_stream(loaded.torch_stream)
            else:
                host = self._host[: frames.nbytes]
                np.copyto(host, np.ascontiguousarray(frames).reshape(-1))
                loaded.cuda.memcpy_htod_async(self._input, host, loaded.stream)
            if batch != self._batch:
                loaded.set_input_shape(self._input_name, (batch, *self.clip_shape))
                self._batch = batch
            loaded.run()
        return features[:batch]

    def run_head(self, features: torch.Tensor, rois: np.ndarray) -> np.ndarray:
        """Features of `run_trunk` and rois (K, 5) float32 → scores (K, A) float32."""
        if not len(rois):
            return np.zeros((0, self.num_classes), np.float32)
        with torch.inference_mode():
            rows = torch.from_numpy(np.ascontiguousarray(rois, np.float32))
            return self._head(features.float(), rows.to(self._loaded.device)).cpu().numpy()

    def close(self) -> None:
        """Free the engine, its buffers and its hold on the context."""
        if self._loaded.closed:
            return
        with self._loaded.context():
            self._loaded.stream.synchronize()
            self._features = self._head = None
            self._input.free()
            self._host = None
        self._loaded.close()

    def _allocate(self) -> None:
        loaded = self._loaded
        (self._input_name,), (output_name,) = loaded.names(inputs=True), loaded.names(inputs=False)
        num_bytes = self.max_batch * int(np.prod(self.clip_shape))
        self._host = loaded.cuda.pagelocked_empty(num_bytes, np.uint8)
        self._input = loaded.cuda.mem_alloc(num_bytes)
        self._features = torch.empty((self.max_batch, *loaded.shape(output_name)[1:]), device=loaded.device)
        loaded.set_address(self._input_name, int(self._input))
        loaded.set_address(output_name, self._features.data_ptr())

    def _check(self, frames: Any) -> int:
        dtype = str(frames.dtype).removeprefix("torch.")
        if dtype != "uint8" or tuple(frames.shape[1:]) != self.clip_shape or len(frames) > self.max_batch:
            expected = ", ".join(str(n) for n in self.clip_shape)
            raise ValueError(
                f"frames: got {tuple(frames.shape)} {dtype}, expected (B, {expected}) uint8, B up to {self.max_batch}"
            )
        return len(frames)


class TensorRtPictures:
    """A graph of one picture of any size in, several float32 tensors out: torch's, on the current GPU, all of them.

    Attributes:
        description: `tensorrt fp16`.
        device: the GPU.
    """

    def __init__(
        self, path: Path, outputs: Sequence[str], target: str, precision: str, runtime_cache: Path | None = None
    ) -> None:
        """
        Args:
            path: of the engine file.
            outputs: names, in the order in which they are wanted.
            target: `tensorrt` or `tensorrt_rtx`.
            precision: for the description.
            runtime_cache: where TensorRT-RTX keeps the kernels it compiled for this GPU.

        Raises:
            UserError: as `LoadedEngine`.
        """
        self._loaded = LoadedEngine(path, target, runtime_cache)
        self.description = f"{target} {precision}"
        self.device = self._loaded.device
        self._names = list(outputs)
        self._input: torch.Tensor | None = None
        self._outputs: list[torch.Tensor] = []

    @torch.inference_mode()
    def run(self, picture: torch.Tensor) -> list[torch.Tensor]:
        """(1, 3, H, W) float32 on the GPU → the outputs there: the engine's own buffers, good until the next call.

        Nothing waits for the GPU here; torch's current stream is told to.

        Raises:
            ValueError: a size that the engine was not built for.
        """
        loaded = self._loaded
        with loaded.context():
            given = self._buffer(tuple(picture.shape))
            loaded.wait_for_torch()
            with torch.cuda.stream(loaded.torch_stream):
                given.copy_(picture)
            picture.record_stream(loaded.torch_stream)
            loaded.run()
        return list(self._outputs)

    def close(self) -> None:
        """Free the engine and its buffers. May be called twice."""
        self._input, self._outputs = None, []
        self._loaded.close()

    def _buffer(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The input's buffer for that shape; all buffers are made anew where it is another than before."""
        if self._input is not None and tuple(self._input.shape) == shape:
            return self._input
        loaded = self._loaded
        loaded.stream.synchronize()  # the old ones may still be written to
        self._input, self._outputs = None, []
        loaded.set_input_shape(PICTURE, shape)
        made = torch.empty(shape, device=self.device)
        loaded.set_address(PICTURE, made.data_ptr())
        for name in self._names:
            self._outputs.append(torch.empty(loaded.shape(name), device=self.device))
            loaded.set_address(name, self._outputs[-1].data_ptr())
        self._input = made
        return made
