"""int8: ranges from real clips, by NNCF's post-training quantisation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine_build.libraries import require


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
