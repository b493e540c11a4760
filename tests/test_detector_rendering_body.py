"""Rendered bodies and motions: forward kinematics against hand-worked poses, recordings, acts."""

from __future__ import annotations

import numpy as np
import pytest

from detector.labels import load_labels
from detector.rendering.acts.act import mirrored
from detector.rendering.body import COLUMN, JOINTS, forward, motion_of_poses, sample_body
from detector.rendering.motion import ACTS, with_hands

AT = np.linspace(-0.8, 0.7, 16)


def body():
    return sample_body(np.random.default_rng(0))


def pose(**degrees):
    p = np.zeros((1, len(COLUMN)))
    for name, value in degrees.items():
        p[0, COLUMN[name]] = np.deg2rad(value)
    return p


def joints_of(**degrees):
    return dict(zip(JOINTS, forward(body(), motion_of_poses(pose(**degrees)))[1][0], strict=True))


def test_standing_straight_puts_knees_under_hips_and_the_lowest_point_on_the_ground():
    b = body()
    points, joints = forward(b, motion_of_poses(pose()))
    named = dict(zip(JOINTS, joints[0], strict=True))
    assert np.allclose(named["right_knee"][[0, 2]], named["right_hip"][[0, 2]])
    assert named["right_hip"][2] > 0 > named["left_hip"][2]
    lowest = (points[0][b.cones[:, :2], 1] - b.radii).min()
    assert lowest == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("joint", "parent", "degrees", "direction"), [
    ("right_knee", "right_hip", {"r_hip": 90}, (1, 0, 0)),  # thigh forward
    ("right_knee", "right_hip", {"r_abduct": 90}, (0, 0, 1)),  # thigh to the right
    ("left_knee", "left_hip", {"l_abduct": 90}, (0, 0, -1)),
    ("right_ankle", "right_knee", {"r_knee": 90}, (-1, 0, 0)),  # shin back
    ("left_elbow", "left_shoulder", {"l_arm": 90}, (1, 0, 0)),
    ("left_elbow", "left_shoulder", {"l_lift": 180}, (0, 1, 0)),
    ("chest", "root", {"pitch": 90}, (1, 0, 0)),  # trunk forward
    ("neck", "chest", {"bend": 90}, (1, 0, 0)),
    ("right_knee", "right_hip", {"r_hip": 90, "yaw": 90}, (0, 0, -1)),  # turned to the left
])
def test_angles_turn_limbs_the_way_their_names_say(joint, parent, degrees, direction):
    named = joints_of(**degrees)
    limb = named[joint] - named[parent]
    assert np.allclose(limb / np.linalg.norm(limb), direction, atol=1e-6)


def test_air_lifts_the_lowest_point_by_that_much():
    b, p = body(), pose()
    p[0, COLUMN["air"]] = 0.3
    points, _ = forward(b, motion_of_poses(p))
    assert (points[0][b.cones[:, :2], 1] - b.radii).min() == pytest.approx(0.3)


@pytest.mark.parametrize("name", sorted(ACTS))
def test_acts_are_finite_named_by_ava_and_repeat_with_their_seed(name):
    ava = load_labels("ava")
    for seed in range(12):
        act, again = (ACTS[name](np.random.default_rng(seed)) for _ in range(2))
        poses = act.curve(AT)
        assert poses.shape == (16, len(COLUMN))
        assert np.isfinite(poses).all()
        assert np.array_equal(poses, again.curve(AT))
        assert act.pose == name
        assert ava[ava.find(name)].group == "pose"
        assert act.label_s[0] <= 0 <= act.label_s[1]


def test_mirroring_twice_changes_nothing_and_once_swaps_the_arms():
    act = with_hands(ACTS["stand"](np.random.default_rng(1)), "hand wave", np.random.default_rng(2))
    assert np.allclose(mirrored(mirrored(act)).curve(AT), act.curve(AT))
    assert np.allclose(mirrored(act).curve(AT)[:, COLUMN["l_elbow"]], act.curve(AT)[:, COLUMN["r_elbow"]])


def test_heights_tell_standing_from_sitting_crouching_and_lying():
    def head_height(name, seed):
        rng = np.random.default_rng(seed)
        b, poses = sample_body(rng), ACTS[name](rng).curve(AT)
        _points, joints = forward(b, motion_of_poses(poses))
        return joints[8, JOINTS.index("neck"), 1]

    mean = {name: np.mean([head_height(name, s) for s in range(25)]) for name in ("stand", "sit", "crouch/kneel",
                                                                                 "lie/sleep")}
    assert mean["stand"] > mean["sit"] > mean["lie/sleep"]
    assert mean["stand"] > mean["crouch/kneel"] + 0.3
    assert mean["lie/sleep"] < 0.4


def test_walkers_and_runners_move_at_human_speeds_and_standers_do_not():
    def speed(name, seed):
        x = ACTS[name](np.random.default_rng(seed)).curve(AT)[:, COLUMN["x"]]
        return abs(x[-1] - x[0]) / (AT[-1] - AT[0])

    assert all(0.4 < speed("walk", s) < 3 for s in range(30))
    assert np.median([speed("run/jog", s) for s in range(30)]) > 2
    assert all(speed("stand", s) < 0.2 for s in range(60))  # jugglers sway


def test_recordings_play_loop_and_mirror():
    pytest.importorskip("pybullet_data")
    from detector.rendering.motion_capture import load_recording, play

    clip = load_recording("walk")
    turns = clip.rotations @ np.swapaxes(clip.rotations, -1, -2)
    assert np.allclose(turns, np.eye(3), atol=1e-4)
    duration = clip.times[-1]
    once, later = play("walk", np.array([0.2]), True), play("walk", np.array([0.2 + duration]), True)
    assert np.allclose(once.rotations, later.rotations)
    step = clip.root[-1, 0] - clip.root[0, 0]
    assert later.root[0, 0] - once.root[0, 0] == pytest.approx(step)
    assert 0.8 < step / duration < 1.2  # metres a second: a walk
    plain, other = (forward(body(), play("kick", np.array([0.7]), False, mirror=m))[1][0] for m in (False, True))
    swapped = other[[0, 1, 2, 8, 9, 10, 11, 12, 3, 4, 5, 6, 7]] * np.array([1, 1, -1])
    assert np.allclose(plain - plain[0], swapped - swapped[0], atol=0.02)
