"""The whole frame and the tube show the same world points where they say they do."""

from __future__ import annotations

import numpy as np
import pytest

from detector.types import Boxes, Clip, Frame
from detector.views import FrameView, TubeView, _scale_xyxy, _shrunk, shrunk_hw


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
    assert rows[0].tolist() == [0, 16, 16, 16, 16]  # the smallest tube is one pixel of the frame


def test_what_the_network_gets_is_bytes_and_float32():
    box = Boxes([[20, 40, 100, 80]], [1])
    for view in (FrameView(), TubeView(32)):
        frames, rows = view.prepare(ramp_clip(), box)
        assert (frames.dtype, rows.dtype) == (np.uint8, np.float32)
    assert _scale_xyxy((120, 200), (240, 400)).dtype == np.float32
    assert TubeView().place(box, (120, 200), (240, 400))[1].dtype == np.float32


def test_a_box_smaller_than_a_pixel_gets_a_tube_of_one_pixel():
    windows, _ = TubeView(32, 1.0).place(Boxes([[100, 100, 100.5, 100.5]], [1]), (120, 200), (120, 200))
    assert windows[0].zoom == 32


def test_beyond_the_border_the_tube_repeats_the_border_on_every_side():
    # The border's own values are 200 and more: nothing can be taken for the black that OpenCV puts there.
    images = np.full((1, 60, 80, 3), 100, np.uint8)
    images[0, 0], images[0, -1], images[0, :, 0], images[0, :, -1] = 200, 210, 220, 230
    clip = Clip(images, Frame(np.zeros((60, 80, 3), np.uint8), 0, 0.0), 0)
    tubes, _ = TubeView(64, 2.0).prepare(clip, Boxes([[0, 0, 40, 60]], [1]))
    assert tubes.min() >= 100
    assert tubes[0, 0, :, 0].min() >= 199


@pytest.mark.parametrize("size", [16, 30])
def test_a_person_larger_than_the_tube_is_shrunk_by_area(size):
    # Stripes one pixel wide are an even grey from afar; picked points of them would be black or white.
    images = np.zeros((1, 240, 400, 3), np.uint8)
    images[:, :, ::2] = 200
    clip = Clip(images, Frame(np.zeros((240, 400, 3), np.uint8), 0, 0.0), 0)
    tubes, _ = TubeView(size, 1.0).prepare(clip, Boxes([[100, 20, 300, 220]], [1]))
    inner = tubes[0, 0, 2:-2, 2:-2].astype(int)
    assert abs(inner - 100).max() <= 30


def test_a_shrunk_tube_lies_where_the_unshrunk_would():
    """Independent truth: pixel (i, j) of the tube is the world point left + (i + 0.5) / zoom, to a tenth of a pixel."""
    w = 400
    images = np.zeros((1, 240, w, 3), np.uint8)
    images[..., 0] = np.rint(np.arange(w) * 255 / w)
    images[..., 1] = np.rint(np.arange(240) * 0.9)[:, None]
    clip = Clip(images, Frame(np.zeros((240, w, 3), np.uint8), 0, 0.0), 0)
    size, side = 50, 200.0
    tubes, _ = TubeView(size, 1.0).prepare(clip, Boxes([[100, 20, 300, 220]], [1]))
    x = 100 + (np.arange(size) + 0.5) * side / size - 0.5
    y = 20 + (np.arange(size) + 0.5) * side / size - 0.5
    got = tubes[0, 0].astype(float)
    assert abs((got[..., 0].mean(0) - x * 255 / w)[2:-2].mean()) < 0.4
    assert abs((got[..., 1].mean(1) - y * 0.9)[2:-2].mean()) < 0.4


@pytest.mark.parametrize(("frame_hw", "zoom", "expected"), [
    ((120, 200), 0.25, (30, 50)), ((200, 120), 0.1, (20, 12)), ((120, 200), 0.001, (1, 1)), ((3, 1000), 0.1, (1, 100)),
])
def test_frames_are_shrunk_to_the_tubes_zoom_and_never_to_nothing(frame_hw, zoom, expected):
    assert shrunk_hw(frame_hw, zoom) == expected
    assert _shrunk(np.zeros((1, *frame_hw, 3), np.uint8), zoom).shape == (1, *expected, 3)


def test_a_tube_of_half_size_is_cut_from_the_frames_themselves():
    clip = ramp_clip()
    shrunk = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detector.views._shrunk", lambda images, zoom: shrunk.append(zoom) or images)
        for size in (72, 36, 30):  # of a tube of 72 pixels
            TubeView(size, 1.5).prepare(clip, Boxes([[160, 72, 240, 168]], [1]))
    assert shrunk == [pytest.approx(30 / 72)]
