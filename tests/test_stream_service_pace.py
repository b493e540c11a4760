"""Pace: often while something moves, slowly while all keep still, never nothing."""

import math

import pytest

from stream.service.pace import HOLD_S, NOBODY_S, Pace, Rhythm

RHYTHM = Rhythm(answer_s=0.5, search_s=0.25, still_s=2.0, empty_s=4.0)


def pace(rhythm=RHYTHM, people=1, moved_s=0.0):
    made = Pace(rhythm, moved_s)
    made.searched(10.0, people)
    made.answered(10.0)
    return made


@pytest.mark.parametrize(("people", "moved_s", "search_s", "answer_s"), [
    (1, 10.0, 0.25, 0.5),
    (0, 10.0, NOBODY_S, 0.5),
    (1, 0.0, 2.0, 2.0),
    (0, 0.0, 4.0, 4.0),
])
def test_looks_are_due_by_what_is_seen(people, moved_s, search_s, answer_s):
    made = pace(people=people, moved_s=moved_s)
    assert made.search_due_s(10.0) == 10.0 + search_s
    assert made.answer_due_s(10.0) == 10.0 + answer_s


def test_a_camera_is_searched_at_once_and_answers_only_after_that():
    made = Pace(RHYTHM, 0.0)
    assert made.search_due_s(0.0) == -math.inf
    assert made.answer_due_s(0.0) == math.inf
    made.searched(0.0, 1)
    assert made.answer_due_s(0.0) == -math.inf


def test_motion_wakes_a_quiet_camera_and_it_stays_awake_for_a_while():
    made = pace(moved_s=0.0)
    assert not made.awake(10.1)
    made.moved(10.1)
    assert made.search_due_s(10.2) == 10.25
    assert made.awake(10.1 + HOLD_S)
    assert not made.awake(10.2 + HOLD_S)


def test_without_a_gate_it_is_always_awake():
    made = pace(Rhythm(0.5, 0.25, 2.0, 4.0, gated=False))
    assert made.awake(1e6)


@pytest.mark.parametrize(("at_s", "missed"), [(10.2, 0), (10.4, 0), (10.55, 1), (11.0, 3)])
def test_what_came_late_is_counted(at_s, missed):
    assert pace(moved_s=10.0).searched(at_s, 1) == missed
