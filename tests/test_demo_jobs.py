"""Videos from file to results: what comes out, what is refused, and that cancelling leaves nothing."""

from __future__ import annotations

import json
import time

import av
import pytest
from demo_fakes import fake_pool, write_video

from demo.choices import Choices
from demo.job_line import Jobs
from demo.jobs import CSV, JSONL, OPEN_OPTIONS, VIDEO, Job, inspect_video, minutes_text
from demo.pool import Busy
from demo.shelf import Shelf
from demo.timeline import find_spans
from detector.errors import UserError
from stream.sources.file import VideoFile

CHOICES = Choices("fake", 0.5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """4 s: two in the left half (walking), two in the right (sitting)."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", [0.3] * 30 + [0.7] * 30)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """Takes seconds to work through, so that it can be cancelled half-way."""
    return write_video(tmp_path_factory.mktemp("video") / "long.mp4", [0.3] * 1200, size_hw=(120, 160))


@pytest.fixture
def shelf():
    shelf = Shelf()
    yield shelf
    shelf.close()


@pytest.fixture
def jobs():
    pool = fake_pool()
    jobs = Jobs(pool, max_waiting=1)
    jobs.pool = pool
    yield jobs
    jobs.close()
    pool.close()


def make_job(clip, shelf, tab="t1", max_s=60.0, choices=CHOICES) -> Job:
    return Job(clip, shelf.create("ann", tab, "my clip.mp4"), choices, max_s)


def wait(job, states=("done", "cancelled", "failed")):
    for _ in range(600):
        if job.state in states:
            return job.state
        time.sleep(0.05)
    raise AssertionError(f"still {job.state}")


def test_a_video_becomes_a_video_json_lines_csv_and_a_timeline(clip, shelf, jobs):
    job = make_job(clip, shelf)
    jobs.submit(job)
    assert wait(job) == "done"
    assert jobs.progress(job).fraction == 1.0
    with av.open(str(job.folder.path / VIDEO)) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 240)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in video.decode(stream)) == 60
    lines = [json.loads(line) for line in (job.folder.path / JSONL).read_text().splitlines()]
    assert [line["time_s"] for line in lines] == pytest.approx([0, 1, 2, 3], abs=0.04)
    said = [[action["name"] for person in line["people"] for action in person["actions"]] for line in lines]
    # At the ends most of a clip repeats one frame: no label begins there. Poses exclude one another.
    assert said == [[], ["walk"], ["sit"], ["sit"]]
    assert (job.folder.path / CSV).read_text().startswith("my clip,")
    spans = find_spans(job.summary, job.choices.thresholds(job.summary.labels))
    assert {s.action for s in spans} == {"walk", "sit"}
    assert jobs.pool.users == 0


def test_a_film_is_made_again_with_other_choices_and_without_the_network(clip, shelf, jobs, monkeypatch):
    first = make_job(clip, shelf, choices=Choices("fake", 0.5, 0.3))
    jobs.submit(first)
    assert wait(first) == "done"
    before = {name: (first.folder.path / name).read_bytes() for name in (VIDEO, JSONL, CSV)}
    monkeypatch.setattr("demo.jobs.Pipeline", lambda *_: pytest.fail("the network was asked again"))
    again = Job(clip, first.folder, Choices("fake", 0.5, 0.99), 60.0, before=first)
    jobs.submit(again)
    assert wait(again) == "done"
    after = {name: (first.folder.path / name).read_bytes() for name in (VIDEO, JSONL, CSV)}
    assert after[VIDEO] != before[VIDEO]
    lines = [json.loads(line) for line in after[JSONL].decode().splitlines()]
    assert len(lines) == 4
    assert all(person["actions"] == [] for line in lines for person in line["people"])
    assert after[CSV] == before[CSV]
    assert first.folder.made == 2
    with av.open(str(first.folder.path / VIDEO)) as video:
        assert sum(1 for _ in video.decode(video.streams.video[0])) == 60


def test_people_who_were_left_out_are_looked_for_anew(clip, shelf, jobs):
    first = make_job(clip, shelf, choices=Choices("fake", 0.95))
    jobs.submit(first)
    assert wait(first) == "done"
    again = Job(clip, first.folder, Choices("fake", 0.5), 60.0, before=first)
    jobs.submit(again)
    assert wait(again) == "done"
    assert not first.summary.tracks
    assert set(again.summary.tracks) == {1, 2}  # nobody jumps that far: it is somebody else


def test_what_was_there_stays_when_making_it_again_is_cancelled(clip, shelf, jobs):
    first = make_job(clip, shelf)
    jobs.submit(first)
    assert wait(first) == "done"
    before = (first.folder.path / VIDEO).read_bytes()
    again = Job(clip, first.folder, Choices("fake", 0.5, 0.99), 60.0, before=first)
    again.cancel()
    jobs.submit(again)
    assert wait(again) == "cancelled"
    assert (first.folder.path / VIDEO).read_bytes() == before
    assert set(first.folder.files) == {VIDEO, JSONL, CSV}
    assert jobs.of_tab("t1", "ann") is None


def test_a_page_finds_its_own_job_and_no_other(clip, shelf, jobs, long_clip):
    job = make_job(long_clip, shelf)
    jobs.submit(job)
    assert jobs.of_tab("t1", "ann") is job
    assert jobs.of_tab("t2", "ann") is None
    assert jobs.of_tab("t1", "eve") is None
    job.cancel()


def test_people_under_the_threshold_are_in_no_result(clip, shelf, jobs):
    job = make_job(clip, shelf, choices=Choices("fake", 0.95))
    jobs.submit(job)
    assert wait(job) == "done"
    assert job.summary.tracks == {}
    assert (job.folder.path / CSV).read_text() == ""


def test_cancelling_ends_soon_and_leaves_no_results(shelf, jobs, long_clip):
    job = make_job(long_clip, shelf, max_s=1e6)
    jobs.submit(job)
    assert wait(job, ("running",)) == "running"
    job.cancel()
    assert wait(job) == "cancelled"
    assert job.folder.files == {}
    assert list(job.folder.path.iterdir()) == []
    assert jobs.pool.users == 0


def test_jobs_wait_in_line_and_the_line_is_limited(clip, shelf, jobs, long_clip):
    first, second = make_job(long_clip, shelf, "t1", 1e6), make_job(clip, shelf, "t2")
    jobs.submit(first)
    jobs.submit(second)
    assert jobs.progress(second).state == "waiting"
    assert jobs.progress(second).ahead == 1
    with pytest.raises(Busy, match="try again"):
        jobs.submit(make_job(clip, shelf, "t3"))
    with pytest.raises(Busy, match="yours"):
        jobs.submit(make_job(clip, shelf, "t1"))
    jobs.cancel_tab("t1")
    assert wait(second) == "done"


def test_a_waiting_job_that_is_cancelled_never_runs(clip, shelf, jobs, long_clip):
    first = make_job(long_clip, shelf, "t1", 1e6)
    second = make_job(clip, shelf, "t2")
    jobs.submit(first)
    jobs.submit(second)
    second.cancel()
    assert second.state == "cancelled"
    first.cancel()
    assert wait(first) == "cancelled"
    assert second.folder.files == {}


def test_closing_cancels_everything(shelf, long_clip):
    pool = fake_pool()
    jobs = Jobs(pool)
    job = make_job(long_clip, shelf, max_s=1e6)
    jobs.submit(job)
    wait(job, ("running",))
    jobs.close()
    assert job.state == "cancelled"
    pool.close()


def test_a_video_whose_length_is_not_known_is_cut_off_with_a_message(clip, shelf, jobs):
    job = make_job(clip, shelf, max_s=2.0)
    jobs.submit(job)
    assert wait(job) == "failed"
    assert "longer than 2 s" in jobs.progress(job).message


def test_a_good_video_is_described(clip):
    info = inspect_video(clip, "x", 60)
    assert (info.width, info.height, info.fps) == (320, 240, 15)
    assert info.duration_s == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda good: b"\x00\x00\x00\x20ftypisom" + bytes(500), "expected a video"),
        (lambda good: good[:len(good) // 3], "expected a video"),
        (lambda good: b"", "empty"),
    ],
    ids=["nothing behind the header", "cut off", "empty"],
)
def test_damaged_videos_are_told_in_one_line(clip, tmp_path, content, says):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content(clip.read_bytes()))
    with pytest.raises(UserError, match=says) as error:
        inspect_video(path, "holiday.mp4", 60)
    assert "\n" not in str(error.value)


def test_a_video_that_is_too_long_is_refused_before_any_work(clip):
    with pytest.raises(UserError, match="4 s long, expected at most 3 s"):
        inspect_video(clip, "x", 3)


def plain_film(path, size_hw, count, fps=10, codec="libx264", streams=1):
    """Grey pictures: small on disk, whatever their size."""
    with av.open(str(path), "w") as film:
        video = []
        for _ in range(streams):
            video.append(film.add_stream(codec, rate=fps))
            video[-1].height, video[-1].width, video[-1].pix_fmt = *size_hw, "yuv420p"
            video[-1].options = {"preset": "ultrafast"} if codec == "libx264" else {}
        frame = av.VideoFrame(size_hw[1], size_hw[0], "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        for stream in video:
            for i in range(count):
                frame.pts = i
                film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
    return path


def count_decoded(monkeypatch):
    """Counts the pictures that are decoded from now on."""
    from detector.data import decode

    counted, whole = [], decode.Video._decode

    def counting(self, packet):
        frames = whole(self, packet)
        counted.extend(frames)
        return frames

    monkeypatch.setattr(decode.Video, "_decode", counting)
    return counted


@pytest.mark.parametrize(("size_hw", "name"), [
    ((4112, 4096), "film.mp4"), ((2400, 8000), "film.mkv"), ((16, 8208), "film.mp4"),
    ((4112, 4096), "film.ts"),
])
def test_a_small_film_of_huge_pictures_is_refused_before_any_is_decoded(tmp_path, monkeypatch, size_hw, name):
    path = plain_film(tmp_path / name, size_hw, 1)
    assert path.stat().st_size < 200_000
    decoded = count_decoded(monkeypatch)
    with pytest.raises(UserError, match=f"pictures of {size_hw[1]}x{size_hw[0]}, expected at most 17 million"):
        inspect_video(path, "film", 600)
    assert decoded == []


def test_a_film_of_too_many_pixels_in_all_is_refused_before_any_is_decoded(clip, monkeypatch):
    decoded = count_decoded(monkeypatch)
    monkeypatch.setattr("demo.jobs.MAX_PX_PER_S", 320 * 240 * 15 * 4 / 60 - 1000)
    with pytest.raises(UserError, match="billion pixels in all its pictures"):
        inspect_video(clip, "film", 60)
    assert decoded == []
    monkeypatch.setattr("demo.jobs.MAX_PX_PER_S", 320 * 240 * 15 * 4 / 60 + 1000)
    assert inspect_video(clip, "film", 60).width == 320


def test_a_film_that_hides_how_many_pixels_it_has_ends_on_the_way(clip, shelf, jobs, monkeypatch):
    monkeypatch.setattr("demo.jobs.MAX_PX_PER_S", 320 * 240 * 20 / 60)
    job = make_job(clip, shelf)
    jobs.submit(job)
    assert wait(job) == "failed"
    assert "billion pixels" in jobs.progress(job).message
    assert job.folder.files == {}


def test_what_a_failed_analysis_made_is_gone_before_it_is_told(clip, shelf, jobs, monkeypatch):
    monkeypatch.setattr("demo.jobs.MAX_PX_PER_S", 320 * 240 * 20 / 60)
    job, states = make_job(clip, shelf), []
    throw_away = job._throw_away
    monkeypatch.setattr(job, "_throw_away", lambda: (states.append(job.state), throw_away()))
    jobs.submit(job)
    assert wait(job) == "failed"
    assert states == ["running"]


def test_pictures_that_grow_on_the_way_are_not_decoded(tmp_path, monkeypatch):
    # The container tells the first picture's size; the second says in its own header that it is larger.
    parts = [plain_film(tmp_path / f"{h}.ts", (h, h), 2, codec="mpeg2video") for h in (128, 1024)]
    path = tmp_path / "grows.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))

    def sizes(limit):
        options = {**OPEN_OPTIONS, "max_pixels": str(limit)}
        return {frame.size_hw for frame in VideoFile(path, options=options)}

    assert sizes(2048 * 2048) == {(128, 128), (1024, 1024)}
    assert sizes(512 * 512) == {(128, 128)}


def test_the_analysis_has_the_same_limits_as_the_look_before_it(clip, shelf, jobs, monkeypatch):
    monkeypatch.setitem(OPEN_OPTIONS, "max_pixels", "1000")
    job = make_job(clip, shelf)
    jobs.submit(job)
    assert wait(job) == "failed"


def test_a_file_of_many_streams_is_not_opened(tmp_path):
    path = plain_film(tmp_path / "many.mp4", (32, 32), 1, codec="mpeg4", streams=40)
    with pytest.raises(UserError, match="cannot be opened"):
        inspect_video(path, "many.mp4", 60)
    assert inspect_video(plain_film(tmp_path / "few.mp4", (32, 32), 1, codec="mpeg4", streams=8), "x", 60).width == 32


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (60, "1 min"), (65, "1 min 05 s"), (600, "10 min")])
def test_lengths_read_well(seconds, text):
    assert minutes_text(seconds) == text
