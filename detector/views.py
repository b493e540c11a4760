"""What a clip shows an action network: the whole frame, or a tube round each person.

The paper and every published weight file look at the whole frame and cut people out of the features with
RoIAlign. A small network may do better on a tube: the same crop, round one person, from each frame of the clip.
Which of the two a model wants is part of its record; training and streaming both come through here, so that they
cannot differ. numpy and OpenCV only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from detector.types import Boxes, Clip


@dataclass(frozen=True)
class FrameView:
    """The whole frame; boxes become ROI rows. What the paper does.

    Attributes:
        short_side_px: short side of the frames in the ring; 256 for all published weights.
    """

    short_side_px: int = 256

    def prepare(self, clip: Clip, boxes: Boxes) -> tuple[np.ndarray, np.ndarray]:
        """Turn a clip and its people into engine input.

        Args:
            clip: T frames.
            boxes: N people in pixels of `clip.key_frame`.

        Returns:
            frames (1, T, h, w, 3) uint8 RGB and ROI rows (N, 5) float32
            `(batch index, x1, y1, x2, y2)` in pixels of those frames.
        """
        return clip.images[None], self.rows(boxes, clip.size_hw, clip.key_frame.size_hw)

    def rows(self, boxes: Boxes, frame_hw: tuple[int, int], key_hw: tuple[int, int]) -> np.ndarray:
        """The ROI rows of `prepare`, for frames of one height and width and a key frame of another."""
        rows = np.zeros((len(boxes), 5), np.float32)
        rows[:, 1:] = boxes.xyxy * _scale_xyxy(frame_hw, key_hw)
        return rows


# Tubes that make a person smaller than this are cut from frames that were shrunk by area first.
SHRINK_BELOW = 0.5


class Window(NamedTuple):
    """Where a tube lies in its frames: pixels of the tube over pixels of the frame, and its left-top corner there."""

    zoom: float
    left: float
    top: float


@dataclass(frozen=True)
class TubeView:
    """A square crop round each person, the key frame's box kept for the whole clip.

    Attributes:
        size_px: side of the crop that the network sees.
        context: side of the crop over the longer side of the person's box.
        short_side_px: short side of the frames in the ring that crops are cut from.
    """

    size_px: int = 96
    context: float = 1.75
    short_side_px: int = 256

    def prepare(self, clip: Clip, boxes: Boxes) -> tuple[np.ndarray, np.ndarray]:
        """Turn a clip and its people into engine input.

        Args:
            clip: T frames.
            boxes: N people in pixels of `clip.key_frame`.

        Returns:
            frames (N, T, size, size, 3) uint8 RGB, one tube a person, borders replicated, and ROI rows
            (N, 5) float32 `(tube, x1, y1, x2, y2)`: the person's box in pixels of the tube.
        """
        n, t, s = len(boxes), len(clip.images), self.size_px
        tubes = np.empty((n, t, s, s, 3), np.uint8)
        windows, rows = self.place(boxes, clip.size_hw, clip.key_frame.size_hw)
        for i, window in enumerate(windows):
            zoom = window.zoom
            # Maps a point of the tube to a point of the frame; pixel centres sit at half-integers.
            matrix = np.array(
                [[1 / zoom, 0, window.left + 0.5 / zoom - 0.5], [0, 1 / zoom, window.top + 0.5 / zoom - 0.5]]
            )
            # Plain bilinear sampling aliases when the person is larger than the tube.
            images = clip.images if zoom >= SHRINK_BELOW else _shrunk(clip.images, zoom)
            if images is not clip.images:
                ratio = np.array([images.shape[2] / clip.images.shape[2], images.shape[1] / clip.images.shape[1]])
                matrix[:, :2] *= ratio[:, None]
                matrix[:, 2] = (matrix[:, 2] + 0.5) * ratio - 0.5
            for j in range(t):
                tubes[i, j] = cv2.warpAffine(
                    images[j],
                    matrix,
                    (s, s),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_REPLICATE,
                )
        return tubes, rows

    def place(
        self, boxes: Boxes, frame_hw: tuple[int, int], key_hw: tuple[int, int]
    ) -> tuple[list[Window], np.ndarray]:
        """Say where the tubes lie, without cutting them; `detector.device_views` cuts them on a GPU.

        Args:
            boxes: N people in pixels of the key frame.
            frame_hw: height and width of the frames that the tubes are cut from.
            key_hw: height and width of the key frame.

        Returns:
            a window a person, and the ROI rows of `prepare`.
        """
        windows, rows = [], np.zeros((len(boxes), 5), np.float32)
        for i, (x1, y1, x2, y2) in enumerate(boxes.xyxy * _scale_xyxy(frame_hw, key_hw)):
            side = max(self.context * max(x2 - x1, y2 - y1), 1.0)
            zoom = self.size_px / side
            left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
            windows.append(Window(zoom, left, top))
            rows[i] = (i, (x1 - left) * zoom, (y1 - top) * zoom, (x2 - left) * zoom, (y2 - top) * zoom)
        return windows, rows


View = FrameView | TubeView


def _scale_xyxy(frame_hw: tuple[int, int], key_hw: tuple[int, int]) -> np.ndarray:
    (h, w), (full_h, full_w) = frame_hw, key_hw
    return np.array([w / full_w, h / full_h, w / full_w, h / full_h], np.float32)


def shrunk_hw(frame_hw: tuple[int, int], zoom: float) -> tuple[int, int]:
    """Height and width that frames are shrunk to before a tube of that zoom is cut from them."""
    h, w = frame_hw
    return max(round(h * zoom), 1), max(round(w * zoom), 1)


def _shrunk(images: np.ndarray, zoom: float) -> np.ndarray:
    size_wh = shrunk_hw(images.shape[1:3], zoom)[::-1]
    return np.stack([cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA) for image in images])
