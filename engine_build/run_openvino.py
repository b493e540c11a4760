"""OpenVINO on the CPU: fp32, bf16 and int8 trunks, and the head (RoIAlign and the last layer) in fp32. No torch.

The trunk's graph (see `convert_openvino`) is stored with sizes fixed and the batch open, and compiled for each batch
when that is first asked for: tube models see one tube a person, so a handful of batches come again and again, and
fixed shapes run faster.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import UserError
from engine_build.libraries import cpu_core, require
from engine_build.targets import cpu_has_bf16

FILE, HEAD_FILE = "trunk.xml", "head.xml"
# Compiled batches that stay in memory; each holds its own copy of the packed weights.
MAX_BATCHES = 8
LEAST_SIDE_PX = 1e-2


def save_model(model: Any, path: Path) -> None:
    """Write a model (`.xml`, and its weights in `.bin`) without rounding fp32 weights to fp16."""
    require("openvino").save_model(model, str(path), compress_to_fp16=False)


class OpenVinoEngine:
    """A trunk and a head run by OpenVINO."""

    def __init__(
        self, path: Path, head: Path | Any, precision: str, clip_shape: tuple[int, ...], ready_for: int = 1
    ) -> None:
        """
        Args:
            path: the trunk's `.xml`.
            head: the head's `.xml`, or what `convert_head` gave.
            precision: of the trunk: `fp32`, `bf16` or `int8`.
            clip_shape: (T, h, w, 3) that the trunk was built for.
            ready_for: the batch that it is compiled for at once; 0 where which one comes first is not known, as with
                tubes, and each that is compiled for nothing takes memory.

        Raises:
            UserError: OpenVINO is missing or refuses the file.
        """
        self.description = f"openvino {precision}"
        self.clip_shape = tuple(clip_shape)
        self._precision = precision
        head_model = _read(head) if isinstance(head, Path) else head
        self.num_classes = int(head_model.output(0).partial_shape[1].get_length())
        self._head: Any = compile_cpu(head_model, "fp32").create_infer_request()
        self._requests: OrderedDict[int, Any] = OrderedDict()
        self._model: Any = _read(path)
        if ready_for:
            self._request(ready_for)

    def run_trunk(self, frames: np.ndarray) -> np.ndarray:
        """frames (B, T, h, w, 3) uint8 RGB → features (B, C, h / 16, w / 16); the buffer is reused by the next call.

        Raises:
            ValueError: frames of another shape or type than the engine was built for.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != self.clip_shape:
            expected = ", ".join(str(n) for n in self.clip_shape)
            raise ValueError(f"frames: got {frames.shape} {frames.dtype}, expected (B, {expected}) uint8")
        if not len(frames):
            return np.zeros((0, 1, 1, 1), np.float32)
        request = self._request(len(frames))
        request.infer([np.ascontiguousarray(frames)], share_inputs=True)
        return request.get_output_tensor(0).data

    def run_head(self, features: np.ndarray, rois: np.ndarray) -> np.ndarray:
        """Features of `run_trunk` and rois (K, 5) float32 → scores (K, A) float32."""
        if not len(rois):
            return np.zeros((0, self.num_classes), np.float32)
        rows = np.array(rois, np.float32)
        # Of an empty box, OpenVINO's mean of no samples is no number; torch's is 0.
        rows[:, 3:] = np.maximum(rows[:, 3:], rows[:, 1:3] + LEAST_SIDE_PX)
        self._head.infer([features, rows], share_inputs=True)
        return self._head.get_output_tensor(0).data.copy()

    def close(self) -> None:
        """Free the compiled graphs."""
        self._requests.clear()
        self._model = self._head = None

    def _request(self, batch: int) -> Any:
        if batch in self._requests:
            self._requests.move_to_end(batch)
            return self._requests[batch]
        model = self._model.clone()
        model.reshape([batch, *self.clip_shape])
        compiled = compile_cpu(model, self._precision)
        self._requests[batch] = compiled.create_infer_request()
        if len(self._requests) > MAX_BATCHES:
            self._requests.popitem(last=False)
        return self._requests[batch]


def _read(path: Path) -> Any:
    try:
        return cpu_core().read_model(str(path))
    except RuntimeError as error:
        raise UserError(f"openvino cannot read {path} ({_last_line(error)}); delete it and build again") from error


def compile_cpu(model: Any, precision: str) -> Any:
    """Compile a model with fixed shapes for the CPU.

    Args:
        model: `openvino.Model`.
        precision: `fp32`, `bf16` or `int8`.

    Raises:
        UserError: OpenVINO refuses it.
    """
    # In an int8 graph this decides what runs between the quantised layers.
    hint = "bf16" if precision != "fp32" and cpu_has_bf16() else "f32"
    try:
        return cpu_core().compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        )
    except RuntimeError as error:
        raise UserError(f"openvino cannot compile the graph ({_last_line(error)}); run with --engine torch") from error


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
