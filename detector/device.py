"""What computes: which device, and OpenVINO's core, one for the whole process, which is never let go.

OpenVINO's CPU plugin gives the thread that first compiles with a core a signal stack of its own, and puts the former
one back when that core goes (seen in OpenVINO 2026.4). Two cores that do not go in the reverse order of their coming,
or in another thread, leave a thread with a stack in freed memory: the next signal that it handles, a Ctrl-C, ends the
process with a segmentation fault.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from detector.errors import UserError

if TYPE_CHECKING:
    import torch

_lock = threading.Lock()
_cores: list[Any] = []


def openvino_core() -> Any:
    """The process's `openvino.Core`.

    Raises:
        ImportError: openvino is missing or does not load.
    """
    with _lock:
        if not _cores:
            import openvino

            _cores.append(openvino.Core())
        return _cores[0]


def has_gpu() -> bool:
    """Whether torch sees a GPU. Where there is no driver of one, torch is not asked: importing it takes seconds."""
    if "torch" not in sys.modules and not _has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def _has_driver() -> bool:
    """Whether the library is here that torch reaches a GPU by: NVIDIA's, or AMD's device where there is none."""
    if os.path.exists("/dev/kfd"):
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def pick_device(device: str = "auto") -> str:
    """`auto` is `cuda` where torch sees a GPU, else `cpu`; anything else is returned as it is.

    Raises:
        UserError: cuda was asked for and there is none.
    """
    if device == "auto":
        return "cuda" if has_gpu() else "cpu"
    if device.startswith("cuda") and not has_gpu():
        raise UserError(f"device {device}: torch sees no CUDA GPU here; use --device cpu")
    return device


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device that a name means; "auto" is a GPU where there is one.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    import torch

    if name == "auto":
        name = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: unknown, expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"--device {name}: PyTorch sees no GPU here; use --device cpu")
        if device.index is None:
            device = torch.device("cuda", local_rank)
        if device.index >= torch.cuda.device_count():
            raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} GPU(s), counted from 0")
    return device
