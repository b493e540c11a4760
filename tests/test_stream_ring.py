import numpy as np
import pytest

from detector.sampling import Sampling
from detector.types import Boxes, Frame
from detector.views import FrameView
from stream.geometry import Fit, fit_short_side, scale_boxes
from stream.ring import Ring, shrink


def frame_at(time_s: float, index: int = 0, size_hw=(36, 64), value: int = 0) -> Frame:
    return Frame(np.full((*size_hw, 3), value, np.uint8), index, time_s, 100 + time_s)


def filled(fps: float, seconds: float, horizon_s: float = 10.0) -> Ring:
    """A ring whose frame i is grey i."""
    ring = Ring((9, 16), horizon_s)
    for i in range(round(fps * seconds)):
        ring.write(frame_at(i / fps, i, value=i % 256))
    return ring


@pytest.mark.parametrize(("source_hw", "expected"), [
    ((1080, 1920), (256, 455)), ((720, 1280), (256, 455)), ((576, 768), (256, 341)), ((768, 576), (341, 256)),
    ((100, 100), (256, 256)), ((10, 1000), (256, 1024)), ((1, 1), (256, 256)),
])
def test_short_side_becomes_256_and_the_long_one_is_floored(source_hw, expected):
    assert fit_short_side(source_hw, 256) == expected


def test_frames_become_rgb():
    out = np.zeros((9, 16, 3), np.uint8)
    shrink(np.full((36, 64, 3), (1, 2, 3), np.uint8), (9, 16), out)
    assert out[4, 8].tolist() == [3, 2, 1]


def test_another_shape_keeps_its_proportions_and_leaves_a_black_border():
    fit = Fit((64, 36), (36, 64))
    assert fit.content_hw == (36, 20)
    out = np.full((36, 64, 3), 9, np.uint8)
    shrink(np.full((64, 36, 3), 200, np.uint8), (36, 64), out)
    assert out[:, :20].min() == 200
    assert out[:, 20:].max() == 0
    # A point of the picture lies where one scale for both directions puts it.
    point = scale_boxes(np.array([[36, 64, 36, 64]], np.float32), fit.padded_hw, (36, 64))[0]
    np.testing.assert_allclose(point[:2], [20.25, 36], atol=0.3)


def test_the_same_shape_at_another_size_fills_the_frame():
    assert Fit((720, 1280), (256, 455)).fills
    assert Fit((360, 640), (256, 455)).padded_hw == (360, 640)
    assert not Fit((480, 640), (256, 455)).fills


@pytest.mark.parametrize("fps", [15.0, 60.0])
def test_slow_and_fast_cameras_show_the_network_the_same_seconds(fps):
    # Frames are made of their time, so the clip tells which seconds it shows: 20 grey levels a second.
    ring = Ring((9, 16), 10.0)
    for i in range(round(fps * 5)):
        ring.write(frame_at(i / fps, i, value=round(20 * i / fps)))
    sampling = Sampling()
    key = ring.nearest(2.4)
    clip = ring.clip(key, sampling.offsets_s, sampling.key_index)
    seconds = clip.images[:, 0, 0, 0] / 20
    np.testing.assert_allclose(seconds, key.time_s + sampling.offsets_s, atol=0.5 / fps + 0.026)
    assert clip.key_frame.index == round(2.4 * fps)


def test_clip_of_a_30_fps_source_is_the_published_sampling():
    ring = filled(30, 4)
    key = ring.nearest(2.0)
    sampling = Sampling()
    clip = ring.clip(key, sampling.offsets_s, sampling.key_index)
    assert clip.images[:, 0, 0, 0].tolist() == list(range(60 - 32, 60 + 32, 2))
    assert clip.images[sampling.key_index, 0, 0, 0] == 60


def test_clip_is_clamped_at_both_ends():
    ring = filled(10, 1)
    clip = ring.clip(ring.nearest(0.0), np.array([-0.5, 0.0, 0.5, 5.0]), 1)
    assert clip.images[:, 0, 0, 0].tolist() == [0, 0, 5, 9]


@pytest.mark.parametrize(("key_s", "share"), [(0.0, 0.5), (0.9, 0.25), (0.5, 0.0)])
def test_a_clip_says_how_much_of_it_repeats_a_frame(key_s, share):
    ring = filled(10, 1)
    assert ring.clip(ring.nearest(key_s), np.array([-0.3, -0.2, 0.0, 0.2]), 2).filled == share


def test_old_frames_go_by_time_and_their_memory_is_used_again():
    ring = filled(30, 20, horizon_s=2.0)
    assert ring.nearest(0.0).time_s >= 20 - 1 / 30 - 2.0 - 1e-6
    assert len(ring) == 61
    assert len(ring._free) + len(ring) == 122
    # Only as many slots were ever touched as two seconds of this camera need.
    assert len({*ring._slots}) == 61
    assert max(122 - s for s in ring._slots) <= 62


def test_a_source_faster_than_the_ring_is_thinned():
    ring = filled(240, 2)
    assert 100 <= len(ring) <= 121


def test_time_that_stands_still_or_goes_back_is_not_kept():
    ring = Ring((9, 16), 1.0)
    assert ring.write(frame_at(1.0))
    assert not ring.write(frame_at(1.0, 1))
    assert not ring.write(frame_at(0.5, 2))
    assert len(ring) == 1


def test_moment_at_or_before():
    ring = filled(10, 1)
    assert ring.at_or_before(0.35).index == 3
    assert ring.at_or_before(0.3).index == 3
    assert ring.at_or_before(-0.1) is None


def test_boxes_of_a_resized_source_reach_the_network_at_the_same_place():
    ring = Ring((36, 64), 5.0)
    ring.write(frame_at(0.0, 0, (72, 128)))
    ring.write(frame_at(0.1, 1, (144, 256)))
    for position, (size_hw, box) in enumerate([((72, 128), [32, 18, 64, 36]), ((144, 256), [64, 36, 128, 72])]):
        key = ring.nearest(position / 10)
        assert key.source_hw == size_hw
        clip = ring.clip(key, np.array([0.0]), 0)
        _, rois = FrameView(36).prepare(clip, Boxes([box], [1.0]))
        np.testing.assert_allclose(rois[0], [0, 16, 9, 32, 18])


def test_an_empty_ring_gives_no_clip():
    ring = Ring((9, 16), 1.0)
    assert ring.newest() is None
    assert ring.nearest(0.0) is None
    with pytest.raises(ValueError, match="empty ring"):
        ring.clip(filled(10, 1).newest(), np.array([0.0]), 0)
