"""What the machine is: names and versions, and the peaks that shares are taken of."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from typing import Any

import torch

from engine_build import targets
from engine_build.gpu_day.child import Context
from engine_build.gpu_day.timing import copy_rates, matrix_peaks

SMI_FACTS = (
    "name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "compute_mode", "mig.mode.current",
)
PACKAGES = ("torchvision", "triton", "numpy", "opencv-python-headless", "opencv-python", "onnx", "onnxruntime", "av",
            "openvino", "tensorrt", "tensorrt-rtx-cu13", "pycuda", "pytorchvideo")


def run(context: Context) -> None:
    """Write down facts, then peaks."""
    context.put("system", system())
    context.put("packages", {name: version for name in PACKAGES if (version := _version(name))})
    if context.device == "cuda":
        context.put("gpu", gpu())
    context.put("peak_tflops", matrix_peaks(context.device, context.quick))
    context.put("copies", copy_rates(context.device, context.quick))


def system() -> dict[str, Any]:
    """The processor's side, and torch."""
    return {
        "python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count(),
        "cpu": targets.device_name("torch"), "memory_gib": round(_memory_bytes() / 2**30, 1),
        "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "nvcc": _first_line("nvcc", "--version", -1),
        "kernel": platform.release(),
    }


def gpu() -> dict[str, Any]:
    """The GPU as torch and its driver describe it."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    facts: dict[str, Any] = {
        "name": targets.device_name("torch_cuda"), "multiprocessors": properties.multi_processor_count,
        "l2_mb": round(getattr(properties, "L2_cache_size", 0) / 2**20, 1),
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }
    line = _first_line("nvidia-smi", f"--query-gpu={','.join(SMI_FACTS)}", 0, "--format=csv,noheader")
    if line:
        facts["nvidia_smi"] = dict(zip(SMI_FACTS, (value.strip() for value in line.split(","))))
    return facts


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _first_line(program: str, option: str, line: int, *more: str) -> str:
    """One line of what a program prints; "" where it is not there or fails."""
    if shutil.which(program) is None:
        return ""
    try:
        found = subprocess.run([program, option, *more], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = found.stdout.strip().splitlines()
    return lines[line] if lines else ""
