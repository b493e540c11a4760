"""A network's trunk and head as OpenVINO models. Here torch is needed, to run what was converted it is not.

The trunk takes uint8 frames; layout, normalisation and the slow pathway's choice of frames are inside. Its sizes are
fixed and its batch is open. In the head all is open but the number of channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from detector.errors import UserError
from detector.slowfast.network import ActionNetwork
from engine_build.graphs import HeadGraph, TrunkGraph, trace
from engine_build.libraries import require
from engine_build.rewrite import pair_fast_stem, split_wide_temporal
from engine_build.run_openvino import compile_cpu

# How far the converted head's scores may be from torch's, on drawn features.
HEAD_ERROR = 1e-4


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


def convert_head(network: ActionNetwork) -> Any:
    """Turn a network's head into an OpenVINO model, and compare the two.

    Args:
        network: fp32, on the CPU, with a head that scores people.

    Returns:
        `openvino.Model`: features (?, C, ?, ?) float32 and rois (?, 5) float32 → scores (?, A) float32.

    Raises:
        UserError: OpenVINO is missing, does not know an operation of the head, or computes something else.
    """
    openvino = require("openvino")
    graph = HeadGraph(network)
    features, rois = _drawn_head_input(graph.head.projection.in_features)
    try:
        model = openvino.convert_model(trace(graph, (features, rois)), example_input=(features, rois))
    except Exception as error:  # OpenVINO raises bare RuntimeErrors of many kinds
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"openvino cannot convert this head ({first[:200]}); run with --engine torch") from error
    for port, name in zip((*model.inputs, *model.outputs), ("features", "rois", "scores"), strict=True):
        port.tensor.set_names({name})
    with torch.inference_mode():
        expected = graph(features, rois).numpy()
    found = compile_cpu(model, "fp32")([features.numpy(), rois.numpy()])[0]
    apart = float(np.abs(found - expected).max())
    if not apart <= HEAD_ERROR:
        raise UserError(f"openvino's head differs by {apart:.2g}, allowed {HEAD_ERROR:g}; run with --engine torch")
    return model


def _drawn_head_input(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of two clips, and boxes: ordinary, over the edge, less than a cell, and all of it."""
    drawn = torch.Generator().manual_seed(0)
    # Of an ordinary size: with larger ones all scores are 0 or 1, whatever the head does.
    features = torch.rand((2, channels, 14, 11), generator=drawn) * 0.2
    rois = [[0, 10.5, 20.25, 90, 180], [1, -15, 100, 60, 260], [0, 40, 40, 44, 45], [1, 0, 0, 176, 224]]
    return features, torch.tensor(rois)
