"""What this machine can multiply, measured: the best of a few large matrix products in each precision."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine_build.libraries import cpu_core, require

# Side of the square matrices whose product is the peak: large enough to amortise, small enough for the cache.
PEAK_SIDES = (1024, 1536, 2048)
RUNS = 5
# Products in a row, so that bringing the first operand in and the last result out weighs little.
CHAIN = 6

def measure_peak(precision: str) -> float:
    """Billions of multiply-accumulates a second of large matrix products in fp32, bf16 or int8, all cores."""
    return max(measure_products((precision,), side, 2 * RUNS)[precision] for side in PEAK_SIDES)


def measure_products(precisions: Sequence[str], side: int, turns: int) -> dict[str, float]:
    """Billions of multiply-accumulates a second of matrix products, the best of some turns, all cores.

    Args:
        precisions: `fp32`, `bf16`, `int8`; they take turns, so that a machine that slows down slows all of them.
        side: of the square matrices.
        turns: of each.
    """
    core = cpu_core()
    requests = {
        precision: core.compile_model(_product(precision, side), "CPU", {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16", "PERFORMANCE_HINT": "LATENCY",
        }).create_infer_request()
        for precision in precisions
    }
    given = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    best = dict.fromkeys(precisions, 0.0)
    for _ in range(turns):
        for precision, request in requests.items():
            start = time.perf_counter()
            request.infer([given], share_inputs=True)
            rate = CHAIN * side**3 / (time.perf_counter() - start) / 1e9
            best[precision] = max(best[precision], rate)
    return best


def _product(precision: str, side: int) -> Any:
    openvino = require("openvino")
    from openvino import opset13 as ops

    rng = np.random.default_rng(1)
    x = parameter = ops.parameter([side, side], np.float32)
    for _ in range(CHAIN):
        weight: Any = ops.constant((rng.normal(size=(side, side)) / np.sqrt(side)).astype(np.float32))
        if precision == "int8":
            x, weight = _rounded(ops, x, 256), _rounded(ops, weight, 255)
        x = ops.relu(ops.matmul(x, weight, False, True))
    return openvino.Model([ops.result(x)], [parameter])


def _rounded(ops: Any, x: Any, levels: int) -> Any:
    low, high = (ops.constant(np.float32(v)) for v in (-4.0, 4.0 if levels == 255 else 4.0 * 127 / 128))
    return ops.fake_quantize(x, low, high, low, high, levels)
