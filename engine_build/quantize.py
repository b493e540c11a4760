"""int8: ranges from real clips, by NNCF's post-training quantisation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from engine_build.libraries import require


def quantize_step(model: Any, samples: Iterable[Sequence[np.ndarray]], count: int) -> Any:
    """Quantise a causal step of OpenVINO's; its sums stay in floating point.

    Args:
        model: with an open batch.
        samples: of steps over real video, all inputs: frames, and the sums that had come together by then. Iterated
            more than once.
        count: of the samples.
    """
    nncf = require("nncf")
    nncf.set_log_level(logging.ERROR)
    # Left to itself NNCF rounds both sides of each of these additions: 8x8 R50 on two AVX2 cores then takes 0.39 s a
    # step in place of 0.18 s.
    exact = nncf.IgnoredScope(names=additions_of_sums(model), validate=False)
    return nncf.quantize(
        model, nncf.Dataset(samples), subset_size=count, preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=exact,
    )


def additions_of_sums(model: Any) -> list[str]:
    """Names of the additions between a step's past sums and what comes of them: a ReLU, or the fresh sums."""
    found: dict[str, None] = {}
    waiting = [port.get_node() for port in model.inputs[1:]]
    while waiting:
        node = waiting.pop()
        after = [target.get_node() for output in node.outputs() for target in output.get_target_inputs()]
        for following in after:
            kind, name = following.get_type_name(), following.get_friendly_name()
            if kind in ("Relu", "Result", "Convolution") or name in found:
                continue
            if kind == "Add":
                found[name] = None
            waiting.append(following)
    return list(found)


def quantize_openvino(model: Any, frames: Sequence[np.ndarray]) -> Any:
    """Quantise an OpenVINO trunk.

    Args:
        model: with an open batch.
        frames: (B, T, h, w, 3) uint8 each; what the engine will see.

    Returns:
        The model with explicit FakeQuantize operations, which OpenVINO's CPU plugin turns into int8 layers.
    """
    nncf = require("nncf")
    nncf.set_log_level(logging.ERROR)
    # One tube or clip at a time: a batch changes no range.
    singles = [single[None] for batch in frames for single in batch]
    return nncf.quantize(
        model, nncf.Dataset(singles), subset_size=len(singles), preset=nncf.QuantizationPreset.PERFORMANCE
    )
