"""Key points as a camera and a pose network give them: projected, cut, noisy, with jumps and missing joints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.skeletons.motions import Segment, mirrored, perform, play_segment

# A key point under this score is not looked at.
LEAST_SCORE = 0.25
LEFT_RIGHT = tuple((i, i + 1) for i in range(1, 17, 2))


def normalised(points: np.ndarray, boxes: np.ndarray, key: int) -> np.ndarray:
    """What the network sees of a person's key points.

    Args:
        points: (T, 17, 3) x, y in pixels and score, moments `seconds` apart round the key frame.
        boxes: (4,) the person's box in the key frame.
        key: position of the key frame; unused moments are zeros.

    Returns:
        (T, 17, 3) float32: x and y from the box's middle in its longer sides, and 1 where the point was seen; points
        that were not seen are zeros.
    """
    x1, y1, x2, y2 = boxes
    side = max(x2 - x1, y2 - y1, 1.0)
    seen = points[..., 2] >= LEAST_SCORE
    xy = (points[..., :2] - np.array([(x1 + x2) / 2, (y1 + y2) / 2])) / side
    out = np.concatenate([np.clip(xy, -2, 2), np.ones((*xy.shape[:-1], 1))], -1) * seen[..., None]
    return out.astype(np.float32)


def project(points: np.ndarray, rng: np.random.Generator, key: int) -> np.ndarray:
    """(T, 17, 2) where a random camera sees (T, 17, 3) points: from any side, mostly level, at times from above."""
    points = points - points[key].mean(0) * np.array([1, 0, 1])
    yaw = rng.uniform(0, 2 * np.pi)
    down = np.deg2rad(rng.choice([rng.uniform(-5, 15), rng.uniform(10, 50)], p=[0.65, 0.35]))
    c, s = np.cos(yaw), np.sin(yaw)
    turned = points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    turned = turned - np.array([0, 0.9, 0])
    c, s = np.cos(down), np.sin(down)
    turned = turned @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    distance = np.exp(rng.uniform(np.log(2.0), np.log(12.0)))
    depth = np.maximum(distance - turned[..., 2], 0.4)
    image = np.stack([turned[..., 0], -turned[..., 1]], -1) / depth[..., None] * distance
    roll = np.deg2rad(rng.normal(0, 3))
    c, s = np.cos(roll), np.sin(roll)
    image = image @ np.array([[c, s], [-s, c]])
    if rng.random() < 0.25:  # the camera goes along, more or less
        image -= rng.uniform(0.3, 1.0) * (image.mean(1, keepdims=True) - image[key].mean(0))
    return image


def spoiled(image: np.ndarray, rng: np.random.Generator, key: int) -> np.ndarray:
    """(T, 17, 3) network input of clean (T, 17, 2) points: noise, jumps, exchanged sides, hidden and missing joints."""
    t = len(image)
    low, high = image[key].min(0), image[key].max(0)
    pad = 0.06 * (high - low).max() + 0.02
    box = np.concatenate([low - pad, high + pad]) + rng.normal(0, 0.04, 4) * (high - low).max()
    tall = max(box[3] - box[1], box[2] - box[0])
    points = image + rng.normal(0, rng.uniform(0.004, 0.02), image.shape) * tall
    points += rng.normal(0, 0.012, (1, 17, 2)) * tall
    seen = rng.random((t, 17)) > rng.choice([0.02, 0.1, 0.25])
    jumps = rng.random((t, 17)) < 0.015
    points[jumps] += rng.normal(0, 0.25, (int(jumps.sum()), 2)) * tall
    seen &= rng.random((t, 1)) > rng.choice([0.0, 0.03, 0.15], p=[0.5, 0.3, 0.2])
    for frame in np.flatnonzero(rng.random(t) < 0.06):
        for left, right in LEFT_RIGHT[2:]:
            points[frame, [left, right]] = points[frame, [right, left]]
    seen[:, 1:5] &= rng.random((1, 4)) > 0.3
    if rng.random() < 0.25:  # something hides the legs, or the box ends above them
        cut = np.sort(image[key, :, 1])[rng.integers(8, 15)]
        seen &= points[..., 1] < cut
        if rng.random() < 0.6:
            box[3] = cut
    if rng.random() < 0.1:
        seen[:, rng.integers(5, 17)] = False
    if rng.random() < 0.12:  # the clip was filled, or he was not found
        seen[: rng.integers(1, key)] = False
    if rng.random() < 0.12:
        seen[t - rng.integers(1, t - key - 1):] = False
    return normalised(np.concatenate([points, seen[..., None]], -1), box, key)


def sample(
    action: str, seconds: np.ndarray, segments: Sequence[Segment], rng: np.random.Generator, held_out: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """One person doing an action, seen by a camera and a pose network.

    Returns:
        (T, 17, 3) float32 input, and the names of all actions shown.
    """
    mine = [s for s in segments if s.action == action and s.held_out == held_out]
    total_s = sum(s.end_s - s.start_s for s in mine)
    extra: tuple[str, ...] = ()
    if mine and rng.random() < min(0.6, 0.15 + total_s / 60):
        # Long recordings are not all there is: the root of their length.
        weight = np.sqrt([s.end_s - s.start_s for s in mine])
        segment = mine[rng.choice(len(mine), p=weight / weight.sum())]
        points, extra = play_segment(segment, seconds, rng), (segment.hand,)
    else:
        points, extra = perform(action, seconds, rng, held_out)
        points = mirrored(points) if rng.random() < 0.5 else points
    key = int(np.argmin(np.abs(seconds)))
    return spoiled(project(points, rng, key), rng, key), (action, *extra)
