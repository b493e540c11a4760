"""Where a file's time goes: a detector and an engine that take a known time."""

from __future__ import annotations

import time

import pytest

from detector.errors import UserError
from stream.bench import main
from stream.bench_file import TimedPeople, measure_file
from tests.stream_fakes import FakeDetector, FakeEngine, fake_session


def test_the_parts_of_a_files_time_add_up(write_video):
    path = write_video(frames=40, fps=20.0)
    detector = FakeDetector(before=lambda call: time.sleep(0.02))
    engine = FakeEngine(before=lambda call: time.sleep(0.05))
    session, _, _ = fake_session(detector=detector, engine=engine)
    with session:
        figures = measure_file(session, str(path))
    assert (figures["pictures"], figures["key_frames"]) == (40, 2)
    assert figures["video_s"] == pytest.approx(2.0)
    assert figures["times_real_time"] == pytest.approx(2.0 / figures["wall_s"], rel=0.02)
    shares = {name: figures[f"{name}_share"] for name in ("decode", "search", "network", "drawing")}
    assert all(share > 0 for share in shares.values())
    # Sleeps are at least as long as asked for.
    assert shares["search"] * figures["wall_s"] >= 0.02 * detector.calls - 0.02
    assert shares["network"] * figures["wall_s"] >= 0.05 * engine.calls - 0.02


def test_looks_at_known_people_are_timed_and_handed_on():
    class Looking(FakeDetector):
        def look_again(self, image, people):
            time.sleep(0.01)
            return people

    spent_s = [0.0]
    timed = TimedPeople(Looking(), spent_s).fork()
    assert timed.look_again(None, "people") == "people"
    assert spent_s[0] >= 0.01


def test_a_file_is_not_many_streams():
    with pytest.raises(UserError, match="--file and --streams: expected one"):
        main(["x.mp4", "--file", "--streams", "2"])
