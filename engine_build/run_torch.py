"""Engines that are torch itself: on the CPU the plain fallback, on a GPU the one that always works.

On CUDA: channels-last 3-D layout, half precision, torch.compile with CUDA graphs where the shapes repeat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from engine_build.graphs import HeadGraph, TrunkGraph

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """The network in torch, on the CPU or a GPU."""

    def __init__(self, network: ActionNetwork, precision: str = "fp32", device: str = "cpu", compiled: bool = False):
        """
        Args:
            network: left as it is; the engine works on a copy in which batch norms are folded.
            precision: `fp32`, `bf16` or `fp16`; the head stays in fp32.
            device: `cpu` or `cuda`.
            compiled: torch.compile the trunk, with CUDA graphs on a GPU. Slow to start, worth it on a GPU.

        Raises:
            UserError: the GPU has too little memory.
        """
        self.num_classes = network.config.num_classes
        self.description = f"torch {'cuda ' if device == 'cuda' else ''}{precision}"
        self._device = device
        graph = TrunkGraph(network, DTYPES[precision])
        with _memory_explained(device):
            self._head: Any = HeadGraph(network).to(device)
            self._network: Any = graph.network.to(device)
            if precision != "fp32" or device == "cuda":
                self._network = self._network.to(memory_format=torch.channels_last_3d)
        trunk = self._network.forward_trunk
        self._trunk: Any = torch.compile(trunk, mode="reduce-overhead") if compiled else trunk

    def run_trunk(self, frames: np.ndarray) -> torch.Tensor:
        """frames (B, T, h, w, 3) uint8 RGB → features (B, C, h / 16, w / 16) on the engine's device."""
        given = torch.from_numpy(np.ascontiguousarray(frames))
        if self._device == "cuda":
            given = given.pin_memory().to("cuda", non_blocking=True)
        with torch.inference_mode(), _memory_explained(self._device):
            return self._trunk(given)

    def run_head(self, features: torch.Tensor, rois: np.ndarray) -> np.ndarray:
        """Features of `run_trunk` and rois (K, 5) float32 → scores (K, A) float32."""
        if not len(rois):
            return np.zeros((0, self.num_classes), np.float32)
        rows = torch.from_numpy(np.ascontiguousarray(rois, np.float32)).to(self._device)
        with torch.inference_mode():
            return self._head(features.float(), rows).cpu().numpy()

    def close(self) -> None:
        """Free the weights."""
        self._network = self._trunk = self._head = None
        if self._device == "cuda":
            torch.cuda.empty_cache()


class _memory_explained:
    """Turn CUDA's out-of-memory error into one line."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            free, total = (b / 2**30 for b in torch.cuda.mem_get_info())
            raise UserError(
                f"torch_cuda: the GPU has too little memory ({free:.1f} of {total:.1f} GiB free); close other programs "
                "that use it, or run with --engine openvino"
            ) from None
