"""Multi-view scores against loops written out by hand, with toy networks that see where and when they look."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from detector.evaluation.multiview import (
    average_of,
    classify_video,
    clip_frame_indices,
    mean_average_precision,
    mirror_rows,
    resize_short_side,
    score_people,
    square_crops,
    top_k_accuracy,
    video_views,
)
from detector.sampling import Sampling

RNG = np.random.default_rng(0)


def noise_video(n, h, w):
    return RNG.integers(0, 256, (n, h, w, 3), dtype=np.uint8)


def content_scores(clips):
    """Four scores that change with every pixel, every place and every moment."""
    clips = clips.astype(np.float64) / 255
    t = np.linspace(0, 1, clips.shape[1])[None, :, None, None, None]
    x = np.linspace(0, 1, clips.shape[3])[None, None, None, :, None]
    return np.stack([clips.mean((1, 2, 3, 4)), (clips * t).mean((1, 2, 3, 4)), (clips * x).mean((1, 2, 3, 4)),
                     clips.std((1, 2, 3, 4))], 1)


def test_ten_clips_of_a_ten_second_video_start_evenly_and_look_64_frames_far():
    indices = clip_frame_indices(300, 30.0, Sampling(32, 2, 30.0))
    assert indices.shape == (10, 32)
    assert indices[:, 0].tolist() == [int(236 * i / 10) for i in range(10)]
    assert indices[0, :4].tolist() == [0, 2, 4, 6]
    assert indices[0, -1] == 63
    assert (np.diff(indices) > 0).all()


def test_clips_cover_the_same_seconds_at_any_frame_rate():
    slow = clip_frame_indices(150, 15.0, Sampling(8, 2, 30.0), 4) / 15.0
    fast = clip_frame_indices(600, 60.0, Sampling(8, 2, 30.0), 4) / 60.0
    np.testing.assert_allclose(slow, fast, atol=0.15)


@pytest.mark.parametrize("num_frames", [1, 5, 63, 64])
def test_short_videos_repeat_their_ends_and_stay_inside(num_frames):
    indices = clip_frame_indices(num_frames, 30.0, Sampling(32, 2, 30.0), 10)
    assert indices.min() >= 0
    assert indices.max() == num_frames - 1
    assert (indices == indices[0]).all()


def test_a_single_clip_is_the_centre_one():
    indices = clip_frame_indices(1000, 30.0, Sampling(32, 2, 30.0), 1)[0]
    assert abs((indices[0] + indices[-1]) / 2 - 499.5) < 1


@pytest.mark.parametrize(
    ("frames", "fps", "clips"), [(0, 30.0, 10), (10, 0.0, 10), (10, float("nan"), 1), (10, 30.0, 0)]
)
def test_impossible_videos_are_refused(frames, fps, clips):
    with pytest.raises(ValueError, match="expected at least 1"):
        clip_frame_indices(frames, fps, Sampling(), clips)


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"), [((1080, 1920), (256, 455)), ((240, 320), (256, 341)), ((300, 200), (384, 256)),
                                 ((256, 256), (256, 256))],
)
def test_the_short_side_becomes_256_and_the_long_one_is_rounded_down(size_hw, expected_hw):
    assert resize_short_side(np.zeros((1, *size_hw, 3), np.uint8), 256).shape[1:3] == expected_hw


def test_three_crops_are_left_centre_right_and_cover_the_picture():
    frames = noise_video(2, 10, 25)
    left, centre, right = square_crops(frames)
    np.testing.assert_array_equal(left, frames[:, :, :10])
    np.testing.assert_array_equal(centre, frames[:, :, 8:18])
    np.testing.assert_array_equal(right, frames[:, :, 15:])
    top, _, bottom = square_crops(frames.transpose(0, 2, 1, 3))
    np.testing.assert_array_equal(top, left.transpose(0, 2, 1, 3))
    np.testing.assert_array_equal(bottom, right.transpose(0, 2, 1, 3))
    np.testing.assert_array_equal(square_crops(frames, 1)[0], centre)


def test_thirty_views_equal_a_naive_loop():
    video, sampling = noise_video(90, 40, 61), Sampling(4, 8, 30.0)
    short = 32
    expected = []
    for clip in range(10):
        start = (90 - 32) * clip / 10
        frames = [video[int(min(start + 31 * k / 3, 89))] for k in range(4)]
        frames = [cv2.resize(f, (48, 32), interpolation=cv2.INTER_LINEAR) for f in frames]
        for x in (0, 8, 16):
            crop = np.stack([f[:, x : x + short] for f in frames])
            expected.append(content_scores(crop[None])[0])
    views = list(video_views(video, 30.0, sampling, short_side_px=short))
    assert sum(len(v) for v in views) == 30
    got = classify_video(content_scores, video, 30.0, sampling, short_side_px=short)
    np.testing.assert_allclose(got, np.mean(expected, 0), rtol=1e-12)
    best = classify_video(content_scores, video, 30.0, sampling, short_side_px=short, combine="max")
    np.testing.assert_allclose(best, np.max(expected, 0), rtol=1e-12)


def people_scores(frames, rows):
    """For each box: mean colour inside it, and its share of the left half."""
    scores = []
    for _, x1, y1, x2, y2 in rows:
        inside = frames[0, :, round(float(y1)) : round(float(y2)), round(float(x1)) : round(float(x2))]
        scores.append([inside.mean() / 255, inside[:, :, : inside.shape[2] // 2].mean() / 255])
    return np.array(scores).reshape(-1, 2)


def test_scales_and_flips_equal_a_naive_loop():
    frames = noise_video(3, 60, 90)
    boxes = np.array([[10.0, 6, 40, 50], [50, 20, 88, 58]])
    expected = np.zeros((2, 2))
    for short in (30, 60, 90):
        k = short / 60
        scaled = np.stack([cv2.resize(f, (round(90 * k), short), interpolation=cv2.INTER_LINEAR) for f in frames])
        for n, (x1, y1, x2, y2) in enumerate(boxes * k):
            expected[n] += people_scores(scaled[None], [(0, x1, y1, x2, y2)])[0] / 6
            w = scaled.shape[2]
            expected[n] += people_scores(scaled[None, :, :, ::-1], [(0, w - x2, y1, w - x1, y2)])[0] / 6
    got = score_people(people_scores, frames, boxes, (30, 60, 90), flip=True)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_one_scale_without_flip_is_the_network_itself():
    frames, boxes = noise_video(2, 64, 80), np.array([[8.0, 8, 40, 48]])
    np.testing.assert_allclose(
        score_people(people_scores, frames, boxes, (64,)), people_scores(frames[None], [(0, 8, 8, 40, 48)])
    )


def test_nobody_in_the_picture_is_ordinary():
    got = score_people(people_scores, noise_video(2, 64, 80), np.zeros((0, 4)), (32, 64), flip=True)
    assert got.shape == (0, 2)


def test_a_mirrored_person_mirrored_again_is_the_same_person():
    rows = np.array([[0, 3.5, 1, 20, 30]], np.float32)
    mirrored = mirror_rows(rows, 100)
    np.testing.assert_array_equal(mirrored, [[0, 80, 1, 96.5, 30]])
    np.testing.assert_array_equal(mirror_rows(mirrored, 100), rows)


def test_no_scales_are_refused():
    with pytest.raises(ValueError, match="at least one scale"):
        score_people(people_scores, noise_video(1, 32, 32), np.zeros((1, 4)), ())


def test_an_ensemble_is_the_mean_of_its_models_scores_for_videos_and_for_people():
    video = noise_video(20, 36, 48)
    single = [lambda c: content_scores(c), lambda c: content_scores(c) ** 2, lambda c: 1 - content_scores(c)]
    together = classify_video(average_of(single), video, 30.0, Sampling(4, 2), 2, 3, 32)
    apart = [classify_video(s, video, 30.0, Sampling(4, 2), 2, 3, 32) for s in single]
    np.testing.assert_allclose(together, np.mean(apart, 0), rtol=1e-12)

    boxes = np.array([[2.0, 3, 30, 31]])
    both = [people_scores, lambda f, r: people_scores(f, r) / 2]
    np.testing.assert_allclose(
        score_people(average_of(both), video, boxes, (36, 48), flip=True),
        score_people(people_scores, video, boxes, (36, 48), flip=True) * 0.75,
    )


def test_an_ensemble_of_models_with_other_labels_is_refused():
    with pytest.raises(ValueError, match="same labels"):
        average_of([lambda c: np.zeros((1, 3)), lambda c: np.zeros((1, 4))])(np.zeros(1))
    with pytest.raises(ValueError, match="at least one"):
        average_of([])


def test_top_k_counts_the_true_class_among_the_best():
    scores = np.array([[0.1, 0.5, 0.4], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.3, 0.3, 0.3]])
    labels = np.array([1, 1, 0, 2])
    assert top_k_accuracy(scores, labels) == 0.25
    assert top_k_accuracy(scores, labels, 2) == 0.5
    assert top_k_accuracy(scores, labels, 3) == 1.0


def test_mean_average_precision_by_hand_and_without_absent_classes():
    scores = np.array([[0.9, 0.2, 0.1], [0.8, 0.9, 0.1], [0.7, 0.4, 0.1], [0.1, 0.3, 0.1]])
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    # Class 0: true at ranks 1 and 3; class 1: at ranks 1 and 3; class 2 is in no video.
    assert mean_average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(mean_average_precision(scores, np.zeros_like(labels)))
