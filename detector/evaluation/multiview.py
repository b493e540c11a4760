"""Many looks at one video, averaged: the protocols that the paper's accuracies are stated with.

- Kinetics and Charades: 30 views, 10 clips evenly along the video times 3 square crops that cover the frame.
- AVA: one view at short side 256, or several short sides and their mirror images (the paper's SlowFast++).
- Either: an ensemble of models.

Networks come in as plain functions from arrays to scores, so that torch, any engine and a test's toy fit. Scores are
averaged, never logits. numpy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import cv2
import numpy as np

from detector.sampling import Sampling

ClipScorer = Callable[[np.ndarray], np.ndarray]
"""Frames (B, T, H, W, 3) uint8 RGB → scores (B, A) float."""
PersonScorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Frames (1, T, H, W, 3) uint8 RGB and ROI rows (K, 5) float32 in their pixels → scores (K, A) float."""


def clip_frame_indices(num_frames: int, fps: float, sampling: Sampling, num_clips: int = 10) -> np.ndarray:
    """Which frames make each of several clips spread evenly along a video.

    As the published models are tested (PySlowFast, `get_start_end_idx` and `temporal_sampling`): clip i starts at
    `(num_frames - span) * i / num_clips`, its frames are evenly spaced over the span, truncated, and clamped to the
    video; a single clip is the centre one.

    Args:
        num_frames: of the video.
        fps: of the video; a clip covers the same seconds at any rate.
        sampling: T, stride and time base of the network.
        num_clips: how many.

    Returns:
        (num_clips, T) int64.

    Raises:
        ValueError: no frames, no clips, or a frame rate that is not above 0.
    """
    if num_frames < 1 or num_clips < 1 or not fps > 0:
        raise ValueError(f"got {num_frames} frames at {fps} fps and {num_clips} clips, expected at least 1 of each")
    span = sampling.num_frames * sampling.stride * fps / sampling.fps
    spare = max(num_frames - span, 0.0)
    starts = np.array([spare / 2]) if num_clips == 1 else spare * np.arange(num_clips) / num_clips
    indices = np.linspace(starts, starts + span - 1, sampling.num_frames, axis=1)
    return indices.clip(0, num_frames - 1).astype(np.int64)


def resize_short_side(frames: np.ndarray, short_side_px: int) -> np.ndarray:
    """Scale (T, H, W, 3) uint8 so that the shorter side has that length; the longer is rounded down."""
    h, w = frames.shape[1:3]
    scale = short_side_px / min(h, w)
    size_wh = (max(math.floor(w * scale), short_side_px), max(math.floor(h * scale), short_side_px))
    if size_wh == (w, h):
        return frames
    return np.stack([cv2.resize(frame, size_wh, interpolation=cv2.INTER_LINEAR) for frame in frames])


def square_crops(frames: np.ndarray, num_crops: int = 3) -> np.ndarray:
    """Cut squares of the shorter side, evenly along the longer one: left, centre and right, or top to bottom.

    Args:
        frames: (T, H, W, 3).
        num_crops: 3 covers a picture up to 3:1; 1 is the centre.

    Returns:
        (num_crops, T, S, S, 3), S the shorter side.
    """
    h, w = frames.shape[1:3]
    side, spare = min(h, w), abs(h - w)
    starts = [math.ceil(spare / 2)] if num_crops == 1 else [
        math.ceil(spare * i / (num_crops - 1)) for i in range(num_crops)
    ]
    return np.stack([frames[:, s : s + side] if h > w else frames[:, :, s : s + side] for s in starts])


def video_views(
    frames: np.ndarray, fps: float, sampling: Sampling, num_clips: int = 10, num_crops: int = 3,
    short_side_px: int = 256,
) -> Iterator[np.ndarray]:
    """The views of a video, one clip's crops at a time.

    Args:
        frames: (N, H, W, 3) uint8 RGB, the whole video.
        fps: its frame rate.
        sampling: of the network.
        num_clips, num_crops: 10 and 3 make the paper's 30 views.
        short_side_px: height and width of a view.

    Yields:
        (num_crops, T, S, S, 3) uint8 RGB.
    """
    for indices in clip_frame_indices(len(frames), fps, sampling, num_clips):
        yield square_crops(resize_short_side(frames[indices], short_side_px), num_crops)


