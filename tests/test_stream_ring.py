import numpy as np
import pytest

from detector.sampling import Sampling
from detector.types import Boxes, Frame
from detector.views import FrameView
from stream.geometry import Fit, fit_short_side, scale_boxes
from stream.ring import Moment, Ring, shrink


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


def test_a_moment_is_all_of_a_frame_but_its_pixels():
    frame = Frame(np.zeros((36, 64, 3), np.uint8), 7, 1.5, 101.5, 3)
    assert Moment.of(frame) == Moment(7, 1.5, 101.5, (36, 64), 3)


def test_frames_are_shrunk_by_bilinear_sampling_of_pixel_centres():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (10 * np.arange(8)[None, :, None]).astype(np.uint8)
    out = np.zeros((4, 4, 3), np.uint8)
    shrink(image, (4, 4), out)
    assert out[0, :, 0].tolist() == [5, 25, 45, 65]
    stripes = np.zeros((9, 9, 3), np.uint8)
    stripes[:, 1::3] = 240
    shrink(stripes, (3, 3), out := np.zeros((3, 3, 3), np.uint8))
    assert out[0, :, 0].tolist() == [240] * 3  # an average of areas would be 80


@pytest.mark.parametrize("horizon_s", [0, -1.0])
def test_a_ring_keeps_some_time(horizon_s):
    with pytest.raises(ValueError, match=f"horizon_s: got {horizon_s}, expected more than 0"):
        Ring((9, 16), horizon_s)


def test_the_newest_is_the_last_one_kept_and_all_are_listed_oldest_first():
    ring = filled(10, 0.5)
    assert ring.newest().index == 4
    assert [moment.index for moment in ring.moments()] == [0, 1, 2, 3, 4]
    ring.moments().clear()
    assert len(ring) == 5


def test_pictures_are_copies_of_the_frames_that_were_asked_for():
    ring = filled(10, 2, horizon_s=1.0)
    third, last = ring.nearest(1.3), ring.newest()
    got = ring.pictures([last, third])
    assert got[:, 0, 0, 0].tolist() == [19, 13]
    got[:] = 0
    assert ring.pictures([third])[0, 0, 0, 0] == 13
    assert ring.pictures(ring.moments())[:, 0, 0, 0].tolist() == list(range(9, 20))
    assert ring.pictures([last, Moment(2, 0.2, 100.2, (36, 64))]) is None


def test_after_a_gap_the_ring_begins_anew():
    ring = filled(10, 1)
    before = ring.newest()
    assert ring.write(frame_at(9.0, 10, value=77))
    assert [moment.time_s for moment in ring.moments()] == [9.0]
    assert len(ring._free) + len(ring) == 602  # no slot is lost
    offsets = np.array([-0.5, 0.0, 0.5])
    assert ring.clip(before, offsets, 1) is None
    assert ring.clip(ring.newest(), offsets, 1).images[:, 0, 0, 0].tolist() == [77] * 3


def test_stamps_of_another_segment_begin_it_anew_though_their_times_go_on():
    ring = filled(10, 1)
    old = ring.newest()
    ring.write(Frame(np.full((36, 64, 3), 55, np.uint8), 10, 1.0, 101.0, 1))
    assert len(ring) == 1
    assert ring.pictures([old]) is None
    assert ring.pictures([ring.newest()])[0, 0, 0, 0] == 55


def test_a_frame_that_comes_as_soon_as_the_ring_allows_is_kept():
    ring = Ring((9, 16), 1.0, max_fps=0.8 * 4)
    assert ring.write(frame_at(1.0))
    assert ring.write(frame_at(1.25, 1))


def test_slots_of_old_frames_are_the_oldest_ones():
    ring = filled(10, 3, horizon_s=1.0)
    for moment in ring.moments():
        assert ring.clip(moment, np.array([0.0]), 0).images[0, 0, 0, 0] == moment.index


def test_a_clips_key_frame_is_the_moment_and_its_origin_tells_the_frames():
    ring = filled(10, 2, horizon_s=1.0)
    key = ring.nearest(1.5)
    clip = ring.clip(key, np.array([-0.2, 0.0, 0.1]), 1)
    assert (clip.key_frame.index, clip.key_frame.time_s, clip.key_frame.captured_s) == (15, 1.5, 101.5)
    assert (clip.key_index, clip.key_frame.image.max()) == (1, 0)
    assert clip.origin.serials == (13, 15, 16)
    assert ring.clip(ring.moments()[0], np.array([0.0]), 0).origin.serials == (9,)
    assert clip.origin.memory is ring.clip(key, np.array([0.0]), 0).origin.memory
    assert clip.origin.memory is not filled(10, 1).clip(filled(10, 1).newest(), np.array([0.0]), 0).origin.memory


def test_of_two_frames_as_near_the_earlier_is_taken_also_where_rounding_says_otherwise():
    ring = Ring((9, 16), 5.0)
    for i in range(4):
        ring.write(frame_at(i / 2, i, value=i))
    clip = ring.clip(ring.nearest(0.0), np.array([0.25, 0.25 + 2e-10, 0.2501]), 0)
    assert clip.images[:, 0, 0, 0].tolist() == [0, 0, 1]
