"""Seventeen key points in space over time: of the renderer's own acts, and of a folder of motion-capture packs.

A pack is `index.csv` (clip, source, start_s, end_s, action, hand_action) beside `<source>.npz` with (T, 23, 3) metres,
z up, at 30 frames a second. Points are in PoseNet's order; here y is up, as in `detector.rendering.body`.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detector.errors import UserError

PACK_FPS = 30.0
# A pack's joints for shoulders, elbows, wrists, hips, knees and ankles, left before right.
_LIMBS = (7, 11, 8, 12, 9, 13, 15, 19, 16, 20, 17, 21)
_HEAD, _TOP, _NOSE = 4, 5, 6
# The same of the renderer's skeleton: (joint, offset in metres).
_RENDERED = (
    (2, (0.11, 0.13, 0)), (2, (0.09, 0.17, -0.033)), (2, (0.09, 0.17, 0.033)), (2, (0.0, 0.15, -0.08)),
    (2, (0.0, 0.15, 0.08)), (11, (0, 0, 0)), (6, (0, 0, 0)), (12, (0, 0, 0)), (7, (0, 0, 0)), (12, (0, -0.26, 0)),
    (7, (0, -0.26, 0)), (8, (0, 0, 0)), (3, (0, 0, 0)), (9, (0, 0, 0)), (4, (0, 0, 0)), (10, (0, 0, 0)),
    (5, (0, 0, 0)),
)


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a recording.

    Attributes:
        recording: its name; a recording is held out as a whole.
        points: (T, 17, 3) metres of the whole recording, y up, at `PACK_FPS`.
        start_s, end_s: of the label.
        action, hand: names; "" for no action of the hands.
    """

    recording: str
    points: np.ndarray
    start_s: float
    end_s: float
    action: str
    hand: str

    @property
    def held_out(self) -> bool:
        """Whether it is kept for validation: one recording in six."""
        return int(hashlib.sha256(self.recording.encode()).hexdigest(), 16) % 6 == 0


def points_of_pack(joints: np.ndarray) -> np.ndarray:
    """(T, 17, 3) key points of a pack's (T, 23, 3) joints; eyes and ears are put where a head has them."""
    joints = joints.astype(np.float64)
    up = joints[:, _TOP] - joints[:, _HEAD]
    middle = joints[:, _HEAD] + 0.45 * up
    up /= np.linalg.norm(up, axis=1, keepdims=True).clip(1e-6)
    ahead = joints[:, _NOSE] - middle
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True).clip(1e-6)
    left = np.cross(up, ahead)
    eyes = joints[:, _NOSE] + 0.03 * up - 0.02 * ahead
    head = [joints[:, _NOSE], eyes + 0.033 * left, eyes - 0.033 * left, middle + 0.075 * left, middle - 0.075 * left]
    points = np.concatenate([np.stack(head, 1), joints[:, list(_LIMBS)]], 1)
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def load_pack(folder: Path, actions: tuple[str, ...]) -> list[Segment]:
    """The labelled segments of a pack that show one of the actions.

    Raises:
        UserError: no index.csv, or one that does not fit.
    """
    index = folder / "index.csv"
    try:
        rows = list(csv.DictReader(index.read_text(encoding="utf-8").splitlines()))
        arrays: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        for source in sorted({row["source"] for row in rows}):
            with np.load(folder / f"{source}.npz") as pack:
                arrays[source] = {name: points_of_pack(pack[name]) for name in pack.files}
        return [
            Segment(row["clip"], arrays[row["source"]][row["clip"]], float(row["start_s"]), float(row["end_s"]),
                    row["action"], row["hand_action"])
            for row in rows if row["action"] in actions
        ]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"--mocap {folder}: {error}; expected index.csv and the .npz files it names") from None


def play_segment(segment: Segment, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, 17, 3) points at those seconds round a random moment of the label, at another speed, perhaps mirrored."""
    margin = min(0.25, (segment.end_s - segment.start_s) / 3)
    at = rng.uniform(segment.start_s + margin, segment.end_s - margin)
    times = np.clip((at + seconds * rng.uniform(0.75, 1.3)) * PACK_FPS, 0, len(segment.points) - 1.001)
    first = times.astype(int)
    share = (times - first)[:, None, None]
    points = segment.points[first] * (1 - share) + segment.points[first + 1] * share
    return mirrored(points) if rng.random() < 0.5 else points


def mirrored(points: np.ndarray) -> np.ndarray:
    """Left and right exchanged, of (..., 17, 3)."""
    order = [0, *(i for pair in range(8) for i in (2 * pair + 2, 2 * pair + 1))]
    return points[..., order, :] * np.array([1.0, 1.0, -1.0])


def perform(action: str, seconds: np.ndarray, rng: np.random.Generator, held_out: bool) -> tuple[np.ndarray, tuple]:
    """(T, 17, 3) points of one of the renderer's own acts, and the further actions that it shows."""
    from detector.rendering.body import forward, sample_body
    from detector.rendering.performance import sample_performance

    performance = sample_performance(action, seconds, rng, held_out, street=not held_out)
    body = sample_body(rng)
    scale = float(np.abs(body.offsets[1]).max() / 0.24)
    joint = np.array([j for j, _ in _RENDERED])
    offset = np.array([o for _, o in _RENDERED], float) * scale
    body = replace(body, point_joint=np.concatenate([body.point_joint, joint]),
                   point_offset=np.concatenate([body.point_offset, offset]))
    points, _ = forward(body, performance.motion)
    return points[:, -len(joint):], performance.extra
