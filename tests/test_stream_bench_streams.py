"""A file as many cameras: each is answered, the sums are right, and people can be placed."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import UserError
from stream.bench import main
from stream.bench_streams import PlacedPeople, measure_streams, summarise
from tests.stream_fakes import FakeDetector, fake_session


def test_placed_people_stand_in_the_picture_and_the_detector_works_all_the_same():
    detector = FakeDetector()
    for count in (1, 3, 8):
        boxes = PlacedPeople(detector, count).detect(np.zeros((90, 160, 3), np.uint8))
        assert len(boxes) == count
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2] + 5).all()
        assert (boxes.xyxy[1:, 0] >= boxes.xyxy[:-1, 2]).all()
        assert boxes.xyxy.min() >= 0
        assert boxes.xyxy[:, 2].max() <= 160
    assert detector.calls == 3


def test_every_camera_is_answered(write_video):
    path = write_video(frames=40, fps=20.0)
    session, _, _ = fake_session()
    with session:
        session.wrap_detector(lambda found: PlacedPeople(found, 2))
        figures = measure_streams(session, str(path), 1.5, 3)
    assert figures["cameras"] == 3
    assert figures["people_per_key_frame"] == 2
    assert len(figures["clips_per_s_per_camera"]) == 3
    assert all(rate > 0 for rate in figures["clips_per_s_per_camera"])
    assert "people placed by hand" in figures["detector"]


def report(**changes):
    return {"clips_per_s": 3.0, "people_per_key_frame": 2.0, "drawn_fps": 25.0, "frames_drawn_percent": 100.0,
            "clips_dropped": 1, "compute_s_p50": 0.1, "compute_s_p95": 0.2, "label_delay_s_p95": 0.9, **changes}


def test_sums_and_the_worst_camera():
    found = summarise([report(), report(clips_per_s=1.0, frames_drawn_percent=80.0, compute_s_p95=0.5)], 3.456)
    assert found["clips_per_s"] == 4.0
    assert found["pictures_fps"] == 50.0
    assert found["clips_dropped"] == 2
    assert (found["compute_s_p95_worst"], found["pictures_percent_worst"], found["cores_busy"]) == (0.5, 80.0, 3.46)
    assert found["limited_by"].startswith("decoding and resizing on the CPU")
    assert not summarise([report()], 1.0)["limited_by"].startswith("decoding")


@pytest.mark.parametrize("arguments", [["--streams", "0"], ["--people", "0"]])
def test_fewer_than_one_is_refused(arguments):
    with pytest.raises(UserError, match="--streams and --people: expected at least 1"):
        main(["--source", "x.mp4", *arguments])
