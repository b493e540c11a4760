"""Schedules: which minutes of the week a camera is on."""

from datetime import datetime

import pytest

from stream.service.hours import is_on, parse_hours

MONDAY = "2026-03-02"


@pytest.mark.parametrize(("schedule", "moment", "on"), [
    ([], "2026-03-02 03:00", True),
    (["mon-fri 08:00-18:00"], "2026-03-02 08:00", True),
    (["mon-fri 08:00-18:00"], "2026-03-02 17:59", True),
    (["mon-fri 08:00-18:00"], "2026-03-02 18:00", False),
    (["mon-fri 08:00-18:00"], "2026-03-07 12:00", False),
    (["sat,sun 10:00-11:00"], "2026-03-08 10:30", True),
    (["fri-mon 10:00-11:00"], "2026-03-02 10:30", True),
    (["fri-mon 10:00-11:00"], "2026-03-03 10:30", False),
    (["mon 22:00-06:00"], "2026-03-02 23:00", True),
    (["mon 22:00-06:00"], "2026-03-03 05:59", True),
    (["mon 22:00-06:00"], "2026-03-03 06:00", False),
    (["mon 22:00-06:00"], "2026-03-02 05:00", False),
    (["daily 00:00-24:00"], "2026-03-05 23:59", True),
    (["12:00-13:00"], "2026-03-05 12:30", True),
    (["mon 01:00-02:00", "mon 03:00-04:00"], "2026-03-02 03:30", True),
])
def test_a_camera_is_on_in_its_hours(schedule, moment, on):
    assert is_on(schedule, datetime.fromisoformat(moment)) is on


@pytest.mark.parametrize("text", ["", "mon", "mon 8-9", "mon 08:00-25:00", "mon 24:00-01:00", "mon 08:61-09:00",
                                  "foo 08:00-09:00", "mon 08:00-09:00 x"])
def test_what_is_no_schedule_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"expected days and hours like 'mon-fri"):
        parse_hours(text)
