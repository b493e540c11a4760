"""Files, pushed frames, and every way in which a user can name something that is not a video."""

import math
import time
from itertools import islice

import numpy as np
import pytest
from conftest import number_of
from stream_fakes import Clock

from detector.errors import UserError
from stream.sources import PushSource, VideoFile, open_source
from stream.sources.decode import MediaClock, sane_fps


def test_a_file_gives_every_frame_with_its_time(write_video):
    source = open_source(str(write_video(frames=20, fps=10)))
    frames = list(source)
    assert [number_of(f.image) for f in frames] == list(range(20))
    assert [f.index for f in frames] == list(range(20))
    assert [f.time_s for f in frames] == pytest.approx(np.arange(20) / 10)
    assert (source.live, source.fps, source.size_hw) == (False, 10.0, (48, 64))


def test_times_come_from_the_file_where_its_rate_varies(write_video):
    times_s = [0, 0.1, 0.4, 0.5, 1.5]
    source = open_source(str(write_video(frames=5, times_s=times_s)))
    assert [f.time_s for f in source] == pytest.approx(times_s, abs=1e-3)


@pytest.mark.parametrize(("name", "times_s"), [
    ("lapse.mp4", [0, 90, 180, 270]), ("lapse.mkv", [0, 3600, 7200, 90000]),
    ("pause.mp4", [0, 0.1, 0.2, 1800.2, 1800.3]), ("lapse.ts", [0, 90, 180, 270]),
])
def test_pauses_of_any_length_keep_their_times(write_video, name, times_s):
    source = open_source(str(write_video(name, frames=len(times_s), times_s=times_s, fps=1 / 90)))
    assert [f.time_s for f in source] == pytest.approx(times_s, abs=2e-3)


def test_a_jump_in_a_spliced_broadcast_is_no_pause(write_video):
    # What the jump itself lasted nobody knows: a frame of the nominal 25 a second.
    source = open_source(str(write_video("spliced.ts", frames=5, times_s=[0, 0.1, 0.2, 1800.2, 1800.3], fps=10)))
    assert [f.time_s for f in source] == pytest.approx([0, 0.1, 0.2, 0.24, 0.34], abs=0.01)


def test_a_time_lapse_that_loops_keeps_its_beat(write_video):
    source = open_source(str(write_video(frames=3, times_s=[0, 90, 180], fps=1 / 90)), loop=True)
    assert [f.time_s for f in islice(source, 5)] == pytest.approx([0, 90, 180, 270, 360], abs=0.1)


def test_one_frame_and_odd_sizes(write_video):
    # yuv444p would be needed for truly odd H.264; MPEG-4 stores odd sizes as they are.
    source = open_source(str(write_video("odd.avi", frames=1, size_hw=(47, 61), codec="mpeg4")))
    frames = list(source)
    assert [f.size_hw for f in frames] == [(47, 61)]


def test_a_loop_goes_on_in_time(write_video):
    source = open_source(str(write_video(frames=3, fps=10)), loop=True)
    frames = list(islice(source, 8))
    source.close()
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [f.time_s for f in frames] == pytest.approx(np.arange(8) / 10)
    assert [f.index for f in frames] == list(range(8))


def test_a_file_played_live_is_paced_and_leaves_out_what_is_too_late(write_video):
    clock = Clock()
    source = VideoFile(write_video(frames=20, fps=10), live=True, clock=clock)
    waits = []

    def wait(seconds):
        waits.append(round(seconds, 6))
        clock.now_s += seconds
        return False

    source._stop.wait = wait
    frames = iter(source)
    assert [next(frames).index for _ in range(3)] == [0, 1, 2]
    assert waits == [0.1, 0.1]
    # Whoever reads is gone for a second: frames more than half a second late are never given.
    clock.now_s += 1.0
    late = next(frames)
    assert late.index == 7
    assert late.time_s == pytest.approx(0.7)


def test_a_long_start_is_not_lateness(write_video):
    clock = Clock()
    source = VideoFile(write_video(frames=5, fps=10), live=True, clock=clock)
    source._stop.wait = lambda seconds: False
    frames = iter(source)
    next(frames)
    clock.now_s += 30.0  # an engine is built
    assert next(frames).index == 1


def test_a_damaged_file_gives_what_can_be_read(write_video):
    path = write_video(frames=40, size_hw=(96, 128))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 200] = bytes(200)
    path.write_bytes(data)
    frames = list(open_source(str(path)))
    assert 20 <= len(frames) <= 40


def not_a_video(path):
    path.write_text("hello")


def no_picture(path):
    import av

    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


def folder(path):
    path.mkdir()


