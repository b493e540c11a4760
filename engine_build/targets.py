"""What this machine can run: targets, precisions, devices. Nothing here builds anything.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib import metadata

import cv2

from detector.device import has_gpu
from detector.errors import UserError
from engine_build.libraries import cpu_core, has, require
from engine_build.peak import measure_products

TARGETS = ("openvino", "torch", "torch_cuda", "tensorrt", "tensorrt_rtx")
PRECISIONS = {
    "openvino": ("fp32", "bf16", "int8"),
    "torch": ("fp32", "bf16"),
    "torch_cuda": ("fp32", "bf16", "fp16"),
    "tensorrt": ("fp32", "bf16", "fp16", "int8"),
    "tensorrt_rtx": ("fp32", "bf16", "fp16", "int8"),
}
NEEDS_GPU = ("torch_cuda", "tensorrt", "tensorrt_rtx")

# bf16 has to multiply faster than fp32 by this factor to be worth its rounding.
BF16_WORTH = 1.15
# opencv2/core/cvdef.h; cv2 gives them no names.
_CV_CPU_AVX2_FMA3_AVX512_SKX = (11, 12, 256)
PROBE_SIDE, PROBE_TURNS = 512, 6


def require_gpu(target: str) -> None:
    """Raise `UserError` where a target needs a GPU that torch does not see."""
    import torch

    if not torch.cuda.is_available():
        built = "sees none (look at: nvidia-smi)" if torch.version.cuda else "is built without CUDA"
        raise UserError(f"{target} needs an NVIDIA GPU, and torch {built}; run with --engine openvino")


def choose_target(wanted: str) -> str:
    """The engine to use: `wanted`, or the fastest that is installed and that the machine can run.

    Raises:
        UserError: no such target, its library is missing, or there is no GPU for it.
    """
    if wanted == "auto":
        if has_gpu():
            for target in ("tensorrt", "tensorrt_rtx"):
                if has(target) and has("pycuda"):
                    return target
            return "torch_cuda"
        return "openvino" if has("openvino") else "torch"
    if wanted not in TARGETS:
        raise UserError(f"--engine: got {wanted!r}, expected auto or one of {', '.join(TARGETS)}")
    if wanted in NEEDS_GPU:
        require_gpu(wanted)
    for library in {"openvino": ["openvino"], "tensorrt": ["tensorrt", "pycuda"],
                    "tensorrt_rtx": ["tensorrt_rtx", "pycuda"]}.get(wanted, []):
        require(library)
    return wanted


def choose_precision(target: str, wanted: str) -> str:
    """The precision to build: `wanted`, or the fastest one that keeps a network's accuracy without calibration.

    Raises:
        UserError: the target does not know that precision.
    """
    known = PRECISIONS[target]
    if wanted != "auto":
        if wanted not in known:
            raise UserError(f"--precision: got {wanted!r}, expected auto or one of {', '.join(known)} for {target}")
        return wanted
    if target == "openvino":
        return "bf16" if cpu_gains_by_bf16() else "fp32"
    return "fp32" if target == "torch" else "fp16"


@lru_cache(maxsize=1)
def cpu_has_bf16() -> bool:
    """Whether OpenVINO says that this CPU multiplies bfloat16 natively."""
    return "BF16" in cpu_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=1)
def cpu_gains_by_bf16() -> bool:
    """Whether OpenVINO multiplies faster in bf16 than in fp32 on this CPU; measured once a process.

    Having the instructions is not enough. On a Xeon whose virtual machine hides AMX, bf16 products run at 0.73 times
    the speed of fp32 ones and the 8x8 R50 at 0.69 times; on a Zen 4 both run at about twice.
    """
    if not cpu_has_bf16():
        return False
    try:
        rates = measure_products(("fp32", "bf16"), PROBE_SIDE, PROBE_TURNS)
    except RuntimeError:  # OpenVINO claims it and refuses it, as where an environment variable hides instructions
        return False
    return rates["bf16"] > BF16_WORTH * rates["fp32"]


def library_version(target: str) -> str:
    """Name and version of what builds and runs a target: `openvino 2025.4.0`."""
    names = {
        "openvino": ("openvino",),
        "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
        "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx", "tensorrt-rtx-cu12"),
    }.get(target, ("torch",))
    for name in names:
        try:
            return f"{names[0]} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return f"{names[0]} unknown"


def device_name(target: str) -> str:
    """The processor or GPU an engine of this target depends on.

    A GPU is named with its compute capability and memory. A CPU is named by the instructions that decide which
    engine is good: OpenVINO compiles its graph again at each start, so the model of the CPU does not matter.
    """
    if target in NEEDS_GPU:
        import torch

        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        memory_gb = round(properties.total_memory / 2**30)
        return f"{properties.name}, compute {properties.major}.{properties.minor}, {memory_gb} GiB"
    return f"cpu {_cpu_instructions()}"


@lru_cache(maxsize=1)
def _cpu_instructions() -> str:
    """The widest instructions for numbers, in torch's words; elsewhere than on x86 the machine's kind."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return platform.machine() or "unknown"
    avx2, fma3, avx512 = (cv2.checkHardwareSupport(feature) for feature in _CV_CPU_AVX2_FMA3_AVX512_SKX)
    if not fma3:
        return "DEFAULT"
    return "AVX512" if avx512 else "AVX2" if avx2 else "DEFAULT"
