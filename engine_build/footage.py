"""Video as a causal engine sees it: evenly spaced frames of one camera, read from a file or drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from detector.data.decode import open_named
from detector.errors import UserError
from detector.weights.records import ActionModel
from engine_build.clips import PLACES, drawn_clips

MINUTE_S = 60.0


def read_footage(source: str | Path, model: ActionModel, size_hw: tuple[int, int], seconds: float) -> np.ndarray:
    """The beginning of a video file, a whole number of steps.

    Args:
        source: a video file.
        model: causal; its sampling says how far apart frames are.
        size_hw: of the frames; pictures of another shape are stretched.
        seconds: at most so much.

    Returns:
        (F, h, w, 3) uint8 RGB.

    Raises:
        UserError: the file is missing or no video, or too short for the network's window.
    """
    path = Path(source)
    if not path.is_file():
        raise UserError(f"--calibrate: got {path}, which is no file; expected a video file")
    with open_named(path) as video:
        fps = video.fps if video.fps is not None and 1 <= video.fps <= 240 else model.sampling.fps
        frames: list[np.ndarray] = []

        def wanted() -> int:
            return round(len(frames) * model.sampling.step_s * fps)

        for index, picture in enumerate(video.pictures()):
            if len(frames) * model.sampling.step_s >= seconds:
                break
            if index == wanted():
                small = cv2.resize(picture.bgr(), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
                small = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
                while index == wanted():  # a slow camera's frames stand for several
                    frames.append(small)
    n, least = model.network.frames_per_step, model.network.num_frames
    if len(frames) < least:
        raise UserError(
            f"--calibrate: {path} gives {len(frames)} frames {model.sampling.step_s:.3f} s apart, expected a video of "
            f"at least {least * model.sampling.step_s:.1f} s"
        )
    return np.stack(frames[: len(frames) // n * n])


def drawn_footage(model: ActionModel, size_hw: tuple[int, int], steps: int, seed: int = 0) -> np.ndarray:
    """As `read_footage`, drawn: see `clips.drawn_clips`."""
    frames = steps * model.network.frames_per_step
    longer = dataclasses.replace(model, sampling=dataclasses.replace(model.sampling, num_frames=frames))
    return drawn_clips(longer, size_hw, 1, seed)[0].images


def steps_of(footage: np.ndarray, frames_per_step: int) -> Iterator[np.ndarray]:
    """Each step's frames, (1, n, h, w, 3)."""
    for start in range(0, len(footage) - frames_per_step + 1, frames_per_step):
        yield footage[None, start : start + frames_per_step]


def rois_at_places(size_hw: tuple[int, int]) -> np.ndarray:
    """ROI rows (K, 5) float32 of people-sized boxes at `clips.PLACES`."""
    h, w = size_hw
    rois = np.zeros((len(PLACES), 5), np.float32)
    rois[:, 1:] = PLACES * np.array([w, h, w, h], np.float32)
    return rois
