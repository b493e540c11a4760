"""OpenVINO on the CPU: fp32, bf16 and int8 trunks, RoIAlign and the last layer in torch.

The graph takes uint8 frames; layout, normalisation and the slow pathway's choice of frames are inside. It is stored
with sizes fixed and the batch open, and compiled for each batch when that is first asked for: tube models see one
tube a person, so a handful of batches come again and again, and fixed shapes run faster.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from engine_build.graphs import HeadGraph, TrunkGraph, trace
from engine_build.libraries import cpu_core, require
from engine_build.rewrite import pair_fast_stem, split_wide_temporal
from engine_build.targets import cpu_has_bf16

FILE = "trunk.xml"
# Compiled batches that stay in memory; each holds its own copy of the packed weights.
MAX_BATCHES = 8


def convert_trunk(
    network: ActionNetwork, clip_shape: tuple[int, ...], paired_stem: bool = False, split_wide: bool = False
) -> Any:
    """Turn a network's trunk into an OpenVINO model with an open batch.

    Args:
        network: fp32, on the CPU.
        clip_shape: (T, h, w, 3).
        paired_stem: with `rewrite.PairedStem`, for bf16 and int8: measured 1.5 % (int8) to 5 % (bf16) faster.
        split_wide: with `rewrite.SplitConv`, for bf16: 1.8 times as fast where the CPU has AMX, else no difference.

    Returns:
        `openvino.Model`: frames (?, T, h, w, 3) uint8 → features (?, C, h / 16, w / 16).

    Raises:
        UserError: OpenVINO is missing, or does not know an operation of the graph.
    """
    openvino = require("openvino")
    t, h, w, _ = clip_shape
    example = torch.zeros((1, t, min(h, 64), min(w, 64), 3), dtype=torch.uint8)
    try:
        graph = TrunkGraph(network)
        if paired_stem and t % 2 == 0:
            pair_fast_stem(graph.network)
        if split_wide:
            split_wide_temporal(graph.network)
        recorded = trace(graph, (example,))
        model = openvino.convert_model(recorded, example_input=example)
        model.reshape([-1, t, h, w, 3])
    except Exception as error:  # OpenVINO raises bare RuntimeErrors of many kinds
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"openvino cannot convert this network ({first[:200]}); run with --engine torch") from error
    model.inputs[0].tensor.set_names({"frames"})
    model.outputs[0].tensor.set_names({"features"})
    return model


def save_model(model: Any, path: Path) -> None:
    """Write a model (`.xml`, and its weights in `.bin`) without rounding fp32 weights to fp16."""
    require("openvino").save_model(model, str(path), compress_to_fp16=False)


class OpenVinoEngine:
    """A trunk file run by OpenVINO, and the network's head."""

    def __init__(self, path: Path, network: ActionNetwork, precision: str, clip_shape: tuple[int, ...]) -> None:
        """
        Args:
            path: the trunk's `.xml`.
            network: its head is copied.
            precision: `fp32`, `bf16` or `int8`.
            clip_shape: (T, h, w, 3) that the trunk was built for.

        Raises:
            UserError: OpenVINO is missing or refuses the file.
        """
        self.num_classes = network.config.num_classes
        self.description = f"openvino {precision}"
        self.clip_shape = tuple(clip_shape)
        self._precision = precision
        self._head: Any = HeadGraph(network)
        self._requests: OrderedDict[int, Any] = OrderedDict()
        try:
            self._model: Any = cpu_core().read_model(str(path))
        except RuntimeError as error:
            raise UserError(f"openvino cannot read {path} ({_last_line(error)}); delete it and build again") from error
        self._request(1)

    def run_trunk(self, frames: np.ndarray) -> torch.Tensor:
        """frames (B, T, h, w, 3) uint8 RGB → features (B, C, h / 16, w / 16); the buffer is reused by the next call.

        Raises:
            ValueError: frames of another shape or type than the engine was built for.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != self.clip_shape:
            expected = ", ".join(str(n) for n in self.clip_shape)
            raise ValueError(f"frames: got {frames.shape} {frames.dtype}, expected (B, {expected}) uint8")
        if not len(frames):
            return torch.zeros((0, 1, 1, 1))
        request = self._request(len(frames))
        request.infer([np.ascontiguousarray(frames)], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor(0).data)

    def run_head(self, features: torch.Tensor, rois: np.ndarray) -> np.ndarray:
        """Features of `run_trunk` and rois (K, 5) float32 → scores (K, A) float32."""
        if not len(rois):
            return np.zeros((0, self.num_classes), np.float32)
        with torch.inference_mode():
            return self._head(features, torch.from_numpy(np.ascontiguousarray(rois, np.float32))).numpy()

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
