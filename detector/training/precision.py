"""Which number type a run computes in."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import torch

from detector.slowfast.precision import native_bf16
from detector.training.recipe import Recipe


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
