"""What a network costs: parameters and multiply-adds, counted by torch's own counter on shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import ActionNetwork


@dataclass(frozen=True)
class Cost:
    """What one clip costs.

    Attributes:
        parameters: trainable numbers.
        multiply_adds: of convolutions, matrix products and linear layers, as the paper counts.
    """

    parameters: int
    multiply_adds: int

    @property
    def gflops(self) -> float:
        """Multiply-adds in 10^9, which is what the paper's tables call GFLOPs."""
        return self.multiply_adds / 1e9


@cache
def count_cost(config: SlowFastConfig, size_px: int = 256) -> Cost:
    """Count one square clip, with one person in it where the network is a detector.

    Nothing is computed: tensors have shapes but no memory, so that the largest network takes about a second.

    Args:
        config: the network's numbers.
        size_px: height and width of the clip; 256 in the paper.
    """
    with torch.device("meta"):
        network = ActionNetwork(config).eval()
        frames = torch.empty((1, config.num_frames, size_px, size_px, 3), dtype=torch.uint8)
        flow = torch.empty((1, config.num_frames, size_px, size_px, 2)) if config.fast_input == "flow" else None
        rois = torch.empty((1, 5)) if config.head == "detection" else None
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(frames, rois, flow=flow)
    # torch counts a multiplication and an addition as two.
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)


def count_trunk(config: SlowFastConfig, size_hw: tuple[int, int]) -> int:
    """Multiply-adds of the trunk for one clip of that height and width, head and RoIAlign left out."""
    with torch.device("meta"):
        network = ActionNetwork(config).eval()
        frames = torch.empty((1, config.num_frames, *size_hw, 3), dtype=torch.uint8)
        flow = torch.empty((1, config.num_frames, *size_hw, 2)) if config.fast_input == "flow" else None
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.forward_trunk(frames, flow)
    return counter.get_total_flops() // 2
