"""What people do just before and after falling and getting up, and further ways of sitting, boxing and running."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("pybullet_data")

from detector.rendering.acts.room import (
    act_after,
    act_before,
    act_box_upright,
    act_run_along,
    act_sit_edge,
    room_style,
)
from detector.rendering.body import COLUMN, forward, motion_of_poses, sample_body
from detector.rendering.motion import ACTS
from detector.rendering.performance import HELD_OUT_VARIANTS, sample_performance
from detector.rendering.tubes import POSES, TubeRecipe, render_tube

SECONDS = np.linspace(-0.8, 0.8, 17)
KEY = 8


def heights(act) -> np.ndarray:
    """(17,) metres of the head's height over a clip."""
    _, joints = forward(sample_body(np.random.default_rng(0)), motion_of_poses(act.curve(SECONDS)))
    return joints[:, 2, 1]


@pytest.mark.parametrize("seed", range(10))
def test_who_lies_after_a_fall_is_down_at_the_key_frame_and_stays_down(seed):
    act = act_after("lie/sleep", np.random.default_rng(seed))
    assert act.pose == "lie/sleep"
    assert heights(act)[KEY:].max() < 0.95  # some prop themselves up on an arm
    assert np.ptp(heights(act)[KEY:]) < 0.1


def test_the_fall_before_is_often_in_the_clip():
    above = [heights(act_after("lie/sleep", np.random.default_rng(seed)))[0] for seed in range(30)]
    assert np.mean(np.array(above) > 0.9) > 0.3


@pytest.mark.parametrize("seed", range(10))
def test_who_stands_after_getting_up_is_up_at_the_key_frame(seed):
    high = heights(act_after("stand", np.random.default_rng(seed)))
    assert high[KEY:].min() > 0.9 * high.max()


@pytest.mark.parametrize(("pose", "low", "high"), [("stand", 1.1, 2.0), ("sit", 0.4, 1.35), ("lie/sleep", 0.0, 0.95)])
def test_what_comes_before_is_still_itself_at_the_key_frame(pose, low, high):
    for seed in range(12):
        act = act_before(pose, np.random.default_rng(seed))
        assert act.pose == pose
        assert act.variant.startswith("before ")
        assert low < heights(act)[KEY] < high


def test_other_poses_have_no_before_and_after():
    with pytest.raises(ValueError, match="expected 'lie/sleep' or 'stand'"):
        act_after("walk", np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected 'stand', 'sit' or 'lie/sleep'"):
        act_before("walk", np.random.default_rng(0))


def test_upright_boxers_move_their_arms_and_not_their_legs():
    for seed in range(10):
        poses = act_box_upright(np.random.default_rng(seed)).curve(np.linspace(-0.8, 0.8, 60))
        reach = [np.ptp(poses[:, COLUMN[f"{s}_{n}"]]) for s in "rl" for n in ("arm", "lift", "elbow")]
        assert max(reach) > 0.4
        legs = [COLUMN[f"{s}_{n}"] for s in "rl" for n in ("hip", "knee")]
        assert np.ptp(poses[:, legs], axis=0).max() < 0.25


def test_seats_and_runners_stay_where_they_are():
    for seed in range(5):
        sat = act_sit_edge(np.random.default_rng(seed))
        assert sat.props == ("chair",)
        assert 0.5 < heights(sat)[KEY] < 1.4
        run = act_run_along(np.random.default_rng(seed)).curve(SECONDS)
        assert np.abs(run[:, [COLUMN["x"], COLUMN["z"]]]).max() == 0
        assert np.ptp(run[:, COLUMN["r_hip"]]) > 0.5


def test_no_style_that_is_kept_for_validation_comes_in_by_this_door():
    rng = np.random.default_rng(0)
    for pose in POSES:
        for _ in range(40):
            act = room_style(ACTS[pose](rng), rng)
            assert act.pose == pose
    for i in range(150):
        show = sample_performance(POSES[i % 12], SECONDS, np.random.default_rng(i), False, street=True)
        assert show.pose == POSES[i % 12]
        assert f"{show.pose}:{show.variant.split('+')[0]}" not in HELD_OUT_VARIANTS


def test_cameras_go_along_with_runners(monkeypatch):
    from detector.rendering import tubes as render_tubes

    asked = []
    ahead = render_tubes._camera_ahead
    monkeypatch.setattr(render_tubes, "_camera_ahead", lambda *a: asked.append(a) or ahead(*a))
    monkeypatch.setattr(render_tubes, "SHARES", np.array([pose == "run/jog" for pose in POSES], float))
    variants = [render_tube((5, i), TubeRecipe()).variant for i in range(16)]
    assert 0 < len(asked) == variants.count("run/jog:along") < 16
