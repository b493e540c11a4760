"""What `detector.views` does, on a GPU: clips that are there already are cut into tubes there.

The CPU's cutting is the measure: tubes differ from it by at most one level of 255, which is rounding. So areas are
averaged as OpenCV's INTER_AREA does, and points of the tube lie where OpenCV's warpAffine looks for them: exactly
where they should be in OpenCV 5, on a grid of 32nds of a pixel before.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detector.types import Boxes
from detector.views import SHRINK_BELOW, FrameView, TubeView, View, Window, shrunk_hw


def prepare_on_device(
    view: View, frames: Tensor, boxes: Boxes, key_hw: tuple[int, int]
) -> tuple[Tensor, np.ndarray]:
    """Turn a clip that lies on a device, and its people, into engine input there.

    Args:
        view: the model's.
        frames: Tensor[T, h, w, 3] uint8 RGB, as `Clip.images`.
        boxes: N people in pixels of the key frame.
        key_hw: height and width of the key frame in pixels.

    Returns:
        Tensor[1, T, h, w, 3] or, with tubes, Tensor[N, T, size, size, 3], uint8 on the device of `frames`; and the
        ROI rows (N, 5) float32 of `view.prepare`.
    """
    frame_hw = int(frames.shape[1]), int(frames.shape[2])
    if isinstance(view, FrameView):
        return frames[None], view.rows(boxes, frame_hw, key_hw)
    windows, rows = view.place(boxes, frame_hw, key_hw)
    return cut_tubes(view, frames, windows), rows


def cut_tubes(view: TubeView, frames: Tensor, windows: list[Window]) -> Tensor:
    """Tensor[T, h, w, 3] uint8 → Tensor[N, T, size, size, 3] uint8, borders replicated."""
    t, h, w, _ = frames.shape
    s = view.size_px
    tubes = torch.empty((len(windows), t, s, s, 3), dtype=torch.uint8, device=frames.device)
    if not windows:
        return tubes
    # Frames and colours side by side as channels: all are sampled at the same points.
    pictures = frames.permute(0, 3, 1, 2).reshape(1, t * 3, h, w).float()
    plain = [i for i, window in enumerate(windows) if window.zoom >= SHRINK_BELOW]
    if plain:
        points = [_points(windows[i], s, (1.0, 1.0)) for i in plain]
        tubes[torch.tensor(plain, device=frames.device)] = _sample(pictures, points, t)
    for i in sorted(set(range(len(windows))) - set(plain)):
        small = _shrink(pictures, shrunk_hw((h, w), windows[i].zoom))
        ratio_xy = small.shape[3] / w, small.shape[2] / h
        tubes[i] = _sample(small, [_points(windows[i], s, ratio_xy)], t)[0]
    return tubes


def _points(window: Window, size_px: int, ratio_xy: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """x of each column and y of each row of a tube, (size,) float64 each, in pixels of the frame (times the ratio)."""
    step = 1 / window.zoom
    number = np.arange(size_px)
    found = []
    for corner, ratio in zip((window.left, window.top), ratio_xy):
        first = (corner + 0.5 * step) * ratio - 0.5
        found.append((step * ratio * number, first))
    (x, x_first), (y, y_first) = found
    if not _opencv_snaps_to_32nds():
        return x + x_first, y + y_first
    # warpAffine of OpenCV 4: 1024ths, half a 32nd added, cut off to 32nds; in a row x is added up from two parts.
    columns = np.rint(x_first * 1024) + np.rint(x * 1024)
    rows = np.rint((y + y_first) * 1024)
    return np.floor((columns + 16) / 32) / 32, np.floor((rows + 16) / 32) / 32


def _sample(pictures: Tensor, points: list[tuple[np.ndarray, np.ndarray]], t: int) -> Tensor:
    """Tensor[1, T * 3, h, w] float32 → Tensor[N, T, size, size, 3] uint8, bilinear."""
    h, w = pictures.shape[2:]
    # -1 and 1 are the outer edges of the picture.
    x, y = (
        torch.from_numpy(np.stack([(p[axis] + 0.5) * 2 / length - 1 for p in points]).astype(np.float32))
        for axis, length in ((0, w), (1, h))
    )
    n, s = x.shape
    grid = torch.stack([x[:, None].expand(n, s, s), y[:, :, None].expand(n, s, s)], -1).to(pictures.device)
    sampled = F.grid_sample(
        pictures.expand(n, -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return _levels(sampled).to(torch.uint8).reshape(n, t, 3, s, s).permute(0, 1, 3, 4, 2)


def _shrink(pictures: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Means of areas, in whole levels: Tensor[1, C, h, w] float32 → Tensor[1, C, h', w'] float32."""
    rows = _area_weights(int(pictures.shape[2]), size_hw[0]).to(pictures.device)
    columns = _area_weights(int(pictures.shape[3]), size_hw[1]).to(pictures.device)
    return _levels(rows @ pictures @ columns.T)


def _area_weights(length: int, shorter: int) -> Tensor:
    """Tensor[shorter, length]: the share of each pixel in each of the equal parts that a line is divided into."""
    edges = np.arange(shorter + 1) * (length / shorter)
    pixel = np.arange(length)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return torch.from_numpy((covered.clip(0) * (shorter / length)).astype(np.float32))


def _levels(values: Tensor) -> Tensor:
    """Rounded to whole levels, halves up, as OpenCV does for pictures of 8 bits."""
    return (values + 0.5).floor_().clamp_(0, 255)


@lru_cache(maxsize=1)
def _opencv_snaps_to_32nds() -> bool:
    """Whether warpAffine looks at points on a grid of 32nds of a pixel; asked of OpenCV itself."""
    edge = np.tile(np.array([0, 255], np.uint8), (2, 1))
    moved = cv2.warpAffine(
        edge, np.array([[1, 0, 1 / 64], [0, 1, 0.0]]), (2, 2), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return int(moved[0, 0]) > 5  # a 64th of the way is 4 levels, a 32nd is 8