@pytest.mark.parametrize(("make", "says"), [
    (lambda path: None, "no such file"), (lambda path: path.write_bytes(b""), "is empty"),
    (not_a_video, "Invalid data"),
    (no_picture, "no video in it"), (folder, "is a folder"),
])
def test_what_is_not_a_video_is_one_line(tmp_path, make, says):
    path = tmp_path / "thing.mp4"
    make(path)
    with pytest.raises(UserError, match=says) as caught:
        open_source(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_one_line(write_video):
    path = write_video(frames=40)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"cannot be opened|no picture"):
        open_source(str(path))


def test_a_camera_that_is_not_there_names_those_that_are():
    with pytest.raises(UserError, match=r"camera 7: there is no /dev/video7; this machine has"):
        open_source("7")


@pytest.mark.parametrize("fps", [0, -1, 90000, float("nan"), float("inf"), None, 0.01])
def test_rates_that_cannot_be_are_not_believed(fps):
    assert sane_fps(fps) is None


@pytest.mark.parametrize(("stamps", "fps", "expected"), [
    ([0, 0.1, 0.2], 10, [0, 0.1, 0.2]),
    ([5.0, 5.1, 5.3], 10, [0, 0.1, 0.3]),
    ([None, None, None], 20, [0, 0.05, 0.1]),
    ([None, None], None, [0, 0.04]),
    ([0, 0, 0], 10, [0, 0.1, 0.2]),
    ([0, 1 / 90000, 2 / 90000], 10, [0, 0.1, 0.2]),
    ([1.0, 0.5, 0.6], 10, [0, 0.1, 0.2]),
    ([0, 3600, 3600.1], 10, [0, 0.1, 0.2]),
])
def test_media_time_increases_whatever_the_stamps(stamps, fps, expected):
    clock = MediaClock(fps)
    assert [clock.next(stamp) for stamp in stamps] == pytest.approx(expected)


def test_pushed_frames_come_in_order_and_the_oldest_is_dropped():
    source = PushSource(capacity=2)
    for i in range(4):
        assert source.push(np.full((4, 4, 3), i, np.uint8), i / 10)
    source.end()
    frames = list(source)
    assert [f.index for f in frames] == [2, 3]
    assert [f.time_s for f in frames] == pytest.approx([0.2, 0.3])


def test_pushed_times_always_increase():
    clock = Clock(50.0)
    source = PushSource(capacity=9, clock=clock)
    for stamp in (1.0, 1.0, 0.2, 1.5):
        source.push(np.zeros((4, 4, 3), np.uint8), stamp)
    clock.now_s += 7
    source.push(np.zeros((4, 4, 3), np.uint8))
    source.end()
    times = [f.time_s for f in source]
    assert times == sorted(times)
    assert len(set(times)) == 5
    assert math.isclose(times[-1], 8.0)


def test_a_closed_push_source_says_so():
    source = PushSource()
    source.close()
    assert not source.push(np.zeros((4, 4, 3), np.uint8))
    assert list(source) == []


def test_closing_ends_a_live_file_that_waits_for_its_next_frame(write_video):
    import threading

    source = VideoFile(write_video(frames=2, times_s=[0, 50.0]), live=True)
    reader = threading.Thread(target=lambda: list(source), daemon=True)
    started = time.monotonic()
    reader.start()
    source.close()
    reader.join(10)
    assert not reader.is_alive()
    assert time.monotonic() - started < 40


def test_stamps_that_go_back_in_a_file_begin_another_scene(write_video, tmp_path):
    parts = [write_video(f"{n}.ts", frames=40, fps=10).read_bytes() for n in range(2)]
    (tmp_path / "spliced.ts").write_bytes(b"".join(parts))
    frames = list(open_source(str(tmp_path / "spliced.ts")))
    assert [f.segment for f in frames] == [0] * 40 + [1] * 40
    assert np.diff([f.time_s for f in frames]).min() > 0


@pytest.mark.parametrize(("stamps_s", "segments"), [
    ([0, 0.1, 0.2, 0.15, 0.3], [0, 0, 0, 0, 0]),  # out of order
    ([9.0, 9.1, 7.2, 7.3], [0, 0, 0, 0]),
    ([9.0, 9.1, 7.0, 7.1], [0, 0, 1, 1]),
    ([0, 0.1, 90.0, 90.1, 0.0], [0, 0, 1, 1, 2]),
    ([0, 0.1, 50.0, 50.1], [0, 0, 0, 0]),  # a pause, told by its time
    ([0, None, 0.2, 90.0], [0, 0, 0, 1]),
])
def test_a_splice_is_told_from_a_stumble(stamps_s, segments):
    clock = MediaClock(10)
    got = []
    for stamp_s in stamps_s:
        clock.next(stamp_s)
        got.append(clock.segment)
    assert got == segments


def test_a_source_says_where_pictures_are_missing(write_video):
    source = open_source(str(write_video(frames=5)))
    source._video._video.leapt_s = 4.04
    assert source.damage == "without pictures for 4.0 s"
    list(source)
