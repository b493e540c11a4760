"""Pictures and films of events: from a camera's own packets, bounded, playable, and never in an event's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import number_of, numbered_picture
from events_fakes import an_event

from detector.types import Frame
from stream.events.config import FilmConfig
from stream.events.file_recorder import FileRecorder
from stream.events.films import FilmError, FilmWriter, cut_film, picture_of
from stream.events.packets import FrameEncoder, Kept, PacketRing
from stream.events.recorder import CameraRecorder
from stream.events.recording import with_box
from stream.events.records import EventChange
from stream.events.shelf import Shelf

ROOT = Path(__file__).resolve().parent.parent


class Clock:
    """UTC that is moved by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def a_stream(path: Path, codec: str = "libx264", frames: int = 100, fps: int = 10, gop: int = 10, bf: int = 0) -> Path:
    """A film of numbered pictures; picture n shows n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        if codec != "mjpeg":
            stream.options = {"crf": "10", "preset": "ultrafast", "bf": str(bf), "x265-params": "log-level=none"}
        for number in range(frames):
            planes = cv2.cvtColor(numbered_picture(number), cv2.COLOR_BGR2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def play(path: Path, ring: PacketRing, clock: Clock, seconds: float = 1e9, first_utc: float = 1000.0):
    """Show a file's packets to a ring as if they arrived at their own time."""
    with av.open(str(path)) as container:
        stream, base_s = container.streams.video[0], None
        for packet in container.demux(stream):
            if packet.dts is None:
                continue
            base_s = packet.pts * packet.time_base if base_s is None else base_s
            at_s = float(packet.pts * packet.time_base - base_s)
            if at_s > seconds:
                return
            clock.now = first_utc + at_s
            ring.take(packet, stream)
            yield


