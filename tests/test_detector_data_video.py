"""Decoding at moments: every frame of the test videos carries its own number as a bar code."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from detector.data.video import VideoError, probe, read_frames, short_side_size
from detector.sampling import Sampling


def numbered_frame(number: int, size_hw: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Eight white or black columns that spell a number, RGB."""
    bits = np.array([(number >> bit) & 1 for bit in range(8)], np.uint8) * 255
    return np.repeat(np.repeat(bits[None], size_hw[0], 0), size_hw[1] // 8, 1)[..., None].repeat(3, 2)


def number_of(frame: np.ndarray) -> int:
    h, w = frame.shape[:2]
    columns = frame[h // 4 : 3 * h // 4].reshape(-1, w, 3).mean((0, 2))
    return sum(int(columns[int((bit + 0.5) * w / 8)] > 127) << bit for bit in range(8))


def write_video(path, count: int, fps: int, codec: str = "libx264", times=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 96, "yuv420p", 40
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "30.mp4", 200, 30)
    write_video(folder / "15.mkv", 100, 15)
    write_video(folder / "short.mp4", 5, 30)
    (folder / "half.mp4").write_bytes((folder / "30.mp4").read_bytes()[:3000])
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "pictures").mkdir()
    for number in range(60):
        picture = numbered_frame(number)
        cv2.imwrite(str(folder / f"pictures/x_{number + 1:06d}.png"), picture)
    return folder


@pytest.mark.parametrize(("name", "fps"), [("30.mp4", 30), ("15.mkv", 15)])
@pytest.mark.parametrize("key_s", [0.0, 1.0, 3.5, 5.9])
def test_a_clip_shows_exactly_its_moments(folder, name, fps, key_s):
    """T = 32, stride 2 at 30 fps round the key frame; moments outside give the first or last frame."""
    times = key_s + Sampling(32, 2, 30.0).offsets_s
    frames = read_frames(folder / name, times, key_time_s=key_s)
    last = {30: 199, 15: 99}[fps]
    expected = [min(max(round(t * fps + 1e-9), 0), last) for t in times]
    found = [number_of(frame) for frame in frames]
    if fps == 30:
        expected = [min(max(round(key_s * 30) + offset, 0), last) for offset in range(-32, 32, 2)]
        assert found == expected
    else:
        # Half of the moments lie midway between two frames of a 15 fps file: either is nearest.
        assert all(abs(f - min(max(t * 15, 0), last)) <= 0.5 + 1e-6 for f, t in zip(found, times))


def test_a_variable_frame_rate_is_read_by_its_time_stamps(tmp_path):
    times = [0.0, 0.1, 0.5, 0.6, 1.4, 1.5, 2.5]
    path = write_video(tmp_path / "v.mkv", len(times), 30, times=times)
    wanted = np.array([0.04, 0.06, 0.29, 0.31, 1.0, 1.44, 2.0001, 9.0])
    assert [number_of(f) for f in read_frames(path, wanted)] == [0, 1, 1, 2, 3, 4, 6, 6]


def test_a_time_lapse_is_read_by_its_time_stamps(tmp_path):
    path = write_video(tmp_path / "v.mp4", 5, 30, times=[0.0, 90.0, 180.0, 270.0, 360.0])
    wanted = np.array([0.0, 89.0, 181.0, 300.0, 359.0])
    assert [number_of(f) for f in read_frames(path, wanted, key_time_s=270.0)] == [0, 1, 2, 3, 4]
    assert [number_of(f) for f in read_frames(path, np.array([271.0]))] == [3]


def test_a_folder_of_pictures_is_a_video(folder):
    assert probe(folder / "pictures").duration_s == pytest.approx(2.0)
    frames = read_frames(folder / "pictures", np.array([-1.0, 0.0, 0.5, 1.0, 3.0]), 48)
    assert [number_of(f) for f in frames] == [0, 0, 15, 30, 59]
    assert frames.shape == (5, 48, 64, 3)


def test_a_short_video_repeats_its_ends_but_must_reach_its_key_frame(folder):
    frames = read_frames(folder / "short.mp4", 0.1 + Sampling(8, 4, 30.0).offsets_s, key_time_s=0.1)
    assert [number_of(f) for f in frames] == [0, 0, 0, 0, 3, 4, 4, 4]
    with pytest.raises(VideoError, match=r"ends at 0\.13 s, before the key frame at 2\.00 s"):
        read_frames(folder / "short.mp4", np.array([1.0, 2.0]), key_time_s=2.0)
    with pytest.raises(VideoError, match="before the start"):
        read_frames(folder / "short.mp4", np.array([0.0]), key_time_s=-0.5)


@pytest.mark.parametrize(("name", "said"), [
    ("missing.mp4", "no such file"), ("text.mp4", "not a readable video"), ("empty.mp4", "not a readable video"),
    ("half.mp4", "not a readable video|damaged|no frame"),
])
def test_what_is_no_video_says_so(folder, name, said):
    with pytest.raises(VideoError, match=said):
        read_frames(folder / name, np.array([0.0, 5.0]), key_time_s=5.0)
    if name != "half.mp4":
        with pytest.raises(VideoError, match=said):
            probe(folder / name)


def test_sizes_follow_the_published_rule(folder):
    assert short_side_size(1080, 1920, 256) == (256, 455)
    assert short_side_size(1920, 1080, 256) == (455, 256)
    assert read_frames(folder / "30.mp4", np.array([0.0]), 64).shape == (1, 64, 85, 3)
    assert probe(folder / "30.mp4").size_hw == (96, 128)
    assert probe(folder / "30.mp4").duration_s == pytest.approx(200 / 30, abs=0.05)
