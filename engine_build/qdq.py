"""int8 as TensorRT reads it: explicit quantise/dequantise pairs in the graph, ranges from real clips.

TensorRT takes symmetric int8 alone (zero point 0), per tensor for activations and per output channel for weights
(NVIDIA, "Working with Quantized Types"). Where a residual block adds, the shortcut is quantised too, so that the
addition runs inside the convolution. Written in torch: the same module that is exported runs here, and says on any
machine what int8 does to the scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.slowfast.blocks import ResidualBlock
from detector.slowfast.network import ActionNetwork
from engine_build.graphs import TrunkGraph
from engine_build.rewrite import to_2d

# Share of the values that a range covers: the few beyond are cut, the rest keep finer steps.
PERCENTILE = 0.9999
# Values of a tensor that its percentile is estimated from.
SAMPLE = 200_000


class Quantized(nn.Module):
    """Round a tensor to 8 bits and back: exported as QuantizeLinear and DequantizeLinear.

    While `collecting`, it passes values through and remembers the range that covers `PERCENTILE` of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.collecting = False
        self.seen: list[float] = []
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, on a grid of 255 steps."""
        if self.collecting:
            values = x.detach().abs().flatten().float()
            step = max(values.numel() // SAMPLE, 1)
            self.seen.append(float(torch.quantile(values[::step][: SAMPLE * 2], PERCENTILE)))
            return x
        return torch.fake_quantize_per_tensor_affine(x, self.scale, 0, -128, 127)

    def freeze(self) -> None:
        """Turn the ranges seen into a scale."""
        self.collecting = False
        self.scale = max(max(self.seen, default=0.0), 1e-8) / 127.0


class QuantizedConv(nn.Module):
    """A convolution with 8-bit weights, one scale per output channel; quantises its input unless told that it is."""

    scales: Tensor
    zeros: Tensor

    def __init__(self, conv: nn.Conv3d | nn.Conv2d, quantize_input: bool = True) -> None:
        super().__init__()
        self.input = Quantized() if quantize_input else nn.Identity()
        self.conv = conv
        largest = conv.weight.detach().abs().flatten(1).amax(1).clamp_min(1e-8)
        self.register_buffer("scales", largest / 127.0)
        self.register_buffer("zeros", torch.zeros(len(largest), dtype=torch.int32))
        self.collecting = False

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution."""
        x = self.input(x)
        if self.collecting:
            return self.conv(x)
        weight = torch.fake_quantize_per_channel_affine(self.conv.weight, self.scales, self.zeros, 0, -128, 127)
        conv = self.conv
        run = F.conv3d if isinstance(conv, nn.Conv3d) else F.conv2d
        return run(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation)  # type: ignore[arg-type]


class QuantizedBlock(nn.Module):
    """A residual block whose input is quantised once, for both branches."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.input, self.residual = Quantized(), Quantized()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """As the block."""
        x = self.input(x)
        block = self.block
        # The projection's result is an operand of the addition as much as the identity is.
        shortcut = self.residual(block.branch1(x)) if block.has_projection else x
        return F.relu(shortcut + block.branch2(x))


def quantize_trunk(network: ActionNetwork, frames: Sequence[np.ndarray], two_d: bool = False) -> TrunkGraph:
    """Make the int8 form of a trunk.

    Args:
        network: fp32, on the CPU; copied.
        frames: (B, T, h, w, 3) uint8 each, real ones: the ranges come from them.
        two_d: rewritten to 2-D convolutions first (`rewrite.to_2d`).

    Returns:
        A graph that runs in torch with the rounding of int8, and exports with explicit Q/DQ. The stems stay in
        floating point: they have 3 channels, gain nothing, and every later layer sees what they lose.
    """
    graph = TrunkGraph(network)
    if two_d:
        to_2d(graph)
    for name, stage in list(graph.network.named_children()):
        if name.endswith("_fuse"):
            _quantize_convolution(stage, "conv_f2s")
        elif name not in ("s1", "head"):
            _quantize_blocks(stage)
    parts = [m for m in graph.modules() if isinstance(m, Quantized | QuantizedConv)]
    for part in parts:
        part.collecting = True
    with torch.inference_mode():
        for clip in frames:
            graph(torch.from_numpy(np.ascontiguousarray(clip)))
    for part in parts:
        part.collecting = False
        if isinstance(part, Quantized):
            part.freeze()
    return graph


def _quantize_blocks(stage: nn.Module) -> None:
    for parent in list(stage.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ResidualBlock):
                if child.has_projection:
                    _quantize_convolution(child, "branch1", quantize_input=False)
                _quantize_convolution(child.branch2, "a", quantize_input=False)
                _quantize_convolution(child.branch2, "b")
                _quantize_convolution(child.branch2, "c")
                setattr(parent, name, QuantizedBlock(child))


def _quantize_convolution(parent: nn.Module, name: str, quantize_input: bool = True) -> None:
    child = getattr(parent, name, None)
    if isinstance(child, nn.Conv3d):
        setattr(parent, name, QuantizedConv(child, quantize_input))
    elif child is not None:  # one of the 2-D forms, which hold theirs
        child.conv = QuantizedConv(child.conv, quantize_input)
