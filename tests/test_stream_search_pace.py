"""When a live picture is searched as a whole: pictures and times made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stream.search_pace import SearchPace

PERSON = np.array([[100, 100, 200, 400]], np.float32)
NOBODY = np.zeros((0, 4), np.float32)


def picture(*bright: tuple[int, int, int, int]) -> np.ndarray:
    image = np.full((480, 640, 3), 60, np.uint8)
    for x1, y1, x2, y2 in bright:
        image[y1:y2, x1:x2] = 200
    return image


def searched(search_s: float = 0.1) -> SearchPace:
    """A pace whose last whole search ended at 10 s."""
    pace = SearchPace(0.1, 0.1)
    assert pace.is_whole(picture(), PERSON, 10 - search_s)
    pace.looked(True, 10 - search_s, 10.0, search_s, 5.0)
    return pace


def test_the_first_look_one_without_people_and_one_after_a_gap_are_whole():
    pace = searched()
    assert not pace.is_whole(picture(), PERSON, 10.1)
    assert pace.is_whole(picture(), NOBODY, 10.2)
    pace.begin_anew()
    assert pace.is_whole(picture(), PERSON, 10.3)


def test_a_whole_search_comes_by_itself_now_and_then():
    pace = searched()
    assert [pace.is_whole(picture(), PERSON, t) for t in (11.0, 14.0, 15.0)] == [False, False, True]


@pytest.mark.parametrize(("bright", "whole"), [
    ((400, 200, 440, 330), True), ((110, 120, 190, 380), False), ((210, 150, 230, 350), False),
    ((400, 200, 408, 208), False),
], ids=["somebody else", "the person known", "their arm", "a bird"])
def test_motion_elsewhere_brings_a_search(bright, whole):
    pace = searched()
    assert not pace.is_whole(picture(), PERSON, 10.6)
    assert pace.is_whole(picture(bright), PERSON, 10.8) is whole


def test_searches_for_motion_take_at_most_a_quarter_of_the_time():
    pace, now_s, search_s, spent_s = searched(0.4), 10.0, 0.4, 0.0
    for step in range(200):
        if pace.is_whole(picture((400, 200, 440, 330)) if step % 2 else picture(), PERSON, now_s):
            pace.looked(True, now_s, now_s + search_s, search_s, 5.0)
            spent_s, now_s = spent_s + search_s, now_s + search_s
        now_s += 0.1
    assert 0.15 <= spent_s / (now_s - 10.0) <= 0.25


@pytest.mark.parametrize(("answers_every_s", "answers_per_s", "rest_s"), [
    # Few answers: the network is worth more; many: boxes are. Who asks for one a second has enough with one.
    (0.1, 0.0, 0.4), (0.1, 3.0, 0.4), (0.1, 4.5, 0.225), (0.1, 6.0, 0.05), (0.1, 10.0, 0.05), (1.0, 0.9, 0.4),
    (1.0, 1.8, 0.05),
])
def test_the_rest_follows_what_is_worth_more(answers_every_s, answers_per_s, rest_s):
    pace = SearchPace(0.1, answers_every_s)
    assert pace.looked(False, 5.0, 5.2, 0.2, answers_per_s) == pytest.approx(rest_s)


def test_a_slow_detector_does_not_rest_for_ever_and_a_quick_one_keeps_the_beat():
    pace = SearchPace(0.1, 0.1)
    assert pace.looked(True, 5.0, 8.0, 3.0, 0.0) == pytest.approx(0.5)
    assert pace.looked(True, 5.0, 5.01, 0.01, 0.0) == pytest.approx(0.09)
