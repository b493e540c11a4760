"""Tubes cut by torch are the tubes cut by OpenCV, to a level."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from detector import device_views
from detector.device_views import prepare_on_device
from detector.types import Boxes, Clip, Frame
from detector.views import FrameView, TubeView


def noisy_clip(size_hw=(90, 160), key_hw=(360, 640), frames: int = 4, seed: int = 0) -> Clip:
    """Noise has the steepest edges there are, so a point that lies wrong by a hundredth shows."""
    images = np.random.default_rng(seed).integers(0, 256, (frames, *size_hw, 3), dtype=np.uint8)
    return Clip(images, Frame(np.zeros((*key_hw, 3), np.uint8), 0, 0.0), 1)


def both(view, clip: Clip, boxes: Boxes):
    found, rows = prepare_on_device(view, torch.from_numpy(clip.images), boxes, clip.key_frame.size_hw)
    expected, expected_rows = view.prepare(clip, boxes)
    assert np.array_equal(rows, expected_rows)
    assert found.dtype == torch.uint8
    assert found.shape == expected.shape
    return found.numpy().astype(int), expected.astype(int)


BOXES = {
    "enlarged": [[200, 100, 260, 180]],
    "about as large": [[100, 40, 300, 260]],
    "larger than the tube": [[30, 20, 600, 340]],
    "much larger": [[-300, -200, 1200, 700]],
    "over the border": [[-40, -20, 60, 90], [600, 300, 700, 420]],
    "without area": [[50, 50, 50, 50]],
    "several at once": [[200, 100, 260, 180], [30, 20, 600, 340], [100, 40, 300, 260], [5, 5, 25, 45]],
}


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES.keys())
@pytest.mark.parametrize("size_px", [24, 80])
def test_tubes_are_opencvs_within_one_level(boxes, size_px):
    found, expected = both(TubeView(size_px), noisy_clip(), Boxes(boxes, np.ones(len(boxes))))
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.05


@pytest.mark.parametrize("seed", range(8))
def test_tubes_anywhere_are_opencvs_within_one_level(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-100, 700, (6, 2, 2))
    xyxy = np.concatenate([corners.min(1), corners.max(1)], 1)
    size_hw = tuple(rng.integers(40, 130, 2).tolist())
    found, expected = both(TubeView(48), noisy_clip(size_hw, seed=seed), Boxes(xyxy, np.ones(6)))
    assert np.abs(found - expected).max() <= 1


def test_whole_frames_stay_as_they_are():
    found, expected = both(FrameView(), noisy_clip(), Boxes([[20, 40, 100, 80], [0, 0, 640, 360]], [1, 1]))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("view", [FrameView(), TubeView(32)])
def test_nobody_gives_no_rows(view):
    both(view, noisy_clip(), Boxes.empty())


def test_the_older_opencvs_grid_of_points(monkeypatch):
    """Truth worked out by hand: 0.3 pixels are 307 of 1024, and with half a 32nd more, cut off, 10 of 32."""
    monkeypatch.setattr(device_views, "_opencv_snaps_to_32nds", lambda: True)
    x, y = device_views._points(device_views.Window(1.0, 0.3, -0.3), 3, (1.0, 1.0))
    assert (x * 32).tolist() == [10, 42, 74]
    assert (y * 32).tolist() == [-10, 22, 54]


def test_the_grid_is_asked_of_opencv(monkeypatch):
    for answer, snaps in ((4, False), (8, True)):
        device_views._opencv_snaps_to_32nds.cache_clear()
        monkeypatch.setattr(cv2, "warpAffine", lambda *a, answer=answer, **k: np.full((2, 2), answer, np.uint8))
        assert device_views._opencv_snaps_to_32nds() is snaps
    device_views._opencv_snaps_to_32nds.cache_clear()
