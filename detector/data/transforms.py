"""Pictures and boxes changed together: scale jitter, crops, mirror images. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A person of whom less than this share is left in the crop is no sample of their action.
LEAST_VISIBLE = 0.1


@dataclass(frozen=True)
class Augmentation:
    """What training does to a clip.

    Section 4 of the paper: short side drawn from [256, 320], a random crop of 224, a mirror image half of the time.

    Attributes:
        short_side_px: smallest and largest short side before the crop.
        crop_px: side of the square crop; 0 keeps the whole frame.
        flip: chance of the mirror image.
        box_jitter: largest change of a box's corners as a share of its size, as a person detector would make it.
        brightness, contrast: largest relative change, the same for the whole clip; 0 in the paper.
    """

    short_side_px: tuple[int, int] = (256, 320)
    crop_px: int = 224
    flip: float = 0.5
    box_jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0


def draw_short_side(augmentation: Augmentation, rng: np.random.Generator) -> int:
    """A short side between the augmentation's smallest and largest, both included."""
    smallest, largest = augmentation.short_side_px
    return int(rng.integers(smallest, largest + 1))


def crop_clip(
    images: np.ndarray, boxes: np.ndarray, left: int, top: int, size_px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a square out of a clip.

    Returns:
        images (T, size, size, 3), boxes (N', 4) cut at its border, and (N,) bool: the N' people of whom at least a
        tenth of the box is left.
    """
    images = images[:, top : top + size_px, left : left + size_px]
    moved = boxes - np.array([left, top, left, top], np.float32)
    inside = moved.clip(0, size_px)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left_over = (inside[:, 2:] - inside[:, :2]).prod(1)
    kept = left_over > np.maximum(LEAST_VISIBLE * area, 0.0)
    return images, inside[kept], kept


def flip_clip(images: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mirror image of a clip and its boxes."""
    width = images.shape[2]
    flipped = boxes.copy()
    flipped[:, 0], flipped[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
    return images[:, :, ::-1], flipped


def crop_and_flip(
    images: np.ndarray, boxes: np.ndarray, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change a clip that already has its short side at random, as training does.

    Args:
        images: (T, H, W, 3) uint8.
        boxes: (N, 4) float32 xyxy in pixels of the images.
        augmentation: how much.
        rng: where the chance comes from.

    Returns:
        images (T, h, w, 3) uint8, contiguous; boxes (N', 4); (N,) bool, which of the people are left.
    """
    kept = np.ones(len(boxes), bool)
    if augmentation.crop_px:
        h, w = images.shape[1:3]
        size = augmentation.crop_px
        top, left = int(rng.integers(0, h - size + 1)), int(rng.integers(0, w - size + 1))
        images, boxes, kept = crop_clip(images, boxes, left, top, size)
    if rng.random() < augmentation.flip:
        images, boxes = flip_clip(images, boxes)
    return change_light(np.ascontiguousarray(images), augmentation, rng), boxes, kept


def change_light(images: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Change brightness and contrast of a whole clip alike."""
    if not augmentation.brightness and not augmentation.contrast:
        return images
    gain = 1 + rng.uniform(-1, 1) * augmentation.contrast
    offset = 255 * rng.uniform(-1, 1) * augmentation.brightness + 127.5 * (1 - gain)
    table = (np.arange(256) * gain + offset).clip(0, 255).astype(np.uint8)
    return table[images]


def jitter_boxes(boxes: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Move every corner of boxes (N, 4) a little."""
    if not augmentation.box_jitter or not len(boxes):
        return boxes
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + size * rng.uniform(-1, 1, boxes.shape) * augmentation.box_jitter
    return moved.astype(np.float32)
