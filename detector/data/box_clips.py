"""Clips round key frames, with people's boxes: the items that a detection network trains and is measured on."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence

import numpy as np

from detector.data.samples import KeyFrameSample
from detector.data.transforms import (
    Augmentation,
    change_light,
    crop_and_flip,
    draw_short_side,
    flip_clip,
    jitter_boxes,
)
from detector.data.video import VideoError, read_frames
from detector.errors import UserError
from detector.sampling import Sampling
from detector.types import Boxes, Clip, Frame
from detector.views import FrameView, TubeView, View

TRIES = 20

Item = tuple[np.ndarray, np.ndarray, np.ndarray]


class BoxClips:
    """A data set of key frames (`FrameView`: all people at once) or of people (`TubeView`: one each).

    Args:
        samples: see `detector.data.samples`.
        sampling: which moments a clip shows; exact, in seconds.
        view: what the network sees; the same code as at inference.
        augmentation: None for validation: `FrameView` scales to its short side and crops nothing.
        skip_broken: take the next clip in place of one that cannot be decoded, say so, and count it in `skipped`;
            otherwise it is an error.

    Attributes:
        order: (sample, person or -1) of each item.
        skipped: counter of broken clips, shared by all loading processes.
    """

    def __init__(
        self, samples: Sequence[KeyFrameSample], sampling: Sampling, view: View,
        augmentation: Augmentation | None = None, skip_broken: bool = False,
    ):
        self.samples, self.sampling, self.view = list(samples), sampling, view
        self.augmentation, self.skip_broken = augmentation, skip_broken
        self.skipped = multiprocessing.get_context("fork").Value("i", 0)
        if isinstance(view, TubeView):
            self.order = [(i, p) for i, sample in enumerate(self.samples) for p in range(len(sample.boxes))]
        else:
            self.order = [(i, -1) for i in range(len(self.samples))]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Item:
        """Frames (T, h, w, 3) uint8 RGB, boxes (N, 4) in their pixels, targets (N, A).

        Raises:
            UserError: the video cannot be decoded, or (skipping) none of many can.
        """
        rng = np.random.default_rng(np.random.randint(0, 2**31, 4))
        for attempt in range(TRIES):
            number, person = self.order[(index + attempt) % len(self.order)]
            sample = self.samples[number]
            try:
                return self._item(sample, person, rng)
            except VideoError as error:
                message = f"{sample.place[0]}, line {sample.place[1]}: {sample.source}: {error}"
                if not self.skip_broken:
                    raise UserError(f"{message} (leave such entries out with --on-error skip)") from None
                with self.skipped.get_lock():
                    self.skipped.value += 1
                print(f"left out: {message}", file=sys.stderr)
        raise UserError(f"{TRIES} clips in a row cannot be decoded, the last: {message}")

    def people_of(self, index: int) -> np.ndarray:
        """Which people of its sample an item shows without augmentation: positions in `sample.boxes`."""
        number, person = self.order[index]
        return np.arange(len(self.samples[number].boxes)) if person < 0 else np.array([person])

    def column_counts(self) -> np.ndarray:
        """(A,) how many people do each action; each counts once."""
        return np.sum([np.nansum(sample.targets, 0) for sample in self.samples], 0)

    def balanced_weights(self) -> np.ndarray:
        """(len,) chance of each item, by the rarest action in it: 1 / sqrt of that action's count."""
        chance = 1 / np.sqrt(np.maximum(self.column_counts(), 1))
        least = chance[np.argmax(self.column_counts())]
        weights = []
        for index, (number, _) in enumerate(self.order):
            targets = self.samples[number].targets[self.people_of(index)]
            present = np.nan_to_num(targets).any(0)
            weights.append(chance[present].max() if present.any() else least)
        return np.array(weights)

    def _item(self, sample: KeyFrameSample, person: int, rng: np.random.Generator) -> Item:
        if isinstance(self.view, FrameView):
            return self._whole_frame(sample, rng)
        return self._tube(sample, person, rng)

    def _whole_frame(self, sample: KeyFrameSample, rng: np.random.Generator) -> Item:
        augmentation = self.augmentation
        short_side = draw_short_side(augmentation, rng) if augmentation else self.view.short_side_px
        images, boxes = self._decode(sample, short_side)
        if augmentation is None:
            return images, boxes, sample.targets
        boxes = jitter_boxes(boxes, augmentation, rng)
        images, boxes, kept = crop_and_flip(images, boxes, augmentation, rng)
        return images, boxes, sample.targets[kept]

    def _tube(self, sample: KeyFrameSample, person: int, rng: np.random.Generator) -> Item:
        images, boxes = self._decode(sample, self.view.short_side_px)
        box = boxes[person : person + 1]
        if self.augmentation is not None:
            box = jitter_boxes(box, self.augmentation, rng)
        # The view maps boxes from a full-size key frame; here frames and boxes have one size already.
        key_frame = Frame(images[self.sampling.key_index], 0, 0.0)
        clip = Clip(images, key_frame, self.sampling.key_index)
        tubes, rows = self.view.prepare(clip, Boxes(box, np.ones(1, np.float32)))
        tube, box = tubes[0], rows[:, 1:]
        if self.augmentation is not None:
            if rng.random() < self.augmentation.flip:
                tube, box = flip_clip(tube, box)
            tube = change_light(np.ascontiguousarray(tube), self.augmentation, rng)
        return np.ascontiguousarray(tube), box.astype(np.float32), sample.targets[person : person + 1]

    def _decode(self, sample: KeyFrameSample, short_side_px: int) -> tuple[np.ndarray, np.ndarray]:
        times = sample.time_s + self.sampling.offsets_s
        images = read_frames(
            sample.source, times, short_side_px, key_time_s=sample.time_s, folder_fps=self.sampling.fps
        )
        h, w = images.shape[1:3]
        return images, sample.boxes * np.array([w, h, w, h], np.float32)