def numbers_in(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [number_of(frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]


def a_shelf(folder: Path, **changes) -> Shelf:
    return Shelf(folder, **({"keep_s": 1e9, "keep_bytes": 1e12, "spare_bytes": 0} | changes))


@pytest.fixture
def desk(tmp_path):
    """A recorder with a clock, and what it told of."""

    class Made:
        clock, changes = Clock(), []

        def recorder(self, shelf: Shelf | None = None, **config) -> CameraRecorder:
            self.shelf = shelf or a_shelf(tmp_path / "films")
            return CameraRecorder(FilmConfig(**config), self.shelf, self.changes.append, utc_clock=self.clock)

        def film(self) -> Path:
            return self.shelf.path(next(c.event.film for c in self.changes if c.kind == "film"))

    made = Made()
    made.changes = []
    return made


def wait_for(condition, timeout_s: float = 20.0) -> bool:
    give_up = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up:
        threading.Event().wait(0.01)
    return condition()


@pytest.mark.parametrize(("codec", "suffix", "bf"), [
    ("libx264", ".mp4", 0), ("libx264", ".ts", 0), ("libx264", ".mp4", 2), ("libx265", ".mp4", 0),
    ("libx265", ".ts", 0),
])
def test_a_film_holds_the_seconds_before_and_after_in_the_cameras_own_packets(tmp_path, desk, codec, suffix, bf):
    source = a_stream(tmp_path / f"s{suffix}", codec, frames=200, bf=bf)
    recorder = desk.recorder(before=3, after=2, snapshots=False)
    event = an_event(start_utc=1010.0, told_utc=1010.5, peak_utc=1010.2)
    for _ in play(source, recorder.ring, desk.clock):
        if desk.clock.now == pytest.approx(1010.5, abs=0.01) and event.end_utc is None:
            recorder.take(EventChange("start", event))
            event = an_event(start_utc=1010.0, told_utc=1010.5, end_s=3.0, end_utc=1012.0)
            recorder.take(EventChange("end", event))
    assert wait_for(lambda: any(c.kind == "film" for c in desk.changes)), recorder.state
    assert recorder.close()
    numbers = numbers_in(desk.film())
    # From three seconds before to two seconds after the end, without a hole.
    assert numbers == [n % 60 for n in range(70, 70 + len(numbers))]
    assert 69 <= len(numbers) <= 73
    assert recorder.state.films == 1
    with av.open(str(desk.film())) as film:
        assert film.streams.video[0].codec_context.name == {"libx264": "h264", "libx265": "hevc"}[codec]


def test_packets_are_not_encoded_again(tmp_path, desk):
    source = a_stream(tmp_path / "s.mp4")
    cut_film(str(source), tmp_path / "out.mp4", 2.0, 4.0)

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(p) for p in container.demux(video=0) if p.dts is not None]

    whole, part = packets(source), packets(tmp_path / "out.mp4")
    assert len(part) in (20, 21)
    begin = whole.index(part[0])
    assert whole[begin:begin + len(part)] == part


def test_the_ring_is_bounded_in_bytes_and_seconds_and_begins_with_a_key_frame(tmp_path):
    source = a_stream(tmp_path / "s.mp4", frames=300)
    for most_bytes, most_s in ((10**9, 5.0), (20_000, 1e9)):
        clock = Clock()
        ring = PacketRing(most_bytes, most_s, clock)
        for _ in play(source, ring, clock):
            assert ring.memory_bytes <= most_bytes
            assert ring.seconds <= most_s + 1.01
            kept = ring.after(-1)
            assert kept[0].key
            assert ring.memory_bytes == sum(len(k.data) for k in kept)
        assert ring.seconds > 1


def test_the_picture_of_a_moment_is_decoded_out_of_the_ring(tmp_path):
    source = a_stream(tmp_path / "s.mp4", frames=50, bf=2)
    clock = Clock()
    ring = PacketRing(10**9, 60, clock)
    list(play(source, ring, clock))
    for number in (0, 1, 17, 20, 29, 49):
        utc = 1000 + number / 10
        assert number_of(picture_of(ring.around(utc), utc)) == number


def test_a_snapshot_shows_the_peak_with_and_without_box(tmp_path, desk):
    source = a_stream(tmp_path / "s.mp4", frames=100)
    recorder = desk.recorder(films=False)
    list(play(source, recorder.ring, desk.clock))
    recorder.take(EventChange("start", an_event(start_utc=1003.0, told_utc=1003.5, peak_utc=1003.2)))
    assert wait_for(lambda: desk.changes)
    assert recorder.close()
    path = desk.shelf.path(desk.changes[0].event.snapshot)
    assert number_of(cv2.imread(str(path))) == 32
    boxed = cv2.imread(str(path.with_name(path.stem + "-boxes.jpg")))
    assert (boxed != cv2.imread(str(path))).any()


def test_other_codecs_are_encoded_once_and_small(tmp_path, desk):
    source = a_stream(tmp_path / "s.avi", "mjpeg", frames=60)
    recorder = desk.recorder(before=2, after=1, snapshots=False)
    list(play(source, recorder.ring, desk.clock))
    assert recorder.ring.usable is False
    encoder = FrameEncoder(recorder.ring, fps=10)
    for number in range(60):
        desk.clock.now = 1000 + number / 10
        encoder.add(Frame(numbered_picture(number), number, number / 10))
    event = an_event(start_utc=1004.0, told_utc=1004.0, end_s=2.0, end_utc=1004.5)
    recorder.take(EventChange("start", event))
    recorder.take(EventChange("end", event))
    assert recorder.close()
    numbers = numbers_in(desk.film())
    assert 30 <= len(numbers) <= 56
    assert numbers[-1] in range(53, 57)


def test_a_device_without_packets_is_filmed_from_its_pictures(desk):
    from stream_fakes import ListSource

    recorder = desk.recorder(before=5, after=0, snapshots=False)
    frames = [Frame(np.full((720, 1280, 3), n, np.uint8), n, n / 10) for n in range(30)]
    source = recorder.watched(ListSource(frames, live=True))
    for n, frame in enumerate(source):
        desk.clock.now = 1000 + frame.time_s
        assert wait_for(lambda n=n: len(recorder.ring.after(-1)) >= n + 1 - 2)
    event = an_event(start_utc=1001.0, told_utc=1001.0, end_s=2.0, end_utc=1002.0)
    recorder.take(EventChange("start", event))
    recorder.take(EventChange("end", event))
    assert wait_for(lambda: desk.changes or recorder.state.failed)
    assert recorder.close()
    with av.open(str(desk.film())) as film:
        assert (film.streams.video[0].height, film.streams.video[0].width) == (360, 640)


def test_films_of_a_file_are_cut_out_of_it(tmp_path):
    source = a_stream(tmp_path / "s.mp4", frames=200)
    shelf, changes = a_shelf(tmp_path / "films"), []
    recorder = FileRecorder(FilmConfig(before=2, after=1), shelf, changes.append, str(source))
    event = an_event(start_s=8.0, told_s=8.5, peak_s=9.0, end_s=10.0, start_utc=None, told_utc=None)
    recorder.take(EventChange("start", event))
    recorder.take(EventChange("end", event))
    assert recorder.close()
    assert [c.kind for c in changes] == ["update", "film"]
    numbers = numbers_in(shelf.path(changes[1].event.film))
    assert numbers[0] in (50, 60 % 60)
    assert 50 <= len(numbers) <= 62
    assert number_of(cv2.imread(str(shelf.path(changes[0].event.snapshot)))) == 90 % 60


def test_a_connection_that_begins_anew_ends_the_film_and_not_the_ring(tmp_path, desk):
    recorder = desk.recorder(before=5, after=60, snapshots=False)
    list(play(a_stream(tmp_path / "a.mp4", frames=50), recorder.ring, desk.clock))
    recorder.take(EventChange("start", an_event(start_utc=1004.0, told_utc=1004.0)))
    assert wait_for(lambda: recorder._films_open and next(iter(recorder._films_open.values())).last >= 49)
    list(play(a_stream(tmp_path / "b.ts", frames=30), recorder.ring, desk.clock, first_utc=1006.0))
    assert wait_for(lambda: desk.changes)
    assert recorder.close()
    assert len(numbers_in(desk.film())) == 50


def test_a_full_disk_costs_the_film_and_not_the_event(tmp_path, desk, caplog):
    shelf = a_shelf(tmp_path / "films", spare_bytes=1e15)
    recorder = desk.recorder(shelf)
    list(play(a_stream(tmp_path / "s.mp4"), recorder.ring, desk.clock))
    for n in range(3):
        event = an_event(id=f"e{n}", start_utc=1003.0, told_utc=1003.0, end_s=2.0, end_utc=1003.5)
        recorder.take(EventChange("start", event))
        recorder.take(EventChange("end", event))
    assert recorder.close()
    assert desk.changes == []
    assert recorder.state.failed >= 3
    assert recorder.state.error == "the disk is full"
    assert not list((tmp_path / "films").rglob("*.*"))
    assert len([r for r in caplog.records if "disk is full" in r.message]) == 1


def test_a_write_that_fails_halfway_leaves_no_film(tmp_path, desk, monkeypatch):
    recorder = desk.recorder(before=5, after=1, snapshots=False)
    list(play(a_stream(tmp_path / "s.mp4"), recorder.ring, desk.clock))

    def full(self, kept: Kept) -> None:
        raise FilmError("e1.mp4: No space left on device")

    monkeypatch.setattr(FilmWriter, "write", full)
    event = an_event(start_utc=1003.0, told_utc=1003.0, end_s=2.0, end_utc=1003.5)
    recorder.take(EventChange("start", event))
    recorder.take(EventChange("end", event))
    assert recorder.close()
    assert "No space left" in recorder.state.error
    assert not list((tmp_path / "films").rglob("*.mp4"))


def test_a_film_plays_after_kill_9_up_to_two_seconds(tmp_path):
    program = """
import sys, time
from pathlib import Path
import av
from stream.events.films import FilmWriter
from stream.events.packets import PacketRing
ring = PacketRing(10**9, 1e9, time.time)
source = av.open(sys.argv[1]); stream = source.streams.video[0]
writer, last = None, -1
for n, packet in enumerate(p for p in source.demux(stream) if p.dts is not None):
    ring.take(packet, stream)
    for kept in ring.after(last):
        writer = writer or FilmWriter(Path(sys.argv[2]), kept.template)
        writer.write(kept); last = kept.number
    print(n, flush=True)
    if n == 74:
        time.sleep(60)
"""
    source, film = a_stream(tmp_path / "s.mp4", gop=50), tmp_path / "film.mp4"
    child = subprocess.Popen([sys.executable, "-c", program, str(source), str(film)], cwd=ROOT,
                             stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    for line in child.stdout:
        if int(line) == 74:
            break
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    numbers = numbers_in(film)
    assert len(numbers) >= 75 - 2 * 10
    assert numbers == [n % 60 for n in range(len(numbers))]


@pytest.mark.parametrize(("limits", "gone"), [
    ({}, ""), ({"keep_s": 240}, "ab"), ({"keep_bytes": 250}, "ab"), ({"keep_bytes": 0}, "abcd"),
    ({"spare_bytes": 1000}, "abc"),
])
def test_the_oldest_go_first(tmp_path, limits, gone):
    shelf = a_shelf(
        tmp_path, utc_clock=lambda: 1000.0,
        free_bytes=lambda path: 1000 - 50 + 25 * (4 - len(list(tmp_path.rglob("*.mp4")))), **limits,
    )
    for n, name in enumerate("abcd"):
        path = tmp_path / "door" / name / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 100)
        os.utime(path, (600 + 100 * n + 50, 600 + 100 * n + 50))
    (tmp_path / "keep.txt").write_text("somebody else's")
    assert shelf.tidy() == len(gone)
    assert sorted(p.stem for p in tmp_path.rglob("*.mp4")) == sorted(set("abcd") - set(gone))
    assert (tmp_path / "keep.txt").exists()
    assert not any((tmp_path / "door" / name).exists() for name in gone)


@pytest.mark.parametrize("camera", ["../../etc", "a/b", "..", "hall way", "Tür"])
def test_names_of_cameras_cannot_leave_the_folder(tmp_path, camera):
    shelf = a_shelf(tmp_path)
    path = shelf.path(shelf.name(an_event(camera=camera), ".mp4")).resolve()
    assert tmp_path.resolve() in path.parents


def test_a_box_is_drawn_on_a_copy():
    image = np.zeros((240, 320, 3), np.uint8)
    assert with_box(image, an_event()).any()
    assert not image.any()
    assert with_box(image, an_event(box=None)) is image


def test_timestamps_that_go_back_do_not_break_a_film(tmp_path):
    ring = PacketRing(10**9, 1e9, time.time)
    with av.open(str(a_stream(tmp_path / "s.mp4", frames=30))) as source:
        for packet in source.demux(video=0):
            if packet.dts is not None:
                ring.take(packet, source.streams.video[0])
    kept = ring.after(-1)
    writer = FilmWriter(tmp_path / "o.mp4", kept[0].template)
    for n, one in enumerate(kept):
        dts = one.dts if n < 15 else one.dts - 10 * round(1 / Fraction(10) / one.base)
        writer.write(Kept(n, one.data, dts, dts, one.base, one.key, one.utc, one.template))
    writer.close()
    assert len(numbers_in(tmp_path / "o.mp4")) >= 29


def test_a_film_of_a_network_camera_is_made_of_what_it_sent(tmp_path):
    """A real RTSP conversation: what arrives is kept, remuxed and playable; the snapshot shows the peak."""
    from stream_rtsp import RtspCamera

    from detector.data.decode import Decoding
    from stream.sources.network import open_network

    changes: list[EventChange] = []
    shelf = a_shelf(tmp_path / "films")
    recorder = CameraRecorder(FilmConfig(before=5, after=0.2), shelf, changes.append)
    with RtspCamera(pictures=55, silent=True) as server:
        camera = open_network(server.url, decoding=Decoding(tap=recorder.tap))
        for n, frame in enumerate(camera):
            if n == 20:
                peak, shown = time.time(), number_of(frame.image)
            if n == 40:
                end = time.time()
                event = an_event(start_utc=peak, told_utc=end, peak_utc=peak, end_s=2.0, end_utc=end)
                recorder.take(EventChange("start", event))
                recorder.take(EventChange("end", event))
            if n == 52:
                break
        camera.close()
    assert recorder.close()
    film = next(c.event.film for c in changes if c.kind == "film")
    numbers = numbers_in(shelf.path(film))
    assert len(numbers) >= 40
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    # Time stamps of arrival tell pictures apart to a few frames on a busy machine.
    snapshot = number_of(cv2.imread(str(shelf.path(changes[0].event.snapshot))))
    assert abs(snapshot - shown) <= 8
