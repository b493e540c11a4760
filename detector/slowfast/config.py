"""The numbers that make a SlowFast network. No torch here: records and command lines read it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from detector.sampling import slow_indices

BLOCKS_OF_DEPTH = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

Pathways = Literal["slowfast", "slow", "fast"]
Lateral = Literal["conv", "none", "time_to_channel_sum", "time_to_channel_concat", "time_strided"]
FastInput = Literal["rgb", "gray", "difference", "flow"]
Head = Literal["detection", "classification"]
Activation = Literal["sigmoid", "softmax"]

# Temporal kernels of conv1 and res2..res5 (the paper's Table 1): non-degenerate everywhere in the fast pathway, in
# the slow one only where the receptive field is large enough for motion to be seen at a low frame rate.
SLOW_TEMPORAL_KERNELS = (1, 1, 1, 3, 3)
FAST_TEMPORAL_KERNELS = (5, 3, 3, 3, 3)
FAST_CHANNELS_OF_INPUT = {"rgb": 3, "gray": 1, "difference": 1, "flow": 2}


@dataclass(frozen=True)
class SlowFastConfig:
    """One network of the paper, by its numbers (Table 1 and the ablations of Table 5).

    Attributes:
        depth: of the ResNet: 50 or 101.
        num_frames: frames of a clip as the fast pathway sees it, alpha * T (32 for "8x8"). A Slow-only network
            is shown its T frames alone.
        alpha: frame-rate ratio: the slow pathway sees num_frames / alpha of them. Unused where one pathway is alone.
        beta_inv: 1 / beta: the fast pathway has 1 / beta_inv of the slow one's channels.
        pathways: both, or one alone.
        lateral: how fast features join the slow pathway.
        lateral_kernel: temporal kernel of `conv` laterals: 5 in the paper, 7 in the released 8x8 R50.
        nonlocal_blocks: res4 blocks (0-based) of the slow pathway that a non-local block follows: (6, 13, 20) in
            R101+NL.
        nonlocal_pool: max-pooling (T, H, W) of a non-local block's keys and values. (2, 2, 2) in the AVA weights
            and by the paper's cost; no tensor of a weights file tells it.
        head: "detection" (RoIAlign on boxes) or "classification" (one answer a clip).
        num_classes: columns of the scores.
        activation: "sigmoid" (AVA, Charades) or "softmax" (Kinetics).
        pool_cells: for classification: None averages features over the whole picture; 7 averages windows of 7x7 cells
            (the 224-pixel training crop) and then their scores, as PySlowFast and PyTorchVideo test larger crops.
        aligned: RoIAlign's half-pixel shift; False for published weights except the `*_SHORT` recipes.
        width: channels of the slow stem; 64 in the paper. Smaller ones make small networks of the same shape.
        blocks: bottlenecks of res2..res5; follows from depth unless given.
        temporal_blocks_res4: how many of res4's first blocks use the temporal kernel; 6 in R101's detection
            weights, all where None.
        fast_input: what the fast pathway sees (Table 5c).
        fast_half_resolution: the fast pathway sees half the height and width (Table 5c).
        dropout: before the last linear layer.
        mean, std: of every colour channel after division by 255.
        causal: temporal convolutions look back only (`detector.slowfast.causal`); the answer is for the newest frame,
            and a clip of any length is averaged over its last num_frames. The tensors are the same.
    """

    depth: int = 50
    num_frames: int = 32
    alpha: int = 4
    beta_inv: int = 8
    pathways: Pathways = "slowfast"
    lateral: Lateral = "conv"
    lateral_kernel: int = 5
    nonlocal_blocks: tuple[int, ...] = ()
    nonlocal_pool: tuple[int, int, int] = (2, 2, 2)
    head: Head = "detection"
    num_classes: int = 80
    activation: Activation = "sigmoid"
    pool_cells: int | None = None
    aligned: bool = False
    width: int = 64
    blocks: tuple[int, int, int, int] = None  # type: ignore[assignment]
    temporal_blocks_res4: int | None = None
    fast_input: FastInput = "rgb"
    fast_half_resolution: bool = False
    dropout: float = 0.5
    mean: float = 0.45
    std: float = 0.225
    causal: bool = False

    def __post_init__(self) -> None:
        if self.blocks is None:
            if self.depth not in BLOCKS_OF_DEPTH:
                raise ValueError(f"depth: got {self.depth}, expected one of {sorted(BLOCKS_OF_DEPTH)} or blocks=")
            object.__setattr__(self, "blocks", BLOCKS_OF_DEPTH[self.depth])
        # A record read from JSON has lists; a frozen configuration should still compare and hash.
        for name in ("blocks", "nonlocal_blocks", "nonlocal_pool"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, kind in (("pathways", Pathways), ("lateral", Lateral), ("head", Head), ("fast_input", FastInput),
                           ("activation", Activation)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(get_args(kind))}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("num_frames", "alpha", "beta_inv", "num_classes", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise ValueError(f"blocks: got {self.blocks}, expected four numbers of at least 1")
        if self.has_slow and any(not 0 <= i < self.blocks[2] for i in self.nonlocal_blocks):
            raise ValueError(f"nonlocal_blocks: got {self.nonlocal_blocks}, expected 0..{self.blocks[2] - 1} (res4)")
        if self.causal:
            self._check_causal()
        if self.has_fast and self.width < self.beta_inv:
            raise ValueError(f"beta_inv: got {self.beta_inv}, expected at most the width, {self.width}")
        if self.pathways != "slowfast":
            return
        slow_indices(self.num_frames, self.alpha)  # raises where alpha does not divide
        if self.lateral_kernel % 2 == 0:
            raise ValueError(f"lateral_kernel: got {self.lateral_kernel}, expected an odd number")
        if self.lateral == "time_to_channel_sum" and self.alpha != self.beta_inv:
            raise ValueError(
                f"lateral time_to_channel_sum: got alpha {self.alpha} and beta_inv {self.beta_inv}, expected them equal"
            )

    def _check_causal(self) -> None:
        if self.has_slow and self.nonlocal_blocks:
            names = ", ".join(f"s4.pathway0_nonlocal{i}" for i in self.nonlocal_blocks)
            raise ValueError(f"causal: got non-local blocks ({names}), which look at the whole clip; expected none")
        if self.has_fast and self.num_frames % self.alpha:
            raise ValueError(f"causal: got {self.num_frames} frames, expected a multiple of alpha = {self.alpha}")

    @property
    def has_slow(self) -> bool:
        """Whether there is a slow pathway."""
        return self.pathways != "fast"

    @property
    def has_fast(self) -> bool:
        """Whether there is a fast pathway."""
        return self.pathways != "slow"

    @property
    def slow_indices(self) -> list[int]:
        """Positions of the clip's frames that the slow pathway sees; all of them where it is alone."""
        if self.causal and self.has_fast:
            return list(range(self.alpha - 1, self.num_frames, self.alpha))
        return slow_indices(self.num_frames, self.alpha if self.has_fast else 1).tolist()

    @property
    def frames_per_step(self) -> int:
        """New frames that one step of a causal network takes: alpha, or one where the slow pathway is alone."""
        return self.alpha if self.has_fast else 1

    @property
    def window_steps(self) -> int:
        """T: steps that a causal network's features are averaged over."""
        return self.num_frames // self.frames_per_step

    @property
    def pictures_kept(self) -> int:
        """Pictures before its new ones that a causal step sees: the fast stem's taps, and one more to compare with."""
        compared = self.fast_input in ("difference", "flow")
        return FAST_TEMPORAL_KERNELS[0] - 1 + compared if self.has_fast else 0

    @property
    def feature_stride(self) -> int:
        """Pixels of the frames per cell of the features: detection keeps res5 at res4's resolution."""
        return 16 if self.head == "detection" else 32

    @property
    def slow_channels(self) -> tuple[int, ...]:
        """Output channels of the slow pathway's conv1, res2..res5, before laterals join: 64 256 512 1024 2048."""
        return (self.width, *(self.width * 4 * 2**i for i in range(4)))

    @property
    def fast_channels(self) -> tuple[int, ...]:
        """Output channels of the fast pathway's conv1, res2..res5: a fraction beta of the slow one's.

        Rounded up: the paper does not say, and its figures for beta 1/6 and 1/12 are met within 2 % only so.
        """
        return tuple(-(-c // self.beta_inv) for c in self.slow_channels)

    @property
    def inner_channels(self) -> tuple[tuple[int, int], ...]:
        """Channels inside the bottlenecks of res2..res5, each (slow pathway, fast pathway)."""
        return tuple((c // 4, -(-c // 4 // self.beta_inv)) for c in self.slow_channels[1:])

    @property
    def lateral_channels(self) -> tuple[int, ...]:
        """Channels that a lateral connection adds to the slow pathway after conv1 (pooled), res2, res3, res4."""
        factor = {"conv": 2, "none": 0, "time_to_channel_sum": 0, "time_to_channel_concat": self.alpha,
                  "time_strided": 1}[self.lateral]
        return tuple(c * (factor if self.pathways == "slowfast" else 0) for c in self.fast_channels[:4])

    @property
    def feature_channels(self) -> int:
        """Channels of the trunk's features: slow ones first, then fast ones (2048 + 256)."""
        return self.slow_channels[4] * self.has_slow + self.fast_channels[4] * self.has_fast