def classify_video(
    score: ClipScorer, frames: np.ndarray, fps: float, sampling: Sampling, num_clips: int = 10, num_crops: int = 3,
    short_side_px: int = 256, combine: Literal["mean", "max"] = "mean",
) -> np.ndarray:
    """Scores of a whole video: the mean over its views (see `video_views` for the arguments).

    `combine="max"` takes the best view for each class instead, as PySlowFast scores Charades, where an action may
    fill a small part of a video.

    Returns:
        (A,) float64.
    """
    views = video_views(frames, fps, sampling, num_clips, num_crops, short_side_px)
    scores = np.concatenate([np.asarray(score(crops), np.float64) for crops in views])
    return scores.max(0) if combine == "max" else scores.mean(0)


def score_people(
    score: PersonScorer, frames: np.ndarray, boxes: np.ndarray, short_sides_px: Sequence[int] = (256,),
    flip: bool = False,
) -> np.ndarray:
    """Scores of people in a clip: the mean over scales and, if asked, mirror images.

    Args:
        score: the network.
        frames: (T, H, W, 3) uint8 RGB, any size.
        boxes: (N, 4) corners in pixels of these frames; N = 0 is ordinary.
        short_sides_px: the scales; 256 alone is the single-view protocol.
        flip: mirror each of them too.

    Returns:
        (N, A) float64.

    Raises:
        ValueError: no scales.
    """
    if not short_sides_px:
        raise ValueError("short_sides_px: got none, expected at least one scale")
    total: np.ndarray | float = 0.0
    for short_side in short_sides_px:
        scaled = resize_short_side(frames, short_side)
        (h, w), (full_h, full_w) = scaled.shape[1:3], frames.shape[1:3]
        rows = np.zeros((len(boxes), 5), np.float32)
        rows[:, 1:] = np.reshape(boxes, (-1, 4)) * np.array([w / full_w, h / full_h] * 2)
        total = total + np.asarray(score(scaled[None], rows), np.float64)
        if flip:
            total = total + np.asarray(score(mirror_frames(scaled)[None], mirror_rows(rows, w)), np.float64)
    return np.asarray(total) / (len(short_sides_px) * (2 if flip else 1))


def mirror_frames(frames: np.ndarray) -> np.ndarray:
    """Exchange left and right of (T, H, W, 3)."""
    return np.ascontiguousarray(frames[:, :, ::-1])


def mirror_rows(rows: np.ndarray, width_px: int) -> np.ndarray:
    """The same people in the mirror image: ROI rows (K, 5) of frames that wide."""
    mirrored = rows.copy()
    mirrored[:, 1], mirrored[:, 3] = width_px - rows[:, 3], width_px - rows[:, 1]
    return mirrored


def average_of(scorers: Sequence[Callable[..., np.ndarray]]) -> Callable[..., np.ndarray]:
    """An ensemble: a scorer that is the mean of several, all clip scorers or all person scorers.

    Raises:
        ValueError: no scorers, or (when called) scores of different shapes.
    """
    if not scorers:
        raise ValueError("scorers: got none, expected at least one model")

    def score(*arguments: np.ndarray) -> np.ndarray:
        answers = [np.asarray(scorer(*arguments), np.float64) for scorer in scorers]
        shapes = {answer.shape for answer in answers}
        if len(shapes) > 1:
            raise ValueError(f"ensemble: got scores of shapes {sorted(shapes)}, expected models with the same labels")
        return np.mean(answers, axis=0)

    return score


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Share of videos whose true class is among the k best, 0 to 1.

    Args:
        scores: (N, A), one row a video.
        labels: (N,) int, true columns.
        k: how many guesses count. Equal scores count against the network: a constant one is right only by k = A.
    """
    true = scores[np.arange(len(labels)), labels]
    better_or_equal = (scores >= true[:, None]).sum(1)
    return float((better_or_equal <= k).mean())


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of average precision, as Charades is scored; classes without a true video do not count.

    Average precision is the mean, over true videos, of the precision at that video's score (no interpolation),
    with equal scores taken together.

    Args:
        scores: (N, A), one row a video.
        labels: (N, A) bool or 0/1: which classes are in the video.

    Returns:
        0 to 1; nan where no class has a true video.
    """
    precisions = [_average_precision(scores[:, j], labels[:, j] > 0) for j in range(scores.shape[1])]
    known = [p for p in precisions if p is not None]
    return float(np.mean(known)) if known else math.nan


def _average_precision(scores: np.ndarray, is_true: np.ndarray) -> float | None:
    if not is_true.any():
        return None
    at_or_above = scores[None, :] >= scores[is_true][:, None]  # one row a true video
    return float(((at_or_above & is_true[None, :]).sum(1) / at_or_above.sum(1)).mean())
