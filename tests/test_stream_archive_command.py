"""The archive's command: killed at any moment and started again it does what is left, and ends with the same files."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detector.errors import UserError
from stream.archive.__main__ import main
from stream.archive.progress import Progress
from stream.archive.summary import summarise
from stream.archive.videos import Video

pytest.importorskip("pyarrow")
pytest.importorskip("plotly")
ROOT = Path(__file__).resolve().parent.parent


def start(*arguments, slow_s=0.0) -> subprocess.Popen[str]:
    """The command with workers that look with stand-ins, in a process group of its own."""
    environment = {
        **os.environ, "ARCHIVE_FAKE_S": str(slow_s), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "archive_fakes.py"), *map(str, arguments)], env=environment,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )


def finish(program) -> str:
    """What it said, once it has ended well."""
    said = program.communicate(timeout=240)[1]
    assert program.returncode == 0, said
    return said


def results(output) -> dict[str, bytes]:
    """Every result by its path; what was counted in seconds of work is left out."""
    return {
        str(path.relative_to(output)): path.read_bytes() for kind in ("answers", "ava", "rows")
        for path in sorted((output / kind).rglob("*")) if path.is_file()
    }


def done(output) -> dict[str, int]:
    """Key → when its record was written."""
    return {path.name: path.stat().st_mtime_ns for path in (output / "done").glob("*.json")}


def wait_for(holds, program) -> None:
    give_up_s = time.monotonic() + 120
    while not holds():
        assert program.poll() is None, program.communicate()[1]
        assert time.monotonic() < give_up_s, "it takes too long"
        time.sleep(0.02)


@pytest.fixture
def folder(write_video, tmp_path):
    """Seven good videos and a bad one."""
    place = tmp_path / "videos"
    (place / "sub").mkdir(parents=True)
    for n in range(7):
        write_video(f"{n}.mp4", frames=21 + 10 * n).rename(place / ("sub" if n % 2 else "") / f"{n}.mp4")
    (place / "bad.mp4").write_text("no video")
    return place


@pytest.mark.slow
@pytest.mark.ci
def test_killed_at_random_it_goes_on_with_what_is_left(folder, tmp_path):
    finish(start(folder, "--output", tmp_path / "whole", "--workers", 1))
    expected = results(tmp_path / "whole")
    assert len(expected) == 21
    dice, output = random.Random(), tmp_path / "out"
    before: dict[str, int] = {}
    for _ in range(3):
        program = start(folder, "--output", output, "--workers", 2, slow_s=0.15)
        count = len(before)
        wait_for(lambda count=count: len(done(output)) > count, program)
        time.sleep(dice.uniform(0.0, 0.4))
        os.killpg(program.pid, signal.SIGKILL)
        program.communicate()
        now = done(output)
        assert before.items() <= now.items()  # nothing was done twice
        before = now
    said = finish(start(folder, "--output", output, "--workers", 2))
    assert f"8 videos, {len(before)} of them done before" in said
    assert before.items() <= done(output).items()
    assert results(output) == expected
    assert not (output / ".unfinished").exists()
    assert (output / "bad.csv").read_text().splitlines()[1].startswith("bad.mp4,cannot be opened")
    totals = json.loads((output / "summary.json").read_text())
    assert (totals["videos"], totals["bad"], totals["rows"]) == (7, 1, totals["key_frames"])


@pytest.mark.slow
def test_its_own_process_alone_killed_its_workers_end_too(folder, tmp_path):
    output = tmp_path / "out"
    program = start(folder, "--output", output, "--workers", 2, slow_s=0.3)
    wait_for(lambda: done(output), program)
    program.kill()
    program.wait()
    # Standard error ends when the last process that holds it does.
    program.communicate(timeout=60)
    count = len(done(output))
    said = finish(start(folder, "--output", output))
    assert f"{count} of them done before" in said


@pytest.mark.slow
def test_a_polite_end_says_what_is_done_and_the_lock_is_free(folder, tmp_path):
    output = tmp_path / "out"
    program = start(folder, "--output", output, "--workers", 1, slow_s=0.3)
    wait_for(lambda: done(output), program)
    with pytest.raises(UserError, match="another archive command works there"):
        main([str(folder), "--output", str(output)])
    program.send_signal(signal.SIGTERM)
    said = program.communicate(timeout=60)[1]
    assert program.returncode == 2
    assert said.splitlines()[-1].startswith("error: stopped: ")
    assert said.splitlines()[-1].endswith(" of 8 videos are done; the same command goes on")
    assert (output / "bad.csv").exists()


@pytest.mark.slow
def test_changed_videos_and_settings_are_done_again_and_bad_ones_when_asked(folder, tmp_path, write_video):
    output = tmp_path / "out"
    assert "8 videos, 0 of them done before" in finish(start(folder, "--output", output))
    assert "8 of them done before" in finish(start(folder, "--output", output))
    os.utime(folder / "0.mp4", ns=(1, 1))
    assert "7 of them done before" in finish(start(folder, "--output", output))
    assert "0 of them done before" in finish(start(folder, "--output", output, "--every", "0.5"))
    write_video("again.mp4").rename(folder / "bad.mp4")
    said = finish(start(folder, "--output", output, "--every", "0.5", "--retry"))
    assert "7 of them done before" in said
    assert "8 videos labelled, 0 bad" in said


@pytest.mark.parametrize(("arguments", "says"), [
    (["{}/nowhere"], "no such folder or list"),
    (["{}", "--workers", "0"], "--workers 0: expected 1 to 256"),
    (["{}", "--every", "0"], "--every 0: expected a number"),
    (["{}", "--threshold", "wolk=0.5"], "wolk"),
    (["{}", "--rules", "{}/none.yaml"], "none.yaml"),
    (["{}", "--model", "slofast"], "slofast"),
    (["{}", "--output", "{}/a/b/c"], "there is no folder"),
])
def test_mistakes_are_one_line_and_nothing_is_made(tmp_path, arguments, says):
    (tmp_path / "a.mp4").write_bytes(b"x")
    words = [word.format(tmp_path) for word in arguments]
    output = [] if "--output" in words else ["--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match=says) as caught:
        main([*words, *output])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def progress(clock, lines):
    jobs = [(Video(name, name, size, 0), name) for name, size in (("a", 100), ("b", 300))]
    return Progress(jobs, lines.append, terminal=False, clock=clock)


def test_time_left_goes_by_bytes_and_lines_come_now_and_then():
    now, lines = [0.0], []
    told = progress(lambda: now[0], lines)
    assert told.left_s() is None
    now[0] = 10.0
    told.at("b", 0.5)
    assert told.left_s() == pytest.approx(10 * 250 / 150)
    assert lines == []
    now[0] = 100.0
    told.done("b", 200.0)
    assert told.left_s() == pytest.approx(100 / 3)
    assert lines == ["1 of 2 videos, 2.0 s of video a second, about 33 s left"]
    told.bad("a")
    assert told.left_s() == 0
    assert told.speed() == "2.0 s of video a second"


def test_totals_are_sums_of_the_records():
    record = {
        "name": "a", "seconds": 1800, "key_frames": 4, "rows": 6, "people": {"0": 1, "2": 3}, "actions": {"walk": 60},
        "events": 1, "damage": "", "model": "m", "engine": "e", "detector": "d",
    }
    other = {**record, "name": "b", "people": {"2": 4}, "damage": "3 pictures are spoilt"}
    totals = summarise([record, other], [("c", "no video")], 2.0)
    assert (totals["videos"], totals["bad"], totals["hours"], totals["rows"]) == (2, 1, 1.0, 12)
    assert totals["key_frames_by_people"] == {"0": 1, "2": 7}
    assert totals["person_minutes_by_action"] == {"walk": 4.0}
    assert totals["damaged"] == ["b"]
