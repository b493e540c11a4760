"""Engines that are torch itself: on the CPU the plain fallback, on a GPU the one that always works.

On CUDA: channels-last 3-D layout, half precision, torch.compile, CUDA graphs; clips stay on the GPU between calls.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import numpy as np
import torch

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from detector.types import Boxes, Clip
from detector.views import View
from engine_build.cuda_graphs import Graphed
from engine_build.device_frames import DeviceFrames
from engine_build.graphs import HeadGraph, TrunkGraph

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

COMPILED_SHAPES = 64

# plain: as torch runs it. channels_last: the layout that tensor cores want. The others are channels-last too:
# graphs: CUDA graphs, without the gaps between kernels. compiled: torch.compile. compiled_graphs: both.
Mode = Literal["auto", "plain", "channels_last", "graphs", "compiled", "compiled_graphs"]
MODES = get_args(Mode)[1:]


class TorchEngine:
    """The network in torch, on the CPU or a GPU."""

    def __init__(
        self, network: ActionNetwork, precision: str = "fp32", device: str = "cpu", mode: Mode = "auto",
        compiler: str = "inductor",
    ):
        """
        Args:
            network: left as it is; the engine works on a copy in which batch norms are folded.
            precision: `fp32`, `bf16` or `fp16`; the head stays in fp32.
            device: `cpu` or `cuda`.
            mode: how; "auto" is compiled with graphs on a GPU, plain for fp32 on a CPU, channels-last for the rest.
            compiler: torch.compile's backend.

        Raises:
            UserError: the GPU has too little memory.
        """
        self.num_classes = network.config.num_classes
        if mode == "auto":
            mode = "compiled_graphs" if device == "cuda" else "plain" if precision == "fp32" else "channels_last"
        self.description = f"torch {'cuda ' if device == 'cuda' else ''}{precision}"
        self._device, self._precision = device, precision
        graph = TrunkGraph(network, DTYPES[precision])
        with _memory_explained(device):
            self._head: Any = HeadGraph(network).to(device)
            self._network: Any = graph.network.to(device)
            if mode != "plain":
                self._network = self._network.to(memory_format=torch.channels_last_3d)
        self._trunk: Any = self._network.forward_trunk
        if mode.startswith("compiled"):
            self._trunk = _Compiled(self._trunk, compiler)
        self._graphed = Graphed(self._trunk) if mode.endswith("graphs") and device == "cuda" else None
        self._frames = DeviceFrames(device) if device == "cuda" else None

    def prepare(self, view: View, clip: Clip, boxes: Boxes) -> tuple[Any, np.ndarray]:
        """What `view.prepare` gives; on a GPU the frames are there already, and tubes are cut there."""
        if self._frames is None:
            return view.prepare(clip, boxes)
        with torch.inference_mode(), _memory_explained(self._device):
            return self._frames.prepare(view, clip, boxes)

    def run_trunk(self, frames: np.ndarray | torch.Tensor) -> torch.Tensor:
        """frames (B, T, h, w, 3) uint8 RGB → features (B, C, h / 16, w / 16) on the engine's device.

        Frames may lie on the device already; features are good until the next call.
        """
        if isinstance(frames, np.ndarray):
            frames = torch.from_numpy(np.ascontiguousarray(frames))
        with torch.inference_mode(), _memory_explained(self._device), self._tuned():
            if self._device == "cuda" and not frames.is_cuda:
                frames = frames.pin_memory().to("cuda", non_blocking=True)
            return (self._graphed or self._trunk)(frames)

    def run_head(self, features: torch.Tensor, rois: np.ndarray) -> np.ndarray:
        """Features of `run_trunk` and rois (K, 5) float32 → scores (K, A) float32."""
        if not len(rois):
            return np.zeros((0, self.num_classes), np.float32)
        rows = torch.from_numpy(np.ascontiguousarray(rois, np.float32)).to(self._device)
        with torch.inference_mode():
            return self._head(features.float(), rows).cpu().numpy()

    def _tuned(self) -> AbstractContextManager[Any]:
        """On a GPU: cuDNN tries its convolutions and keeps the fastest, and fp32 is fp32, not TF32's 11 bits."""
        if self._device != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(
            enabled=True, benchmark=True, deterministic=False, allow_tf32=self._precision != "fp32"
        )

    def close(self) -> None:
        """Free the weights."""
        for part in (self._graphed, self._frames):
            if part is not None:
                part.close()
        self._network = self._trunk = self._head = self._graphed = None
        if self._device == "cuda":
            torch.cuda.empty_cache()


class _Compiled:
    """A function through torch.compile, for each shape anew; as it was where compiling fails."""

    def __init__(self, function: Any, compiler: str) -> None:
        self._plain = function
        # A graph for any batch would be slower at each.
        self._compiled: Any = torch.compile(function, backend=compiler, dynamic=False)

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        if self._compiled is None:
            return self._plain(frames)
        try:
            # Each engine and each batch compiles the same function of Python, of which torch allows 8 by default.
            with torch._dynamo.config.patch(recompile_limit=COMPILED_SHAPES):
                return self._compiled(frames)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler may lack: a C compiler, Triton, a header
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warning("torch.compile is left out, which costs speed alone: %s", first_line)
            self._compiled = None
            return self._plain(frames)


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
