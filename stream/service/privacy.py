"""What nobody shall see: areas that are blacked out before anything looks, people or faces in pictures that leave.

Faces are taken to be where heads are in people's boxes: nothing here looks for faces, so nothing misses one that has a
box. Someone whom the person detector misses is not blurred.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from detector.types import Boxes

# A head is in the upper part of a box: this much of its height, or of its width where only the upper body shows.
HEAD_OF_HEIGHT, HEAD_OF_WIDTH = 0.25, 0.7
# Boxes are never exact: this much of their size is blurred round them too.
MARGIN = 0.1
# Cells that are left of a blurred box along its longer side.
CELLS = 6


class Blackout:
    """Areas of one camera's pictures that are black for all that follows."""

    def __init__(self, polygons: list[list[tuple[float, float]]]) -> None:
        """
        Args:
            polygons: lists of [x, y] in shares of the picture.
        """
        self._polygons = polygons

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The (H, W, 3) picture with its areas black, the same array where it can be written to."""
        if not self._polygons:
            return image
        if not image.flags.writeable:
            image = image.copy()
        h, w = image.shape[:2]
        for polygon in self._polygons:
            corners = np.round(np.array(polygon, np.float64) * [w, h]).astype(np.int32)
            cv2.fillPoly(image, [corners], (0, 0, 0))
        return image


def blur(image: np.ndarray, boxes: Boxes, what: Literal["none", "people", "faces"]) -> np.ndarray:
    """A picture in which people, or their heads, cannot be recognised.

    Args:
        image: (H, W, 3) uint8 BGR.
        boxes: N people in its pixels.
        what: `none` gives the same picture back.
    """
    if what == "none" or not len(boxes):
        return image
    blurred = image.copy()
    h, w = image.shape[:2]
    for x1, y1, x2, y2 in boxes.xyxy.tolist():
        dx, dy = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
        if what == "faces":
            y2 = y1 + min(max(HEAD_OF_HEIGHT * (y2 - y1), HEAD_OF_WIDTH * (x2 - x1)), y2 - y1)
        left, top = max(int(x1 - dx), 0), max(int(y1 - dy), 0)
        right, bottom = min(int(np.ceil(x2 + dx)), w), min(int(np.ceil(y2 + dy)), h)
        if right > left and bottom > top:
            blurred[top:bottom, left:right] = _cells(image[top:bottom, left:right])
    return blurred


def _cells(region: np.ndarray) -> np.ndarray:
    h, w = region.shape[:2]
    scale = CELLS / max(h, w)
    few = cv2.resize(region, (max(round(w * scale), 1), max(round(h * scale), 1)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(few, (w, h), interpolation=cv2.INTER_NEAREST))
