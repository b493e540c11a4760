"""Optical flow for the fast pathway (Table 5c), by OpenCV's DIS: fast enough for a CPU. numpy and OpenCV only.

The paper does not name its method. DIS: Kroeger, Timofte, Dai, Van Gool, "Fast Optical Flow using Dense Inverse
Search", ECCV 2016; it is in OpenCV's main library from version 4 on.
"""

from __future__ import annotations

import cv2
import numpy as np


def optical_flow(frames: np.ndarray) -> np.ndarray:
    """Motion of each pixel since the frame before.

    Args:
        frames: (T, H, W, 3) uint8 RGB, oldest first.

    Returns:
        (T, H, W, 2) float32: by how many pixels (x, y) what is at that place moved since the frame before. The first
        frame has none before it: zero.
    """
    t, h, w, _ = frames.shape
    flow = np.zeros((t, h, w, 2), np.float32)
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    for i in range(1, t):
        # From the newer frame back to the older one, so that a vector sits where its pixel is now.
        backward = np.zeros((h, w, 2), np.float32)
        flow[i] = -method.calc(grays[i], grays[i - 1], backward)
    return flow
