"""The whole frame and the tube show the same world points where they say they do."""

from __future__ import annotations

import numpy as np
import pytest

from detector.types import Boxes, Clip, Frame
from detector.views import FrameView, TubeView


def ramp_clip(h: int = 120, w: int = 200, full_scale: int = 2, frames: int = 3) -> Clip:
    """Red is the x of the pixel's centre, green its y, blue the frame's number."""
    images = np.zeros((frames, h, w, 3), np.uint8)
    images[..., 0] = np.arange(w)
    images[..., 1] = np.arange(h)[:, None]
    images[..., 2] = np.arange(frames)[:, None, None]
    return Clip(images, Frame(np.zeros((h * full_scale, w * full_scale, 3), np.uint8), 0, 0.0), 1)


def test_frame_view_scales_boxes_to_the_resized_frame():
    clip = ramp_clip()
    frames, rows = FrameView().prepare(clip, Boxes([[20, 40, 100, 80], [0, 0, 400, 240]], [1, 1]))
    assert frames.shape == (1, 3, 120, 200, 3)
    assert np.shares_memory(frames, clip.images)
    assert rows.tolist() == [[0, 10, 20, 50, 40], [0, 0, 0, 200, 120]]


@pytest.mark.parametrize("view", [FrameView(), TubeView()])
def test_nobody_gives_no_rows(view):
    frames, rows = view.prepare(ramp_clip(), Boxes.empty())
    assert rows.shape == (0, 5)
    assert frames.ndim == 5


@pytest.mark.parametrize("size", [24, 48, 96])
def test_tube_shows_the_person_where_its_roi_row_says(size):
    # A box of 40x48 resized pixels round (100, 60): the tube is 1.5 * 48 = 72 px wide, zoomed to `size`.
    box = np.array([80, 36, 120, 84], np.float32)
    tubes, rows = TubeView(size, 1.5).prepare(ramp_clip(), Boxes(box[None] * 2, [1]))
    assert tubes.shape == (1, 3, size, size, 3)
    zoom = size / 72
    assert rows[0].tolist() == pytest.approx([0, *((box - [64, 24, 64, 24]) * zoom)], abs=1e-4)
    # Independent truth: pixel (i, j) of the tube is the world point 64 + (i + 0.5) / zoom, 24 + (j + 0.5) / zoom.
    inner = slice(2, -2)
    x = 64 + (np.arange(size) + 0.5) / zoom - 0.5
    y = 24 + (np.arange(size) + 0.5) / zoom - 0.5
    red, green, blue = (tubes[0, ..., c].astype(float) for c in range(3))
    assert np.abs(red[0] - x)[inner, inner].max() <= 1
    assert np.abs(green[0] - y[:, None])[inner, inner].max() <= 1
    assert [blue[t].max() for t in range(3)] == [0, 1, 2]


def test_tube_at_the_border_repeats_the_border():
    tubes, _ = TubeView(32, 2.0).prepare(ramp_clip(), Boxes([[0, 0, 40, 40]], [1]))
    assert tubes[0, 0, 0, 0].tolist() == [0, 0, 0]
    assert (tubes[0, 0, :, 0, 0] == 0).all()


def test_a_box_without_area_does_not_break_the_tube():
    tubes, rows = TubeView(32).prepare(ramp_clip(), Boxes([[10, 10, 10, 10]], [1]))
    assert np.isfinite(rows).all()
    assert tubes.shape == (1, 3, 32, 32, 3)
