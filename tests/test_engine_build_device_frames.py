"""Pictures of streams on a device (here the CPU): each goes there once, and clips are those of the ring."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from detector.types import Boxes, Clip, Frame, Origin
from detector.views import FrameView, TubeView
from engine_build.device_frames import KEPT_CLIPS, DeviceFrames
from engine_build.engine import prepare
from stream.ring import Ring


def filled(frames: int = 60, size_hw=(36, 64), seed: int = 0) -> tuple[Ring, list]:
    ring = Ring(size_hw, 10.0)
    rng = np.random.default_rng(seed)
    moments = []
    for i in range(frames):
        ring.write(Frame(rng.integers(0, 256, (72, 128, 3), dtype=np.uint8), i, i / 30))
        moments.append(ring.newest())
    return ring, moments


OFFSETS_S = np.arange(-4, 4) * 2 / 30


def test_clips_of_a_ring_are_the_rings_and_shared_frames_go_once():
    ring, moments = filled()
    frames = DeviceFrames("cpu")
    seen = set()
    for key in (20, 24, 25, 31, 33, 40, 20):
        clip = ring.clip(moments[key], OFFSETS_S, 4)
        assert np.array_equal(frames.clip(clip).numpy(), clip.images)
        seen |= set(clip.origin.serials)
    assert frames.gathered == 7 * 8
    # The last clip is so old that its pictures had gone; all others went once.
    assert len(seen) <= frames.uploaded <= len(seen) + 8


def test_a_clip_at_the_start_shows_one_frame_many_times():
    ring, moments = filled(3)
    clip = ring.clip(moments[0], OFFSETS_S, 4)
    frames = DeviceFrames("cpu")
    assert np.array_equal(frames.clip(clip).numpy(), clip.images)
    assert frames.uploaded == 2


def test_streams_are_kept_apart_and_go_with_their_ring():
    frames = DeviceFrames("cpu")
    rings = [filled(seed=seed) for seed in (0, 1)]
    for ring, moments in rings:
        clip = ring.clip(moments[30], OFFSETS_S, 4)
        assert np.array_equal(frames.clip(clip).numpy(), clip.images)
    assert len(frames._streams) == 2
    del rings, ring, moments, clip
    gc.collect()
    assert len(frames._streams) == 0


def test_a_clip_keeps_no_ring_alive():
    import weakref

    ring, moments = filled()
    clip, gone = ring.clip(moments[30], OFFSETS_S, 4), weakref.ref(ring)
    del ring
    gc.collect()
    assert gone() is None
    assert clip.origin is not None


def test_memory_stays_bounded():
    ring, moments = filled(200)
    frames = DeviceFrames("cpu")
    for moment in moments[20::3]:
        frames.clip(ring.clip(moment, OFFSETS_S, 4))
    kept = next(iter(frames._streams.values()))
    assert len(kept.pixels) == KEPT_CLIPS * 8
    assert len(kept.slots) + len(kept.free) == KEPT_CLIPS * 8


def test_a_clip_from_elsewhere_is_sent_whole():
    clip = Clip(np.zeros((4, 8, 8, 3), np.uint8), Frame(np.zeros((8, 8, 3), np.uint8), 0, 0.0), 1)
    frames = DeviceFrames("cpu")
    for _ in range(2):
        assert frames.clip(clip).shape == (4, 8, 8, 3)
    assert frames.uploaded == 8


def test_an_origin_names_every_picture():
    key = Frame(np.zeros((8, 8, 3), np.uint8), 0, 0.0)
    with pytest.raises(ValueError, match=r"Clip\.origin: got 3 serials, expected 4, one a picture"):
        Clip(np.zeros((4, 8, 8, 3), np.uint8), key, 1, Origin(object(), (1, 2, 3)))


@pytest.mark.parametrize("view", [FrameView(36), TubeView(24)])
def test_prepared_clips_are_the_views(view):
    ring, moments = filled()
    clip = ring.clip(moments[30], OFFSETS_S, 4)
    boxes = Boxes([[10, 10, 60, 66], [50, 5, 90, 70]], [1, 1])
    expected, expected_rows = view.prepare(clip, boxes)
    found, rows = DeviceFrames("cpu").prepare(view, clip, boxes)
    assert np.array_equal(rows, expected_rows)
    assert found.shape == expected.shape
    assert np.abs(found.numpy().astype(int) - expected).max() <= 1


def test_engines_without_a_way_of_their_own_get_the_views():
    ring, moments = filled()
    clip, boxes, view = ring.clip(moments[30], OFFSETS_S, 4), Boxes([[10, 10, 60, 66]], [1]), TubeView(24)

    class Plain:
        pass

    class OnDevice:
        def prepare(self, *given):
            return DeviceFrames("cpu").prepare(*given)

    assert isinstance(prepare(Plain(), view, clip, boxes)[0], np.ndarray)
    assert isinstance(prepare(OnDevice(), view, clip, boxes)[0], torch.Tensor)
