"""Motion-capture clips of a person that the package `pybullet_data` ships (zlib licence; from DeepMimic, MIT).

Each frame of a file is `[seconds, root xyz, root wxyz, chest, neck, right hip, right knee (angle), right ankle,
right shoulder, right elbow (angle), left hip, …]`, in the axes of `body`. The package is a development
dependency; nothing of it is copied.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from detector.errors import UserError
from detector.rendering.body import Motion, rotation_about
from detector.rendering.raster import RENDERER_MISSING

# File, AVA action, seconds of the recording that may be the key frame (None: any), loops.
CLIPS: tuple[tuple[str, str, tuple[float, float] | None, bool], ...] = (
    ("walk", "walk", None, True),
    ("run", "run/jog", None, True),
    ("jump", "jump/leap", (0.45, 1.15), False),
    ("dance_a", "dance", None, True),
    ("dance_b", "dance", None, True),
    ("spin", "dance", (0.6, 3.6), True),
    ("kick", "martial art", (0.3, 1.2), False),
    ("punch", "martial art", (0.3, 1.7), False),
    ("spinkick", "martial art", (0.3, 1.1), False),
    ("getup_facedown", "get up", (0.5, 2.5), False),
    ("getup_faceup", "get up", (0.6, 3.2), False),
)
HELD_OUT = ("dance_b", "kick", "getup_facedown")
_LAYOUT = (4, 4, 4, 1, 4, 4, 1, 4, 1, 4, 4, 1)  # numbers of each joint but the root, file order
_ORDER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


@dataclass(frozen=True)
class Recording:
    """One clip: seconds (F,), root (F, 3) metres, rotations (F, 13, 3, 3)."""

    times: np.ndarray
    root: np.ndarray
    rotations: np.ndarray


def _matrix(wxyz: np.ndarray) -> np.ndarray:
    w, x, y, z = np.moveaxis(wxyz / np.linalg.norm(wxyz, axis=-1, keepdims=True), -1, 0)
    return np.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], -1).reshape(*w.shape, 3, 3)


@cache
def load_recording(name: str) -> Recording:
    """Read one clip of the installed `pybullet_data`."""
    try:
        import pybullet_data  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(RENDERER_MISSING) from None
    path = Path(pybullet_data.getDataPath()) / "data" / "motions" / f"humanoid3d_{name}.txt"
    frames = np.array(json.loads(path.read_text(encoding="utf-8"))["Frames"])
    rotations = np.empty((len(frames), 13, 3, 3))
    rotations[:, 0] = _matrix(frames[:, 4:8])
    start = 8
    for joint, size in zip(_ORDER, _LAYOUT, strict=True):
        values = frames[:, start : start + size]
        rotations[:, joint] = _matrix(values) if size == 4 else rotation_about(2, values[:, 0])
        start += size
    times = np.concatenate([[0], np.cumsum(frames[:-1, 0])])
    return Recording(times, frames[:, 1:4], rotations)


def play(name: str, seconds: np.ndarray, loop: bool, speed: float = 1.0, mirror: bool = False) -> Motion:
    """The recording at those moments (T,), looped or held at its ends; turned to start along +x, on the ground."""
    clip = load_recording(name)
    duration = clip.times[-1]
    at = seconds * speed
    turns = np.floor(at / duration) if loop else np.zeros(len(at))
    at = at - turns * duration if loop else np.clip(at, 0, duration)
    right = np.clip(np.searchsorted(clip.times, at, side="right"), 1, len(clip.times) - 1)
    left = right - 1
    share = ((at - clip.times[left]) / (clip.times[right] - clip.times[left]))[:, None]
    root = clip.root[left] * (1 - share) + clip.root[right] * share
    root = root + turns[:, None] * (clip.root[-1] - clip.root[0]) * np.array([1, 0, 1])
    near = np.where(share[:, 0] < 0.5, left, right)  # recordings are at 16 to 60 frames a second
    rotations = clip.rotations[near]
    # Height above the ground: keep the recording's own rise over standing, for jumps.
    rise = np.maximum(root[:, 1] - 0.95, 0) if name in ("jump", "spinkick") else np.zeros(len(at))
    root = np.stack([root[:, 0], rise, root[:, 2]], 1)
    if mirror:
        flip = np.diag([1.0, 1.0, -1.0])
        rotations = flip @ rotations[:, [0, 1, 2, 8, 9, 10, 11, 12, 3, 4, 5, 6, 7]] @ flip
        root = root * np.array([1, 1, -1])
    return Motion(rotations, root)
