"""Where an OpenVINO engine's time goes, and how near it comes to what this machine can multiply.

Per-layer times are OpenVINO's own counters; multiplications are counted on the graph. The peak is measured, not read
off a data sheet: the best of a few large matrix products in the same precision.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine_build.libraries import cpu_core

RUNS = 5


@dataclass(frozen=True)
class LayerGroup:
    """All layers of one part of the network.

    Attributes:
        name: `res4 slow`, `stem fast`, `lateral`, `other`.
        ms: milliseconds of one clip, the fastest of the runs per layer.
        gmacs: multiply-accumulates of its convolutions, in billions, padding included.
    """

    name: str
    ms: float
    gmacs: float

    @property
    def gmacs_per_s(self) -> float:
        """Billions of multiply-accumulates a second."""
        return self.gmacs / self.ms * 1e3 if self.ms else 0.0


def profile_trunk(path: Path, clip_shape: tuple[int, ...], precision: str) -> list[LayerGroup]:
    """Time a trunk's layers on one clip, slowest group first.

    Args:
        path: `.xml` of the trunk.
        clip_shape: (T, h, w, 3).
        precision: as it was built.
    """
    core = cpu_core()
    model = core.read_model(str(path))
    model.reshape([1, *clip_shape])
    work = {op.get_friendly_name(): _gmacs(op) for op in model.get_ops() if op.get_type_name() == "Convolution"}
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16", "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": True,
    })
    origins = {op.get_friendly_name(): _origins(op) for op in compiled.get_runtime_model().get_ops()}
    request = compiled.create_infer_request()
    frames = np.random.default_rng(0).integers(0, 256, (1, *clip_shape), dtype=np.uint8)
    fastest: dict[str, float] = {}
    for _ in range(RUNS):
        request.infer([frames], share_inputs=True)
        for layer in request.profiling_info:
            ms = layer.real_time.total_seconds() * 1e3
            if ms > 0:
                fastest[layer.node_name] = min(ms, fastest.get(layer.node_name, ms))
    times: dict[str, float] = defaultdict(float)
    counts: dict[str, float] = defaultdict(float)
    for layer_name, ms in fastest.items():
        sources = sorted({layer_name, *origins.get(layer_name, [])})  # a layer is often its own origin
        group = group_of(" ".join(sources))
        times[group] += ms
        counts[group] += sum(work.get(source, 0.0) for source in sources)
    groups = [LayerGroup(name, times[name], counts[name]) for name in times]
    return sorted(groups, key=lambda group: -group.ms)


def group_of(layer: str) -> str:
    """Part of the network that a layer's name belongs to, by PySlowFast's names in it."""
    if re.search(r"s\d_fuse", layer):
        return "laterals"
    match = re.search(r"\bs(\d)\.pathway(\d)", layer)
    if match is None:
        return "input, average and the rest"
    stage, pathway = int(match[1]), ("slow", "fast")[int(match[2])]
    return f"stem {pathway}" if stage == 1 else f"res{stage} {pathway}"


def _gmacs(convolution: Any) -> float:
    weights = list(convolution.input(1).get_shape())
    return float(np.prod(convolution.output(0).get_shape())) * float(np.prod(weights[1:])) / 1e9


def _origins(op: Any) -> list[str]:
    info = op.get_rt_info()
    if "originalLayersNames" not in info:
        return []
    value = info["originalLayersNames"]
    return str(getattr(value, "value", value)).split(",")
