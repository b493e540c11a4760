"""Videos from file to results: what comes out, what is refused, and that cancelling leaves nothing."""

from __future__ import annotations

import json
import time

import av
import pytest
from demo_fakes import fake_pool, write_video

from demo.choices import Choices
from demo.jobs import CSV, JSONL, VIDEO, Job, Jobs, inspect_video, minutes_text
from demo.pool import Busy
from demo.shelf import Shelf
from demo.timeline import find_spans
from detector.errors import UserError

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
    assert lines[0]["people"][0]["actions"][0]["name"] == "walk"
    assert lines[-1]["people"][0]["actions"][0]["name"] == "sit"
    assert (job.folder.path / CSV).read_text().startswith("my clip,")
    spans = find_spans(job.summary, job.choices.thresholds(job.summary.labels))
    assert {s.action for s in spans} == {"walk", "sit", "stand"}
    assert jobs.pool.users == 0


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


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (60, "1 min"), (65, "1 min 05 s"), (600, "10 min")])
def test_lengths_read_well(seconds, text):
    assert minutes_text(seconds) == text
