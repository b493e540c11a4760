"""It learns: a small SlowFast from random weights on drawn people, and what it loses without its fast pathway.

One person on a blurred background, in a tube of 48 pixels, 1.6 s at 10 frames a second: standing, walking, running or
jumping in place, by the generator's own motions, bodies and lights. Two further columns say whether a walk is slow,
about half a stride a second, or two strides a second faster than that. These differ by speed alone: the slow pathway's
frames lie half a second apart, and in half a second a fast walker does exactly one stride more. So it is shown the same
pictures of both, and only the fast pathway can tell them apart. Every walker is drawn at both speeds, so that to know
him by his looks is to know nothing of his speed.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
import torch

from detector.data.batches import collate
from detector.evaluation.multiview import mean_average_precision
from detector.rendering.acts.moving import act_jump, act_run, act_walk
from detector.rendering.acts.still import act_stand
from detector.rendering.body import COLUMN, forward, motion_of_poses, sample_body, sample_colour
from detector.rendering.scene import EMPTY_MESH, Actor, cone_extents, draw_scene, look_at, sample_light
from detector.sampling import Sampling, slow_indices
from detector.slowfast.config import SlowFastConfig
from detector.slowfast.network import create_network
from detector.training.loop import train
from detector.training.recipe import Execution, Recipe

SIZE = 48
SAMPLING = Sampling(16, 3, 30.0)
ACTS = (act_stand, act_walk, act_run, act_jump)
POSES, SPEEDS = slice(0, 4), slice(4, 6)
TRAINING_PEOPLE, HELD_OUT_PEOPLE, EPOCHS = 1200, 240, 8
FASTER_HZ = 2.0
SEEN = 10  # a frame that the slow pathway sees too: camera and box follow it


def strides_per_second(curve) -> float:
    """The rhythm of a walk, from the right hip's angle over 100 s."""
    hip = curve(np.arange(2000) / 20)[:, COLUMN["r_hip"]]
    return int(np.abs(np.fft.rfft(hip - hip.mean())).argmax()) / 100


