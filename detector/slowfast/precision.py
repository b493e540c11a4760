"""Number types of the computation: autocast, and the traps of oneDNN's bf16 weight gradient on CPUs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detector.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which convolutions and products compute in that type; weights stay float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, AUTOCAST_TYPES[precision])


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself.

    On a CPU that does not, bf16 is the slower by far: 18 s against 2.5 s in fp32 for an update of 64 clips of the
    bundled network on one core of an AVX2 CPU.
    """
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def convolve_stem(conv: nn.Module, x: Tensor) -> Tensor:
    """A stem's convolution; in fp32 where its bf16 weight gradient on a CPU would write beyond its memory.

    oneDNN does that on CPUs with AMX for few input channels and output channels that do not fill blocks of 16
    (torch 2.14, 3 to 24 channels: NaN at 128 and 160 px, then a crash).
    """
    # Rewritten networks, which are never trained, have other layers in this place.
    unsafe = isinstance(conv, nn.Conv3d) and conv.training and conv.out_channels > 16 and conv.out_channels % 16 > 0
    if unsafe and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return conv(x.float())
    return conv(x)


def watch_bf16_on_cpu(network: nn.Module, precision: Precision, device: torch.device) -> None:
    """Refuse, at the first forward pass, clips too short for bf16 training on a CPU.

    Where a convolution's input has fewer frames than its temporal kernel, oneDNN's bf16 weight gradient on CPUs
    holds uninitialised memory (seen with torch 2.15: 2 frames under a kernel of 3, 4 under one of 5; float32 is
    right). The figures of the gradient are then anything, most often around 1e35.
    """
    if precision != "bf16" or device.type != "cpu":
        return

    def check(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, nn.Conv3d)
        frames, kernel = inputs[0].shape[2], module.kernel_size[0]
        if frames < kernel and module.training:
            raise UserError(
                f"recipe: precision=bf16 is wrong on this CPU for a kernel of {kernel} over {frames} frames; "
                "use precision=fp32 or longer clips"
            )

    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:
            module.register_forward_pre_hook(check)
