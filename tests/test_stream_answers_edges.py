"""Where answers begin and stop to count: the very second, the first track, people without one."""

import numpy as np
import pytest
from stream_fakes import an_answer

from detector.labels import Action, LabelMap
from detector.types import Boxes, Detections
from stream.answers import AnswerBoard

ONE = LabelMap("one", (Action(1, "walk", "pose"),))


def board_of(**limits):
    return AnswerBoard(ONE, np.array([0.5], np.float32), **limits)


def boxes(*ids):
    return Boxes(np.zeros((len(ids), 4)), np.ones(len(ids)), ids)


def score(board, track_id, time_s):
    return board.scores(boxes(track_id), time_s)[0, 0]


def test_a_flicker_is_damped_as_the_board_says_of_itself():
    for step_s, share in ((1.0, 0.92), (0.1, 0.22)):
        board = board_of()
        board.add(10.0, an_answer(1, 0.0))
        board.add(10.0 + step_s, an_answer(1, 1.0))
        assert score(board, 1, 10.0 + step_s) == pytest.approx(share, abs=0.005)


def test_answers_two_seconds_apart_are_smoothed_and_further_apart_are_not():
    for gap_s, expected in ((2.0, 1 - np.exp(-1)), (2.1, 1.0)):
        board = board_of(smooth_s=2.0)
        board.add(10.0, an_answer(1, 0.0))
        board.add(10.0 + gap_s, an_answer(1, 1.0))
        assert score(board, 1, 10.0 + gap_s) == pytest.approx(expected)


@pytest.mark.parametrize(("newest_s", "there"), [(102.0, True), (102.01, False), (102.9, False)])
def test_an_answer_holds_two_seconds_against_newer_ones(newest_s, there):
    board = board_of()
    board.add(100.0, an_answer(1, 0.9))
    board.add(newest_s, an_answer(2, 0.9))
    assert np.isnan(score(board, 1, newest_s)) == (not there)


@pytest.mark.parametrize(("time_s", "there"), [(110.0, True), (110.01, False), (110.9, False)])
def test_it_holds_ten_seconds_without_newer_ones(time_s, there):
    board = board_of()
    board.add(100.0, an_answer(1, 0.9))
    assert np.isnan(score(board, 1, time_s)) == (not there)


@pytest.mark.parametrize(("newest_s", "there"), [(130.0, True), (130.5, False)])
def test_thirty_seconds_can_be_asked_for(newest_s, there):
    board = board_of()
    board.add(100.0, an_answer(1, 0.9))
    board.add(newest_s, an_answer(1, 0.1))
    assert (score(board, 1, 100.0) == pytest.approx(0.9)) == there


def test_track_zero_is_a_track_and_people_without_one_leave_the_others_be():
    board = board_of()
    people = Boxes(np.zeros((3, 4)), np.ones(3), (-1, 0, 7))
    board.add(1.0, Detections(people, np.array([[0.1], [0.2], [0.3]], np.float32)))
    got = board.scores(boxes(-1, 5, 0, 7), 1.0)
    assert got.dtype == np.float32
    assert got[:, 0] == pytest.approx([np.nan, np.nan, 0.2, 0.3], nan_ok=True)
