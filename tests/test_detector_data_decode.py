"""What the one decoder makes of containers that are not as most are; all media is rendered here."""

from __future__ import annotations

import ast
import re
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from demo.jobs import inspect_video
from detector.data.decode import VideoError, open_named, open_video
from detector.data.tone import HLG, PQ, ToneMap, cube_text, light_of, sdr_signal
from detector.data.video import probe, read_duration_s, read_frames
from detector.errors import UserError
from stream.sources import VideoFile

ROOT = Path(__file__).resolve().parent.parent


def corners(h: int = 48, w: int = 64) -> np.ndarray:
    """(h, w, 3) RGB with another colour in each quarter: red, green / blue, white."""
    image = np.zeros((h, w, 3), np.uint8)
    image[: h // 2, : w // 2] = 220, 20, 20
    image[: h // 2, w // 2 :] = 20, 220, 20
    image[h // 2 :, : w // 2] = 20, 20, 220
    image[h // 2 :, w // 2 :] = 220, 220, 220
    return image


def write(path, images, codec="libx264", fps=10, pix_fmt="yuv420p", options=None, sar=None, tags=None):
    """Encode RGB pictures, or (pix_fmt's own layout) frames that are made already."""
    with av.open(str(path), "w") as container:
        if tags:
            container.metadata.update(tags)
        stream = container.add_stream(codec, rate=fps, options=options or {})
        first = images[0]
        size = (first.width, first.height) if isinstance(first, av.VideoFrame) else first.shape[1::-1]
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        if sar:
            stream.sample_aspect_ratio = sar
        for image in images:
            frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def pictures(path, **how) -> list[np.ndarray]:
    with open_video(path, **how) as video:
        return [picture.rgb() for picture in video.pictures()]


def set_matrix(path, a, b, c, d):
    """Write a display matrix into an MP4's track header, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def quarters(image: np.ndarray) -> list[str]:
    """The colours of the four quarters, row by row."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    h, w = image.shape[:2]
    return [
        names[tuple(int(v > 128) for v in image[h * y // 4, w * x // 4])] for y in (1, 3) for x in (1, 3)
    ]


@pytest.mark.parametrize(("matrix", "expected"), [
    ((1, 0, 0, 1), ["red", "green", "blue", "white"]),
    ((0, 1, -1, 0), ["blue", "red", "white", "green"]),  # a quarter clockwise
    ((0, -1, 1, 0), ["green", "white", "red", "blue"]),  # a quarter counter-clockwise
    ((-1, 0, 0, -1), ["white", "blue", "green", "red"]),
    ((-1, 0, 0, 1), ["green", "red", "white", "blue"]),  # mirrored left to right, as front cameras do
    ((1, 0, 0, -1), ["blue", "white", "red", "green"]),
    ((0, 1, 1, 0), ["red", "blue", "green", "white"]),  # both
])
def test_phones_pictures_are_upright_in_every_room(tmp_path, matrix, expected):
    path = write(tmp_path / "phone.mp4", [corners()] * 5)
    set_matrix(path, *matrix)
    size_hw = (64, 48) if matrix[0] == 0 else (48, 64)
    streamed = next(iter(VideoFile(path))).image
    trained = read_frames(path, np.array([0.2]))[0]
    assert streamed.shape == trained.shape == (*size_hw, 3)
    assert quarters(trained) == quarters(streamed[..., ::-1]) == expected
    assert VideoFile(path).size_hw == probe(path).size_hw == size_hw
    shown = inspect_video(path, "phone.mp4", 60.0)
    assert (shown.height, shown.width) == size_hw


@pytest.mark.parametrize(("sar", "size_hw"), [
    (Fraction(2, 1), (48, 128)), (Fraction(1, 2), (96, 64)), (Fraction(16, 15), (48, 68)), (Fraction(1, 1), (48, 64)),
    (Fraction(1000, 999), (48, 64)), (Fraction(100, 1), (48, 64)),
])
def test_pixels_become_square(tmp_path, sar, size_hw):
    path = write(tmp_path / "wide.mp4", [corners()] * 3, sar=sar)
    image = pictures(path)[0]
    assert image.shape[:2] == size_hw
    assert quarters(image) == ["red", "green", "blue", "white"]
    assert VideoFile(path).size_hw == size_hw


def test_wide_pixels_of_a_turned_picture_are_stretched_before_it_is_turned(tmp_path):
    path = write(tmp_path / "both.mp4", [corners()] * 3, sar=Fraction(2, 1))
    set_matrix(path, 0, 1, -1, 0)
    image = pictures(path)[0]
    assert image.shape[:2] == (128, 48)
    assert quarters(image) == ["blue", "red", "white", "green"]


@pytest.mark.parametrize(("nits", "signal"), [
    (0.0, 0.0), (100.0, 0.5081), (203.0, 0.5807), (1000.0, 0.7518), (10000.0, 1.0),
])
def test_light_of_pq_is_that_of_the_standard(nits, signal):
    """Values of BT.2408's table."""
    assert light_of(np.full((1, 3), signal), PQ)[0] * 203 == pytest.approx(nits, rel=2e-3, abs=1e-6)


def test_light_of_hlg_is_that_of_the_standard():
    """BT.2408: 75 % is reference white, 203 cd/m2 on a screen of 1000."""
    assert light_of(np.full((1, 3), 0.75), HLG)[0] * 203 == pytest.approx(203, rel=5e-3)
    assert light_of(np.ones((1, 3)), HLG)[0] * 203 == pytest.approx(1000, rel=1e-3)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_tones_rise_and_greys_stay_grey(transfer):
    ramp = sdr_signal(np.linspace(0, 1, 200)[:, None].repeat(3, 1), transfer)
    assert (np.diff(ramp[:, 0]) >= 0).all()
    assert np.ptp(ramp, axis=1).max() < 1e-3
    assert 0.9 < ramp[np.argmin(np.abs(np.linspace(0, 1, 200) - (0.581 if transfer == PQ else 0.75))), 0] < 0.97


def hdr_frame(linear: np.ndarray, transfer: int) -> av.VideoFrame:
    """A frame of RGB 16 bit whose light is that of BT.709 light, 1 being white; the maths are the standards'."""
    from_bt2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    light = np.linalg.solve(from_bt2020, linear.reshape(-1, 3).T).T.clip(0)
    if transfer == PQ:
        y = (light * 203 / 10_000) ** (2610 / 16384)
        signal = ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)
    else:
        display = light * 203 / 1000
        luminance = (display @ np.array([0.2627, 0.678, 0.0593])).clip(1e-9)
        scene = display * (luminance ** (1 / 1.2 - 1))[:, None]
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene),
                          0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073)
    codes = (signal.clip(0, 1) * 65535).round().astype(np.uint16).reshape(linear.shape)
    frame = av.VideoFrame.from_ndarray(codes, format="rgb48le")
    frame.pts, frame.time_base = 0, Fraction(1, 10)
    return frame


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_an_hdr_picture_of_an_ordinary_scene_looks_like_it(transfer):
    """Below the knee light passes: the SDR picture that was made brighter for HDR comes back."""
    rng = np.random.default_rng(0)
    sdr = cv2.resize(rng.uniform(0.05, 0.85, (6, 8, 3)), (64, 48), interpolation=cv2.INTER_LINEAR).clip(0.02, 0.87)
    frame = hdr_frame(sdr**2.4, transfer)
    image = ToneMap(frame, transfer).apply(frame).to_ndarray(format="rgb24")
    assert np.abs(image / 255 - sdr).max() < 0.12  # dark blue beside bright green, between the cube's corners
    assert np.abs(image / 255 - sdr).mean() < 0.006


def write_hdr(path, transfer: int, image: np.ndarray):
    """10 bits, BT.2020, tagged; light as `hdr_frame` has it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, 9, 9, 1
        frame = hdr_frame((image / 255) ** 2.4, transfer).reformat(
            format="yuv420p10le", dst_colorspace=9, dst_color_range=1
        )
        for number in range(3):
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_files_look_like_ordinary_ones_in_every_room(tmp_path, transfer):
    expected = cv2.GaussianBlur(corners() // 2 + 40, (0, 0), 2)
    path = write_hdr(tmp_path / "hdr.mp4", transfer, expected)
    for image in (next(iter(VideoFile(path))).image[..., ::-1], read_frames(path, np.array([0.1]))[0]):
        assert np.abs(image.astype(int) - expected).mean() < 6
    # Without its tags the same file is another picture.
    with av.open(str(path)) as container:
        plain = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(plain.astype(int) - expected).mean() > 10


def test_the_cube_is_red_first():
    lines = cube_text(PQ, 3).splitlines()
    assert lines[0] == "LUT_3D_SIZE 3"
    assert len(lines) == 28
    for line, colour in ((3, [1, 0, 0]), (7, [0, 1, 0]), (19, [0, 0, 1])):
        found = [float(v) for v in lines[line].split()]
        assert int(np.argmax(found)) == int(np.argmax(colour))
        assert sorted(found)[1] < max(found) / 2


def moving_bar(number: int) -> np.ndarray:
    image = np.full((96, 128), 60, np.uint8)
    for parity in (0, 1):
        x = (10 + 9 * (2 * number + parity)) % 110
        image[20 + parity : 80 : 2, x : x + 14] = 220
    return np.concatenate([image, np.full((48, 128), 128, np.uint8)])


def combs(image: np.ndarray) -> float:
    green = image[..., 1].astype(int)
    return float(np.abs(2 * green[2:-2] - green[1:-3] - green[3:-1]).mean())


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("i.mpg", "mpeg2video", {"flags": "+ildct+ilme", "qscale": "2"}),
    ("i.mp4", "libx264", {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "10"}),
])
def test_interlaced_pictures_lose_their_combs_and_none_is_lost(tmp_path, name, codec, options):
    frames = [av.VideoFrame.from_ndarray(moving_bar(i), format="yuv420p") for i in range(15)]
    path = write(tmp_path / name, frames, codec, fps=25, options=options)
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(path) as video:
        got = [(picture.time_s, picture.rgb()) for picture in video.pictures()]
    assert len(got) == len(raw) == 15
    assert [t for t, _ in got] == pytest.approx(np.arange(15) / 25, abs=1e-3)
    assert max(combs(image) for _, image in got) < 3 < 20 < min(combs(image) for image in raw)
    assert read_frames(path, np.array([0.2]))[0].shape == (96, 128, 3)


def test_ordinary_video_is_ffmpegs_to_the_bit(tmp_path):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 255, (50, 70, 3), np.uint8) for _ in range(12)]
    path = write(tmp_path / "plain.mp4", images)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with open_video(path) as video:
        for frame, picture in zip(frames, video.pictures(), strict=True):
            assert np.array_equal(picture.rgb(), frame.to_ndarray(format="rgb24"))
            assert np.array_equal(picture.bgr(), frame.to_ndarray(format="bgr24"))
            assert picture.time_s == pytest.approx(frame.time)


@pytest.mark.parametrize(("codec", "pix_fmt", "name"), [
    ("ffv1", "gray10le", "a.mkv"), ("ffv1", "gray16le", "a.mkv"), ("ffv1", "bgra", "a.mkv"),
    ("ffv1", "yuv411p", "a.mkv"), ("ffv1", "gbrp16le", "a.mkv"), ("ffv1", "yuva420p", "a.mkv"),
    ("qtrle", "argb", "a.mov"), ("rawvideo", "uyvy422", "a.avi"),
    ("libx264", "yuv422p10le", "a.mp4"), ("libx264", "yuvj420p", "a.mp4"), ("prores_ks", "yuva444p10le", "a.mov"),
    ("exr", "gbrpf32le", "a.mov"),
])
def test_odd_pixel_formats_are_pictures(tmp_path, codec, pix_fmt, name):
    grey = np.full((48, 64, 3), 125, np.uint8)
    path = write(tmp_path / name, [grey] * 2, codec, pix_fmt=pix_fmt)
    assert np.abs(pictures(path)[0].astype(int) - 125).max() <= 4


def test_a_format_that_cannot_be_shown_is_one_line(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [corners()] * 2)
    monkeypatch.setattr("detector.data.decode.NO_PICTURE", ("yuv420p",))
    with pytest.raises(VideoError, match="yuv420p cannot be shown"):
        pictures(path)
    with pytest.raises(UserError, match=r"a\.mp4: no picture in it can be read \(.*yuv420p cannot be shown\)"):
        VideoFile(path)
    with pytest.raises(VideoError, match="yuv420p"):
        read_frames(path, np.array([0.0]))


def test_tags_that_are_not_utf8_do_not_keep_a_file_shut(tmp_path):
    path = write(tmp_path / "windows.avi", [corners()] * 3, "mpeg4", tags={"title": "XXcafeXX"})
    data = path.read_bytes()
    assert b"XXcafeXX" in data
    path.write_bytes(data.replace(b"XXcafeXX", b"XXcaf\xe9XX"))
    assert len(list(VideoFile(path))) == 3
    assert len(read_frames(path, np.array([0.0, 0.1]))) == 2


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def boxes(data: bytes, start: int, end: int):
    while start < end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        yield start, size, kind
        start += size


def put_cover_first(path):
    """An MP4 whose cover art stands before its tracks, which FFmpeg lists as the first stream."""
    data = path.read_bytes()
    moov, size = next((at, size) for at, size, kind in boxes(data, 0, len(data)) if kind == b"moov")
    kids = [(data[at : at + n], kind) for at, n, kind in boxes(data, moov + 8, moov + size)]
    cover = cv2.imencode(".jpg", np.full((80, 80, 3), (0, 0, 255), np.uint8))[1].tobytes()
    art = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + cover))
    handler = box(b"hdlr", struct.pack(">II4s4sIIB", 0, 0, b"mdir", b"appl", 0, 0, 0))
    tags = box(b"udta", box(b"meta", struct.pack(">I", 0) + handler + box(b"ilst", art)))
    header = next(kid for kid, kind in kids if kind == b"mvhd")
    rest = b"".join(kid for kid, kind in kids if kind not in (b"mvhd", b"udta"))
    path.write_bytes(data[:moov] + box(b"moov", header + tags + rest) + data[moov + size :])


def test_the_film_is_watched_and_not_its_cover(tmp_path):
    path = write(tmp_path / "cover.mp4", [corners()] * 7)
    put_cover_first(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
    assert [f.size_hw for f in VideoFile(path)] == [(48, 64)] * 7
    assert read_frames(path, np.array([0.3])).shape == (1, 48, 64, 3)
    assert read_duration_s(path) == pytest.approx(0.7)


def test_a_damaged_packet_costs_its_picture_and_is_counted(tmp_path):
    path = write(tmp_path / "d.mp4", [corners()] * 40, options={"bf": "0", "g": "10"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        at = [packet.pos for packet in container.demux(video=0) if packet.size][20]
    data[at : at + 60] = b"\xff" * 60
    path.write_bytes(data)
    with open_video(path) as video:
        left = sum(1 for _ in video.pictures())
    assert 30 <= left <= 40
    assert video.damaged == 1
    assert video.early_s is None
    source = VideoFile(path)
    list(source)
    assert source.damage == "damaged in 1 place"


def index_in_front(path):
    front = path.with_name("front.mp4")
    with av.open(str(path)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return front


@pytest.mark.parametrize("share", [0.4, 0.7, 0.9])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_file_that_ends_early_gives_all_that_is_there_and_says_so(tmp_path, share, ending):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60)]
    path = write(tmp_path / f"whole.{ending}", images)
    if ending == "mp4":
        path = index_in_front(path)
    assert not VideoFile(path).damage
    whole = VideoFile(path)
    assert len(list(whole)) == 60
    assert whole.damage == ""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    # Decoded one by one, without threads, this much is there.
    possible = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                possible += len(packet.decode())
            except av.FFmpegError:
                continue
    source = VideoFile(path)
    assert len(list(source)) == possible < 60
    assert "ends early, at " in source.damage
    assert "of 6.0 s" in source.damage


def test_training_is_told_of_a_file_that_ends_early(tmp_path):
    rng = np.random.default_rng(0)
    path = index_in_front(write(tmp_path / "w.mp4", [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60)]))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(read_frames(path, np.array([0.0, 0.5]))) == 2
    with pytest.raises(VideoError, match=r"ends early|damaged"):
        read_frames(path, np.array([4.0, 4.5, 5.0]))


@pytest.mark.parametrize("name", [
    "rec-2024-11-14T22:57:44.mp4", "pipe:0.mp4", "100%.mp4", "a%03d.mp4", "-x.mp4", "2024", "n" * 246 + ".mp4",
    "ü ö.mp4", "caf\udce9.mp4",
])
def test_files_of_any_name_open(tmp_path, name):
    path = write(tmp_path / "plain.mp4", [corners()] * 2).rename(tmp_path / name)
    assert len(list(VideoFile(path))) == 2
    assert len(read_frames(path, np.array([0.0]))) == 1
    VideoFile(path).name.encode("utf-8")  # can be shown and stored


def test_an_unreadable_file_of_evaluation_names_itself(tmp_path):
    (tmp_path / "x.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"video .*x\.mp4: cannot be read \(Invalid data"):
        open_named(tmp_path / "x.mp4")


def test_nobody_else_opens_videos():
    """`av.open` for reading stands in the decoder (and where packets are rewritten or a GPU's decoder is timed),
    OpenCV's in devices alone."""
    found = set()
    for room in ("detector", "engine_build", "stream", "demo"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    called = f"{getattr(node.func.value, 'id', '')}.{node.func.attr}"
                    writes = len(node.args) > 1 and getattr(node.args[1], "value", "") == "w"
                    if called == "cv2.VideoCapture" or (called == "av.open" and not writes):
                        found.add((str(path.relative_to(ROOT)), called))
    assert found == {
        ("detector/data/decode.py", "av.open"), ("detector/data/first_look.py", "av.open"),
        ("stream/outputs/film.py", "av.open"),
        ("stream/events/films.py", "av.open"), ("stream/hardware_decode.py", "av.open"),
        ("stream/sources/device.py", "cv2.VideoCapture"),
    }


PEAK_OF_OPENING = """
import resource, sys
import av
from detector.data.decode import open_video
def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak_mb()
video = open_video(sys.argv[1], options={"max_pixels": "1000000"})
pictures = len(list(video.pictures()))
print(video.coded_hw, pictures, int(peak_mb() - before))
"""


@pytest.mark.parametrize(("name", "codec", "shown"), [
    ("large.flv", "libx264", "(4096, 4096)"), ("large.ts", "libx264", "(4096, 4096)"), ("old.flv", "flv", "(0, 0)"),
])
def test_too_large_pictures_take_no_memory_whatever_the_container_says_of_them(tmp_path, name, codec, shown):
    write(tmp_path / name, [np.zeros((4096, 4096, 3), np.uint8)] * 2, codec)
    command = [sys.executable, "-c", PEAK_OF_OPENING, str(tmp_path / name)]
    found = subprocess.run(command, capture_output=True, text=True)
    size, pictures, peak_mb = found.stdout.rsplit(maxsplit=2)
    assert (size, pictures) == (shown, "0"), found.stderr
    assert int(peak_mb) < 40  # one picture has 25 MB, and a decoder holds several


@pytest.mark.parametrize(("name", "codec"), [("small.flv", "libx264"), ("old.flv", "flv"), ("small.ts", "libx264")])
def test_pictures_within_the_limit_come_out_all_the_same(tmp_path, name, codec):
    write(tmp_path / name, [corners()] * 5, codec)
    with open_video(tmp_path / name, options={"max_pixels": "1000000"}) as video:
        assert video.coded_hw == (48, 64)
        assert len(list(video.pictures())) == 5


def test_a_damaged_cluster_of_matroska_is_not_passed_over_in_silence(tmp_path):
    path = tmp_path / "damaged.mkv"
    with av.open(str(path), "w", options={"cluster_time_limit": "2000"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(200):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="bgr24")))
        container.mux(stream.encode(None))
    with open_video(path) as video:
        assert len(list(video.pictures())) == 200
        assert video.leapt_s == 0
    data = bytearray(path.read_bytes())
    clusters = [match.start() for match in re.finditer(re.escape(b"\x1f\x43\xb6\x75"), data)]
    assert len(clusters) >= 8
    data[clusters[4] : clusters[4] + 12] = bytes(12)
    path.write_bytes(data)
    with open_video(path) as video:
        lost = 200 - len(list(video.pictures()))
        assert lost >= 15
        assert 1.5 <= video.leapt_s <= lost / 10 + 0.01  # what follows may lack its key frame besides
