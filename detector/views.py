"""What a clip shows an action network: the whole frame, or a tube round each person.

The paper and every published weight file look at the whole frame and cut people out of the features with
RoIAlign. A small network may do better on a tube: the same crop, round one person, from each frame of the clip.
Which of the two a model wants is part of its record; training and streaming both come through here, so that they
cannot differ. numpy and OpenCV only.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        rows = np.zeros((len(boxes), 5), np.float32)
        rows[:, 1:] = boxes.xyxy * _scale_xyxy(clip)
        return clip.images[None], rows


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
        rows = np.zeros((n, 5), np.float32)
        for i, (x1, y1, x2, y2) in enumerate(boxes.xyxy * _scale_xyxy(clip)):
            side = max(self.context * max(x2 - x1, y2 - y1), 1.0)
            zoom = s / side
            left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
            # Maps a point of the tube to a point of the frame; pixel centres sit at half-integers.
            matrix = np.array([[1 / zoom, 0, left + 0.5 / zoom - 0.5], [0, 1 / zoom, top + 0.5 / zoom - 0.5]])
            # Plain bilinear sampling aliases when the person is larger than the tube.
            images = clip.images if zoom >= 0.5 else _shrunk(clip.images, zoom)
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
            rows[i] = (i, (x1 - left) * zoom, (y1 - top) * zoom, (x2 - left) * zoom, (y2 - top) * zoom)
        return tubes, rows


View = FrameView | TubeView


def _scale_xyxy(clip: Clip) -> np.ndarray:
    (h, w), (full_h, full_w) = clip.size_hw, clip.key_frame.size_hw
    return np.array([w / full_w, h / full_h, w / full_w, h / full_h], np.float32)


def _shrunk(images: np.ndarray, zoom: float) -> np.ndarray:
    h, w = images.shape[1:3]
    size_wh = (max(round(w * zoom), 1), max(round(h * zoom), 1))
    return np.stack([cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA) for image in images])
