"""Number types of the computation: autocast, and one trap in it."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from detector.errors import UserError
from detector.training.recipe import Precision, Recipe

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


def without_slow_bf16(recipe: Recipe, chosen: list[str], device: torch.device) -> Recipe:
    """The recipe, in fp32 where bf16 is its own default and this device does not multiply it; says so in one line.

    Args:
        recipe: as it will run.
        chosen: the user's `name=value` texts; a precision among them is obeyed.
        device: that it runs on.
    """
    if recipe.precision != "bf16" or any(text.startswith("precision=") for text in chosen) or native_bf16(device):
        return recipe
    if os.environ.get("RANK", "0") == "0":
        print(f"fp32 instead of bf16, which this {device.type} has no instructions for (--set precision=bf16 insists)",
              file=sys.stderr)
    return replace(recipe, precision="fp32")


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
