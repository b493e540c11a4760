"""Proofs on real video: their arithmetic by hand, their readers, and (where the videos are) the proofs themselves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.errors import UserError
from detector.evaluation.labelled_clips import people_of_interest, read_segments, score_segment
from detector.evaluation.real_clips import Video, load_video
from detector.evaluation.walk_against_stand import (
    area_under_roc,
    balanced_accuracy,
    best_threshold_accuracy,
    mean_difference,
    read_walkers,
    walk_against_stand,
    walk_against_stand_streamed,
)
from detector.labels import load_labels
from detector.sampling import Sampling
from detector.slowfast.config import SlowFastConfig
from detector.types import Boxes
from detector.views import TubeView
from detector.weights.choose import bundled_path, load_action_model, resolve_action_model
from detector.weights.records import ActionModel

MEDIA = Path(__file__).resolve().parents[2] / "shared/media"
LABELS = load_labels("ava").subset(("sit", "stand", "walk", "hand wave"), "four")
MODEL = ActionModel("test", SlowFastConfig(num_classes=4), LABELS, Sampling(4, 3, 30.0), TubeView(32, 1.5, 48))


def video(frames=20, fps=10.0):
    images = np.zeros((frames, 48, 64, 3), np.uint8) + np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return Video(images, fps, (96, 128), Path("numbers.avi"))


def test_area_and_accuracies_by_hand():
    scores, truth = np.array([0.9, 0.4, 0.6, 0.1]), np.array([True, True, False, False])
    assert area_under_roc(scores, truth) == pytest.approx(3 / 4)
    assert area_under_roc(np.ones(4), truth) == 0.5
    assert balanced_accuracy(np.array([True, False, False, False]), truth) == pytest.approx(0.75)
    assert best_threshold_accuracy(scores, truth) == pytest.approx(0.75)


def test_clips_are_sampled_by_time_held_at_the_ends_and_frozen_on_the_key_frame():
    v = video()
    assert v.clip_at(1.0, MODEL).images[:, 0, 0, 0].tolist() == [8, 9, 10, 11]
    assert v.clip_at(0.0, MODEL).images[:, 0, 0, 0].tolist() == [0, 0, 0, 1]
    assert v.clip_at(1.0, MODEL, frozen=True).images[:, 0, 0, 0].tolist() == [10] * 4
    assert video(fps=20.0).clip_at(0.5, MODEL).images[:, 0, 0, 0].tolist() == [6, 8, 10, 12]
    assert v.clip_at(1.0, MODEL).key_frame.size_hw == (96, 128)


def test_the_heuristic_is_the_mean_change_inside_the_box():
    assert mean_difference(video().clip_at(1.0, MODEL), np.array([10, 10, 60, 60])) == pytest.approx(1.0)


def test_walkers_are_the_visible_rows_with_a_pose(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "frame,track_id,left_px,top_px,width_px,height_px,visible,speed_m_s,pose\n"
        "10,9,100,50,30,80,1,1.2,walk\n10,8,1,2,3,4,0,1.2,walk\n20,8,1,2,3,4,1,0.3,\n20,7,5,6,7,8,1,0.1,stand\n")
    rows = read_walkers(path)
    assert [(r[0], r[1], r[3]) for r in rows] == [(9, 9, "walk"), (19, 7, "stand")]
    assert rows[0][2].tolist() == [100, 50, 130, 130]


def test_segments_have_seconds_or_are_whole(tmp_path):
    path = tmp_path / "clips.csv"
    rows = ["file,label,seconds", "a.avi,sit,0-1.4", "b.mp4,walk,", 'c.mp4,stand,"whole: all, 5 fps"']
    path.write_text("\n".join(rows))
    assert read_segments(path) == [
        ("a.avi", "sit", 0.0, 1.4), ("b.mp4", "walk", 0.0, 1e9), ("c.mp4", "stand", 0.0, 1e9)]


def test_a_missed_person_keeps_the_nearest_box_for_half_a_second():
    big = Boxes(np.array([[0, 0, 5, 5], [0, 0, 50, 50]]), np.ones(2))
    chosen = people_of_interest([(0.0, big), (0.4, Boxes.empty()), (1.0, Boxes.empty())])
    assert chosen[0][1].xyxy[0].tolist() == [0, 0, 50, 50]
    assert chosen[1][1].xyxy[0].tolist() == [0, 0, 50, 50]
    assert chosen[2][1] is None


class Says:
    """A network that gives the same scores whatever it sees."""

    def __init__(self, *scores):
        self.scores = scores

    def __call__(self, frames, rois):
        import torch

        return torch.tensor([self.scores] * len(rois))


@pytest.mark.parametrize(
    ("label", "top1", "top2"), [("stand", 1, 1), ("sit", 0, 1), ("walk", 0, 0), ("hand wave", 1, 1)])
def test_segments_rank_poses_among_poses_and_hands_by_their_threshold(label, top1, top2):
    box = Boxes(np.array([[10, 10, 40, 60]]), np.ones(1))
    people = [(0.5, box), (1.0, box), (1.5, None), (9.0, box)]
    result = score_segment(Says(0.3, 0.4, 0.2, 0.9), MODEL, video(), people, label, 0.0, 2.0)
    assert (result.key_frames, result.top1, result.top2) == (2, top1, top2)
    assert result.said == {"stand": 2}


def test_videos_are_resized_to_the_ring_and_turned_to_rgb(tmp_path):
    path = tmp_path / "blue.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (250, 0, 0), np.uint8))
    writer.release()
    v = load_video(path, 24)
    assert v.images.shape == (3, 24, 32, 3)
    assert v.fps == 5
    assert v.images[0, 0, 0, 2] > 200
    with pytest.raises(UserError, match="cannot be read"):
        load_video(tmp_path / "none.avi", 24)


def test_a_streamed_run_is_matched_to_the_labels_by_overlap(tmp_path):
    labels, scores = tmp_path / "l.csv", tmp_path / "s.csv"
    labels.write_text(
        "frame,track_id,left_px,top_px,width_px,height_px,visible,speed_m_s,pose\n"
        "10,1,100,100,40,80,1,1.2,walk\n10,2,300,100,40,80,1,0.1,stand\n20,2,300,100,40,80,1,0.1,stand\n")
    corners = ["0.1302,0.1736,0.1823,0.3125", "0.3906,0.1736,0.4427,0.3125"]
    scores.write_text(f"v,0001,{corners[0]},14,0.8\nv,0001,{corners[0]},12,0.1\nv,0001,{corners[1]},12,0.6\n")
    figures = walk_against_stand_streamed(labels, scores)
    assert figures == {"people": 3, "found": 2, "standing_found": 1, "balanced": 1.0, "auc": 1.0}


needs_videos = pytest.mark.skipif(not (MEDIA / "vtest.avi").exists(), reason="the real videos are not here")
needs_model = pytest.mark.skipif(bundled_path() is None, reason="no bundled model")


@pytest.fixture(scope="module")
def on_the_street():
    model, path = resolve_action_model("bundled")
    return walk_against_stand(load_action_model(model, path), model, MEDIA)


@pytest.mark.slow
@pytest.mark.ci
@needs_videos
@needs_model
def test_the_bundled_model_tells_walkers_from_standers_better_than_the_heuristic(on_the_street):
    figures = on_the_street
    assert figures["frozen_balanced"] <= 0.60
    assert figures["auc"] >= 0.975
    assert figures["auc"] > figures["heuristic_auc"]
    assert figures["balanced"] > figures["heuristic_best_threshold"]


@pytest.mark.slow
@needs_videos
@needs_model
@pytest.mark.xfail(strict=True, reason="aim missed: the bundled model reaches 0.906")
def test_the_bundled_model_reaches_the_aim_on_the_street(on_the_street):
    assert on_the_street["balanced"] >= 0.92