def draw_clip(seed: tuple[int, int], fast: bool | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (16, 48, 48, 3) uint8, box (4,), targets (6,): stand, walk, run, jump, slow walk, fast walk."""
    rng = np.random.default_rng(seed)
    kind = int(rng.integers(4))
    drawn_fast = bool(rng.random() < 0.5)
    fast = drawn_fast if fast is None else fast
    strides_hz = rng.uniform(0.35, 0.75) + (FASTER_HZ if fast else 0.0)
    act, seconds = ACTS[kind](rng), SAMPLING.offsets_s - SAMPLING.offsets_s[0]
    if kind == 1:
        # Always the same stride again: nothing but the phase tells one moment from another.
        seconds = (strides_hz * seconds) % 1.0 / strides_per_second(act.curve)
    poses = act.curve(seconds).copy()
    # In place: otherwise the way covered would tell the speed in a single picture.
    poses[:, [COLUMN["x"], COLUMN["z"], COLUMN["yaw"]]] = 0
    body = sample_body(rng)
    actor = Actor(body, forward(body, motion_of_poses(poses))[0])
    azimuth = rng.choice([-1, 1]) * np.pi / 2 + rng.uniform(-0.6, 0.6)
    camera = look_at(actor.points[SEEN].mean(0), azimuth, rng.uniform(0, 0.3), rng.uniform(5, 9))
    extent = cone_extents(actor, camera)[SEEN]
    span = 1.5 * max(extent[2] - extent[0], extent[3] - extent[1])
    corner = (extent[:2] + extent[2:]) / 2 - span / 2
    canvas = 2 * SIZE
    scale = canvas / span
    to_pixels = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    clouds = cv2.resize(rng.normal(0, 12, (6, 6, 3)).astype(np.float32), (canvas, canvas))
    background = np.full((canvas, canvas, 3), sample_colour(rng), np.float32) + clouds
    light = sample_light(rng)
    frames = np.stack([
        cv2.resize(draw_scene(background, i, [actor], EMPTY_MESH, camera, to_pixels, light), (SIZE, SIZE),
                   interpolation=cv2.INTER_AREA)
        for i in range(16)
    ])
    noisy = np.clip(frames + rng.normal(0, 4, frames.shape), 0, 255).astype(np.uint8)
    targets = np.zeros(6, np.float32)
    targets[kind] = 1
    if kind == 1:
        targets[5 if fast else 4] = 1
    return noisy, ((extent - np.tile(corner, 2)) * scale / 2).astype(np.float32), targets


@cache
def drawn(split: int, people: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Clips of a split, whose people are in no other: one of each person, of walkers a slow and a fast one."""
    clips = []
    for i in range(people):
        clips.append(draw_clip((split, i)))
        _, _, targets = clips[-1]
        if targets[1]:
            clips.append(draw_clip((split, i), fast=not targets[5]))
    return clips


class DrawnClips:
    """Mirrored, shifted and brightened at random for training; only every fourth frame for the slow pathway alone."""

    def __init__(self, clips, frames_shown: list[int], augment: bool):
        self.clips, self.frames_shown, self.augment = clips, frames_shown, augment

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int):
        frames, box, targets = self.clips[index]
        frames, box = frames[self.frames_shown], box.copy()
        if self.augment:
            if np.random.random() < 0.5:
                frames, box[[0, 2]] = frames[:, :, ::-1], SIZE - box[[2, 0]]
            shift = np.random.randint(-2, 3, 2)
            frames, box = np.roll(frames, shift[::-1], (1, 2)), box + np.tile(shift, 2)
            gain, offset = np.random.uniform(0.8, 1.2), np.random.uniform(-20, 20)
            frames = np.clip(frames.astype(np.float32) * gain + offset, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(frames), box[None].astype(np.float32), targets[None]


def learn(pathways: str, folder, seed: int = 0) -> tuple[float, float]:
    """Train from random weights; mean AP over the four poses and over the two speeds, on held-out clips."""
    config = SlowFastConfig(
        num_frames=16, alpha=4, width=16, beta_inv=2, blocks=(1, 1, 1, 1), num_classes=6, dropout=0.2,
        pathways=pathways,
    )
    shown = slow_indices(16, 4).tolist() if pathways == "slow" else list(range(16))
    network = create_network(config, seed=seed)
    recipe = Recipe(
        optimizer="adamw", rate=0.003, weight_decay=0.02, epochs=EPOCHS, batch=16, warmup_steps=40, ema_decay=0.98,
        clip_norm=5.0, seed=seed + 1,
    )
    execution = Execution(device="cpu", threads=1, progress=False)
    train(network, DrawnClips(drawn(0, TRAINING_PEOPLE), shown, True), recipe, folder / pathways, execution=execution)
    held_out = DrawnClips(drawn(1, HELD_OUT_PEOPLE), shown, False)
    scores, targets = [], []
    for start in range(0, len(held_out), 50):
        frames, rois, truth = collate([held_out[i] for i in range(start, min(start + 50, len(held_out)))])
        with torch.inference_mode():
            scores.append(network(frames, rois).numpy())
        targets.append(truth.numpy())
    s, t = np.concatenate(scores), np.concatenate(targets)
    return mean_average_precision(s[:, POSES], t[:, POSES]), mean_average_precision(s[:, SPEEDS], t[:, SPEEDS])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_slowfast_learns_actions_and_the_slow_pathway_alone_cannot_tell_speeds(tmp_path):
    poses, speeds = learn("slowfast", tmp_path)
    slow_poses, slow_speeds = learn("slow", tmp_path)
    print(f"\npose mAP {poses:.3f}, slow pathway alone {slow_poses:.3f}; ", end="")
    print(f"slow walk and fast walk: {speeds:.3f}, slow pathway alone {slow_speeds:.3f}")
    assert poses >= 0.9
    assert speeds >= 0.9
    assert slow_speeds < 0.7, "chance is about a half"


def test_drawn_clips_are_what_their_labels_say():
    """Standing people move least; a slow and a fast walk are the same to the slow pathway, not to the fast one."""
    clips = [draw_clip((9, i)) for i in range(30)]
    motion = {}
    for frames, box, targets in clips:
        x1, y1, x2, y2 = box.round().astype(int).clip(0, SIZE)
        assert x2 - x1 > 3
        assert y2 - y1 > 20
        change = np.abs(np.diff(frames[:, y1:y2, x1:x2].astype(int), axis=0)).mean() / frames.std()
        motion.setdefault(int(targets[POSES].argmax()), []).append(change)
    assert set(motion) == {0, 1, 2, 3}
    assert np.mean(motion[0]) < min(np.mean(motion[k]) for k in (1, 2, 3))
    again = draw_clip((9, 0))
    assert all(np.array_equal(a, b) for a, b in zip(clips[0], again))
    walker = next(i for i, clip in enumerate(clips) if clip[2][1])
    (slow, _, slow_is), (fast, _, fast_is) = (draw_clip((9, walker), speed) for speed in (False, True))
    assert (slow_is[SPEEDS].tolist(), fast_is[SPEEDS].tolist()) == ([1, 0], [0, 1])
    seen = slow_indices(16, 4)
    np.testing.assert_array_equal(slow[seen], fast[seen])
    assert np.abs(slow.astype(int) - fast).mean() > 1
