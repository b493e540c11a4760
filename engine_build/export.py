"""The network as ONNX: what TensorRT, TensorRT-RTX and ONNX Runtime read.

Trunk and head are separate files: the trunk needs no boxes, and RoIAlign is not for every reader. Every file is
checked by onnx and simplified by onnxslim before anyone sees it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from engine_build.build_tensorrt import PICTURE
from engine_build.causal_graph import StepGraph
from engine_build.graphs import HeadGraph, TrunkGraph
from engine_build.libraries import require
from engine_build.rewrite import to_2d

# RoIAlign with half_pixel / output_half_pixel modes came with 16; Q/DQ per axis with 13.
OPSET = 17
# The first in which convolutions take bfloat16; torch writes 17, ONNX's own converter takes it there.
BF16_OPSET = 22
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TRUNK, HEAD = "trunk.onnx", "head.onnx"


def export_trunk(
    network: ActionNetwork, clip_shape: tuple[int, ...], path: Path, *, precision: str = "fp32", two_d: bool = False,
    calibration: Sequence[np.ndarray] = (),
) -> None:
    """Write frames (B, T, h, w, 3) uint8 → features (B, C, h / 16, w / 16) float32, with an open batch.

    Args:
        network: fp32, on the CPU.
        clip_shape: (T, h, w, 3), fixed in the file.
        path: of the `.onnx`.
        precision: a property of the graph: `fp32`, `bf16` or `fp16` operations, or `int8` with explicit Q/DQ.
        two_d: with the exact rewrite to 2-D convolutions of `rewrite.py`, for readers that are slow at 3-D ones.
        calibration: (B, T, h, w, 3) uint8 frames that int8's ranges come from.

    Raises:
        UserError: onnx or onnxslim is missing, an operation has no ONNX form, or int8 has no clips.
    """
    if precision == "int8":
        from engine_build.qdq import quantize_trunk

        if not calibration:
            raise UserError("int8 needs clips to find its ranges; give some with --calibrate VIDEO")
        graph: nn.Module = quantize_trunk(network, calibration, two_d)
    else:
        graph = TrunkGraph(network, DTYPES[precision])
        if two_d:
            to_2d(graph)
    frames = torch.zeros((1, *clip_shape), dtype=torch.uint8)
    _export(graph, (frames,), path, ["frames"], ["features"], {"frames": {0: "B"}, "features": {0: "B"}})


def export_step(graph: StepGraph, size_hw: tuple[int, int], path: Path) -> None:
    """Write a causal step: frames (B, P + n, h, w, 3) uint8 and sums → features (B, C, h / 16, w / 16) and fresh sums.

    Sums are of the graph's type, named by their convolutions; what comes out as `fresh NAME` goes in as `NAME`. The
    batch is open.

    Args:
        graph: on the CPU; its type is the file's precision.
        size_hw: of the frames, fixed in the file.
        path: of the `.onnx`.

    Raises:
        UserError: onnx or onnxslim is missing, or an operation has no ONNX form.
    """
    inputs, outputs = ["frames", *graph.names], ["features", *fresh_names(graph.names)]
    example = (torch.zeros((1, *graph.step_shape(size_hw)), dtype=torch.uint8), *graph.zeros(1, size_hw))
    _export(graph, example, path, inputs, outputs, {name: {0: "B"} for name in (*inputs, *outputs)})


def fresh_names(names: Sequence[str]) -> list[str]:
    """What the outputs of a step's sums are called."""
    return [f"fresh {name}" for name in names]


def export_head(network: ActionNetwork, path: Path) -> None:
    """Write features (B, C, h, w) float32 and ROI rows (K, 5) float32 → scores (K, A) float32; all sizes open."""
    channels = network.head.projection.in_features
    example = (torch.zeros(1, channels, 8, 8), torch.tensor([[0.0, 0.0, 0.0, 64.0, 64.0]]))
    axes = {"features": {0: "B", 2: "h", 3: "w"}, "rois": {0: "K"}, "scores": {0: "K"}}
    _export(HeadGraph(network), example, path, ["features", "rois"], ["scores"], axes)


def export_pictures(part: nn.Module, outputs: Sequence[str], path: Path) -> None:
    """Write a normalised picture (1, 3, H, W) float32 → the named outputs, 4 axes each; heights and widths are open.

    Args:
        part: to be exported, on the CPU; its weights' type is the precision, casts are its own.
        outputs: names, in its order.
        path: of the `.onnx`.

    Raises:
        UserError: onnx or onnxslim is missing, or an operation has no ONNX form.
    """
    axes = {name: {2: f"{name} h", 3: f"{name} w"} for name in (PICTURE, *outputs)}
    _export(part, (torch.zeros(1, 3, 128, 160),), path, [PICTURE], list(outputs), axes)


def _export(
    graph: nn.Module, example: tuple[Any, ...], path: Path, inputs: list[str], outputs: list[str], axes: Any
) -> None:
    onnx, onnxslim = require("onnx"), require("onnxslim")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                graph, example, str(path), input_names=inputs, output_names=outputs, dynamic_axes=axes,
                opset_version=OPSET, dynamo=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(f"ONNX export of this network failed ({first[:200]}); run with --engine torch") from error
    slim = onnxslim.slim(str(path))
    if any(t.data_type == onnx.TensorProto.BFLOAT16 for t in slim.graph.initializer):
        slim = onnx.version_converter.convert_version(slim, BF16_OPSET)
    onnx.save(slim, str(path))
    onnx.checker.check_model(str(path), full_check=True)
