"""The log: one line, no secret, no flood."""

import json
import logging

import pytest
from stream_fakes import Clock

from stream.service.logs import MOST_LINES, WINDOW_S, Brake, Lines, Secrets


def record(message, *args, level=logging.WARNING):
    return logging.LogRecord("stream.service.camera", level, "x.py", 1, message, args, None)


def secrets():
    known = Secrets()
    known.learn(["rtsp://admin:hunter2@host/live?key=abcdef", "0123456789abcdef"])
    return known


@pytest.mark.parametrize("text", [
    "cannot open rtsp://admin:hunter2@host/live?key=abcdef",
    "password hunter2 was refused",
    "token 0123456789abcdef",
    "Authorization: Bearer zzzzzzzzzzzzzz",
    "http://other:pw@elsewhere/",
])
@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_is_written(text, as_json):
    line = Lines(as_json, secrets()).format(record(text))
    for secret in ("hunter2", "abcdef", "zzzzzz", "other:pw"):
        assert secret not in line
    assert "***" in line


def test_a_line_of_json_has_its_parts_and_the_camera():
    line = json.loads(Lines(True, Secrets()).format(record("camera %s: offline\nagain", "door")))
    assert line["camera"] == "door"
    assert line["level"] == "warning"
    assert line["message"] == "camera door: offline again"
    assert line["time"].endswith("Z")


def test_a_flood_is_cut_and_counted_and_others_are_not():
    clock = Clock()
    brake = Brake(clock)
    passed = [brake.filter(record("camera %s: offline", "a")) for _ in range(50)]
    assert sum(passed) == MOST_LINES
    assert brake.filter(record("camera %s: offline", "b"))
    clock.now_s = WINDOW_S + 1
    later = record("camera %s: offline", "a")
    assert brake.filter(later)
    assert f"({50 - MOST_LINES} lines like this were left out)" in Lines(False, Secrets()).format(later)
