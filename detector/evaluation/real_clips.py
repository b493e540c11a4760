"""Clips of real videos for measuring a model, cut as a stream cuts them, and its scores of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from detector.data.decode import open_named
from detector.errors import UserError
from detector.types import Boxes, Clip, Frame
from detector.weights.records import ActionModel


@dataclass(frozen=True)
class Video:
    """A decoded video: frames as a model's ring holds them, and how to cut clips from it.

    Attributes:
        images: (F, h, w, 3) uint8 RGB, resized.
        fps: frames a second, as the file says.
        size_hw: of the full-size frames.
        path: the file.
    """

    images: np.ndarray
    fps: float
    size_hw: tuple[int, int]
    path: Path

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.images) / self.fps

    def clip_at(self, time_s: float, model: ActionModel, frozen: bool = False) -> Clip:
        """The clip whose key frame is nearest to a moment; ends are held, as at a stream's ends."""
        offsets = model.sampling.offsets_s * (0 if frozen else 1)
        wanted = time_s + offsets
        index = np.clip(np.round(wanted * self.fps), 0, len(self.images) - 1).astype(int)
        # As the ring of a stream counts it: half a sample's tolerance.
        slack_s, end_s = model.sampling.step_s / 2, (len(self.images) - 1) / self.fps
        filled = float(((wanted < -slack_s) | (wanted > end_s + slack_s)).mean())
        key = Frame(np.zeros((*self.size_hw, 3), np.uint8), int(index[model.sampling.key_index]), time_s)
        return Clip(self.images[index], key, model.sampling.key_index, filled=filled)


def load_video(path: Path, short_side_px: int, max_frames: int = 0) -> Video:
    """Decode a whole (short) video, or its first `max_frames`.

    Raises:
        UserError: it cannot be read.
    """
    images: list[np.ndarray] = []
    size = (0, 0)
    with open_named(path) as film:
        fps = film.fps
        for picture in film.pictures():
            if max_frames and len(images) >= max_frames:
                break
            frame = picture.rgb()
            size = frame.shape[:2]
            scale = short_side_px / min(size)
            wh = (int(size[1] * scale + 1e-6), int(size[0] * scale + 1e-6))
            images.append(cv2.resize(frame, wh, interpolation=cv2.INTER_LINEAR))
    if not images:
        raise UserError(f"video {path}: cannot be read")
    return Video(np.stack(images), fps or 30.0, size, path)


@torch.inference_mode()
def score_people(network: torch.nn.Module, model: ActionModel, clip: Clip, boxes: Boxes) -> np.ndarray:
    """(N, A) float32 scores of the people of one clip."""
    if not len(boxes):
        return np.zeros((0, len(model.labels)), np.float32)
    frames, rois = model.view.prepare(clip, boxes)
    return network(torch.from_numpy(np.ascontiguousarray(frames)), torch.from_numpy(rois)).float().numpy()


def pose_columns(model: ActionModel) -> list[int]:
    return [j for j, action in enumerate(model.labels) if action.group == "pose"]
