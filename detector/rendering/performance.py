"""Which motion a rendered person of a clip performs: procedural or recorded, kept for validation or not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from detector.rendering import motion_capture
from detector.rendering.acts.act import Act, between, mirrored
from detector.rendering.acts.moving import act_get_up_prone
from detector.rendering.acts.room import room_style
from detector.rendering.acts.street import act_stand_step, act_walk_bend, act_walk_stroll
from detector.rendering.body import Motion, motion_of_poses, rotation_about
from detector.rendering.motion import ACTS, with_hands


@dataclass(frozen=True)
class Performance:
    """An act on its way into a scene: the motion at the clip's moments, and what it is called.

    Attributes:
        act: what was performed, for others to do alike; None for a recording.
    """

    motion: Motion
    pose: str
    extra: tuple[str, ...]
    props: tuple[str, ...]
    variant: str
    act: Act | None = None


# Styles that training never sees; with the recordings of `motion_capture.HELD_OUT` they are half of validation.
HELD_OUT_VARIANTS = (
    "stand:shift", "crouch/kneel:both knees", "bend/bow (at the waist):bow", "fall down:walk",
    "get up:knee", "jump/leap:rope", "martial art:mix",
)

BETWEEN_STYLES = ("bend/bow (at the waist)", "crouch/kneel", "dance", "sit")


def sample_performance(pose: str, seconds: np.ndarray, rng: np.random.Generator, held_out: bool,
                       street: bool = False) -> Performance:
    """Draw one way of doing a pose action at those seconds (T,).

    Args:
        held_out: a way that is kept for validation.
        street: draw also the styles of `acts.street` and `acts.room`, made for training after validation's
            clips were fixed.
    """
    clips = [c for c in motion_capture.CLIPS if c[1] == pose and (c[0] in motion_capture.HELD_OUT) == held_out]
    if clips and rng.random() < (0.5 if held_out else 0.3):
        return _recorded(clips[rng.integers(len(clips))], seconds, rng)
    special = held_out and rng.random() < 0.5
    for _ in range(30):
        act = ACTS[pose](rng)
        kept = f"{act.pose}:{act.variant}" in HELD_OUT_VARIANTS
        if kept == special or (held_out and not special):
            break
    if not held_out:
        act = _another_style(act, rng)
    if street:
        act = _street_style(act, rng)
    if pose in ("stand", "sit") and rng.random() < 0.42:
        act = with_hands(act, str(rng.choice(["hand wave", "hand clap"])), rng)
    if rng.random() < 0.5:
        act = mirrored(act)
    poses = act.curve(seconds)
    if pose in ("stand", "walk", "run/jog", "sit") and rng.random() < 0.12:
        poses = _change_of_mind(poses, seconds, pose, rng)
    return Performance(motion_of_poses(poses), act.pose, act.extra, act.props, act.variant, act)


def _another_style(act: Act, rng: np.random.Generator) -> Act:
    """Now and then a style between two of the act's own, or getting up from lying face down: in training only."""
    if act.pose in BETWEEN_STYLES and rng.random() < 0.35:
        other = ACTS[act.pose](rng)
        if f"{other.pose}:{other.variant}" not in HELD_OUT_VARIANTS:
            return between(act, mirrored(other) if rng.random() < 0.5 else other, rng.uniform(0.2, 0.8))
    if act.pose == "get up" and rng.random() < 0.25:
        return act_get_up_prone(rng)
    return act


def _street_style(act: Act, rng: np.random.Generator) -> Act:
    """Now and then walking and standing as in streets, and what is done before and after something else."""
    if act.pose == "walk" and rng.random() < 0.5:
        return act_walk_bend(rng) if rng.random() < 0.6 else act_walk_stroll(rng)
    if act.pose == "stand" and rng.random() < 0.35:
        return act_stand_step(rng)
    return room_style(act, rng)


def _change_of_mind(poses: np.ndarray, seconds: np.ndarray, pose: str, rng: np.random.Generator) -> np.ndarray:
    """Let another action take over near an end of the clip, more than 0.35 s from the key frame."""
    other = {"stand": "walk", "walk": "stand", "run/jog": "walk", "sit": "stand"}[pose]
    at = rng.choice([-1, 1]) * rng.uniform(0.4, 0.8)
    share = np.clip((seconds - at) / 0.3 * np.sign(at) + 0.5, 0, 1)[:, None]
    return poses + share * (ACTS[other](rng).curve(seconds) - poses)


def _recorded(clip: tuple, seconds: np.ndarray, rng: np.random.Generator) -> Performance:
    name, pose, key_range, loop = clip
    low, high = key_range or (0.0, 3.0)
    speed = rng.uniform(0.75, 1.25)
    at = rng.uniform(low, high)
    motion = motion_capture.play(name, seconds + at / speed, loop, speed, bool(rng.random() < 0.5))
    motion = replace(motion, root=motion.root - motion.root[len(seconds) // 2] * np.array([1, 0, 1]))
    extra = rng.normal(0, rng.choice([0.04, 0.1]), (1, 13, 3))
    extra[:, 0] = 0
    motion = _exaggerated(motion, rng.uniform(0.7, 1.3))
    return Performance(_jiggled(motion, extra), pose, (), (), f"mocap {name}")


def _exaggerated(motion: Motion, factor: float) -> Motion:
    """The same movement larger or smaller: each joint's turn from its mean pose times a factor, the root's kept."""
    from scipy.spatial.transform import Rotation

    out = motion.rotations.copy()
    for joint in range(1, motion.rotations.shape[1]):
        mean = Rotation.from_matrix(motion.rotations[:, joint]).mean()
        away = (mean.inv() * Rotation.from_matrix(motion.rotations[:, joint])).as_rotvec()
        out[:, joint] = (mean * Rotation.from_rotvec(factor * away)).as_matrix()
    return Motion(out, motion.root, motion.grounded)


def _jiggled(motion: Motion, angles: np.ndarray) -> Motion:
    """Turn every joint by small fixed angles (1, 13, 3): another person doing the same."""
    turn = rotation_about(0, angles[..., 0]) @ rotation_about(1, angles[..., 1]) @ rotation_about(2, angles[..., 2])
    return Motion(motion.rotations @ turn, motion.root, motion.grounded)
