"""Which moments of a video make a clip, in seconds and in frames. Pure arithmetic, no clock, no arrays of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How a network samples time.

    The published AVA models take `num_frames` frames, `stride` apart, at a time base of `fps`, round the key frame
    c: `range(c - T*stride/2, c + T*stride/2, stride)`, so the key frame is element T/2 (PySlowFast,
    `get_sequence`). A source at another rate is shown the same seconds, not the same count.

    Attributes:
        num_frames: T, frames of the fast pathway.
        stride: distance of two sampled frames, in frames of the time base.
        fps: the time base, frames a second.
        ahead: sampled frames after the key frame; None puts it at T/2. 0 is what causal networks see.
    """

    num_frames: int = 32
    stride: int = 2
    fps: float = 30.0
    ahead: int | None = None

    def __post_init__(self) -> None:
        if self.ahead is not None and not 0 <= self.ahead < self.num_frames:
            raise ValueError(f"ahead: got {self.ahead}, expected 0 to {self.num_frames - 1}, fewer than num_frames")

    @property
    def key_index(self) -> int:
        """Position of the key frame in the clip."""
        return self.num_frames // 2 if self.ahead is None else self.num_frames - 1 - self.ahead

    @property
    def step_s(self) -> float:
        """Seconds between two sampled frames."""
        return self.stride / self.fps

    @property
    def offsets_s(self) -> np.ndarray:
        """(T,) float64 seconds of each sample relative to the key frame, oldest (negative) first."""
        return (np.arange(self.num_frames) - self.key_index) * (self.stride / self.fps)

    @property
    def span_s(self) -> float:
        """Seconds that a clip covers, as the field counts them: T * stride / fps."""
        return self.num_frames * self.stride / self.fps

    @property
    def look_ahead_s(self) -> float:
        """Seconds of video needed after the key frame: about 1 s for the AVA models."""
        return float(self.offsets_s[-1])


def slow_indices(num_frames: int, alpha: int) -> np.ndarray:
    """Positions in the fast pathway's frames that the slow pathway sees.

    `linspace(0, T - 1, T / alpha)` truncated: 0 4 8 13 17 22 26 31 for 32 and 4, **not** every fourth frame
    (PySlowFast, `pack_pathway_output`).

    Returns:
        (T / alpha,) int64.

    Raises:
        ValueError: alpha does not divide num_frames.
    """
    if alpha < 1 or num_frames % alpha:
        raise ValueError(f"alpha: got {alpha} for {num_frames} frames, expected a divisor of {num_frames}")
    # torch.linspace in float32 and numpy's in float64 truncate alike for every T / alpha in use (tested).
    return np.linspace(0, num_frames - 1, num_frames // alpha).astype(np.int64)
