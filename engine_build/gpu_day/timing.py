"""Clocks for a device that works on its own, and what it can do at most: matrix products and copies, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

# Side of the square matrices whose products are the peak, and of those of a rehearsal.
PEAK_SIDE, QUICK_SIDE = 8192, 192
COPY_BYTES = 2**30
PEAK_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def time_calls(
    run: Callable[[], object], device: str, *, seconds: float, most: int = 200, least: int = 5
) -> list[float]:
    """Seconds of each of some calls, the device's work included, after one or two to warm up.

    Args:
        run: what is timed.
        device: `cuda` or `cpu`.
        seconds: to spend, about.
        most, least: calls.
    """
    for _ in range(min(2, least)):
        run()
    wait(device)
    times_s: list[float] = []
    end_s = time.perf_counter() + seconds
    while len(times_s) < most and (len(times_s) < least or time.perf_counter() < end_s):
        start = time.perf_counter()
        run()
        wait(device)
        times_s.append(time.perf_counter() - start)
    return times_s


def time_on_device(run: Callable[[], object], device: str, runs: int) -> float:
    """Seconds of a call by the device's own clock, many of them in a row, after one to warm up."""
    run()
    wait(device)
    if device != "cuda":
        start_s = time.perf_counter()
        for _ in range(runs):
            run()
        return (time.perf_counter() - start_s) / runs
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()  # type: ignore[no-untyped-call]
    for _ in range(runs):
        run()
    end.record()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / runs  # type: ignore[no-untyped-call]


def percentiles_ms(times_s: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, and of how many."""
    p50, p99 = np.percentile(times_s, [50, 99]) * 1e3
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "calls": len(times_s)}


def matrix_peaks(device: str, quick: bool) -> dict[str, float]:
    """TFLOP/s of large products of random matrices in each precision: the best of three times some."""
    peaks = {}
    side = QUICK_SIDE if quick else PEAK_SIDE
    allowed = torch.backends.cuda.matmul.allow_tf32
    for name, dtype in PEAK_TYPES.items():
        if name == "tf32" and device != "cuda":
            continue
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        runs = 2 if quick else 10
        multiply = partial(torch.matmul, a, b, out=out)
        best_s = min(time_on_device(multiply, device, runs) for _ in range(3))
        peaks[name] = round(2 * side**3 / best_s / 1e12, 6)
        del a, b, out, multiply
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return peaks


def copy_rates(device: str, quick: bool) -> dict[str, float]:
    """GB/s within the device's memory (bytes read and written), and from pinned memory to it."""
    count = COPY_BYTES // (512 if quick else 1)
    here = torch.randint(0, 256, (count,), dtype=torch.uint8, device=device)
    there = torch.empty_like(here)
    runs = 2 if quick else 10
    rates = {"within_gb_per_s": 2 * count / time_on_device(lambda: there.copy_(here), device, runs) / 1e9}
    host = torch.empty(count // 4, dtype=torch.uint8, pin_memory=device == "cuda")
    part = there[: len(host)]
    upload_s = time_on_device(lambda: part.copy_(host, non_blocking=True), device, runs)
    rates["upload_gb_per_s"] = len(host) / upload_s / 1e9
    return {name: round(rate, 2) for name, rate in rates.items()}


def busiest_kernels(run: Callable[[], object], device: str, count: int = 12) -> list[dict[str, Any]]:
    """What the device spends its time on: names of kernels, the share of each, and how often it ran in one call."""
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as found:
        run()
        wait(device)
    events = found.key_averages()
    times = [(e.self_device_time_total if device == "cuda" else e.self_cpu_time_total, e) for e in events]
    total = sum(t for t, _ in times) or 1.0
    times.sort(key=lambda pair: -pair[0])
    return [{"kernel": e.key[:120], "share": round(t / total, 4), "runs": e.count} for t, e in times[:count] if t > 0]
