"""Whether something moves, from pictures of 160 pixels: OpenCV's mixture of Gaussians. Pure: times are handed in."""

from __future__ import annotations

import math

import cv2
import numpy as np

WIDTH_PX = 160
# Pictures are compared at most this often.
EVERY_S = 0.2
# How fast a change becomes part of the background.
FORGET_S = 10.0
# Pixels (of 160 by 90) that have to move. A person of 25 by 70 pixels in a picture of 768 is 5 by 15 here.
LEAST_PX = {"low": 60, "medium": 14, "high": 5}
# Squared distance from the background, in its variances, that is another thing.
VAR_THRESHOLD = 20
# Until the background is known, all is motion.
LEARN_S = 1.0


class MotionGate:
    """Tells of one camera's pictures whether something moved since the last ones."""

    def __init__(self, sensitivity: str = "medium", masks: list[list[tuple[float, float]]] | None = None) -> None:
        """
        Args:
            sensitivity: `low`, `medium` or `high`.
            masks: polygons of [x, y] in shares of the picture where motion counts for nothing.
        """
        self._least_px, self._masks = LEAST_PX[sensitivity], masks or []
        self._size_hw: tuple[int, int] | None = None
        self._began_s = self._last_s = 0.0
        self._forget(0.0)

    def moved(self, image: np.ndarray, time_s: float) -> bool:
        """Whether something moves in a (H, W, 3) uint8 BGR picture; False too where it comes soon after the last."""
        if self._size_hw != image.shape[:2] or time_s < self._last_s:
            self._size_hw = image.shape[:2]
            self._forget(time_s)
        gap_s = time_s - self._last_s
        if gap_s < EVERY_S - 1e-3:
            return False
        self._last_s = time_s
        small = self._small(image)
        rate = 1.0 if not math.isfinite(gap_s) else 1 - math.exp(-gap_s / FORGET_S)
        if time_s - self._began_s < LEARN_S:
            self._background.apply(small, learningRate=max(rate, 0.3))
            return True
        moving = self._background.apply(small, learningRate=rate)
        # One pixel alone is noise.
        moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        return int(np.count_nonzero(moving[self._counts])) >= self._least_px

    def _small(self, image: np.ndarray) -> np.ndarray:
        h, w = self._counts.shape
        # In colour: clothes are often as bright as the wall behind them.
        return cv2.GaussianBlur(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), (3, 3), 0)

    def _forget(self, now_s: float) -> None:
        h, w = self._size_hw or (9, 16)
        size_hw = (max(round(WIDTH_PX * h / w), 8), WIDTH_PX)
        self._counts = ~polygon_mask(self._masks, size_hw)
        self._background = cv2.createBackgroundSubtractorMOG2(varThreshold=VAR_THRESHOLD, detectShadows=False)
        self._began_s, self._last_s = now_s, -math.inf


def polygon_mask(polygons: list[list[tuple[float, float]]], size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: the pixels inside any of the polygons of [x, y] in shares of the picture."""
    mask = np.zeros(size_hw, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [_pixels(polygon, size_hw)], 1)
    return mask.astype(bool)


def _pixels(polygon: list[tuple[float, float]], size_hw: tuple[int, int]) -> np.ndarray:
    return np.round(np.array(polygon, np.float64) * [size_hw[1], size_hw[0]]).astype(np.int32)
