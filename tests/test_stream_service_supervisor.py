"""The supervisor: who should run runs, who did not change is not touched, hours and pauses are kept."""

from datetime import datetime

import pytest

pytest.importorskip("pydantic")

from stream_fakes import Clock
from stream_service_fakes import settings

from detector.errors import UserError
from stream.service.supervisor import Changes, Supervisor


class Runner:
    """What the supervisor sees of a camera."""

    def __init__(self, name, given):
        self.name, self.settings, self.calls, self.silent_s = name, given, [], 0.0
        self.state = ("online", "")

    def start(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")

    def tick(self):
        pass

    def join(self, timeout_s):
        return True


class Desk:
    def __init__(self):
        self.made, self.released = [], []
        self.moment = datetime(2026, 3, 2, 12, 0)
        self.supervisor = Supervisor(self.create, self.released.append, lambda: self.moment, Clock())

    def create(self, name, given):
        self.made.append(Runner(name, given))
        return self.made[-1]

    @property
    def running(self):
        return {camera.name: camera for camera in self.supervisor.cameras()}


def test_cameras_that_did_not_change_go_on_and_the_others_start_and_stop():
    desk = Desk()
    desk.supervisor.apply({"a": settings("1"), "b": settings("2"), "c": settings("3")})
    a, b, c = desk.made
    changes = desk.supervisor.apply({"a": settings("1"), "b": settings("22"), "d": settings("4")})
    assert changes == Changes(added=("d",), changed=("b",), removed=("c",))
    assert a.calls == ["start"]
    assert b.calls == c.calls == ["start", "stop"]
    assert desk.released == [c, b]
    assert desk.running["a"] is a
    assert sorted(desk.running) == ["a", "b", "d"]
    assert str(changes) == "added: d; changed: b; removed: c"


def test_hours_start_and_stop_a_camera():
    desk = Desk()
    desk.supervisor.apply({"a": settings(schedule=["mon 08:00-18:00"])})
    assert list(desk.running) == ["a"]
    desk.moment = datetime(2026, 3, 2, 18, 0)
    desk.supervisor.tick()
    assert not desk.running
    (report,) = desk.supervisor.reports()
    assert (report.state, report.wanted) == ("off", False)
    desk.moment = datetime(2026, 3, 9, 8, 0)
    desk.supervisor.tick()
    assert list(desk.running) == ["a"]


def test_a_paused_camera_stays_off_until_it_goes_on_also_when_the_file_is_read_again():
    desk = Desk()
    desk.supervisor.apply({"a": settings()})
    desk.supervisor.pause("a")
    desk.supervisor.apply({"a": settings()})
    assert not desk.running
    assert desk.supervisor.reports()[0].state == "paused"
    desk.supervisor.pause("a", False)
    assert list(desk.running) == ["a"]


def test_a_camera_that_was_added_by_hand_survives_the_file_and_can_be_removed():
    desk = Desk()
    desk.supervisor.apply({"a": settings()})
    desk.supervisor.add("extra", settings())
    with pytest.raises(UserError, match="is there already"):
        desk.supervisor.add("extra", settings())
    desk.supervisor.apply({"a": settings()})
    assert sorted(desk.running) == ["a", "extra"]
    desk.supervisor.remove("extra")
    assert list(desk.running) == ["a"]
    with pytest.raises(UserError, match="none of that name; there are a"):
        desk.supervisor.remove("extra")


def test_silence_is_red_only_beyond_the_limit_and_only_while_the_camera_should_be_on():
    desk = Desk()
    desk.supervisor.apply({"a": settings(silent_limit=5), "off": settings(enabled=False)})
    desk.running["a"].silent_s = 4.9
    assert not any(report.too_silent for report in desk.supervisor.reports())
    desk.running["a"].silent_s = 5.1
    assert [report.too_silent for report in desk.supervisor.reports()] == [True, False]


def test_closing_stops_all():
    desk = Desk()
    desk.supervisor.apply({"a": settings(), "b": settings()})
    assert desk.supervisor.close(1.0)
    assert all(camera.calls == ["start", "stop"] for camera in desk.made)
    assert not desk.supervisor.cameras()
