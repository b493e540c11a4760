"""The numbers that make a SlowFast network. No torch here: records and command lines read it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detector.sampling import slow_indices

BLOCKS_OF_DEPTH = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

Pathways = Literal["slowfast", "slow", "fast"]
Lateral = Literal["conv", "none", "time_to_channel_sum", "time_to_channel_concat", "time_strided"]
FastInput = Literal["rgb", "gray", "difference", "flow"]


@dataclass(frozen=True)
class SlowFastConfig:
    """One network of the paper, by its numbers (Table 1 and the ablations of Table 5).

    Attributes:
        depth: of the ResNet: 50 or 101.
        num_frames: frames of a clip as the fast pathway sees it, alpha * T (32 for "8x8"). A Slow-only network
            is shown its T frames alone.
        alpha: frame-rate ratio: the slow pathway sees num_frames / alpha of them.
        beta_inv: 1 / beta: the fast pathway has 1 / beta_inv of the slow one's channels.
        pathways: both, or one alone.
        lateral: how fast features join the slow pathway.
        lateral_kernel: temporal kernel of `conv` laterals: 5 in the paper, 7 in the released 8x8 R50.
        nonlocal_blocks: res4 blocks (0-based) of the slow pathway that a non-local block follows: (6, 13, 20) in
            R101+NL.
        head: "detection" (RoIAlign on boxes) or "classification" (one answer a clip).
        num_classes: columns of the scores.
        activation: "sigmoid" (AVA, Charades) or "softmax" (Kinetics).
        aligned: RoIAlign's half-pixel shift; False for published weights except the `*_SHORT` recipes.
        width: channels of the slow stem; 64 in the paper. Smaller ones make small networks of the same shape.
        blocks: bottlenecks of res2..res5; follows from depth unless given.
        temporal_blocks_res4: how many of res4's first blocks use the temporal kernel; 6 in R101's detection
            weights, all where None.
        fast_input: what the fast pathway sees (Table 5c).
        fast_half_resolution: the fast pathway sees half the height and width (Table 5c).
        dropout: before the last linear layer.
        mean, std: of every colour channel after division by 255.
    """

    depth: int = 50
    num_frames: int = 32
    alpha: int = 4
    beta_inv: int = 8
    pathways: Pathways = "slowfast"
    lateral: Lateral = "conv"
    lateral_kernel: int = 5
    nonlocal_blocks: tuple[int, ...] = ()
    head: Literal["detection", "classification"] = "detection"
    num_classes: int = 80
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    aligned: bool = False
    width: int = 64
    blocks: tuple[int, int, int, int] = None  # type: ignore[assignment]
    temporal_blocks_res4: int | None = None
    fast_input: FastInput = "rgb"
    fast_half_resolution: bool = False
    dropout: float = 0.5
    mean: float = 0.45
    std: float = 0.225

    def __post_init__(self) -> None:
        if self.blocks is None:
            if self.depth not in BLOCKS_OF_DEPTH:
                raise ValueError(f"depth: got {self.depth}, expected one of {sorted(BLOCKS_OF_DEPTH)} or blocks=")
            object.__setattr__(self, "blocks", BLOCKS_OF_DEPTH[self.depth])
        slow_indices(self.num_frames, self.alpha)  # raises where alpha does not divide

    @property
    def slow_indices(self) -> list[int]:
        """Positions of the clip's frames that the slow pathway sees."""
        return slow_indices(self.num_frames, self.alpha).tolist()
