"""Clips and their targets, one at a time and put together: what training and evaluation read."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Item = tuple[np.ndarray, np.ndarray | None, np.ndarray]
Batch = tuple[Tensor, Tensor | None, Tensor]

class ClipDataset(Protocol):
    """What the loop trains on.

    An item is frames (T, H, W, 3) uint8 RGB, boxes (N, 4) float32 xyxy in pixels of those frames (None where the
    network answers for the whole clip), and targets (N, A) float32, 0 to 1, NaN where unknown ((1, A) without
    boxes). Randomness comes from `random`, `numpy.random` or `torch`: all three are seeded before each item.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


def collate(items: Sequence[Item]) -> Batch:
    """Put clips of one size together.

    Returns:
        frames (B, T, H, W, 3) uint8, ROI rows (K, 5) float32 `(batch index, x1, y1, x2, y2)` or None, and
        targets (K, A) float32, rows in the order of the clips.

    Raises:
        ValueError: clips of different sizes.
    """
    shapes = {np.shape(frames) for frames, _, _ in items}
    if len(shapes) > 1:
        raise ValueError(f"clips of different sizes in one batch: {sorted(shapes)}; crop them alike or use batch 1")
    frames = torch.from_numpy(np.stack([np.asarray(frames) for frames, _, _ in items]))
    targets = torch.from_numpy(np.concatenate([np.asarray(t, np.float32) for _, _, t in items]))
    if any(boxes is None for _, boxes, _ in items):
        return frames, None, targets
    rows = [np.empty((len(boxes), 5), np.float32) for _, boxes, _ in items if boxes is not None]
    for i, (row, (_, boxes, _)) in enumerate(zip(rows, items)):
        row[:, 0] = i
        row[:, 1:] = boxes
    return frames, torch.from_numpy(np.concatenate(rows)), targets


def quiet_worker(_: int) -> None:
    """Prepare a loading process: Ctrl-C belongs to the parent, and OpenCV takes one thread."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
