"""How pictures of any size lie in the ring's fixed frames. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A panorama's frames in the ring get no wider than this many times their short side; the rest is shrunk to fit.
MAX_ASPECT = 4


def fit_short_side(source_hw: tuple[int, int], short_side_px: int) -> tuple[int, int]:
    """Height and width with that short side, as PySlowFast's `scale` has it: long = floor(long / short * side)."""
    h, w = source_hw
    long_px = min(int(np.floor(max(h, w) / min(h, w) * short_side_px)), MAX_ASPECT * short_side_px)
    return (short_side_px, long_px) if h <= w else (long_px, short_side_px)


@dataclass(frozen=True)
class Fit:
    """A picture of `source_hw` stretched into a frame of `frame_hw`.

    A source may change its size while it runs (an adaptive stream, a phone that is turned). Pictures of about the
    frame's shape fill it; others keep their shape, lie in the upper left corner and leave a black border to the
    right or below, so that a point (x, y) of the picture is at (x * scale, y * scale) in the frame, whatever
    happens.
    """

    source_hw: tuple[int, int]
    frame_hw: tuple[int, int]

    @property
    def fills(self) -> bool:
        """The picture fills the frame up to rounding (2 % of its shape)."""
        (h, w), (frame_h, frame_w) = self.source_hw, self.frame_hw
        return abs((w / h) / (frame_w / frame_h) - 1) < 0.02

    @property
    def content_hw(self) -> tuple[int, int]:
        """Height and width of the picture within the frame."""
        if self.fills:
            return self.frame_hw
        (h, w), (frame_h, frame_w) = self.source_hw, self.frame_hw
        scale = min(frame_h / h, frame_w / w)
        return max(1, min(frame_h, round(h * scale))), max(1, min(frame_w, round(w * scale)))

    @property
    def padded_hw(self) -> tuple[int, int]:
        """Size that the picture would have with its border: the same shape as the frame, the same pixels."""
        (h, w), (content_h, content_w) = self.source_hw, self.content_hw
        return round(h * self.frame_hw[0] / content_h), round(w * self.frame_hw[1] / content_w)


def scale_boxes(xyxy: np.ndarray, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) of a picture of one size, in pixels of the same picture at another size."""
    ratio = np.array([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]] * 2, np.float32)
    return xyxy * ratio
