"""A USB camera, with a stand-in for OpenCV's capture: opened, read, unplugged, plugged in again."""

from itertools import islice, pairwise
from typing import ClassVar

import cv2
import numpy as np
import pytest

from detector.errors import UserError
from stream.sources import open_source
from stream.sources.decode import ConnectionLost
from stream.sources.device import Device, open_camera
from stream.sources.reconnect import Backoff


class Capture:
    """Stands in for cv2.VideoCapture: gives `script[n]` pictures the n-th time it is opened; None: cannot be opened."""

    script: ClassVar[list] = []
    made: ClassVar[list] = []
    rate = 30.0

    def __init__(self, which):
        self.which, self.released, self.settings = which, False, {}
        pictures = Capture.script[len(Capture.made)] if len(Capture.made) < len(Capture.script) else None
        self._open, self._left = pictures is not None, pictures or 0
        Capture.made.append(self)

    def isOpened(self):
        return self._open

    def set(self, key, value):
        self.settings[key] = value

    def get(self, key):
        return Capture.rate if key == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        self._left -= 1
        return (True, np.full((48, 64, 3), 7, np.uint8)) if self._left >= 0 else (False, None)

    def release(self):
        self.released = True


@pytest.fixture
def capture(monkeypatch, tmp_path):
    """The stand-in, and the path of something that looks like a device."""
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(Capture, "made", [])
    monkeypatch.setattr(Capture, "rate", 30.0)
    path = tmp_path / "video0"
    path.touch()

    def plug_in(*script):
        monkeypatch.setattr(Capture, "script", list(script))
        return str(path)

    return plug_in


def test_pictures_come_by_the_clock_and_only_the_newest_waits(capture):
    path = capture(5)
    camera = open_camera(path, wait=lambda event, seconds: True)
    frames = list(islice(camera, 5))
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert all(b.time_s > a.time_s for a, b in pairwise(frames))
    assert frames[0].image[0, 0].tolist() == [7, 7, 7]
    assert (camera.live, camera.fps, camera.name) == (True, 30.0, f"camera {path}")
    assert Capture.made[0].settings == {cv2.CAP_PROP_BUFFERSIZE: 1}
    assert Capture.made[0].which == path


def test_an_unplugged_camera_is_let_go_and_taken_again(capture):
    path = capture(3, None, None, 4)
    waits, statuses = [], []

    def wait(event, seconds):
        waits.append(seconds)
        statuses.append(camera.status)
        return event.is_set()

    camera = open_camera(path, wait=wait, backoff=Backoff(jitter=lambda: 0.0))
    frames = list(islice(camera, 6))
    camera.close()
    assert [f.index for f in frames] == list(range(6))
    assert waits == [0.5, 1.0, 2.0]
    assert [s.online for s in statuses] == [False] * 3
    assert "gave no picture" in statuses[0].message
    assert "cannot be opened" in statuses[1].message
    assert Capture.made[0].released
    assert [(s.online, s.reason) for s in camera.changes()] == [
        (False, "gave no picture"), (False, f"camera {path}: cannot be opened".partition(": ")[2]), (True, ""),
    ]


def test_one_that_cannot_be_opened_is_one_line_and_opencv_is_quiet_only_meanwhile(capture):
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(UserError, match="is another program using it, may this user read it") as caught:
        Device(capture(None))
    assert "\n" not in str(caught.value)
    assert cv2.utils.logging.getLogLevel() == level


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), 90000.0])
def test_a_rate_that_cannot_be_is_not_believed(capture, rate):
    path = capture(1)
    Capture.rate = rate
    assert Device(path).fps is None


def test_a_number_is_opened_as_a_number(capture, monkeypatch):
    capture(1)
    monkeypatch.setattr("stream.sources.device.Path.exists", lambda path: True)
    assert open_source("0").name == "camera 0"
    assert Capture.made[0].which == 0


def test_a_camera_that_is_not_there_names_those_that_are(monkeypatch):
    monkeypatch.setattr("stream.sources.device.Path.glob", lambda path, pattern: ["/dev/video2", "/dev/video0"])
    with pytest.raises(UserError, match="there is no /dev/video7; this machine has /dev/video0, /dev/video2"):
        Device("7")


def test_one_without_any_camera_is_sent_to_the_sample(monkeypatch):
    monkeypatch.setattr("stream.sources.device.Path.glob", lambda path, pattern: [])
    with pytest.raises(UserError, match="this machine has no camera; try --source sample"):
        Device("7")


def test_cameras_are_looked_for_where_they_are(monkeypatch):
    asked = []

    def looked(path, pattern):
        asked.append((str(path), pattern))
        return []

    monkeypatch.setattr("stream.sources.device.Path.glob", looked)
    with pytest.raises(UserError, match="there is no /dev/video_of_nobody"):
        Device("/dev/video_of_nobody")
    assert asked == [("/dev", "video*")]


def test_opencv_says_nothing_while_it_opens_a_camera_and_then_speaks_as_before(capture, monkeypatch):
    levels, logging = [], cv2.utils.logging
    path = capture(None)
    monkeypatch.setattr(cv2, "VideoCapture", lambda which: levels.append(logging.getLogLevel()) or Capture(which))
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        with pytest.raises(UserError):
            Device(path)
        assert (levels, logging.getLogLevel()) == ([logging.LOG_LEVEL_SILENT], logging.LOG_LEVEL_ERROR)
    finally:
        logging.setLogLevel(before)


@pytest.mark.parametrize("read", [(False, np.zeros((4, 4, 3), np.uint8)), (True, None)])
def test_half_a_picture_is_none(capture, monkeypatch, read):
    path = capture(3)
    monkeypatch.setattr(Capture, "read", lambda self: read)
    device = Device(path)
    with pytest.raises(ConnectionLost, match="gave no picture"):
        next(iter(device))
