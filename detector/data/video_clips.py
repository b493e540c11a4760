"""Clips of whole videos: the items that a classification network trains and is measured on."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence

import numpy as np

from detector.data.transforms import Augmentation, crop_and_flip, draw_short_side
from detector.data.video import VideoError, read_duration_s, read_frames
from detector.data.videos import CHARADES_FPS, LabelledVideo
from detector.errors import UserError
from detector.sampling import Sampling

TRIES = 20
NO_BOXES = np.zeros((0, 4), np.float32)


class VideoClips:
    """One clip of each video: at a random time for training, the centre one for a quick validation.

    Args:
        videos: see `detector.data.videos`.
        num_classes: A.
        sampling: which moments a clip shows.
        augmentation: None for validation: the centre square of `short_side_px`.
        short_side_px: of validation clips.
        skip_broken: take the next video in place of one that cannot be decoded, say so and count it.

    Attributes:
        skipped: counter of broken videos, shared by all loading processes.
    """

    def __init__(
        self, videos: Sequence[LabelledVideo], num_classes: int, sampling: Sampling,
        augmentation: Augmentation | None = None, short_side_px: int = 256, skip_broken: bool = False,
    ):
        self.videos, self.num_classes, self.sampling = list(videos), num_classes, sampling
        self.augmentation, self.short_side_px, self.skip_broken = augmentation, short_side_px, skip_broken
        self.skipped = multiprocessing.get_context("fork").Value("i", 0)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[np.ndarray, None, np.ndarray]:
        """Frames (T, s, s, 3) uint8 RGB, no boxes, targets (1, A).

        Raises:
            UserError: the video cannot be decoded, or (skipping) none of many can.
        """
        rng = np.random.default_rng(np.random.randint(0, 2**31, 4))
        for attempt in range(TRIES):
            video = self.videos[(index + attempt) % len(self.videos)]
            try:
                return self._item(video, rng)
            except VideoError as error:
                message = f"{video.place[0]}, line {video.place[1]}: {video.source}: {error}"
                if not self.skip_broken:
                    raise UserError(f"{message} (leave such entries out with --on-error skip)") from None
                with self.skipped.get_lock():
                    self.skipped.value += 1
                print(f"left out: {message}", file=sys.stderr)
        raise UserError(f"{TRIES} videos in a row cannot be decoded, the last: {message}")

    def _item(self, video: LabelledVideo, rng: np.random.Generator) -> tuple[np.ndarray, None, np.ndarray]:
        times = self.clip_times(video, rng)
        step = self.sampling.stride / self.sampling.fps
        targets = video.targets(self.num_classes, float(times[0]), float(times[-1]) + step)
        augmentation = self.augmentation
        if augmentation is None:
            images = read_frames(video.source, times, self.short_side_px, folder_fps=CHARADES_FPS)
            h, w = images.shape[1:3]
            top, left, size = (h - self.short_side_px) // 2, (w - self.short_side_px) // 2, self.short_side_px
            return np.ascontiguousarray(images[:, top : top + size, left : left + size]), None, targets
        images = read_frames(video.source, times, draw_short_side(augmentation, rng), folder_fps=CHARADES_FPS)
        images, _, _ = crop_and_flip(images, NO_BOXES, augmentation, rng)
        return images, None, targets

    def clip_times(self, video: LabelledVideo, rng: np.random.Generator) -> np.ndarray:
        """(T,) seconds: a random place for training, the middle otherwise; a short video from its start."""
        duration = read_duration_s(video.source, CHARADES_FPS)
        spare = max(duration - self.sampling.span_s, 0.0)
        start = spare * (rng.random() if self.augmentation is not None else 0.5)
        return start + np.arange(self.sampling.num_frames) * (self.sampling.stride / self.sampling.fps)
