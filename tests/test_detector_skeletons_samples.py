"""Key points in space and in pictures: sides stay sides, feet are under heads, missing points are zeros."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.rendering.tubes import NAMES, POSES
from detector.skeletons.motions import load_pack, mirrored, perform, points_of_pack
from detector.skeletons.network import SkeletonNetwork
from detector.skeletons.samples import normalised, project, sample
from detector.skeletons.train import fit, recalls

SECONDS = (np.arange(16) - 8) * 0.1
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP, LEFT_ANKLE = 0, 5, 6, 11, 12, 15
MOCAP = Path(__file__).resolve().parents[2] / "shared/mocap"


def check_upright(points):
    """Of somebody upright: heights in order, and the left is at the left of where the nose points."""
    assert (points[:, NOSE, 1] > points[:, LEFT_HIP, 1]).all()
    assert (points[:, LEFT_HIP, 1] > points[:, LEFT_ANKLE, 1]).all()
    middle = (points[:, LEFT_HIP] + points[:, RIGHT_HIP]) / 2
    up = (points[:, LEFT_SHOULDER] + points[:, RIGHT_SHOULDER]) / 2 - middle
    ahead = points[:, NOSE] - (points[:, 3] + points[:, 4]) / 2
    left = np.cross(up, ahead)
    assert ((points[:, LEFT_HIP] - points[:, RIGHT_HIP]) * left).sum(1).min() > 0


def test_a_rendered_walker_has_his_points_where_they_belong():
    points, extra = perform("walk", SECONDS, np.random.default_rng(0), held_out=False)
    assert points.shape == (16, 17, 3)
    assert extra == ()
    check_upright(points)
    check_upright(mirrored(points))


@pytest.mark.skipif(not MOCAP.exists(), reason="no motion pack beside the repository")
def test_recorded_walkers_have_their_points_where_they_belong_and_recordings_are_held_out_whole():
    segments = load_pack(MOCAP, POSES)
    walkers = [s for s in segments if s.action == "walk" and s.recording.startswith("amc")]
    for segment in walkers[:5]:
        first, last = round(segment.start_s * 30), round(segment.end_s * 30)
        check_upright(segment.points[first:last])
    assert 0.05 < np.mean([s.held_out for s in segments]) < 0.4
    for name in {s.recording for s in segments}:
        assert len({s.held_out for s in segments if s.recording == name}) == 1


def test_a_folder_that_is_no_pack_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"expected index.csv"):
        load_pack(tmp_path, POSES)


def test_eyes_and_ears_are_put_on_their_sides():
    joints = np.zeros((1, 23, 3))
    joints[0, 4], joints[0, 5], joints[0, 6] = (0, 0, 1.5), (0, 0, 1.75), (0.12, 0, 1.6)
    points = points_of_pack(joints)[0]
    # Looking along x with z up, his left is y; here y is up and his right is z.
    assert points[1, 2] < 0 < points[2, 2]
    assert points[3, 2] < 0 < points[4, 2]
    assert points[0] == pytest.approx([0.12, 1.6, 0])


def test_a_level_camera_shows_heads_above_feet():
    points, _ = perform("stand", SECONDS, np.random.default_rng(1), held_out=False)
    for seed in range(20):
        image = project(points, np.random.default_rng(seed), 8)
        assert (image[:, NOSE, 1] < image[:, LEFT_ANKLE, 1]).all()


def test_points_are_measured_in_sides_of_the_box_and_unseen_ones_are_zeros():
    points = np.zeros((1, 17, 3))
    points[0, :3] = [(100, 50, 0.9), (120, 90, 0.9), (100, 50, 0.1)]
    out = normalised(points, np.array([90, 10, 110, 90]), 0)
    assert out[0, 0] == pytest.approx([0, 0, 1])
    assert out[0, 1] == pytest.approx([0.25, 0.5, 1])
    assert not out[0, 2:].any()


def test_samples_are_the_same_for_the_same_seed_and_name_what_they_show():
    first, again = (sample("sit", SECONDS, [], np.random.default_rng(3), False) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[0].dtype == np.float32
    assert first[1][0] == "sit"
    assert set(first[1]) <= set(NAMES)


def test_nobody_seen_moves_nothing():
    network = SkeletonNetwork(14).eval()
    points = torch.rand(2, 16, 17, 3)
    points[..., 2] = 0
    points[..., :2] = 0
    with torch.inference_mode():
        scores = network(points)
    assert scores.shape == (2, 14)
    assert torch.equal(scores[0], scores[1])


def test_it_learns_what_a_few_samples_show():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(0, 0.1, (256, 16, 17, 3)).astype(np.float32), np.zeros((256, len(NAMES)), np.float32)
    inputs[..., 2] = 1
    inputs[:128, :, 0, 0] += 1
    targets[:128, 0] = targets[128:, 1] = 1
    result = recalls(fit(inputs, targets, epochs=15, seed=0), inputs, targets)
    assert result[POSES[0]] > 0.9
    assert result[POSES[1]] > 0.9
